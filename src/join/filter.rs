//! Narrows a table to what was asked for.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::{CloseWait, Holder, Listener, SocketTable, service_of};
use crate::model::{
    Condition, End, Expression, Focus, Namespace, Netns, NetnsChoice, Prefix, Process, ProcessId,
    Service, Snapshot, SocketEntry, SocketSource, TcpState,
};

/// What to keep. An empty list lets everything through; a socket has to pass all of them.
///
/// Where no holder of a socket is known, the cgroup in which it was opened stands for that of its
/// holder.
///
/// What is said about a process and not about its sockets passes by its pid, name and cgroup. A
/// socket in no table has no addresses: with ports, remote addresses, namespaces or an expression
/// given, the process passes only if it is known to hold a socket that does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Local or remote ports.
    pub ports: Vec<RangeInclusive<u16>>,
    /// Pids of holders.
    pub pids: Vec<u32>,
    /// Command names of holders, or the last part of their exe's path.
    pub processes: Vec<String>,
    /// Remote addresses.
    pub remotes: Vec<RemotePattern>,
    /// Network namespaces of a recording. Of this machine only those are read that are asked for.
    pub netns: Vec<NetnsChoice>,
    /// Beginnings of ids of containers that holders are in, or names.
    pub containers: Vec<String>,
    /// systemd units that holders are in, with or without `.service`.
    pub units: Vec<String>,
    /// Beginnings of uids of Kubernetes pods that holders are in.
    pub pods: Vec<String>,
    /// What the rows have to be. A listener passes by its own row or by that of a connection that
    /// waits in its queue, which is shown whole: a filter must not make a queue look shorter than
    /// it is, nor what waits in it gone.
    pub expression: Option<Expression>,
}

/// `ADDR`, `ADDR/LEN`, `ADDR:PORT`, `[ADDR6]:PORT`, `ADDR/LEN:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemotePattern {
    address: IpAddr,
    prefix: u8,
    port: Option<u16>,
}

/// What was typed is no remote address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not ADDR[/LEN][:PORT]: {reason}")]
pub struct RemotePatternError {
    text: String,
    reason: &'static str,
}

impl Filter {
    /// Lets everything through.
    pub fn is_empty(&self) -> bool {
        *self == Filter::default()
    }

    /// What is said about `focus`, of which `rows` were read.
    pub fn about(focus: Focus, rows: &[SocketEntry]) -> Filter {
        match focus {
            Focus::Process(pid) | Focus::Descriptor { pid, .. } => Filter {
                pids: vec![pid],
                ..Filter::default()
            },
            _ => {
                let port = |row: &SocketEntry| row.local.port()..=row.local.port();
                let ports = rows
                    .iter()
                    .filter(|row| focus.takes(row))
                    .map(port)
                    .collect();
                Filter {
                    ports,
                    ..Filter::default()
                }
            }
        }
    }

    /// Whether holders decide, and not the rows alone.
    pub fn asks_for_holders(&self) -> bool {
        !self.pids.is_empty() || !self.processes.is_empty() || self.asks_for_services()
    }

    /// Whether it asks for something that rows of this snapshot do not tell: the device that a socket
    /// is bound to is not in `/proc/net/tcp`, where every socket passes for one that is bound to none.
    pub fn asks_for_unread_devices(&self, snapshot: &Snapshot) -> bool {
        let expression = self.expression.as_ref();
        let condition = expression.and_then(|expression| expression.condition.as_ref());
        let mut sources = snapshot.namespaces.iter().map(|one| one.source.known());
        condition.is_some_and(Condition::asks_for_device)
            && sources.any(|source| source == Some(&SocketSource::ProcNetTcp))
    }

    /// What a row has to be to be kept, as far as the row itself tells: for the kernel, which then
    /// gives fewer. `None` if it may be anything.
    pub fn condition(&self) -> Option<Condition> {
        let any = |of: Vec<Condition>| (!of.is_empty()).then_some(Condition::Any(of));
        let either_end = |ports: &RangeInclusive<u16>| {
            [End::Local, End::Remote].map(|end| Condition::Port(end, ports.clone()))
        };
        let ports = any(self.ports.iter().flat_map(either_end).collect());
        let remotes = any(self.remotes.iter().map(RemotePattern::condition).collect());
        let expression = self.expression.as_ref();
        let typed = expression.and_then(|expression| expression.condition.clone());
        let all: Vec<Condition> = [ports, remotes, typed].into_iter().flatten().collect();
        (!all.is_empty()).then_some(Condition::All(all))
    }

