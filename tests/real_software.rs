//! The diagnosis holds for programs that stand on other people's code: the servers of Python's
//! library, Node and Java. What is not installed is not tested, and said.
//!
//! Each program in `programs` prints its port, and `hung` whenever a handler hangs. It ends by
//! itself after two minutes, if nobody ends it before.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

mod support;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tcpleak::collect::{Request, collect};
use tcpleak::join::SocketTable;
use tcpleak::model::{CauseId, Finding, FindingId, Queues, Severity, Snapshot, TcpState};

use support::clock::eventually;
use support::scan::{OLD, only, report, request, scan};
use support::{cannot_run, in_own_namespace};

/// A program of somebody else's, with all that it has started.
struct Program {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Program {
    /// `None`, having said so, if there is no such interpreter.
    fn start(interpreter: &str, file: &str, argument: Option<&str>) -> Option<Program> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs");
        let started = Command::new(interpreter)
            .arg(path.join(file))
            .args(argument)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn();
        match started {
            Ok(mut child) => {
                let lines = BufReader::new(child.stdout.take().unwrap());
                Some(Program { child, lines })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if interpreter == "python3" {
                    cannot_run("python3 is not installed");
                } else {
                    support::say(&format!("NOT TESTED: {interpreter} is not installed"));
                }
                None
            }
            Err(error) => panic!("{interpreter}: {error}"),
        }
    }

    /// The next line that it prints; it prints nothing any more at its end.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "{:?} has ended", self.child);
        line.trim_end().to_owned()
    }

    fn address(&mut self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.line().parse().unwrap()).into()
    }

    fn expect_lines(&mut self, count: usize, line: &str) {
        for _ in 0..count {
            assert_eq!(self.line(), line);
        }
    }

    fn pid(&self) -> u32 {
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

fn clients(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let client = |_| {
        let mut client = TcpStream::connect(address).unwrap();
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        client
    };
    (0..count).map(client).collect()
}

/// Waits until so many connections have been in the accept queue for [`OLD`], and looks at it as
/// the command does.
fn look_at_queue(address: SocketAddr, waiting: u32) -> Snapshot {
    eventually("a queue that is old", || {
        let snapshot = scan();
        let table = SocketTable::new(&snapshot);
        let mut listeners = table.listeners.iter();
        let listener = listeners.find(|listener| listener.entry.local.port() == address.port())?;
        let length = match listener.entry.queues {
            Queues::Listen { accept_queue, .. } => accept_queue,
            Queues::Stream { .. } => 0,
        };
        let youngest = listener
            .children
            .iter()
            .filter_map(|child| child.waited)
            .min()?;
        (length == waiting && youngest >= OLD).then_some(())
    });
    collect(&Request {
        settle: Duration::from_millis(250),
        ..request()
    })
    .unwrap()
}

/// Waits until so many sockets have been in CLOSE_WAIT for [`OLD`].
fn look_at_close_wait(count: usize) -> Snapshot {
    eventually("sockets that are old in CLOSE_WAIT", || {
        let snapshot = scan();
        let rows = snapshot.sockets.iter();
        let old = rows.filter(|row| {
            row.state == TcpState::CloseWait && row.close_wait_age().is_some_and(|age| age >= OLD)
        });
        (old.count() == count).then_some(snapshot)
    })
}

fn only_finding(snapshot: &Snapshot, id: FindingId) -> Finding {
    let findings = report(snapshot).findings;
    only(findings.into_iter().filter(|finding| finding.id == id))
}

/// The queue leaks, and that is why; returns what is said of the cause.
fn expect_stuck(snapshot: &Snapshot, waiting: u64, cause: CauseId) -> String {
    let finding = only_finding(snapshot, FindingId::AcceptQueueLeak);
    let seen = finding.cause.clone().unwrap();
    assert_eq!((finding.count, seen.id), (waiting, cause), "{finding:#?}");
    seen.summary
}

#[test]
fn python_socketserver_with_a_hung_handler() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let Some(mut server) = Program::start("python3", "socketserver_hung.py", None) else {
        return;
    };
    let address = server.address();
    let _served = clients(address, 1);
    server.expect_lines(1, "hung");
    let _waiting = clients(address, 4);
    let snapshot = look_at_queue(address, 4);
    let why = expect_stuck(&snapshot, 4, CauseId::AcceptorBlocked);
    assert!(why.contains("nanosleep") || why.contains("select"), "{why}");
}

