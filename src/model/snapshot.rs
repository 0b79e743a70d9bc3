//! Everything one run has read from the kernel: raw facts, not yet joined.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use super::{
    Cookie, Coverage, CrowdedProcess, DeadSocketSearch, Fact, HeldDescriptor, Namespace, Netns,
    Process, SocketEntry,
};

/// One look at a machine. Everything behind `collect` works on this and nothing else, whether it
/// was read a moment ago or comes from a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Wall-clock time at which reading began.
    pub taken_at: SystemTime,
    /// How long reading took, by the monotonic clock.
    pub duration: Duration,
    /// Which machine.
    pub host: Host,
    /// Where holders were read.
    pub owner_source: OwnerSource,
    /// The network namespaces that were looked at, the own one first.
    pub namespaces: Vec<Namespace>,
    /// The first look: listeners, CLOSE_WAIT and SYN_RECV entries; for `list`, all states asked for.
    pub sockets: Vec<SocketEntry>,
    /// Repeated reads of the ports whose listeners had a queue, in the order of time. In a watch the
    /// first is one of an earlier look.
    pub queue_reads: Vec<QueueRead>,
    /// What was asked about the far ends of connections within this machine.
    pub peers: Vec<Peer>,
    /// Descriptors that refer to sockets of interest.
    pub descriptors: Vec<HeldDescriptor>,
    /// The processes that have those descriptors, are crowded, or hold dead sockets.
    pub processes: Vec<Process>,
    /// Processes that have used most of their descriptors.
    pub crowded: Vec<CrowdedProcess>,
    /// Descriptors of TCP sockets that were in no table in two looks.
    pub dead_sockets: Vec<HeldDescriptor>,
    /// How those were looked for.
    pub dead_socket_search: Fact<DeadSocketSearch>,
    /// The cgroups of sockets for which no holder was seen; `None` if none was asked for.
    pub cgroups: Option<Vec<SocketCgroup>>,
    /// Open files of the machine, and how many there may be.
    pub file_table: Fact<FileTable>,
    /// How much could be seen.
    pub coverage: Coverage,
}

impl Snapshot {
    /// How many slots of the listener's queue were seen to be freed since the first read.
    pub fn freed_of(&self, listener: &SocketEntry) -> u32 {
        let place = (listener.netns, listener.cookie, listener.local);
        let freed = self.queue_reads.last().and_then(|read| read.freed.as_ref());
        let mut of_it = freed
            .into_iter()
            .flatten()
            .filter(|one| (one.netns, one.cookie, one.local) == place);
        of_it.next().map_or(0, |one| one.slots)
    }

    /// A namespace that was looked at.
    pub fn namespace(&self, id: Netns) -> Option<&Namespace> {
        self.namespaces.iter().find(|namespace| namespace.id == id)
    }

    /// ` in netns web`; empty for the own namespace, which needs no name.
    pub fn in_namespace(&self, id: Netns) -> String {
        match self.namespace(id).filter(|namespace| !namespace.own) {
            Some(namespace) => format!(" in {}", namespace.title()),
            None => String::new(),
        }
    }

    /// Where `other` is, seen from `id`: empty if it is the same namespace.
    pub fn seen_from(&self, id: Netns, other: Netns) -> String {
        match self.namespace(other) {
            _ if id == other => String::new(),
            Some(namespace) if namespace.own => " in the namespace of tcpleak".into(),
            _ => self.in_namespace(other),
        }
    }

    /// The one that the program was started in, or the first of those that were asked for.
    pub fn nearest_namespace(&self) -> Option<&Namespace> {
        let own = self.namespaces.iter().find(|namespace| namespace.own);
        own.or(self.namespaces.first())
    }

    /// Where the socket entries of the nearest namespace were read, that has any.
    pub fn socket_source(&self) -> SocketSource {
        let own = self.namespaces.iter().filter(|namespace| namespace.own);
        let mut sources = own.chain(&self.namespaces).map(|one| one.source.known());
        let source = sources.find_map(|source| source.copied());
        source.unwrap_or(SocketSource::SockDiag)
    }

    /// TCP sockets in use in those namespaces together of which it is known, if it is of any.
    pub fn sockets_in_use(&self) -> Option<u64> {
        let in_use = self.namespaces.iter();
        let in_use = in_use.filter_map(|namespace| namespace.sockets_in_use.known());
        in_use.copied().reduce(u64::saturating_add)
    }
}

/// Which machine a snapshot is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// `uname -n`.
    pub hostname: String,
    /// `uname -r`.
    pub kernel: String,
}

/// Where socket entries come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketSource {
    /// sock_diag over netlink.
    SockDiag,
    /// `/proc/net/tcp` and `tcp6`: no cookies, no ages, no backlog.
    ProcNetTcp,
}

/// Where holders come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnerSource {
    /// The links in `/proc/PID/fd`.
    Procfs,
    /// They were not needed, and not read.
    None,
}

