//! Which listener a connection came in through, by the kernel's own preference.
//!
//! `compute_score` in `net/ipv4/inet_hashtables.c` and `net/ipv6/inet6_hashtables.c`: an exact
//! address before the wildcard; then one point for a bound device and one for AF_INET; on a tie,
//! IPv4. Seen on Linux 6.18 (kernel test `listener_preference`). A child has the family of its
//! listener (v4-mapped addresses under an IPv6 listener) and the device that its listener is bound
//! to, so both say more about the past than the preference among today's listeners.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::model::{Family, Netns, Queues, SocketEntry, TcpState, Timer};

/// The listeners of a table, ready to be searched.
#[derive(Debug)]
pub struct Listeners<'a> {
    entries: Vec<&'a SocketEntry>,
    /// By address; wildcards by none.
    by_address: HashMap<(Netns, u16, Option<IpAddr>), Vec<usize>>,
    /// Answers given before: many connections share a local address, and many listeners may.
    known: RefCell<HashMap<Dialled, Arc<[usize]>>>,
}

/// What decides which listener a connection came in through.
type Dialled = (Netns, Family, SocketAddr, Option<u32>);

/// How well a listener fits; greater is better.
type Fit = (bool, bool, u8, bool);

impl<'a> Listeners<'a> {
    /// The listeners among `rows`, in their order.
    pub fn of(rows: impl Iterator<Item = &'a SocketEntry>) -> Listeners<'a> {
        let entries: Vec<_> = rows.filter(|row| row.state == TcpState::Listen).collect();
        let mut by_address: HashMap<_, Vec<usize>> = HashMap::new();
        for (index, entry) in entries.iter().enumerate() {
            let ip = entry.local.ip();
            let address = (!ip.is_unspecified()).then(|| ip.to_canonical());
            by_address
                .entry((entry.netns, entry.local.port(), address))
                .or_default()
                .push(index);
        }
        Listeners {
            entries,
            by_address,
            known: RefCell::default(),
        }
    }

    /// The listeners.
    pub fn entries(&self) -> &[&'a SocketEntry] {
        &self.entries
    }

    /// Positions of the listeners that fit `connection` best: none if no listener fits, several
    /// only for a group that shares one address (SO_REUSEPORT).
    pub fn of_connection(&self, connection: &SocketEntry) -> Arc<[usize]> {
        let SocketEntry {
            netns,
            family,
            local,
            bound_device,
            ..
        } = *connection;
        let best_fits = || {
            let best = self.fits(connection).map(|(fit, _)| fit).max();
            self.fits(connection)
                .filter(|(fit, _)| Some(*fit) == best)
                .map(|(_, index)| index)
                .collect()
        };
        let mut known = self.known.borrow_mut();
        let answer = known.entry((netns, family, local, bound_device));
        Arc::clone(answer.or_insert_with(best_fits))
    }

    /// Positions of the listeners that would take a connection to `address` from this machine
    /// itself; several only for a group that shares one address.
    pub fn that_take(&self, netns: Netns, address: SocketAddr) -> Arc<[usize]> {
        /// What is sent to oneself comes in through the loopback device, always the first.
        const LOOPBACK_DEVICE: u32 = 1;
        let family = match address {
            SocketAddr::V4(_) => Family::V4,
            SocketAddr::V6(_) => Family::V6,
        };
        self.of_connection(&SocketEntry {
            netns,
            cookie: None,
            inode: None,
            family,
            state: TcpState::SynRecv,
            local: address,
            remote: address,
            bound_device: Some(LOOPBACK_DEVICE),
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
            info: None,
        })
    }

    /// Positions of all listeners that fit `connection`, however well.
    pub(super) fn fitting(&self, connection: &SocketEntry) -> Vec<usize> {
        self.fits(connection).map(|(_, index)| index).collect()
    }

    fn fits(&self, connection: &SocketEntry) -> impl Iterator<Item = (Fit, usize)> {
        let (netns, port) = (connection.netns, connection.local.port());
        let exact = connection.local.ip().to_canonical();
        [Some(exact), None]
            .into_iter()
            .filter_map(move |address| self.by_address.get(&(netns, port, address)))
            .flatten()
            .filter_map(move |index| Some((fit(self.entries[*index], connection)?, *index)))
    }
}

fn fit(listener: &SocketEntry, connection: &SocketEntry) -> Option<Fit> {
    let wanted = connection.local.ip().to_canonical();
    let bound = listener.local.ip();
    let exact = bound.to_canonical() == wanted;
    let wildcard = bound.is_unspecified()
        && match listener.family {
            Family::V4 => wanted.is_ipv4(),
            Family::V6 => wanted.is_ipv6() || listener.v6only != Some(true),
        };
    let device_fits =
        listener.bound_device.is_none() || listener.bound_device == connection.bound_device;
    if !(exact || wildcard) || !device_fits {
        return None;
    }
    let is_v4 = listener.family == Family::V4;
    let score = u8::from(listener.bound_device.is_some()) + u8::from(is_v4);
    Some((listener.family == connection.family, exact, score, is_v4))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::join::test_rows::{connection, listener};

    /// Listeners and a connection as `address[%device]`; expects the positions that fit best.
    fn check(listeners: &[&str], dialled: &str, expect: &[usize]) {
        let rows: Vec<SocketEntry> = listeners.iter().map(|text| listener(text, 0)).collect();
        let found =
            Listeners::of(rows.iter()).of_connection(&connection(dialled, TcpState::Established));
        assert_eq!(*found, *expect, "{listeners:?} for {dialled}");
    }

    #[test]
    fn exact_addresses_come_before_wildcards() {
        check(&["0.0.0.0:80", "10.0.0.1:80"], "10.0.0.1:80", &[1]);
        check(&["0.0.0.0:80", "10.0.0.1:80"], "10.0.0.2:80", &[0]);
        check(&["0.0.0.0:80%3", "10.0.0.1:80"], "10.0.0.1:80%3", &[1]);
        check(&["[::]:80", "[fd00::1]:80"], "[fd00::1]:80", &[1]);
    }

    #[test]
    fn a_bound_device_comes_before_none_and_excludes_the_rest() {
        check(&["0.0.0.0:80", "0.0.0.0:80%3"], "10.0.0.1:80%3", &[1]);
        check(&["0.0.0.0:80", "0.0.0.0:80%3"], "10.0.0.1:80", &[0]);
        check(&["0.0.0.0:80%3"], "10.0.0.1:80%4", &[]);
    }

    #[test]
    fn ipv6_wildcards_take_ipv4_unless_they_say_no() {
        check(&["[::]:80"], "[::ffff:10.0.0.1]:80", &[0]);
        check(&["[::]:80!6"], "[::ffff:10.0.0.1]:80", &[]);
        check(&["0.0.0.0:80", "[::]:80"], "10.0.0.1:80", &[0]);
        // The child's family tells, even where a newer listener would take the next connection.
        check(&["0.0.0.0:80", "[::]:80"], "[::ffff:10.0.0.1]:80", &[1]);
        check(
            &["10.0.0.1:80", "[::ffff:10.0.0.1]:80"],
            "[::ffff:10.0.0.1]:80",
            &[1],
        );
        check(&["0.0.0.0:80"], "[fd00::1]:80", &[]);
    }

    #[test]
    fn a_group_shares_an_address_and_other_ports_do_not_count() {
        check(
            &["0.0.0.0:80", "0.0.0.0:80", "0.0.0.0:81"],
            "10.0.0.1:80",
            &[0, 1],
        );
        check(&["0.0.0.0:81"], "10.0.0.1:80", &[]);
        check(&["10.0.0.2:80"], "10.0.0.1:80", &[]);
    }

    #[test]
    fn what_is_dialled_here_comes_in_through_the_loopback_device() {
        let check = |listeners: &[&str], dialled: &str, expect: &[usize]| {
            let rows: Vec<SocketEntry> = listeners.iter().map(|text| listener(text, 0)).collect();
            let found = Listeners::of(rows.iter()).that_take(Netns(1), dialled.parse().unwrap());
            assert_eq!(*found, *expect, "{listeners:?} for {dialled}");
        };
        check(&["0.0.0.0:80", "127.0.0.1:80"], "127.0.0.1:80", &[1]);
        check(&["0.0.0.0:80", "0.0.0.0:80%1"], "127.0.0.1:80", &[1]);
        check(&["0.0.0.0:80%2"], "10.0.0.1:80", &[]);
        check(&["[::]:80"], "127.0.0.1:80", &[0]);
        check(&["[::]:80!6"], "127.0.0.1:80", &[]);
        check(&["0.0.0.0:80", "0.0.0.0:80"], "127.0.0.1:80", &[0, 1]);
        check(&["0.0.0.0:81"], "127.0.0.1:80", &[]);
    }

    #[test]
    fn another_namespace_is_another_world() {
        let mut far = listener("0.0.0.0:80", 0);
        far.netns = Netns(2);
        let near = connection("10.0.0.1:80", TcpState::Established);
        assert!(Listeners::of([far].iter()).of_connection(&near).is_empty());
    }
}
