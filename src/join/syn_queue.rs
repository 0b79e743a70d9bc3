//! SYN queues: handshakes in progress (facts Q11), and how much room is left for further ones.

use std::cmp::Ordering;

use super::{Listener, Listeners};
use crate::model::{SocketEntry, TcpState};

/// Gives each handshake of `rows` to the listeners that it fits; `accounts` are in their order.
pub(super) fn count(
    listeners: &Listeners<'_>,
    rows: &[&SocketEntry],
    accounts: &mut [Listener<'_>],
) {
    // A TCP Fast Open child is in SYN_RECV as well, and in the accept queue.
    let is_handshake = |row: &&&SocketEntry| row.state == TcpState::SynRecv && !row.is_unaccepted();
    for row in rows.iter().filter(is_handshake) {
        let fitting = listeners.of_connection(row);
        for index in fitting.iter() {
            accounts[*index].syn_recv += 1;
            accounts[*index].shares_syn_queue |= fitting.len() > 1;
        }
    }
}

impl Listener<'_> {
    /// No room for one more handshake: a SYN is answered with a cookie, or dropped. The limit is that
    /// of the accept queue (`inet_csk_reqsk_queue_is_full`), and one more on Linux 6.18, as Q2; at the
    /// limit itself kernels differ.
    ///
    /// Unknown there, without a limit, and if other listeners fit the handshakes as well.
    pub fn syn_queue_is_full(&self) -> Option<bool> {
        let limit = self.backlog.filter(|_| !self.shares_syn_queue)?;
        match self.syn_recv.cmp(&limit) {
            Ordering::Equal if limit > 0 => None,
            order => Some(order == Ordering::Greater),
        }
    }
}
