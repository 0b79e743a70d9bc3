//! The only place that touches the kernel: sock_diag, `/proc`, clocks.
//!
//! [`collect`] takes one look at the machine and returns raw facts. It fails only when no socket
//! table could be read at all; everything else that could not be read is a gap in the snapshot's
//! coverage. It decides nothing about what the facts mean: which rows to ask for follows from
//! simple rules on the rows before (a listener with a queue, a socket in CLOSE_WAIT).
#![expect(
    clippy::disallowed_methods,
    reason = "collect is where clocks are read"
)]

mod census;
mod closed;
mod coverage;
mod crowded;
mod dead_sockets;
mod descriptors;
mod details;
mod netlink;
mod peers;
mod processes;
mod queues;
mod sockets;
mod tables;

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use crate::kernel::netstat;
use crate::model::{
    Fact, FileTable, Host, Inode, ListenCounters, OwnerSource, Queues, Snapshot, SocketEntry,
    TcpState, Unknown,
};
use sockets::{Sockets, Want};

/// What to look at.
#[derive(Debug, Clone)]
pub struct Request {
    /// Which source of socket entries to use.
    pub source: SourceChoice,
    /// Which entries to read.
    pub entries: Entries,
    /// From which wait on an accept queue is suspect and looked at a second time.
    pub accept_age: Duration,
    /// From which age on a socket in CLOSE_WAIT is suspect and its holder looked at closely.
    pub close_wait_age: Duration,
    /// Time between the two looks at suspect queues; zero for no second look.
    pub settle: Duration,
    /// Where the proc file system is mounted.
    pub proc_root: PathBuf,
}

/// Which source of socket entries to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceChoice {
    /// sock_diag, and `/proc/net/tcp` where it cannot be had.
    Auto,
    /// sock_diag or nothing.
    SockDiag,
    /// `/proc/net/tcp` and `tcp6`.
    Proc,
}

/// Which socket entries to read, and whose holders to find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entries {
    /// Listeners, CLOSE_WAIT and SYN_RECV; holders of what is suspect.
    Suspects,
    /// As [`Entries::Suspects`], with the holders of every listener.
    SuspectsAndAllListeners,
    /// Every entry in these states, with all holders.
    InStates(Vec<TcpState>),
}

/// No socket table could be read.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// sock_diag was asked for and cannot be had.
    #[error("cannot read sockets over netlink (sock_diag): {0}")]
    SockDiag(#[source] netlink::NetlinkError),
    /// Neither source can be had.
    #[error("cannot read sockets: sock_diag: {sock_diag}; {path}: {proc}")]
    NoSource {
        /// What became of sock_diag.
        sock_diag: String,
        /// The file that was tried instead.
        path: PathBuf,
        /// What became of that.
        #[source]
        proc: io::Error,
    },
    /// `/proc/net/tcp` was asked for and cannot be had.
    #[error("cannot read {path}: {error}")]
    Proc {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        error: io::Error,
    },
}

pub use netlink::NetlinkError;

