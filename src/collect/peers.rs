//! Looks up the far ends of suspect connections that stay within this machine.
//!
//! Each is one exact look-up by addresses, without a walk of the table, and only where the far end
//! can be. Loopback, and an address to which some socket of the same namespace is bound, lead
//! nowhere else: what is not found there is gone. Any other address may be that of another
//! namespace that was read, through a veth pair and a bridge, or that of another machine: then the
//! connection is looked up in the namespaces that have the address, and only what is found counts.
//!
//! Private addresses are used again and again, and namespaces that know nothing of each other may
//! have the same pair. So what is found has to be possible as the far end of this very connection,
//! by its state and by its counters, the only one of its kind, and that of no other connection.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use super::addresses;
use super::sockets::{Reader, Sockets};
use crate::model::{Coverage, Gap, GapKind, Netns, Peer, PeerAnswer, SocketEntry, TcpState};

/// Look-ups in one run; each costs the kernel a few microseconds.
const LOOK_UPS_AT_MOST: usize = 20_000;

/// The addresses of a far end: its local one is the near end's remote one.
type Pair = (SocketAddr, SocketAddr);

/// Looks up the far ends of CLOSE_WAIT and unaccepted connections among `rows`.
pub(super) fn look_up<'a>(
    sockets: &mut Sockets,
    proc_root: &Path,
    rows: impl Iterator<Item = &'a SocketEntry> + Clone,
    coverage: &mut Coverage,
) -> Vec<Peer> {
    let here: HashSet<(Netns, IpAddr)> = rows
        .clone()
        .map(|row| (row.netns, row.local.ip().to_canonical()))
        .filter(|(_, ip)| !ip.is_unspecified())
        .collect();
    let (mut near, mut elsewhere) = (BTreeMap::new(), BTreeMap::new());
    for row in rows.filter(|row| row.state == TcpState::CloseWait || row.is_unaccepted()) {
        let (far, pair) = (row.remote.ip().to_canonical(), (row.remote, row.local));
        if far.is_loopback() || here.contains(&(row.netns, far)) {
            let pairs: &mut BTreeSet<Pair> = near.entry(row.netns).or_default();
            pairs.insert(pair);
        } else if !addresses::is_of_one_namespace(far) {
            elsewhere.insert((row.netns, pair), row);
        }
    }
    let mut look_ups = LookUps {
        sockets,
        left: LOOK_UPS_AT_MOST,
        failed: None,
    };
    let mut skipped = 0;
    let mut peers = Vec::new();
    for (netns, pairs) in near {
        skipped += pairs.len().saturating_sub(look_ups.left) as u64;
        let found = look_ups.look_up(netns, pairs.into_iter().collect());
        peers.extend(found.into_iter().map(|(pair, found)| {
            let answer = found.map_or(PeerAnswer::Gone, |far| PeerAnswer::Found(Box::new(far)));
            peer(netns, pair, answer)
        }));
    }
    skipped += look_ups.elsewhere(proc_root, elsewhere, &mut peers);
    if let Some((count, why)) = look_ups.failed {
        coverage.gaps.push(gap(why, count));
    }
    if skipped > 0 {
        let why = format!("only {LOOK_UPS_AT_MOST} are looked up");
        coverage.gaps.push(gap(why, skipped));
    }
    peers
}

/// The look-ups of one run.
struct LookUps<'a> {
    sockets: &'a mut Sockets,
    left: usize,
    /// How many failed, and why the first did.
    failed: Option<(u64, String)>,
}

