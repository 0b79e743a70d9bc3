//! Snapshot to [`SocketTable`]: what belongs together.
//!
//! Queued connections to their listeners (`attribution`), sockets to *all* of their holders,
//! connections to their far ends on this machine. Pure: no I/O, no clock; whatever the snapshot
//! does not carry stays unknown.

mod attribution;
mod close_wait;
mod descriptors;
mod filter;
mod queue;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;

use crate::kernel::cgroup;
use crate::model::{
    EpollRegistration, Fact, Inode, Netns, OwnerSource, Peer, PeerAnswer, Process, ProcessDetail,
    ProcessId, Queues, Service, Snapshot, SocketEntry, TcpState, Unknown,
};
pub use attribution::Listeners;
pub use close_wait::CloseWait;
pub use descriptors::{Crowded, DeadSockets};
pub use filter::{Filter, RemotePattern, RemotePatternError};
pub use queue::{Child, Listener, Movement, Queued};

/// Who holds what.
#[derive(Debug)]
pub struct SocketTable<'a> {
    /// What it was made from.
    pub snapshot: &'a Snapshot,
    /// Every listener, sorted by address.
    pub listeners: Vec<Listener<'a>>,
    /// Every socket in CLOSE_WAIT, sorted by addresses.
    pub close_wait: Vec<CloseWait<'a>>,
    /// Unaccepted connections for which no listener matches.
    pub strays: Vec<&'a SocketEntry>,
    /// Processes with descriptors of TCP sockets that are in no table.
    pub dead_sockets: Vec<DeadSockets<'a>>,
    /// Processes that have used most of their descriptors.
    pub crowded: Vec<Crowded<'a>>,
    /// The newest row of every socket that was read, sorted by addresses.
    pub rows: Vec<&'a SocketEntry>,
    holders: HashMap<Inode, Vec<Holder<'a>>>,
    registrations: HashMap<Inode, Vec<Registration>>,
    peers: HashMap<(Netns, SocketAddr, SocketAddr), &'a PeerAnswer>,
    cgroups: HashMap<u64, &'a Fact<Vec<u8>>>,
}

/// A registration of a socket in an epoll set, and whose set that is.
pub(crate) type Registration = (ProcessId, EpollRegistration);

/// A process that has descriptors for a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder<'a> {
    /// Which process.
    pub id: ProcessId,
    /// What is known of it; nothing if it was gone before it was read.
    pub process: Option<&'a Process>,
    /// All of its descriptors for the socket, ascending.
    pub fds: Vec<i32>,
}

impl Holder<'_> {
    /// The unit, container and pod that it belongs to, by its cgroup.
    pub fn service(&self) -> Option<Service> {
        service_of(self.process?)
    }
}

/// The unit, container and pod that a process belongs to, by its cgroup.
pub fn service_of(process: &Process) -> Option<Service> {
    Some(cgroup::service(process.cgroup.known()?))
}

/// The far end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FarEnd<'a> {
    /// Its socket is on this machine.
    Here(&'a SocketEntry),
    /// It was on this machine and is in no table any more.
    Gone,
}

