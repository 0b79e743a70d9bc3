//! Looks up the far ends of suspect connections that stay within this machine.
//!
//! Each is one exact look-up by addresses, without a walk of the table. Only for connections whose
//! far end must be here (loopback, or an address to which some socket here is bound): an address
//! of another machine is in no table, and that says nothing.

use std::collections::{BTreeSet, HashSet};
use std::net::{IpAddr, SocketAddr};

use super::sockets::Sockets;
use crate::model::{Coverage, Gap, GapKind, Peer, PeerAnswer, SocketEntry, TcpState};

/// Look-ups in one run; each costs the kernel a few microseconds.
const LOOK_UPS_AT_MOST: usize = 20_000;

/// Looks up the far ends of CLOSE_WAIT and unaccepted connections among `rows`.
pub(super) fn look_up<'a>(
    sockets: &mut Sockets,
    rows: impl Iterator<Item = &'a SocketEntry> + Clone,
    coverage: &mut Coverage,
) -> Vec<Peer> {
    let here: HashSet<IpAddr> = rows
        .clone()
        .map(|row| row.local.ip().to_canonical())
        .filter(|ip| !ip.is_unspecified())
        .collect();
    let is_here = |ip: IpAddr| ip.is_loopback() || here.contains(&ip);
    // The far end's local address is the near end's remote one.
    let pairs: BTreeSet<(SocketAddr, SocketAddr)> = rows
        .filter(|row| row.state == TcpState::CloseWait || row.is_unaccepted())
        .filter(|row| is_here(row.remote.ip().to_canonical()))
        .map(|row| (row.remote, row.local))
        .collect();
    let skipped = pairs.len().saturating_sub(LOOK_UPS_AT_MOST) as u64;
    let pairs: Vec<_> = pairs.into_iter().take(LOOK_UPS_AT_MOST).collect();
    let mut gap = |why: String, count| {
        coverage.gaps.push(Gap {
            kind: GapKind::Details,
            what: format!("far ends of {count} connections"),
            why,
            needs: None,
            count,
        });
    };
    if skipped > 0 {
        gap(format!("only {LOOK_UPS_AT_MOST} are looked up"), skipped);
    }
    let found = match sockets.look_up(&pairs) {
        None => return Vec::new(),
        Some(Err(error)) => {
            gap(error.to_string(), pairs.len() as u64);
            return Vec::new();
        }
        Some(Ok(found)) => found,
    };
    let netns = sockets.netns();
    pairs
        .into_iter()
        .zip(found)
        .map(|((peer_local, peer_remote), found)| {
            // Where no connection matches, the kernel answers with a listener that would.
            let found = found.filter(|entry| entry.state != TcpState::Listen);
            Peer {
                netns,
                local: peer_remote,
                remote: peer_local,
                answer: found.map_or(PeerAnswer::Gone, |entry| PeerAnswer::Found(Box::new(entry))),
            }
        })
        .collect()
}