    /// The namespaces that are kept; `None` for all.
    pub(super) fn namespaces(&self, snapshot: &Snapshot) -> Option<HashSet<Netns>> {
        let is_chosen = |one: &&Namespace| self.netns.iter().any(|choice| choice.takes(one));
        let chosen = snapshot.namespaces.iter().filter(is_chosen);
        (!self.netns.is_empty()).then(|| chosen.map(|namespace| namespace.id).collect())
    }

    pub(super) fn takes_listener(&self, listener: &Listener<'_>, table: &SocketTable<'_>) -> bool {
        let remote = || {
            let mut children = listener.children.iter();
            children.any(|child| self.takes_remote(child.entry.remote))
        };
        self.takes_port(listener.entry.local.port())
            && self.takes_holders(&listener.holders, listener.entry, table)
            && (self.remotes.is_empty() || remote())
            && self.takes_queue(listener)
    }

    fn takes_queue(&self, listener: &Listener<'_>) -> bool {
        let mut children = listener.children.iter();
        self.takes_expression(listener.entry)
            || children.any(|child| self.takes_expression(child.entry))
    }

    fn takes_expression(&self, row: &SocketEntry) -> bool {
        let expression = self.expression.as_ref();
        expression.is_none_or(|expression| expression.takes(row))
    }

    /// `is_queued` says that it waits at a listener that passed: a queued connection has no holder, and
    /// its listener's stand for it.
    pub(super) fn takes_close_wait(
        &self,
        socket: &CloseWait<'_>,
        is_queued: bool,
        table: &SocketTable<'_>,
    ) -> bool {
        self.takes_addresses(socket.entry)
            && (is_queued || self.takes_holders(&socket.holders, socket.entry, table))
    }