impl<'a> SocketTable<'a> {
    /// Joins everything that `snapshot` carries.
    pub fn new(snapshot: &'a Snapshot) -> SocketTable<'a> {
        let mut rows = newest_rows(snapshot);
        rows.sort_by_key(|row| (row.netns, row.local, row.remote, row.cookie, row.inode));
        let mut table = SocketTable {
            snapshot,
            listeners: Vec::new(),
            close_wait: Vec::new(),
            strays: Vec::new(),
            dead_sockets: Vec::new(),
            crowded: Vec::new(),
            holders: holders(snapshot),
            registrations: registrations(snapshot),
            peers: snapshot.peers.iter().map(peer_by_addresses).collect(),
            cgroups: cgroups(snapshot),
            rows,
        };
        let listeners = Listeners::of(table.rows.iter().copied());
        let (queues, strays) = queue::account(&listeners, &table.rows, snapshot);
        table.close_wait = table
            .rows
            .iter()
            .filter(|row| row.state == TcpState::CloseWait)
            .map(|row| CloseWait::new(row, &listeners, &table))
            .collect();
        table.listeners = queues;
        for listener in &mut table.listeners {
            listener.holders = holders_of(&table.holders, listener.entry);
        }
        table.strays = strays;
        let processes: BTreeMap<ProcessId, &Process> = snapshot
            .processes
            .iter()
            .map(|process| (process.id, process))
            .collect();
        table.dead_sockets = descriptors::dead_sockets(snapshot, &processes);
        table.crowded = descriptors::crowded(&table, &processes);
        table
    }

    /// Keeps what `filter` lets through.
    pub fn retain(&mut self, filter: &Filter) {
        if let Some(kept) = filter.namespaces(self.snapshot) {
            self.listeners.retain(|one| kept.contains(&one.entry.netns));
            self.close_wait
                .retain(|one| kept.contains(&one.entry.netns));
            self.strays.retain(|row| kept.contains(&row.netns));
            self.rows.retain(|row| kept.contains(&row.netns));
        }
        let (listeners, close_wait, rows) = (
            std::mem::take(&mut self.listeners),
            std::mem::take(&mut self.close_wait),
            std::mem::take(&mut self.rows),
        );
        self.listeners = listeners
            .into_iter()
            .filter(|listener| filter.takes_listener(listener, self))
            .collect();
        let queued: HashSet<*const SocketEntry> = self
            .listeners
            .iter()
            .flat_map(|listener| listener.children.iter())
            .map(|child| std::ptr::from_ref(child.entry))
            .collect();
        let is_queued = |row: &SocketEntry| queued.contains(&std::ptr::from_ref(row));
        self.close_wait = close_wait
            .into_iter()
            .filter(|socket| filter.takes_close_wait(socket, is_queued(socket.entry), self))
            .collect();
        let strays = std::mem::take(&mut self.strays);
        self.strays = strays
            .into_iter()
            .filter(|row| filter.takes_row(row, &[], self))
            .collect();
        self.rows = rows
            .into_iter()
            .filter(|row| {
                filter.takes_row(row, &self.holders_of(row), self)
                    || is_queued(row) && filter.takes_addresses(row)
            })
            .collect();
        descriptors::retain(self, filter);
    }

    /// Everybody who has descriptors for `entry`. None is "nobody" only if
    /// [`SocketTable::owners_complete`].
    pub fn holders_of(&self, entry: &SocketEntry) -> Vec<Holder<'a>> {
        holders_of(&self.holders, entry)
    }

    /// Where a socket is registered in epoll sets of the processes that were looked at closely.
    pub(crate) fn registrations_of(&self, socket: Inode) -> &[Registration] {
        self.registrations.get(&socket).map_or(&[], Vec::as_slice)
    }

    /// Whether all holders of all sockets are known, so that "nobody" may be said: they were looked
    /// for, and every process could be read.
    pub fn owners_complete(&self) -> bool {
        self.snapshot.owner_source == OwnerSource::Procfs
            && self.snapshot.coverage.owners_complete()
    }

    /// The path of the cgroup in which the socket was opened; of a connection that came in, its
    /// listener (facts Q12). Asked for where no holder was seen.
    pub fn cgroup_of(&self, entry: &SocketEntry) -> Fact<&'a [u8]> {
        let path = entry.cgroup_id.and_then(|id| self.cgroups.get(&id));
        match path {
            Some(Fact::Known(path)) => Fact::Known(path),
            Some(Fact::Unknown(reason)) => Fact::Unknown(*reason),
            None => Fact::Unknown(Unknown::NotCollected),
        }
    }

    /// What people call the place where the socket was opened. That is the service that has it, most
    /// often; what systemd has opened for a service is in `init.scope`.
    pub fn opened_in(&self, entry: &SocketEntry) -> Option<Service> {
        let path = self.cgroup_of(entry);
        Some(cgroup::service_of_path(path.known()?)).filter(|service| !service.is_empty())
    }

    /// The far end of `entry`, where it was asked for.
    pub fn far_end(&self, entry: &SocketEntry) -> Fact<FarEnd<'a>> {
        match self.peers.get(&(entry.netns, entry.local, entry.remote)) {
            Some(PeerAnswer::Found(peer)) => Fact::Known(FarEnd::Here(peer)),
            Some(PeerAnswer::Gone) => Fact::Known(FarEnd::Gone),
            None => Fact::Unknown(Unknown::NotCollected),
        }
    }
}

/// The rows of the first look, replaced by those of the last read of the queues where there are
/// any for a port of their namespace.
fn newest_rows(snapshot: &Snapshot) -> Vec<&SocketEntry> {
    let Some(last) = snapshot.queue_reads.last() else {
        return snapshot.sockets.iter().collect();
    };
    let read_again: HashSet<(Netns, u16)> = {
        let queued = |row: &&SocketEntry| {
            matches!(
                row.queues,
                Queues::Listen {
                    accept_queue: 1..,
                    ..
                }
            )
        };
        snapshot
            .sockets
            .iter()
            .filter(queued)
            .map(|row| (row.netns, row.local.port()))
            .collect()
    };
    let superseded = |row: &SocketEntry| {
        let in_reads = matches!(
            row.state,
            TcpState::Listen | TcpState::CloseWait | TcpState::SynRecv
        ) || row.is_unaccepted();
        in_reads && read_again.contains(&(row.netns, row.local.port()))
    };
    snapshot
        .sockets
        .iter()
        .filter(|row| !superseded(row))
        .chain(&last.sockets)
        .collect()
}

