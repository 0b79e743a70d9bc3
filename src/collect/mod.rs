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

mod addresses;
mod census;
mod cgroups;
mod choice;
mod closed;
mod counters;
mod coverage;
mod crowded;
mod dead_sockets;
mod descriptors;
mod details;
mod files;
mod focus;
mod host;
mod look;
mod netlink;
mod opening;
mod owners;
mod peers;
mod places;
mod port;
mod privileges;
mod proc_root;
mod proc_tables;
mod processes;
mod queues;
mod rights;
mod session;
mod sight;
mod sockets;
mod tables;

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use rustix::io::Errno;

use crate::model::{Fact, Focus, NetnsChoice, OwnerSource, Snapshot, TcpState, Unknown};
use crowded::Crowd;
use dead_sockets::Hunt;
use look::Look;
use owners::{Asked, Owners};
use sockets::Sockets;

/// What to look at.
#[derive(Debug, Clone)]
pub struct Request {
    /// Which source of socket entries to use.
    pub source: SourceChoice,
    /// Which entries to read.
    pub entries: Entries,
    /// In which network namespaces; in all if none is named.
    pub netns: Vec<NetnsChoice>,
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
    /// What is asked about, in every state, with all holders looked at closely.
    Focus(Focus),
}

/// No socket table could be read.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// sock_diag was asked for and cannot be had.
    #[error("cannot read sockets over netlink (sock_diag): {0}")]
    SockDiag(netlink::NetlinkError),
    /// Files that somebody copied from a `/proc` are no machine: nothing moves in them, and
    /// sock_diag speaks of another one, perhaps.
    #[error("{path} is a directory of files, not a mounted /proc: {why}", path = path.display())]
    Copy {
        /// What is read as `/proc`.
        path: PathBuf,
        /// Why that does not do.
        why: &'static str,
    },
    /// The process or descriptor that is asked about cannot be read.
    #[error("{focus}: {path}: {error}")]
    Focus {
        /// What is asked about.
        focus: Focus,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// There is no such network namespace, or it cannot be told.
    #[error("no network namespace {choice}: {error}")]
    Netns {
        /// What was asked for.
        choice: NetnsChoice,
        /// What the kernel said.
        error: io::Error,
    },
    /// The network namespace that was asked for can neither be entered nor read.
    #[error("cannot read the sockets of {namespace}: {why}")]
    Closed {
        /// Which one.
        namespace: String,
        /// Why it could not be entered.
        why: String,
    },
    /// Neither source can be had.
    #[error("cannot read sockets: sock_diag: {sock_diag}; {path}: {proc}")]
    NoSource {
        /// What became of sock_diag.
        sock_diag: String,
        /// The file that was tried instead.
        path: PathBuf,
        /// What became of that.
        proc: io::Error,
    },
    /// `/proc/net/tcp`, or another place that was asked for, cannot be had.
    #[error("cannot read {path}: {error}")]
    Proc {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
}

pub use netlink::NetlinkError;
pub use port::{PortWatch, is_local, listeners_elsewhere};
pub use privileges::{Uses, give_up, saving};
pub use session::Session;
pub use sight::sight;

/// Takes one look.
pub fn collect(request: &Request) -> Result<Snapshot, CollectError> {
    look(request, Instant::now(), false)
}

/// Takes a look that began at `started`. `follows_another` says that an earlier look tells what
/// moves: then nothing is waited for.
fn look(
    request: &Request,
    started: Instant,
    follows_another: bool,
) -> Result<Snapshot, CollectError> {
    let taken_at = SystemTime::now();
    let request = &proc_root::settled(request)?;
    let root = &request.proc_root;
    let census = census::take(root);
    let mut coverage = coverage::begin(root);
    let all_processes = coverage.owners_complete();
    census.report(&request.netns, root, &mut coverage);
    let places = choice::resolve(&request.netns, &census.namespaces, root)?;
    let mut sockets = Sockets::open(request, &places, &mut coverage)?;
    let is_list = matches!(request.entries, Entries::InStates(_));

    let mut look = Look::take(&mut sockets, request, started, &mut coverage)?;
    let watch = if follows_another {
        queues::time_to_watch_lengths(&look.queue_reads, request.accept_age, request.settle)
    } else {
        queues::time_to_watch(&look.queue_reads, request.accept_age, request.settle)
    };
    let peers = if is_list {
        Vec::new()
    } else {
        peers::look_up(&mut sockets, root, look.newest_rows(), &mut coverage)
    };

    let wanted = look.wanted(request, &peers);
    let mut dead = if is_list {
        Hunt::NotAsked
    } else {
        Hunt::screen(root, &census.namespaces)
    };
    let crowd = if is_list {
        Crowd::default()
    } else {
        Crowd::new(&census.crowded, look.newest_rows())
    };
    let asked = Asked {
        wanted: &wanted,
        every_socket: dead.wants_sockets(),
        crowd: &crowd,
    };
    let mut found = Owners::default().find(root, &asked, &mut coverage);
    look.take_out_closed(&mut sockets, &found.held);
    let cgroups = if proc_root::is_mounted(root) {
        cgroups::of_unheld(root, look.newest_rows(), &wanted, &found.held)
    } else {
        None
    };
    dead = dead.begin(
        request,
        &census.namespaces,
        all_processes,
        std::mem::take(&mut found.sockets),
        &mut coverage,
    );
    let mut processes = processes::read(root, &found, &look.suspect(request), &mut coverage);

    // Everything above took a while; the second looks come after it, so that waiting for them
    // costs little.
    if !watch.is_zero() {
        look.look_again(watch, &wanted, &mut sockets, &mut coverage)?;
    }
    if follows_another || !watch.is_zero() {
        details::look_again_at_running(root, &mut processes);
    }
    let (dead_sockets, dead_socket_search) = dead.finish(request.settle);
    let further = dead_sockets.iter().map(|held| held.process);
    let further = further.chain(found.crowded.iter().map(|crowded| crowded.process));
    processes::read_further(root, further, &mut processes);

    Ok(Snapshot {
        taken_at,
        duration: started.elapsed(),
        host: host::host(root),
        namespaces: sockets.namespaces(root),
        owner_source: if wanted.is_empty() {
            OwnerSource::None
        } else {
            OwnerSource::Procfs
        },
        sockets: look.first,
        queue_reads: look.queue_reads,
        peers,
        descriptors: found.held,
        processes,
        crowded: found.crowded,
        dead_sockets,
        dead_socket_search,
        cgroups,
        file_table: host::file_table(root),
        coverage,
    })
}

/// A fact from the content of a file, or the reason why there is none.
fn read_fact<T, E: Into<io::Error>>(
    content: Result<impl AsRef<[u8]>, E>,
    parse: impl FnOnce(&[u8]) -> Option<T>,
) -> Fact<T> {
    match content {
        Ok(bytes) => parse(bytes.as_ref()).map_or(Fact::Unknown(Unknown::Malformed), Fact::Known),
        Err(error) => Fact::Unknown(why(&error.into())),
    }
}

/// Why a read failed, as a fact.
fn why(error: &io::Error) -> Unknown {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Unknown::Permission,
        io::ErrorKind::NotFound => Unknown::Vanished,
        io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput => Unknown::Unsupported,
        _ => match Errno::from_io_error(error) {
            Some(Errno::SRCH) => Unknown::Vanished,
            Some(Errno::OPNOTSUPP | Errno::NODEV) => Unknown::Unsupported,
            // For want of something (descriptors, memory), or broken off: it is there.
            _ => Unknown::NotCollected,
        },
    }
}