/// One read of the listeners with a queue and of the connections on their ports: LISTEN,
/// CLOSE_WAIT, SYN_RECV, and those ESTABLISHED that no program has accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueRead {
    /// Time between the beginning of the snapshot and this read; in a watch, between the first read
    /// and this one.
    pub after: Duration,
    /// The rows.
    pub sockets: Vec<SocketEntry>,
    /// What programs have accepted on those ports; `None` if the source cannot tell.
    pub accepted: Option<Vec<AcceptedOnPort>>,
    /// By how much queues were seen to become shorter since the first read, their lengths alone
    /// being looked at again and again; `None` if they were not.
    pub freed: Option<Vec<FreedSlots>>,
}

/// Slots of a listener's accept queue that were freed: at least so many, since what came and was
/// taken between two looks does not show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreedSlots {
    /// The listener's namespace.
    pub netns: Netns,
    /// Its cookie.
    pub cookie: Option<Cookie>,
    /// Its address.
    pub local: SocketAddr,
    /// How many.
    pub slots: u32,
}

/// The connections on a port that programs have accepted and not closed, ESTABLISHED or in
/// CLOSE_WAIT: enough of them to tell whether one has ended between two reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcceptedOnPort {
    /// Their namespace.
    pub netns: Netns,
    /// Their local port.
    pub port: u16,
    /// Which they are.
    pub set: CookieSet,
}

/// A set of cookies, as far as two such sets need to be compared. A server may have accepted
/// hundreds of thousands of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CookieSet {
    /// How many.
    pub count: u64,
    /// The sum of the mixed cookies, modulo 2^64; of another set of as many it is another one.
    pub digest: u64,
}

impl CookieSet {
    /// Adds one that is not in it.
    pub fn add(&mut self, cookie: Cookie) {
        self.count += 1;
        self.digest = self.digest.wrapping_add(mixed(cookie.0));
    }

    /// With this one too, which is not in it.
    #[must_use]
    pub fn with(mut self, cookie: Cookie) -> CookieSet {
        self.add(cookie);
        self
    }
}

/// The finalizer of splitmix64: it is one to one, and cookies that are close end up far apart.
fn mixed(cookie: u64) -> u64 {
    let mut mixed = cookie.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// What the kernel said about the far end of a connection whose remote address is this machine's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Namespace of the connection.
    pub netns: Netns,
    /// The near end's local address.
    pub local: SocketAddr,
    /// The near end's remote address.
    pub remote: SocketAddr,
    /// The answer.
    pub answer: PeerAnswer,
}

/// The far end of a connection within this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerAnswer {
    /// It is in the table.
    Found(Box<SocketEntry>),
    /// It is in no table any more.
    Gone,
}

/// A cgroup in which sockets were opened (`INET_DIAG_CGROUP_ID`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketCgroup {
    /// Its id, which is the inode of its directory.
    pub id: u64,
    /// Its path in the unified hierarchy, any bytes. Vanished if it was removed: the whole hierarchy
    /// was looked through.
    pub path: Fact<Vec<u8>>,
}

/// `TcpExt` counters of `/proc/net/netstat`, since the namespace was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ListenCounters {
    /// `ListenOverflows`: times an accept queue was full.
    pub overflows: u64,
    /// `ListenDrops`: connections dropped by listeners, for whatever reason.
    pub drops: u64,
    /// What became of handshakes for which a SYN queue had no room.
    pub syn: Option<SynCounters>,
}

/// `TcpExt` counters about SYN queues, since the namespace was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SynCounters {
    /// `SyncookiesSent`: answers to a SYN that left nothing in a queue.
    pub cookies_sent: u64,
    /// `SyncookiesRecv`: those that came back.
    pub cookies_received: u64,
    /// `SyncookiesFailed`: ACKs whose cookie was none, or too old.
    pub cookies_failed: u64,
    /// `TCPReqQFullDoCookies`: SYNs that were to get a cookie; with [`SynSettings::cookies`] 2 all.
    pub full_with_cookies: u64,
    /// `TCPReqQFullDrop`: SYNs that were dropped, since cookies are off.
    pub full_with_drops: u64,
}

/// What a namespace does when a SYN queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SynSettings {
    /// `net.ipv4.tcp_syncookies`: 0 never, 1 when a SYN queue is full, 2 always.
    pub cookies: u64,
    /// `net.ipv4.tcp_max_syn_backlog`: without cookies, a further limit of every SYN queue.
    pub max_backlog: u64,
}

/// `/proc/sys/fs/file-nr`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileTable {
    /// Open files on the whole machine.
    pub allocated: u64,
    /// `file-max`.
    pub limit: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_cookies_are_told_apart() {
        let set = |cookies: &[u64]| {
            cookies.iter().fold(CookieSet::default(), |set, cookie| {
                set.with(Cookie(*cookie))
            })
        };
        assert_eq!(set(&[1, 2, 3]), set(&[3, 1, 2]));
        assert_eq!(set(&[1, 2]).with(Cookie(3)), set(&[1, 2, 3]));
        // Of cookies that follow each other, as a kernel gives them out.
        assert_ne!(set(&[1, 4]), set(&[2, 3]));
        assert_ne!(set(&[]), set(&[0]));
    }
}