/// Takes one look.
pub fn collect(request: &Request) -> Result<Snapshot, CollectError> {
    let taken_at = SystemTime::now();
    let started = Instant::now();
    let census = census::take(&request.proc_root);
    let mut coverage = coverage::begin(&request.proc_root, &census.namespaces);
    let all_processes = coverage.owners_complete();
    let mut sockets = Sockets::open(request, &mut coverage)?;

    let states = match &request.entries {
        Entries::Suspects | Entries::SuspectsAndAllListeners => {
            vec![TcpState::Listen, TcpState::CloseWait, TcpState::SynRecv]
        }
        Entries::InStates(states) => states.clone(),
    };
    let mut first = sockets.read(
        &Want {
            states,
            ports: None,
        },
        &mut coverage,
    )?;
    // A list is of one moment and of these states: further reads would add rows of others.
    let mut queue_reads = match request.entries {
        Entries::InStates(_) => Vec::new(),
        Entries::Suspects | Entries::SuspectsAndAllListeners => {
            queues::read_until_they_agree(&mut sockets, &first, started, &mut coverage)?
        }
    };
    let watch = queues::time_to_watch(&queue_reads, request.accept_age, request.settle);

    // What follows takes a while; the second look at suspect queues comes after it, so that
    // waiting for it costs little.
    let peers = peers::look_up(
        &mut sockets,
        newest_rows(&first, &queue_reads),
        &mut coverage,
    );
    let wanted = wanted_inodes(request, newest_rows(&first, &queue_reads), &peers);
    let scans = !matches!(request.entries, Entries::InStates(_));
    let counts = if scans {
        dead_sockets::Counts::read(&request.proc_root, &census.namespaces)
    } else {
        None
    };
    let worth_a_walk = counts.filter(|counts| counts.are_worth_a_walk());
    let mut walk = descriptors::walk(
        &request.proc_root,
        &wanted,
        worth_a_walk.is_some(),
        &mut coverage,
    );
    for rows in [&mut first]
        .into_iter()
        .chain(queue_reads.last_mut().map(|read| &mut read.sockets))
    {
        closed::take_out(&mut sockets, rows, &walk.held);
    }
    let search = worth_a_walk.and_then(|counts| {
        dead_sockets::Search::begin(
            &request.proc_root,
            request.source,
            &census.namespaces,
            all_processes,
            std::mem::take(&mut walk.sockets),
            counts,
            &mut coverage,
        )
    });
    let crowded = if scans {
        let rows = newest_rows(&first, &queue_reads);
        crowded::read(&request.proc_root, &census.crowded, rows, &mut coverage)
    } else {
        Vec::new()
    };
    let suspect = suspect_inodes(request, newest_rows(&first, &queue_reads));
    let mut processes = processes::read(&request.proc_root, &walk, &suspect, &mut coverage);
    if !watch.is_zero() {
        let first_read = queue_reads
            .first()
            .map_or(Duration::ZERO, |read| read.after);
        std::thread::sleep((first_read + watch).saturating_sub(started.elapsed()));
        queue_reads.extend(queues::read_once(
            &mut sockets,
            &first,
            started,
            &mut coverage,
        )?);
        details::look_again_at_running(&request.proc_root, &mut processes);
    }

    let (dead, dead_socket_search) = match (search, counts) {
        (Some(search), _) => {
            std::thread::sleep(dead_sockets::rest(&search, request.settle));
            let (dead, search) = search.finish();
            (dead, Fact::Known(search))
        }
        (None, Some(counts)) => (Vec::new(), Fact::Known(counts.without_search())),
        (None, None) if scans => (Vec::new(), Fact::Unknown(Unknown::Unsupported)),
        (None, None) => (Vec::new(), Fact::Unknown(Unknown::NotCollected)),
    };
    let further = dead.iter().map(|held| held.process);
    let further = further.chain(crowded.iter().map(|crowded| crowded.process));
    processes::read_further(&request.proc_root, further, &mut processes);

    let net = |file: &str| std::fs::read(request.proc_root.join("thread-self/net").join(file));
    let source = sockets.source();
    Ok(Snapshot {
        taken_at,
        duration: started.elapsed(),
        host: host(),
        socket_source: source,
        owner_source: if wanted.is_empty() {
            OwnerSource::None
        } else {
            OwnerSource::Procfs
        },
        sockets: first,
        queue_reads,
        peers,
        descriptors: walk.held,
        processes,
        crowded,
        dead_sockets: dead,
        dead_socket_search,
        listen_counters: listen_counters(net("netstat")),
        ephemeral_ports: ephemeral_ports(request),
        sockets_in_use: sockets_in_use(net("sockstat"), net("sockstat6")),
        file_table: file_table(request),
        coverage,
    })
}

/// The first look's rows and those of the last read of the queues.
fn newest_rows<'a>(
    first: &'a [SocketEntry],
    reads: &'a [crate::model::QueueRead],
) -> impl Iterator<Item = &'a SocketEntry> + Clone {
    first
        .iter()
        .chain(reads.last().into_iter().flat_map(|read| &read.sockets))
}

