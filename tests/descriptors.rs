//! Sockets that only a descriptor shows, and processes that run out of descriptors, on the running
//! kernel: what the two screens stand on, and what is reported.
//!
//! All processes of the machine are looked at, those of other tests too; only what a test has made
//! itself is judged here.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

mod support;

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, ipproto};
use serde_json::Value;
use support::clock::eventually;
use support::sockets::reset;
use tcpleak::collect::{Entries, Request, SourceChoice, collect};
use tcpleak::diagnose::Thresholds;
use tcpleak::join::Filter;
use tcpleak::model::{
    Confidence, Fact, Finding, FindingId, NetnsChoice, Severity, Snapshot, Subject,
};
use tcpleak::report::Report;
use tcpleak::scenario::{self, Running};

const PROGRAM: &str = env!("CARGO_BIN_EXE_tcpleak");
const NOBODY: u32 = 65534;

fn start(id: &str) -> Running {
    Running::start(Path::new(PROGRAM), scenario::find(id).unwrap()).unwrap()
}

fn look(source: SourceChoice) -> Snapshot {
    collect(&Request {
        source,
        entries: Entries::Suspects,
        netns: vec![NetnsChoice::Own],
        accept_age: Duration::from_secs(1),
        close_wait_age: Duration::from_secs(10),
        settle: Duration::from_millis(150),
        proc_root: PathBuf::from("/proc"),
    })
    .unwrap()
}

/// What is said about a process.
fn about(snapshot: &Snapshot, pid: u32, filter: &Filter) -> Vec<Finding> {
    let report = Report::new(snapshot, &Thresholds::default(), filter);
    let of_process = |finding: &&Finding| match finding.subject {
        Subject::Process(id) => id.pid == pid,
        _ => false,
    };
    report.findings.iter().filter(of_process).cloned().collect()
}

fn only(mut things: Vec<Finding>) -> Finding {
    assert_eq!(things.len(), 1, "{things:#?}");
    things.remove(0)
}

