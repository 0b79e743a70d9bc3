//! Sockets in CLOSE_WAIT: what is unread, who opened them, who holds them.

use std::time::Duration;

use super::{FarEnd, Holder, Listeners, SocketTable};
use crate::model::{Direction, Fact, Snapshot, SocketEntry, Timer};

/// A socket in CLOSE_WAIT.
#[derive(Debug)]
pub struct CloseWait<'a> {
    /// Its row.
    pub entry: &'a SocketEntry,
    /// A program has accepted or opened it; otherwise it waits in an accept queue.
    pub accepted: bool,
    /// Bytes that the program has not read, the FIN aside (facts W1).
    pub unread_bytes: u32,
    /// The program has not read the end of file.
    pub fin_unread: bool,
    /// How long, at least, since the FIN; unknown without `tcp_info`.
    pub age: Option<Duration>,
    /// Who opened it, where that can be told.
    pub direction: Option<Direction>,
    /// The listener it came in through, if exactly one fits.
    pub listener: Option<&'a SocketEntry>,
    /// The far end, where it is on this machine.
    pub far_end: Fact<FarEnd<'a>>,
    /// Every process that has a descriptor for it.
    pub holders: Vec<Holder<'a>>,
}

impl<'a> CloseWait<'a> {
    pub(super) fn new(
        entry: &'a SocketEntry,
        listeners: &Listeners<'a>,
        table: &SocketTable<'a>,
    ) -> CloseWait<'a> {
        let (recv_q, _) = entry.stream_queues().unwrap_or((0, 0));
        let accepted = !entry.is_unaccepted();
        let matching = listeners.of_connection(entry);
        let listener = match matching[..] {
            [index] => Some(listeners.entries()[index]),
            _ => None,
        };
        let direction = if accepted {
            entry
                .info
                .and_then(|info| info.direction())
                .or_else(|| by_ports(entry, !matching.is_empty(), table.snapshot))
        } else {
            Some(Direction::Inbound)
        };
        CloseWait {
            entry,
            accepted,
            unread_bytes: recv_q.saturating_sub(1),
            fin_unread: recv_q > 0,
            age: entry.close_wait_age(),
            direction,
            listener: listener.filter(|_| direction == Some(Direction::Inbound)),
            far_end: table.far_end(entry),
            holders: table.holders_of(entry),
        }
    }

    /// What sockets of one leak have in common. Outbound: the remote address and port; otherwise the
    /// local port, as `:8080`.
    pub fn endpoint(&self) -> String {
        match self.direction {
            Some(Direction::Outbound) => self.entry.remote.to_string(),
            _ => format!(":{}", self.entry.local.port()),
        }
    }

    /// Bytes still move from this side to the other: a half-closed connection that is being
    /// served is legal (facts W4).
    ///
    /// True if something waits to be sent or acknowledged, or if this side has gone on sending for
    /// a second and more after the far end's last data and did so less than `recent` ago.
    pub fn is_being_served(&self, recent: Duration) -> bool {
        const ON_ITS_OWN: Duration = Duration::from_secs(1);
        let waiting = self
            .entry
            .stream_queues()
            .is_some_and(|(_, send_q)| send_q > 0);
        let sending = self.entry.info.is_some_and(|info| {
            info.since_data_sent < recent
                && info.since_data_sent + ON_ITS_OWN <= info.since_data_received
        });
        waiting || sending || matches!(self.entry.timer, Timer::Retransmit | Timer::ZeroWindow)
    }
}

/// Without counters the ports must tell: a listener on the local address says inbound, a port that
/// `connect()` picks from says outbound. Neither is known for a server that has closed its listener.
fn by_ports(entry: &SocketEntry, has_listener: bool, snapshot: &Snapshot) -> Option<Direction> {
    if has_listener {
        return Some(Direction::Inbound);
    }
    let namespace = snapshot.namespace(entry.netns)?;
    let (first, last) = namespace.ephemeral_ports.known()?;
    let picked = |port| (*first..=*last).contains(&port);
    (picked(entry.local.port()) && !picked(entry.remote.port())).then_some(Direction::Outbound)
}
