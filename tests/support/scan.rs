//! Looks at this thread's namespace with the library.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tcpleak::collect::{Entries, Request, SourceChoice, collect};
use tcpleak::diagnose::Thresholds;
use tcpleak::join::{CloseWait, Filter, Holder, Listener, SocketTable};
use tcpleak::model::{
    Finding, FindingId, NetnsChoice, Queues, Snapshot, SocketEntry, Subject, TcpState,
};
use tcpleak::report::Report;
use tcpleak::scenario::{self, Running};

/// What a test calls old, so that it need not wait for what the product calls old.
pub(crate) const OLD: Duration = Duration::from_millis(200);

/// Both ages lowered to [`OLD`].
pub(crate) const LOWERED: Thresholds = Thresholds {
    accept_age: OLD,
    close_wait_age: OLD,
};

/// As `tcpleak scan --accept-age 200ms`, with one look at queues that are old.
pub(crate) fn request() -> Request {
    Request {
        source: SourceChoice::SockDiag,
        entries: Entries::Suspects,
        // Other tests have namespaces of their own at the same time.
        netns: vec![NetnsChoice::Own],
        close_wait_age: OLD,
        accept_age: OLD,
        settle: Duration::ZERO,
        proc_root: PathBuf::from("/proc"),
    }
}

/// As `tcpleak list`.
pub(crate) fn every_socket(source: SourceChoice) -> Request {
    Request {
        source,
        entries: Entries::InStates {
            states: TcpState::all().collect(),
            condition: None,
        },
        ..request()
    }
}

pub(crate) fn scan() -> Snapshot {
    collect(&request()).unwrap()
}

/// Everything there is to say about a snapshot, with lowered thresholds.
pub(crate) fn report(snapshot: &Snapshot) -> Report<'_> {
    Report::new(snapshot, &LOWERED, &Filter::default())
}

/// Starts a case with this build of the program.
pub(crate) fn start(id: &str) -> Running {
    let scenario = scenario::find(id).unwrap();
    Running::start(Path::new(env!("CARGO_BIN_EXE_tcpleak")), scenario).unwrap()
}

/// The listener of a case that has one.
pub(crate) fn listener_of<'t, 's>(
    table: &'t SocketTable<'s>,
    running: &Running,
) -> &'t Listener<'s> {
    let here = table
        .listeners
        .iter()
        .filter(|listener| listener.entry.local == running.address());
    only(here)
}

/// The one thing there is.
pub(crate) fn only<T>(mut things: impl Iterator<Item = T>) -> T {
    let thing = things.next().expect("there is none");
    assert!(things.next().is_none(), "there are several");
    thing
}

/// What a scan says of this thread's namespace and of `pids`. Dead sockets and full descriptor
/// tables are looked for in all processes of the machine: those of others are not the test's.
pub(crate) fn findings_here<'r>(report: &'r Report<'_>, pids: &[u32]) -> Vec<&'r Finding> {
    let is_here = |finding: &&Finding| match finding.subject {
        Subject::Process(id) => pids.contains(&id.pid),
        Subject::Listener { .. } | Subject::Connections { .. } => true,
    };
    report.findings.iter().filter(is_here).collect()
}

pub(crate) fn findings(report: &Report<'_>, id: FindingId) -> Vec<Finding> {
    let findings = report.findings.iter().filter(|finding| finding.id == id);
    findings.cloned().collect()
}

/// `(pid, descriptors)` of each holder.
pub(crate) fn held_by(holders: &[Holder<'_>]) -> Vec<(u32, Vec<i32>)> {
    let pairs = holders.iter();
    pairs
        .map(|holder| (holder.id.pid, holder.fds.clone()))
        .collect()
}

/// Descriptors of a process that refer to a socket, read without the library.
pub(crate) fn descriptors_of(pid: u32, inode: u64) -> Vec<i32> {
    let target = format!("socket:[{inode}]");
    let mut found: Vec<i32> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| {
            std::fs::read_link(entry.path()).is_ok_and(|link| link.as_os_str() == target.as_str())
        })
        .map(|entry| entry.file_name().to_str().unwrap().parse().unwrap())
        .collect();
    found.sort_unstable();
    found
}

/// The two numbers of a row, as ss shows them; what a source does not tell is missing.
pub(crate) fn numbers(row: &SocketEntry) -> (u32, Option<u32>) {
    match row.queues {
        Queues::Listen {
            accept_queue,
            backlog,
        } => (accept_queue, backlog),
        Queues::Stream { recv_q, send_q } => (recv_q, Some(send_q)),
    }
}

/// The accepted sockets in CLOSE_WAIT.
pub(crate) fn accepted<'t, 's>(table: &'t SocketTable<'s>) -> Vec<&'t CloseWait<'s>> {
    let sockets = table.close_wait.iter();
    sockets.filter(|socket| socket.accepted).collect()
}

/// A directory that goes with its owner.
pub(crate) struct Directory(pub(crate) PathBuf);

impl Directory {
    pub(crate) fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("tcpleak-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // A test has failed already if this does.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
