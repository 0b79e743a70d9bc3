//! Takes out sockets that were closed between the look at the table and the look at descriptors:
//! without a second look at them they would pass for sockets that nobody holds.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;

use super::sockets::Sockets;
use crate::model::{HeldDescriptor, Inode, Netns, SocketEntry, TcpState};

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
    let mut by_namespace: BTreeMap<Netns, Vec<usize>> = BTreeMap::new();
    for index in ownerless {
        let of_namespace = by_namespace.entry(rows[index].netns).or_default();
        of_namespace.push(index);
    }
    let is_same = |before: &SocketEntry, now: &Option<SocketEntry>| {
        now.as_ref()
            .is_some_and(|now| (now.cookie, now.state) == (before.cookie, before.state))
    };
    let mut closed: HashSet<usize> = HashSet::new();
    for (netns, ownerless) in by_namespace {
        let pairs: Vec<(SocketAddr, SocketAddr)> = ownerless
            .iter()
            .map(|index| (rows[*index].local, rows[*index].remote))
            .collect();
        let Some(Ok(now)) = sockets.look_up(netns, &pairs) else {
            continue;
        };
        for (index, now) in ownerless.into_iter().zip(&now) {
            if !is_same(&rows[index], now) {
                closed.insert(index);
            }
        }
    }
    if closed.is_empty() {
        return;
    }
    let mut index = 0..;
    rows.retain(|_| index.next().is_none_or(|index| !closed.contains(&index)));
}