/// `tcpleak scan --json` by `uid`, in the namespace of this thread.
fn scan(uid: u32, arguments: &str) -> Value {
    let mut command = Command::new(PROGRAM);
    command
        .args(["scan", "--netns", "self", "--json"])
        .args(arguments.split_whitespace());
    let output = command.uid(uid).gid(uid).current_dir("/").output().unwrap();
    assert!(
        output.status.code().is_some_and(|code| code < 2),
        "{output:?}"
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn finding_ids(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().unwrap().iter();
    findings
        .map(|finding| finding["id"].as_str().unwrap())
        .collect()
}

fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    eventually(what, || is_so().then_some(()));
}

/// TCP sockets of this namespace that are in its tables.
fn in_use() -> u64 {
    let number = |file: &str, name: &str| -> u64 {
        let text = fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap();
        let mut words = line.split(' ');
        words.find(|word| *word == "inuse").unwrap();
        words.next().unwrap().parse().unwrap()
    };
    number("sockstat", "TCP: ") + number("sockstat6", "TCP6: ")
}

fn fresh(family: AddressFamily, protocol: Option<Protocol>) -> OwnedFd {
    let flags = SocketFlags::CLOEXEC;
    rustix::net::socket_with(family, SocketType::STREAM, flags, protocol).unwrap()
}

/// Connections, and their accepted ends.
fn connections(listener: &TcpListener, count: usize) -> Vec<(TcpStream, TcpStream)> {
    let address = listener.local_addr().unwrap();
    let connect = |_| {
        let client = TcpStream::connect(address).unwrap();
        (client, listener.accept().unwrap().0)
    };
    (0..count).map(connect).collect()
}

/// None of these descriptors of this process is called dead.
fn assert_alive<T: AsRawFd>(sockets: &[T], snapshot: &Snapshot) {
    let own: Vec<i32> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
    let dead = snapshot.dead_sockets.iter();
    let mut accused =
        dead.filter(|dead| dead.process.pid == std::process::id() && own.contains(&dead.fd));
    assert_eq!(accused.next(), None);
    assert_searched(snapshot);
}

/// Otherwise nothing was tested.
fn assert_searched(snapshot: &Snapshot) {
    let Fact::Known(search) = snapshot.dead_socket_search else {
        panic!("no search");
    };
    assert!(search.watched.is_some(), "{search:?}");
}

/// What [`tcpleak::model::DeadSocketSearch`] rests on. `alloc` counts for the whole machine, so
/// that only `inuse` can be held to a number here; the other half was seen by hand, in a namespace
/// of its own on an idle machine.
#[test]
fn in_use_are_the_sockets_in_tables() {
    let Some(_namespace) = support::in_own_namespace() else {
        return;
    };
    assert_eq!(in_use(), 0);
    let kept_fresh: Vec<OwnedFd> = [AddressFamily::INET, AddressFamily::INET6]
        .map(|family| fresh(family, None))
        .into();
    let bound = fresh(AddressFamily::INET, None);
    rustix::net::bind(&bound, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    assert_eq!(in_use(), 0, "fresh and bound ones are in none");
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
    assert_eq!(in_use(), 1);
    let port = listener.local_addr().unwrap().port();
    let clients: Vec<TcpStream> = (0..4)
        .map(|_| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap())
        .collect();
    wait_for("four in the queue", || in_use() == 9);
    let accepted: Vec<TcpStream> = (0..4).map(|_| listener.accept().unwrap().0).collect();
    assert_eq!(in_use(), 9, "accepted or not");
    clients.into_iter().for_each(reset);
    wait_for("four dead sockets in no table", || in_use() == 1);
    drop((accepted, kept_fresh));
    assert_eq!(in_use(), 1);
}

#[test]
fn dead_sockets_are_found() {
    let Some(_namespace) = support::in_own_namespace() else {
        return;
    };
    let running = start("dead-socket-leak");
    let pid = running.server_pid();
    for source in [SourceChoice::SockDiag, SourceChoice::Proc] {
        let snapshot = look(source);
        assert_searched(&snapshot);
        let finding = only(about(&snapshot, pid, &Filter::default()));
        assert_eq!(finding.id, FindingId::DeadSocketLeak);
        assert_eq!((finding.severity, finding.count), (Severity::Warning, 12));
        assert_ne!(finding.confidence, Confidence::Certain);
        assert!(
            finding.summary.starts_with("demo-server (pid "),
            "{}",
            finding.summary
        );
        let links = snapshot
            .dead_sockets
            .iter()
            .filter(|held| held.process.pid == pid);
        for held in links {
            let link = fs::read_link(format!("/proc/{pid}/fd/{}", held.fd)).unwrap();
            assert_eq!(link.to_str().unwrap(), format!("socket:[{}]", held.inode.0));
        }
    }
}

#[test]
fn dead_sockets_are_filtered_by_their_process() {
    let Some(_namespace) = support::in_own_namespace() else {
        return;
    };
    let running = start("dead-socket-leak");
    let pid = running.server_pid();
    let snapshot = look(SourceChoice::SockDiag);
    let found = |filter: Filter| about(&snapshot, pid, &filter).len();
    let by_pid = |pid| Filter {
        pids: vec![pid],
        ..Filter::default()
    };
    assert_eq!((found(by_pid(pid)), found(by_pid(1))), (1, 0));
    let by_name = |name: &str| Filter {
        processes: vec![name.into()],
        ..Filter::default()
    };
    assert_eq!(
        (found(by_name("demo-server")), found(by_name("nginx"))),
        (1, 0)
    );
    let unused = Filter {
        ports: vec![1..=1],
        ..by_pid(pid)
    };
    assert_eq!(found(unused), 0);
}

#[test]
fn the_program_reports_dead_sockets() {
    let Some(_namespace) = support::in_own_namespace() else {
        return;
    };
    let running = start("dead-socket-leak");
    let report = scan(0, &format!("--pid {}", running.server_pid()));
    assert_eq!(finding_ids(&report), ["dead-socket-leak"]);
    assert_eq!(report["findings"][0]["count"], 12);
    assert_eq!(report["findings"][0]["severity"], "warning");
}

#[test]
fn fresh_and_bound_sockets_and_connections_of_a_server_are_nothing() {
    let Some(_namespace) = support::in_own_namespace() else {
        return;
    };
    // Something for which the descriptors are walked at all.
    let dead = start("dead-socket-leak");
    let healthy = start("unconnected-sockets");
    let snapshot = look(SourceChoice::SockDiag);
    assert_searched(&snapshot);
    assert_eq!(
        about(&snapshot, healthy.server_pid(), &Filter::default()),
        []
    );
    // Three that cannot be told from dead ones are too few to be kept.
    let mut accused = snapshot.dead_sockets.iter();
    assert!(!accused.any(|held| held.process.pid == healthy.server_pid()));
    drop(dead);
}

#[test]
fn connections_and_bound_sockets_are_alive() {
    let Some(_namespace) = support::in_own_namespace() else {
        return;
    };
    let running = start("dead-socket-leak");
    let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
    let connections: Vec<_> = [connections(&v4, 20), connections(&v6, 20)].concat_pairs();
    let bound: Vec<OwnedFd> = (0..20).map(|_| bound_socket()).collect();
    let snapshot = look(SourceChoice::SockDiag);
    assert_alive(&connections, &snapshot);
    assert_alive(&bound, &snapshot);
    assert_alive(&[v4, v6], &snapshot);
    drop(running);
}

trait ConcatPairs {
    fn concat_pairs(self) -> Vec<TcpStream>;
}

impl<const N: usize> ConcatPairs for [Vec<(TcpStream, TcpStream)>; N] {
    fn concat_pairs(self) -> Vec<TcpStream> {
        self.into_iter()
            .flatten()
            .flat_map(|(client, accepted)| [client, accepted])
            .collect()
    }
}

/// Listed on request from Linux 6.8 on.
fn bound_socket() -> OwnedFd {
    let socket = fresh(AddressFamily::INET, None);
    rustix::net::bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    socket
}

/// MPTCP connections are in a table of their own once their subflows are closed; their sockets all
/// say `MPTCP`, those of plain TCP clients too.
#[test]
fn mptcp_connections_are_alive_and_plain_ones_can_be_dead() {
    let Some(_namespace) = support::in_own_namespace() else {
        return;
    };
    let flags = SocketFlags::CLOEXEC;
    let inet = AddressFamily::INET;
    let socket = rustix::net::socket_with(inet, SocketType::STREAM, flags, Some(ipproto::MPTCP));
    let Ok(socket) = socket else {
        return support::cannot_run("this kernel has no MPTCP");
    };
    rustix::net::bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    rustix::net::listen(&socket, 64).unwrap();
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().unwrap();
    let mut alive = Vec::new();
    for _ in 0..10 {
        let client = fresh(inet, Some(ipproto::MPTCP));
        rustix::net::connect(&client, &address).unwrap();
        alive.push(TcpStream::from(client));
        alive.push(listener.accept().unwrap().0);
    }
    let (clients, dead): (Vec<_>, Vec<_>) = connections(&listener, 12).into_iter().unzip();
    clients.into_iter().for_each(reset);
    wait_for("the resets", || in_use() == 21);
    let snapshot = look(SourceChoice::SockDiag);
    assert_alive(&alive, &snapshot);
    let own = snapshot
        .dead_sockets
        .iter()
        .filter(|held| held.process.pid == std::process::id());
    let own: Vec<i32> = own.map(|held| held.fd).collect();
    for socket in &dead {
        assert!(own.contains(&socket.as_raw_fd()), "{own:?}");
    }
}

/// The thread of this test is elsewhere than the main thread, and than that of the other sockets.
#[test]
fn sockets_of_threads_in_other_namespaces_are_alive() {
    let Some(_namespace) = support::in_own_namespace() else {
        return;
    };
    let running = start("dead-socket-leak");
    let (made, to_look) = std::sync::mpsc::channel();
    let (done, until_done) = std::sync::mpsc::channel::<()>();
    let elsewhere = thread::spawn(move || {
        let _namespace = support::in_own_namespace();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut sockets = [connections(&listener, 10)].concat_pairs();
        sockets.extend((0..10).map(|_| TcpStream::from(bound_socket())));
        made.send(sockets).unwrap();
        until_done.recv().unwrap();
    });
    let sockets = to_look.recv().unwrap();
    assert_alive(&sockets, &look(SourceChoice::SockDiag));
    done.send(()).unwrap();
    elsewhere.join().unwrap();
    drop(running);
}

#[test]
fn descriptor_exhaustion_is_found() {
    let Some(_namespace) = support::in_own_namespace() else {
        return;
    };
    let running = start("descriptor-exhaustion");
    let pid = running.server_pid();
    let snapshot = look(SourceChoice::SockDiag);
    let finding = only(about(&snapshot, pid, &Filter::default()));
    assert_eq!(finding.id, FindingId::DescriptorExhaustion);
    assert_eq!(finding.severity, Severity::Warning);
    let crowded = snapshot
        .crowded
        .iter()
        .find(|crowded| crowded.process.pid == pid);
    let crowded = crowded.unwrap();
    assert_eq!(crowded.soft_limit, 64);
    let holds = crowded.holds.known().unwrap();
    // Descriptors that the test run itself inherited may lie above the limit.
    assert_eq!(holds.open, 54);
    assert_eq!(holds.listeners.len(), 1);
    assert_eq!(holds.kinds[0].link, b"/dev/null");

    let port = running.address().port();
    let by_port = Filter {
        ports: vec![port..=port],
        ..Filter::default()
    };
    assert_eq!(about(&snapshot, pid, &by_port).len(), 1);
    let elsewhere = Filter {
        ports: vec![1..=1],
        ..Filter::default()
    };
    assert_eq!(about(&snapshot, pid, &elsewhere), []);

    let report = scan(0, &format!("--pid {pid}"));
    assert_eq!(finding_ids(&report), ["descriptor-exhaustion"]);
}

#[test]
fn a_process_without_sockets_may_use_its_limit() {
    let Some(_namespace) = support::in_own_namespace() else {
        return;
    };
    let script = "for fd in {3..60}; do eval \"exec $fd</dev/null\"; done; \
                  ulimit -S -n 64; echo; exec sleep 60";
    let crowd = Idle::run(Command::new("bash").args(["-c", script]));
    let pid = crowd.0.id();
    let snapshot = look(SourceChoice::SockDiag);
    let seen = snapshot
        .crowded
        .iter()
        .find(|crowded| crowded.process.pid == pid);
    assert!(seen.is_some(), "it was looked at");
    assert_eq!(about(&snapshot, pid, &Filter::default()), []);
}

/// What a plain user cannot see is named, and nobody is accused for it.
#[test]
fn a_plain_user_is_told_what_could_not_be_seen() {
    let Some(_namespace) = support::in_own_namespace() else {
        return;
    };
    let dead = start("dead-socket-leak");
    let crowded = start("descriptor-exhaustion");
    let report = scan(NOBODY, "");
    let about_processes = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| {
            let pid = &finding["subject"]["pid"];
            [dead.server_pid(), crowded.server_pid()]
                .iter()
                .any(|own| pid == own)
        });
    assert_eq!(about_processes.count(), 0, "{report:#}");
    let gaps = report["coverage"]["gaps"].to_string();
    assert!(gaps.contains("close to the descriptor limit"), "{gaps}");
    assert!(gaps.contains("descriptors of"), "{gaps}");
    assert_eq!(report["coverage"]["complete"], false);
}

/// The server, its clients and the scan are all a plain user's.
#[test]
fn a_plain_user_sees_its_own_dead_sockets() {
    let Some(_namespace) = support::in_own_namespace() else {
        return;
    };
    let mut demo = Command::new(PROGRAM);
    demo.args(["demo", "dead-socket-leak", "--json"]);
    let output = demo
        .uid(NOBODY)
        .gid(NOBODY)
        .current_dir("/")
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(finding_ids(&report), ["dead-socket-leak"], "{report:#}");
}

/// A process that says a line and sleeps, ended with its owner.
struct Idle(Child);

impl Idle {
    fn run(command: &mut Command) -> Idle {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut idle = Idle(command.spawn().unwrap());
        let said = idle.0.stdout.as_mut().unwrap().read(&mut [0; 1]).unwrap();
        assert_eq!(said, 1, "it ended");
        idle
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
