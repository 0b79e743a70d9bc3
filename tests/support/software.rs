//! Programs that nobody here wrote: started in the namespace of this thread, brought into a state,
//! and ended with their owner. What is not installed is not tested, and said.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tcpleak::collect::{Request, collect};
use tcpleak::join::SocketTable;
use tcpleak::model::{CauseId, Finding, FindingId, Queues, Snapshot};

use super::clock::eventually;
use super::scan::{OLD, only, report, request, scan};

/// A program of somebody else's, with all that it has started.
pub(crate) struct Program {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Program {
    /// One of `tests/programs`, which prints its port and, whenever a handler hangs, `hung`.
    pub(crate) fn script(interpreter: &str, file: &str, argument: Option<&str>) -> Option<Program> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs");
        Program::start(
            Command::new(interpreter)
                .arg(path.join(file))
                .args(argument),
        )
    }

    /// `None`, having said so, if it is not installed.
    pub(crate) fn start(command: &mut Command) -> Option<Program> {
        let started = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn();
        let name = command.get_program().to_string_lossy();
        match started {
            Ok(mut child) => {
                let lines = BufReader::new(child.stdout.take().unwrap());
                Some(Program { child, lines })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if name == "python3" {
                    super::cannot_run("python3 is not installed");
                } else {
                    super::say(&format!("NOT TESTED: {name} is not installed"));
                }
                None
            }
            Err(error) => panic!("{name}: {error}"),
        }
    }

    /// The next line that it prints; it prints nothing any more at its end.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "{:?} has ended", self.child);
        line.trim_end().to_owned()
    }

    pub(crate) fn address(&mut self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.line().parse().unwrap()).into()
    }

    pub(crate) fn expect_lines(&mut self, count: usize, line: &str) {
        for _ in 0..count {
            assert_eq!(self.line(), line);
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // A group of its own, which it leads: nothing else is in it.
        if let Some(group) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

pub(crate) fn clients(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let client = |_| {
        let mut client = TcpStream::connect(address).unwrap();
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        client
    };
    (0..count).map(client).collect()
}

/// The length of the accept queue at the port of `address`, and how long each has waited there;
/// `None` if nobody listens.
fn queue(address: SocketAddr) -> Option<(u32, Vec<Duration>)> {
    let snapshot = scan();
    let table = SocketTable::new(&snapshot);
    let mut listeners = table.listeners.iter();
    let listener = listeners.find(|listener| listener.entry.local.port() == address.port())?;
    let length = match listener.entry.queues {
        Queues::Listen { accept_queue, .. } => accept_queue,
        Queues::Stream { .. } => 0,
    };
    let children = listener.children.iter();
    Some((length, children.filter_map(|child| child.waited).collect()))
}

/// Waits until somebody listens there, and nobody waits.
pub(crate) fn wait_until_accepting(address: SocketAddr) {
    eventually("a listener with an empty queue", || {
        (queue(address)?.0 == 0).then_some(())
    });
}

/// Waits until so many connections have been in the accept queue for [`OLD`], and looks at it as
/// the command does.
fn look_at_queue(address: SocketAddr, waiting: u32) -> Snapshot {
    eventually("a queue that is old", || {
        let (length, waits) = queue(address)?;
        let youngest = waits.into_iter().min()?;
        (length == waiting && youngest >= OLD).then_some(())
    });
    collect(&Request {
        settle: Duration::from_millis(250),
        ..request()
    })
    .unwrap()
}

pub(crate) fn only_finding(snapshot: &Snapshot, id: FindingId) -> Finding {
    let findings = report(snapshot).findings;
    only(findings.into_iter().filter(|finding| finding.id == id))
}

/// After `served` clients, which make so many handlers hang, the queue leaks, and that is why;
/// returns what is said of the cause.
pub(crate) fn expect_hung(
    server: &mut Program,
    served: usize,
    hung: usize,
    cause: CauseId,
) -> String {
    let address = server.address();
    let _served = clients(address, served);
    server.expect_lines(hung, "hung");
    expect_stuck(address, cause)
}

/// Of clients that come now none is accepted, and that is why; returns what is said of the cause.
pub(crate) fn expect_stuck(address: SocketAddr, cause: CauseId) -> String {
    const WAITING: u32 = 4;
    let _waiting = clients(address, WAITING as usize);
    let snapshot = look_at_queue(address, WAITING);
    let finding = only_finding(&snapshot, FindingId::AcceptQueueLeak);
    let seen = finding.cause.clone().unwrap();
    assert_eq!(
        (finding.count, seen.id),
        (WAITING.into(), cause),
        "{finding:#?}"
    );
    seen.summary
}
