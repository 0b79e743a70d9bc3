//! Looks up the far ends of suspect connections that stay within this machine.
//!
//! Each is one exact look-up by addresses, without a walk of the table. Only for connections whose
//! far end must be here (loopback, or an address to which some socket here is bound): an address
//! of another machine is in no table, and that says nothing.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{IpAddr, SocketAddr};

use super::sockets::Sockets;
use crate::model::{Coverage, Gap, GapKind, Netns, Peer, PeerAnswer, SocketEntry, TcpState};

/// Look-ups in one run; each costs the kernel a few microseconds.
const LOOK_UPS_AT_MOST: usize = 20_000;

/// The addresses of a far end: its local one is the near end's remote one.
type Pair = (SocketAddr, SocketAddr);

/// Looks up the far ends of CLOSE_WAIT and unaccepted connections among `rows`.
pub(super) fn look_up<'a>(
    sockets: &mut Sockets,
    rows: impl Iterator<Item = &'a SocketEntry> + Clone,
    coverage: &mut Coverage,
) -> Vec<Peer> {
    let here: HashSet<(Netns, IpAddr)> = rows
        .clone()
        .map(|row| (row.netns, row.local.ip().to_canonical()))
        .filter(|(_, ip)| !ip.is_unspecified())
        .collect();
    let mut pairs: BTreeMap<Netns, BTreeSet<Pair>> = BTreeMap::new();
    for row in rows.filter(|row| row.state == TcpState::CloseWait || row.is_unaccepted()) {
        let far = row.remote.ip().to_canonical();
        if far.is_loopback() || here.contains(&(row.netns, far)) {
            let of_namespace = pairs.entry(row.netns).or_default();
            of_namespace.insert((row.remote, row.local));
        }
    }
    let mut peers = Vec::new();
    let mut left = LOOK_UPS_AT_MOST;
    let mut skipped = 0;
    for (netns, pairs) in pairs {
        skipped += pairs.len().saturating_sub(left) as u64;
        let pairs: Vec<Pair> = pairs.into_iter().take(left).collect();
        left -= pairs.len();
        match sockets.look_up(netns, &pairs) {
            None => {}
            Some(Err(error)) => {
                coverage
                    .gaps
                    .push(gap(error.to_string(), pairs.len() as u64));
            }
            Some(Ok(found)) => {
                let found = pairs.into_iter().zip(found);
                peers.extend(found.map(|(pair, found)| peer(netns, pair, found)));
            }
        }
    }
    if skipped > 0 {
        let why = format!("only {LOOK_UPS_AT_MOST} are looked up");
        coverage.gaps.push(gap(why, skipped));
    }
    peers
}

fn peer(netns: Netns, (peer_local, peer_remote): Pair, found: Option<SocketEntry>) -> Peer {
    // Where no connection matches, the kernel answers with a listener that would.
    let found = found.filter(|entry| entry.state != TcpState::Listen);
    Peer {
        netns,
        local: peer_remote,
        remote: peer_local,
        answer: found.map_or(PeerAnswer::Gone, |entry| PeerAnswer::Found(Box::new(entry))),
    }
}

fn gap(why: String, count: u64) -> Gap {
    Gap {
        kind: GapKind::Details,
        what: format!("far ends of {count} connections"),
        why,
        needs: None,
        count,
    }
}