impl LookUps<'_> {
    /// What a namespace has at each of `pairs`, as far as so many may still be looked up; nothing
    /// where its source cannot tell.
    fn look_up(&mut self, netns: Netns, mut pairs: Vec<Pair>) -> Vec<(Pair, Option<SocketEntry>)> {
        pairs.truncate(self.left);
        self.left -= pairs.len();
        match self.sockets.look_up(netns, &pairs) {
            None => Vec::new(),
            Some(Err(error)) => {
                let failed = self.failed.get_or_insert((0, error.to_string()));
                failed.0 += pairs.len() as u64;
                Vec::new()
            }
            Some(Ok(found)) => {
                // Where no connection matches, the kernel answers with a listener that would.
                let found = found
                    .into_iter()
                    .map(|entry| entry.filter(|entry| entry.state != TcpState::Listen));
                pairs.into_iter().zip(found).collect()
            }
        }
    }

    /// Adds the far ends that are in namespaces that have their addresses; returns how many near
    /// ends were too many to be looked up.
    fn elsewhere(
        &mut self,
        proc_root: &Path,
        near: BTreeMap<(Netns, Pair), &SocketEntry>,
        peers: &mut Vec<Peer>,
    ) -> u64 {
        let tables = self.sockets.tables.iter();
        let answers = tables.filter(|table| matches!(table.reader, Reader::SockDiag(_)));
        let places: Vec<_> = answers.map(|table| &table.place).collect();
        if near.is_empty() || places.len() < 2 {
            return 0;
        }
        let homes = Homes(addresses::of(proc_root, &places));
        let far_ends = near.keys().map(|(_, pair)| (*pair, homes.of(pair.0)));
        let (found, mut skipped) = self.look_up_in(far_ends.collect());
        let mut only: Vec<(Netns, Pair, &SocketEntry)> = Vec::new();
        for ((netns, pair), near) in near {
            let ends = found.get(&pair).into_iter().flatten();
            let mut ends = ends.filter(|far| is_far_end(near, far));
            if let (Some(far), None) = (ends.next(), ends.next()) {
                only.push((netns, pair, far));
            }
        }
        // Another namespace may have the near end's addresses too, and the far end be its.
        let rivals = only.iter().map(|(netns, (remote, local), _)| {
            let mut homes = homes.of(*local);
            homes.retain(|home| home != netns);
            ((*local, *remote), homes)
        });
        let (rivals, left_out) = self.look_up_in(rivals.collect());
        skipped += left_out;
        for (netns, (remote, local), far) in only {
            let rivals = rivals.get(&(local, remote));
            if rivals.is_some_and(Vec::is_empty) {
                let answer = PeerAnswer::Found(Box::new(far.clone()));
                peers.push(peer(netns, (remote, local), answer));
            }
        }
        skipped
    }

    /// Looks up each pair in all of its namespaces, or it could not be said that one is the only
    /// one; returns what was found of those that were looked up, and how many were not.
    fn look_up_in(
        &mut self,
        pairs: Vec<(Pair, Vec<Netns>)>,
    ) -> (BTreeMap<Pair, Vec<SocketEntry>>, u64) {
        let mut wanted: BTreeMap<Netns, BTreeSet<Pair>> = BTreeMap::new();
        let mut found: BTreeMap<Pair, Vec<SocketEntry>> = BTreeMap::new();
        let (mut skipped, mut left) = (0, self.left);
        for (pair, homes) in pairs {
            match left.checked_sub(homes.len()) {
                Some(rest) => left = rest,
                None => {
                    skipped += 1;
                    continue;
                }
            }
            found.entry(pair).or_default();
            for netns in homes {
                wanted.entry(netns).or_default().insert(pair);
            }
        }
        for (netns, pairs) in wanted {
            let answers = self.look_up(netns, pairs.iter().copied().collect());
            if answers.is_empty() {
                // The look-up failed.
                found.retain(|pair, _| !pairs.contains(pair));
            }
            for (pair, entry) in answers {
                if let Some(entries) = found.get_mut(&pair) {
                    entries.extend(entry);
                }
            }
        }
        (found, skipped)
    }
}

/// The addresses of each namespace.
struct Homes(BTreeMap<Netns, HashSet<IpAddr>>);

impl Homes {
    /// The namespaces that have an address.
    fn of(&self, address: SocketAddr) -> Vec<Netns> {
        let ip = address.ip().to_canonical();
        let homes = self
            .0
            .iter()
            .filter(|(_, addresses)| addresses.contains(&ip));
        homes.map(|(netns, _)| *netns).collect()
    }
}

