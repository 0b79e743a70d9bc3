//! Which rows are wanted: what an expression in ss's language means.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use super::{Family, SocketEntry, TcpState};

/// A row passes if its state, its family and the condition all do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expression {
    /// The states.
    pub states: States,
    /// The family of the socket; `None` for both.
    pub family: Option<Family>,
    /// The condition; `None` if there is none.
    pub condition: Option<Condition>,
}

/// A set of states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct States(u32);

/// What is asked of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Each of them; without any, every row passes.
    All(Vec<Condition>),
    /// One of them; without any, no row passes.
    Any(Vec<Condition>),
    /// Not this.
    Not(Box<Condition>),
    /// The address of this end.
    Address(End, Prefix),
    /// The port of this end.
    Port(End, RangeInclusive<u16>),
    /// Index of the device that the socket is bound to; 0 for those that are bound to none.
    Device(u32),
}

/// One of the two ends of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// This side's: ss's `src` and `sport`.
    Local,
    /// The far one: `dst` and `dport`. A listener's is the wildcard with port 0.
    Remote,
}

/// The first bits of an address.
///
/// One of IPv4 takes the v4-mapped addresses of IPv6 sockets too; one of IPv6 takes IPv6 sockets
/// only (`inet_diag_bc_run`, `net/ipv4/inet_diag.c`, and so ss).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// What they are; those behind the prefix do not count.
    pub address: IpAddr,
    /// How many.
    pub length: u8,
}

impl Expression {
    /// Whether the row is wanted.
    pub fn takes(&self, row: &SocketEntry) -> bool {
        self.states.contains(row.state)
            && self.family.is_none_or(|family| family == row.family)
            && self
                .condition
                .as_ref()
                .is_none_or(|condition| condition.takes(row))
    }
}

impl States {
    /// None.
    pub const NONE: States = States(0);
    /// Every one, those without a name too.
    pub const ALL: States = States(u32::MAX);

    fn bit(state: TcpState) -> u32 {
        // The kernel's numbers go up to 13; all others are one.
        1 << state.number().min(31)
    }

    /// Whether the state is one of them.
    pub fn contains(self, state: TcpState) -> bool {
        self.0 & States::bit(state) != 0
    }

    /// Those, and these.
    #[must_use]
    pub fn with(self, others: States) -> States {
        States(self.0 | others.0)
    }

    /// Those, and not these.
    #[must_use]
    pub fn without(self, others: States) -> States {
        States(self.0 & !others.0)
    }
}

impl FromIterator<TcpState> for States {
    fn from_iter<I: IntoIterator<Item = TcpState>>(states: I) -> States {
        States(states.into_iter().map(States::bit).fold(0, |a, b| a | b))
    }
}

impl Condition {
    /// Whether it asks for the device, which `/proc/net/tcp` does not tell.
    pub fn asks_for_device(&self) -> bool {
        match self {
            Condition::All(several) | Condition::Any(several) => {
                several.iter().any(Condition::asks_for_device)
            }
            Condition::Not(other) => other.asks_for_device(),
            Condition::Device(_) => true,
            Condition::Address(..) | Condition::Port(..) => false,
        }
    }

    /// Whether the row passes.
    pub fn takes(&self, row: &SocketEntry) -> bool {
        match self {
            Condition::All(all) => all.iter().all(|one| one.takes(row)),
            Condition::Any(any) => any.iter().any(|one| one.takes(row)),
            Condition::Not(other) => !other.takes(row),
            Condition::Address(end, prefix) => prefix.takes(end.of(row).ip()),
            Condition::Port(end, ports) => ports.contains(&end.of(row).port()),
            Condition::Device(index) => row.bound_device.unwrap_or(0) == *index,
        }
    }
}

impl End {
    fn of(self, row: &SocketEntry) -> SocketAddr {
        match self {
            End::Local => row.local,
            End::Remote => row.remote,
        }
    }
}

impl Prefix {
    /// Whether the address begins so.
    pub fn takes(&self, address: IpAddr) -> bool {
        let (wanted, seen) = match (self.address, address) {
            (IpAddr::V4(wanted), IpAddr::V4(seen)) => {
                (high(wanted.to_bits()), high(seen.to_bits()))
            }
            (IpAddr::V4(wanted), IpAddr::V6(seen)) => match seen.to_ipv4_mapped() {
                Some(seen) => (high(wanted.to_bits()), high(seen.to_bits())),
                None => return false,
            },
            (IpAddr::V6(wanted), IpAddr::V6(seen)) => (wanted.to_bits(), seen.to_bits()),
            (IpAddr::V6(_), IpAddr::V4(_)) => return false,
        };
        let behind = 128 - u32::from(self.length.min(128));
        let mask = u128::MAX.checked_shl(behind).unwrap_or(0);
        (wanted ^ seen) & mask == 0
    }
}

/// The bits of an IPv4 address where a prefix counts from.
fn high(bits: u32) -> u128 {
    u128::from(bits) << 96
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_take_what_the_kernel_takes() {
        let check = |prefix: (&str, u8), address: &str, expect: bool| {
            let prefix = Prefix {
                address: prefix.0.parse().unwrap(),
                length: prefix.1,
            };
            let seen = prefix.takes(address.parse().unwrap());
            assert_eq!(seen, expect, "{prefix:?} {address}");
        };
        check(("10.0.0.1", 32), "10.0.0.1", true);
        check(("10.0.0.1", 32), "10.0.0.2", false);
        check(("10.0.0.1", 31), "10.0.0.0", true);
        check(("10.0.0.1", 8), "10.9.9.9", true);
        check(("10.0.0.1", 8), "11.0.0.1", false);
        check(("10.0.0.1", 0), "192.0.2.1", true);
        check(("10.0.0.1", 32), "::ffff:10.0.0.1", true);
        check(("10.0.0.1", 0), "::ffff:192.0.2.1", true);
        check(("10.0.0.1", 0), "::1", false);
        check(("::", 0), "::1", true);
        check(("::", 0), "::ffff:10.0.0.1", true);
        check(("::", 0), "10.0.0.1", false);
        check(("::ffff:10.0.0.1", 128), "::ffff:10.0.0.1", true);
        check(("::ffff:10.0.0.1", 128), "10.0.0.1", false);
        check(("fd00::", 16), "fd00::9", true);
        check(("fd00::", 127), "fd00::2", false);
        check(("fd00::", 127), "fd00::1", true);
    }

    #[test]
    fn states_without_a_name_are_among_all() {
        let unknown = TcpState::Unknown(200);
        assert!(States::ALL.contains(unknown) && !States::NONE.contains(unknown));
        let open: States = [TcpState::Established, TcpState::CloseWait]
            .into_iter()
            .collect();
        let rest = States::ALL.without(open);
        assert!(open.contains(TcpState::CloseWait) && !rest.contains(TcpState::CloseWait));
        assert!(rest.contains(unknown) && rest.with(open) == States::ALL);
    }
}
