//! Takes out sockets that were closed between the look at the table and the look at descriptors:
//! without a second look at them they would pass for sockets that nobody holds.

use std::collections::HashSet;
use std::net::SocketAddr;

use super::sockets::Sockets;
use crate::model::{HeldDescriptor, Inode, SocketEntry, TcpState};

/// Look-ups in one run. More are ownerless only where descriptors could not be read, and there
/// nothing is said about their holders.
const LOOK_UPS_AT_MOST: usize = 1024;

/// Looks again at those CLOSE_WAIT sockets of `rows` that are in nobody's hands, and keeps those
/// that are still what they were. Without sock_diag all are kept.
pub(super) fn take_out(
    sockets: &mut Sockets,
    rows: &mut Vec<SocketEntry>,
    held: &[HeldDescriptor],
) {
    let held: HashSet<Inode> = held.iter().map(|held| held.inode).collect();
    let ownerless: Vec<usize> = rows
        .iter()
        .enumerate()
        .filter(|(_, row)| row.state == TcpState::CloseWait)
        .filter(|(_, row)| row.inode.is_some_and(|inode| !held.contains(&inode)))
        .map(|(index, _)| index)
        .take(LOOK_UPS_AT_MOST)
        .collect();
    if ownerless.is_empty() {
        return;
    }
    let pairs: Vec<(SocketAddr, SocketAddr)> = ownerless
        .iter()
        .map(|index| (rows[*index].local, rows[*index].remote))
        .collect();
    let Some(Ok(now)) = sockets.look_up(&pairs) else {
        return;
    };
    let is_same = |before: &SocketEntry, now: &Option<SocketEntry>| {
        now.as_ref()
            .is_some_and(|now| (now.cookie, now.state) == (before.cookie, before.state))
    };
    let closed: HashSet<usize> = ownerless
        .into_iter()
        .zip(&now)
        .filter(|(index, now)| !is_same(&rows[*index], now))
        .map(|(index, _)| index)
        .collect();
    let mut index = 0..;
    rows.retain(|_| index.next().is_none_or(|index| !closed.contains(&index)));
}