/// Whether `far` can be the other end of `near`, a connection in CLOSE_WAIT or one that nobody has
/// accepted.
///
/// Who has closed its side is in FIN_WAIT until the other side does the same, and nowhere else; who
/// has not is ESTABLISHED. What the one has received the other has been told of, but for what is on
/// its way: its SYN, if it has sent one, counts as a byte, and on both sides the FIN does (seen on
/// Linux 6.18, kept by a kernel test). What has no program any more has no counters left.
fn is_far_end(near: &SocketEntry, far: &SocketEntry) -> bool {
    let state_fits = match near.state {
        TcpState::CloseWait => matches!(far.state, TcpState::FinWait1 | TcpState::FinWait2),
        _ => matches!(
            far.state,
            TcpState::Established | TcpState::FinWait1 | TcpState::FinWait2
        ),
    };
    let received = near.info.and_then(|info| info.bytes_received);
    let acknowledged = far.info.and_then(|info| info.bytes_acked);
    let counts_fit = match (received, acknowledged) {
        (Some(received), Some(acknowledged)) if far.state == TcpState::FinWait2 => {
            (received..=received + 1).contains(&acknowledged)
        }
        (Some(received), Some(acknowledged)) => acknowledged <= received + 1,
        _ => true,
    };
    state_fits && counts_fit
}

fn peer(netns: Netns, (peer_local, peer_remote): Pair, answer: PeerAnswer) -> Peer {
    Peer {
        netns,
        local: peer_remote,
        remote: peer_local,
        answer,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Family, Queues, TcpInfo, Timer};

    fn end(state: TcpState, info: Option<TcpInfo>) -> SocketEntry {
        SocketEntry {
            netns: Netns(1),
            cookie: None,
            inode: None,
            family: Family::V4,
            state,
            local: "10.0.0.1:80".parse().unwrap(),
            remote: "10.0.0.2:40000".parse().unwrap(),
            bound_device: None,
            uid: 0,
            queues: Queues::Stream {
                recv_q: 0,
                send_q: 0,
            },
            timer: Timer::Off,
            shutdown: None,
            v6only: None,
            drops: None,
            cgroup_id: None,
            ulp: None,
            info,
        }
    }

    #[test]
    fn only_what_can_be_the_other_end_is_taken_for_it() {
        let check = |near: (TcpState, u64), far: (TcpState, Option<u64>), expect: bool| {
            let received = TcpInfo {
                bytes_received: Some(near.1),
                ..TcpInfo::default()
            };
            let acknowledged = far.1.map(|bytes| TcpInfo {
                bytes_acked: Some(bytes),
                ..TcpInfo::default()
            });
            let (near, far) = (end(near.0, Some(received)), end(far.0, acknowledged));
            assert_eq!(is_far_end(&near, &far), expect, "{near:?} {far:?}");
        };
        use TcpState::{CloseWait, Established, FinWait1, FinWait2, TimeWait};
        // 100 bytes and the FIN; from who called connect(), and from who accepted.
        check((CloseWait, 101), (FinWait2, Some(102)), true);
        check((CloseWait, 101), (FinWait2, Some(101)), true);
        check((CloseWait, 101), (FinWait2, Some(100)), false);
        check((CloseWait, 101), (FinWait2, Some(103)), false);
        // The FIN is not acknowledged yet, or closed by nobody.
        check((CloseWait, 101), (FinWait1, Some(40)), true);
        check((CloseWait, 101), (FinWait1, Some(103)), false);
        check((CloseWait, 101), (FinWait2, None), true);
        for state in [Established, CloseWait, TimeWait] {
            check((CloseWait, 101), (state, Some(101)), false);
        }
        check((Established, 100), (Established, Some(101)), true);
        check((Established, 100), (Established, Some(90)), true);
        check((Established, 100), (Established, Some(102)), false);
        check((Established, 100), (CloseWait, Some(101)), false);
        let blind = end(CloseWait, None);
        assert!(is_far_end(&blind, &end(FinWait2, None)));
    }
}
