//! Everything one run has read from the kernel: raw facts, not yet joined.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use super::{
    Coverage, CrowdedProcess, DeadSocketSearch, Fact, HeldDescriptor, Netns, Process, SocketEntry,
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
    /// Where socket entries were read.
    pub socket_source: SocketSource,
    /// Where holders were read.
    pub owner_source: OwnerSource,
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
    /// Machine-wide accept-queue counters of this namespace.
    pub listen_counters: Fact<ListenCounters>,
    /// First and last port that `connect()` picks from.
    pub ephemeral_ports: Fact<(u16, u16)>,
    /// TCP sockets in use in this namespace (`/proc/net/sockstat`, `sockstat6`).
    pub sockets_in_use: Fact<u64>,
    /// Open files of the machine, and how many there may be.
    pub file_table: Fact<FileTable>,
    /// How much could be seen.
    pub coverage: Coverage,
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

/// SYN queues: `TcpExt` counters since the namespace was made, and its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SynCounters {
    /// `SyncookiesSent`: answers to a SYN that left nothing in a queue.
    pub cookies_sent: u64,
    /// `SyncookiesRecv`: those that came back.
    pub cookies_received: u64,
    /// `SyncookiesFailed`: ACKs whose cookie was none, or too old.
    pub cookies_failed: u64,
    /// `TCPReqQFullDoCookies`: SYNs that would have got a cookie; with `tcp_syncookies` 2 all of them.
    pub full_with_cookies: u64,
    /// `TCPReqQFullDrop`: SYNs that were dropped, since cookies are off.
    pub full_with_drops: u64,
    /// `net.ipv4.tcp_syncookies`: 0 never, 1 when a SYN queue is full, 2 always.
    pub cookies_when: Option<u64>,
    /// `net.ipv4.tcp_max_syn_backlog`.
    pub max_backlog: Option<u64>,
}

impl SynCounters {
    /// Cookies are sent only when a SYN queue is full.
    pub fn cookies_mean_full(&self) -> bool {
        self.cookies_when.is_none_or(|when| when < 2)
    }
}

/// `/proc/sys/fs/file-nr`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileTable {
    /// Open files on the whole machine.
    pub allocated: u64,
    /// `file-max`.
    pub limit: u64,
}