#[test]
fn python_socketserver_with_a_hung_thread_for_each_client() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let Some(mut server) = Program::start("python3", "socketserver_hung.py", Some("threads"))
    else {
        return;
    };
    let gone = clients(server.address(), 4);
    server.expect_lines(4, "hung");
    drop(gone);
    let snapshot = look_at_close_wait(4);
    let finding = only_finding(&snapshot, FindingId::CloseWaitLeak);
    let cause = finding.cause.unwrap();
    // Of a request, the handler has read the first line into a buffer, and so all of it.
    assert_eq!((finding.count, cause.id), (4, CauseId::EofNotRead));
    assert!(
        cause.summary.contains("handlers that hang"),
        "{}",
        cause.summary
    );
}

#[test]
fn python_workers_hung_on_a_back_end_and_a_parent_that_never_accepts() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let Some(mut parent) = Program::start("python3", "prefork_hung.py", None) else {
        return;
    };
    let address = parent.address();
    let _served = clients(address, 2);
    parent.expect_lines(2, "hung");
    let _waiting = clients(address, 3);
    let snapshot = look_at_queue(address, 3);
    let why = expect_stuck(&snapshot, 3, CauseId::AcceptorBlocked);
    assert!(why.contains("poll of one descriptor"), "{why}");
    assert!(!why.contains(&format!("(pid {})", parent.pid())), "{why}");
}

#[test]
fn python_connections_kept_for_later_that_the_server_has_closed() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let Some(mut client) = Program::start("python3", "connection_pool.py", Some(&port)) else {
        return;
    };
    let answered: Vec<TcpStream> = (0..6)
        .map(|_| {
            let (mut connection, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                connection.read_exact(&mut byte).unwrap();
                request.extend(byte);
            }
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            connection.write_all(answer).unwrap();
            connection
        })
        .collect();
    client.expect_lines(1, "idle");
    drop(answered);
    let snapshot = look_at_close_wait(6);
    let finding = only_finding(&snapshot, FindingId::CloseWaitLeak);
    assert_eq!((finding.count, finding.severity), (6, Severity::Info));
    assert_eq!(finding.cause.unwrap().id, CauseId::IdlePoolConnection);
}

#[test]
fn node_in_a_busy_loop() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let Some(mut server) = Program::start("node", "busy_loop.js", None) else {
        return;
    };
    let address = server.address();
    let _served = clients(address, 1);
    server.expect_lines(1, "hung");
    let _waiting = clients(address, 4);
    let snapshot = look_at_queue(address, 4);
    expect_stuck(&snapshot, 4, CauseId::AcceptorBusy);
}

#[test]
fn node_in_a_synchronous_call() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let Some(mut server) = Program::start("node", "sync_child.js", None) else {
        return;
    };
    let address = server.address();
    let _served = clients(address, 1);
    server.expect_lines(1, "hung");
    let _waiting = clients(address, 4);
    let snapshot = look_at_queue(address, 4);
    let why = expect_stuck(&snapshot, 4, CauseId::AcceptorBlocked);
    assert!(why.contains("main thread of node"), "{why}");
}

#[test]
fn java_with_an_exhausted_pool() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let Some(mut server) = Program::start("java", "ExhaustedPool.java", None) else {
        return;
    };
    let address = server.address();
    let _served = clients(address, 5);
    // Two threads of the pool, and the one that accepts.
    server.expect_lines(3, "hung");
    let _waiting = clients(address, 4);
    let snapshot = look_at_queue(address, 4);
    let why = expect_stuck(&snapshot, 4, CauseId::AcceptorBlocked);
    assert!(why.contains("futex"), "{why}");
}