/// The sockets whose holders are looked for; none means that no descriptor need be read.
///
/// Listeners that dropped connections in the past are looked up along with others, but are no
/// reason to walk all descriptors: on most machines some listener once did.
fn wanted_inodes<'a>(
    request: &Request,
    rows: impl Iterator<Item = &'a SocketEntry>,
    peers: &[crate::model::Peer],
) -> HashSet<Inode> {
    let (mut wanted, mut along) = (HashSet::new(), HashSet::new());
    for row in rows {
        let Some(inode) = row.inode else { continue };
        match (&request.entries, row.queues) {
            (Entries::InStates(_), _) => wanted.insert(inode),
            (
                _,
                Queues::Listen {
                    accept_queue: 1.., ..
                },
            ) => wanted.insert(inode),
            (Entries::SuspectsAndAllListeners, Queues::Listen { .. }) => wanted.insert(inode),
            (_, Queues::Listen { .. }) => along.insert(inode),
            _ => wanted.insert(inode),
        };
    }
    wanted.extend(peers.iter().filter_map(|peer| match &peer.answer {
        crate::model::PeerAnswer::Found(entry) => entry.inode,
        crate::model::PeerAnswer::Gone => None,
    }));
    if !wanted.is_empty() {
        wanted.extend(along);
    }
    wanted
}

/// The sockets that a finding may be about: listeners with a queue, and sockets that a program has
/// left in CLOSE_WAIT for long, or for nobody knows how long.
fn suspect_inodes<'a>(
    request: &Request,
    rows: impl Iterator<Item = &'a SocketEntry>,
) -> HashSet<Inode> {
    rows.filter(|row| match row.queues {
        Queues::Listen { accept_queue, .. } => accept_queue > 0,
        Queues::Stream { .. } => {
            row.state == TcpState::CloseWait && row.may_be_in_close_wait_for(request.close_wait_age)
        }
    })
    .filter_map(|row| row.inode)
    .collect()
}

fn host() -> Host {
    let names = rustix::system::uname();
    Host {
        hostname: names.nodename().to_string_lossy().into_owned(),
        kernel: names.release().to_string_lossy().into_owned(),
    }
}

fn listen_counters(netstat: io::Result<Vec<u8>>) -> Fact<ListenCounters> {
    read_fact(netstat, netstat::listen_counters)
}

fn ephemeral_ports(request: &Request) -> Fact<(u16, u16)> {
    let file = request.proc_root.join("sys/net/ipv4/ip_local_port_range");
    read_fact(std::fs::read(file), |text| {
        let mut ports = text
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty());
        let mut port = || u16::try_from(crate::kernel::decimal(ports.next()?)?).ok();
        Some((port()?, port()?))
    })
}

fn file_table(request: &Request) -> Fact<FileTable> {
    let file = request.proc_root.join("sys/fs/file-nr");
    read_fact(std::fs::read(file), |text| {
        let mut numbers = text
            .split(u8::is_ascii_whitespace)
            .map(crate::kernel::decimal);
        let allocated = numbers.next()??;
        let limit = numbers.nth(1)??;
        Some(FileTable { allocated, limit })
    })
}

fn sockets_in_use(v4: io::Result<Vec<u8>>, v6: io::Result<Vec<u8>>) -> Fact<u64> {
    // A kernel without IPv6 has no sockstat6.
    let v6 = v6
        .ok()
        .and_then(|text| netstat::sockets_in_use(&text, b"TCP6"))
        .unwrap_or(0);
    read_fact(v4, |text| Some(netstat::sockets_in_use(text, b"TCP")? + v6))
}

/// A fact from the content of a file, or the reason why there is none.
fn read_fact<T>(content: io::Result<Vec<u8>>, parse: impl FnOnce(&[u8]) -> Option<T>) -> Fact<T> {
    match content {
        Ok(bytes) => parse(&bytes).map_or(Fact::Unknown(Unknown::Malformed), Fact::Known),
        Err(error) => Fact::Unknown(why(&error)),
    }
}

/// Why a read failed, as a fact.
fn why(error: &io::Error) -> Unknown {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Unknown::Permission,
        io::ErrorKind::NotFound => Unknown::Vanished,
        _ if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {
            Unknown::Vanished
        }
        _ => Unknown::Unsupported,
    }
}