fn holders(snapshot: &Snapshot) -> HashMap<Inode, Vec<Holder<'_>>> {
    let processes: HashMap<ProcessId, &Process> = snapshot
        .processes
        .iter()
        .map(|process| (process.id, process))
        .collect();
    let mut holders: HashMap<Inode, Vec<Holder<'_>>> = HashMap::new();
    // Descriptors come sorted by process.
    for held in &snapshot.descriptors {
        let of_socket = holders.entry(held.inode).or_default();
        match of_socket.last_mut().filter(|last| last.id == held.process) {
            Some(last) => last.fds.push(held.fd),
            None => of_socket.push(Holder {
                id: held.process,
                process: processes.get(&held.process).copied(),
                fds: vec![held.fd],
            }),
        }
    }
    holders
}

fn registrations(snapshot: &Snapshot) -> HashMap<Inode, Vec<Registration>> {
    let mut registrations: HashMap<Inode, Vec<Registration>> = HashMap::new();
    for process in &snapshot.processes {
        let Fact::Known(ProcessDetail {
            epoll_sets: Fact::Known(sets),
            ..
        }) = &process.detail
        else {
            continue;
        };
        for set in sets {
            for entry in &set.registrations {
                let of_socket = registrations.entry(Inode(entry.inode)).or_default();
                of_socket.push((process.id, *entry));
            }
        }
    }
    registrations
}

fn holders_of<'a>(
    holders: &HashMap<Inode, Vec<Holder<'a>>>,
    entry: &SocketEntry,
) -> Vec<Holder<'a>> {
    entry
        .inode
        .and_then(|inode| holders.get(&inode))
        .cloned()
        .unwrap_or_default()
}

fn cgroups(snapshot: &Snapshot) -> HashMap<u64, &Fact<Vec<u8>>> {
    let all = snapshot.cgroups.iter().flatten();
    all.map(|cgroup| (cgroup.id, &cgroup.path)).collect()
}

fn peer_by_addresses(peer: &Peer) -> ((Netns, SocketAddr, SocketAddr), &PeerAnswer) {
    ((peer.netns, peer.local, peer.remote), &peer.answer)
}

/// Rows for the tests of this folder and of `diagnose`.
#[cfg(test)]
pub(crate) mod test_rows {
    use crate::model::{
        Cookie, Family, Inode, Netns, Queues, SocketEntry, TcpInfo, TcpState, Timer,
    };

    /// `ADDR:PORT[%DEVICE][!6]`, where `!6` is IPV6_V6ONLY.
    fn row(text: &str, state: TcpState, queues: Queues) -> SocketEntry {
        let (text, v6only) = match text.strip_suffix("!6") {
            Some(text) => (text, true),
            None => (text, false),
        };
        let (address, device) = match text.split_once('%') {
            Some((address, device)) => (address, Some(device.parse().unwrap())),
            None => (text, None),
        };
        let local: std::net::SocketAddr = address.parse().unwrap();
        SocketEntry {
            netns: Netns(1),
            cookie: Some(Cookie(u64::from(local.port()))),
            inode: None,
            family: if local.is_ipv4() {
                Family::V4
            } else {
                Family::V6
            },
            state,
            local,
            remote: "0.0.0.0:0".parse().unwrap(),
            bound_device: device,
            uid: 0,
            queues,
            timer: Timer::Off,
            shutdown: None,
            v6only: Some(v6only),
            drops: Some(0),
            cgroup_id: None,
            ulp: None,
            info: None,
        }
    }

    pub(crate) fn listener(text: &str, accept_queue: u32) -> SocketEntry {
        let mut row = row(
            text,
            TcpState::Listen,
            Queues::Listen {
                accept_queue,
                backlog: Some(511),
            },
        );
        row.inode = Some(Inode(10_000 + u64::from(row.local.port())));
        row
    }

    /// A connection to `text` that nobody has accepted, from 127.0.0.9.
    pub(crate) fn connection(text: &str, state: TcpState) -> SocketEntry {
        let mut row = row(
            text,
            state,
            Queues::Stream {
                recv_q: 0,
                send_q: 0,
            },
        );
        row.remote = "127.0.0.9:40000".parse().unwrap();
        row.info = Some(TcpInfo::default());
        row
    }
}