    pub(super) fn takes_row(
        &self,
        row: &SocketEntry,
        holders: &[Holder<'_>],
        table: &SocketTable<'_>,
    ) -> bool {
        self.takes_addresses(row) && self.takes_holders(holders, row, table)
    }

    pub(super) fn takes_addresses(&self, row: &SocketEntry) -> bool {
        let remote_port = row.state != TcpState::Listen && self.takes_port(row.remote.port());
        (self.takes_port(row.local.port()) || remote_port)
            && self.takes_remote(row.remote)
            && self.takes_expression(row)
    }

    fn takes_port(&self, port: u16) -> bool {
        self.ports.is_empty() || self.ports.iter().any(|range| range.contains(&port))
    }

    fn takes_remote(&self, remote: SocketAddr) -> bool {
        self.remotes.is_empty() || self.remotes.iter().any(|pattern| pattern.matches(remote))
    }

    fn asks_for_services(&self) -> bool {
        !self.containers.is_empty() || !self.units.is_empty() || !self.pods.is_empty()
    }

    fn takes_holders(
        &self,
        holders: &[Holder<'_>],
        entry: &SocketEntry,
        table: &SocketTable<'_>,
    ) -> bool {
        (self.pids.is_empty()
            || holders
                .iter()
                .any(|holder| self.pids.contains(&holder.id.pid)))
            && (self.processes.is_empty()
                || holders.iter().any(|holder| self.takes_name(holder.process)))
            && (!self.asks_for_services() || self.takes_services(holders, entry, table))
    }

    fn takes_services(
        &self,
        holders: &[Holder<'_>],
        entry: &SocketEntry,
        table: &SocketTable<'_>,
    ) -> bool {
        let mut services = holders.iter().filter_map(Holder::service).peekable();
        match services.peek() {
            Some(_) => services.any(|service| self.takes_service(&service)),
            None => {
                let opened_in = table.opened_in(entry);
                opened_in.is_some_and(|service| self.takes_service(&service))
            }
        }
    }

    fn takes_service(&self, service: &Service) -> bool {
        let among = |wanted: &[String], is_in: &dyn Fn(&str) -> bool| -> bool {
            wanted.is_empty() || wanted.iter().any(|name| is_in(name))
        };
        among(&self.containers, &|id| service.is_in_container(id))
            && among(&self.units, &|name| service.is_in_unit(name))
            && among(&self.pods, &|uid| service.is_in_pod(uid))
    }

    /// Whether what is said about a process as a whole is kept.
    pub(super) fn takes_process(
        &self,
        id: ProcessId,
        process: Option<&Process>,
        holds_what_passes: bool,
    ) -> bool {
        let by_addresses = !self.ports.is_empty()
            || !self.remotes.is_empty()
            || !self.netns.is_empty()
            || self.expression.is_some();
        (self.pids.is_empty() || self.pids.contains(&id.pid))
            && (self.processes.is_empty() || self.takes_name(process))
            && (!self.asks_for_services()
                || process
                    .and_then(service_of)
                    .is_some_and(|service| self.takes_service(&service)))
            && (!by_addresses || holds_what_passes)
    }

    fn takes_name(&self, process: Option<&Process>) -> bool {
        process.is_some_and(|process| {
            let exe = process
                .exe_path()
                .and_then(|exe| exe.rsplit(|byte| *byte == b'/').next());
            self.processes
                .iter()
                .any(|name| process.comm == name.as_bytes() || exe == Some(name.as_bytes()))
        })
    }
}

impl RemotePattern {
    fn condition(&self) -> Condition {
        let prefix = Prefix {
            address: self.address,
            length: self.prefix,
        };
        let address = Condition::Address(End::Remote, prefix);
        match self.port {
            Some(port) => {
                let port = Condition::Port(End::Remote, port..=port);
                Condition::All(vec![address, port])
            }
            None => address,
        }
    }

    fn matches(&self, remote: SocketAddr) -> bool {
        let bits = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => (u128::from(ip.to_bits()) << 96, true),
            IpAddr::V6(ip) => (ip.to_bits(), false),
        };
        let ((wanted, wanted_v4), (seen, seen_v4)) =
            (bits(self.address), bits(remote.ip().to_canonical()));
        let mask = u128::MAX
            .checked_shl(128 - u32::from(self.prefix))
            .unwrap_or(0);
        wanted_v4 == seen_v4
            && wanted & mask == seen & mask
            && self.port.is_none_or(|port| port == remote.port())
    }
}

impl FromStr for RemotePattern {
    type Err = RemotePatternError;

    fn from_str(text: &str) -> Result<RemotePattern, RemotePatternError> {
        let fail = |reason| RemotePatternError {
            text: text.to_owned(),
            reason,
        };
        // A port follows the last colon, unless that belongs to a bare IPv6 address.
        let (host, port) = match text.rsplit_once(':') {
            _ if text.parse::<IpAddr>().is_ok() => (text, None),
            Some((host, port)) if host.contains('[') == host.contains(']') && !is_bare_v6(host) => {
                (
                    host,
                    Some(
                        port.parse()
                            .map_err(|_error| fail("the port is no number below 65536"))?,
                    ),
                )
            }
            _ => (text, None),
        };
        let (address, prefix) = match host.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (host, None),
        };
        let address: IpAddr = address
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse()
            .map_err(|_error| fail("the address is no IP address"))?;
        let address = address.to_canonical();
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix.map(|prefix| prefix.trim_end_matches(']').parse::<u8>()) {
            None => longest,
            Some(Ok(prefix)) if prefix <= longest => prefix,
            Some(_) => return Err(fail("the prefix length is too long, or no number")),
        };
        Ok(RemotePattern {
            address,
            prefix,
            port,
        })
    }
}

/// `fe80::1` or `fe80::/10` without brackets: its colons separate no port.
fn is_bare_v6(host: &str) -> bool {
    !host.starts_with('[') && host.contains(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remotes_match_by_prefix_and_port() {
        let check = |pattern: &str, remote: &str, expect: bool| {
            let pattern: RemotePattern = pattern.parse().unwrap();
            assert_eq!(
                pattern.matches(remote.parse().unwrap()),
                expect,
                "{pattern:?} {remote}"
            );
        };
        check("10.0.0.1", "10.0.0.1:5432", true);
        check("10.0.0.1", "10.0.0.2:5432", false);
        check("10.0.0.0/8", "10.9.9.9:1", true);
        check("10.0.0.0/8:5432", "10.9.9.9:1", false);
        check("10.0.0.0/8:5432", "10.9.9.9:5432", true);
        check("0.0.0.0/0", "1.2.3.4:5", true);
        check("0.0.0.0/0", "[fd00::1]:5", false);
        check("10.0.0.1:80", "[::ffff:10.0.0.1]:80", true);
        check("fd00::1", "[fd00::1]:80", true);
        check("fd00::/16", "[fd00::9]:80", true);
        check("[fd00::1]:80", "[fd00::1]:81", false);
        check("[fd00::]/16:80", "[fd00::7]:80", true);
    }

    #[test]
    fn mistakes_are_named() {
        let check = |text: &str, expect: &str| {
            let error = text.parse::<RemotePattern>().unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        };
        check("10.0.0.1:http", "port");
        check("10.0.0.0/33", "prefix");
        check("example", "IP address");
        check("", "IP address");
    }
}
