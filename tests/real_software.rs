//! The diagnosis holds for other people's code: the servers of Python's library, Node and Java, and
//! nginx, HAProxy and Redis as they are. What is not installed is not tested, and said.
//!
//! Each program in `programs` prints its port, and `hung` whenever a handler hangs. It ends by
//! itself after two minutes, if nobody ends it before.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use tcpleak::model::{CauseId, FindingId, Severity, Snapshot, TcpState};

use support::clock::eventually;
use support::in_own_namespace;
use support::scan::{Directory, OLD, report, scan};
use support::software::{
    Program, clients, expect_hung, expect_stuck, only_finding, wait_until_accepting,
};

/// Of a server that is told where to listen: the namespace is the test's own.
const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

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

#[test]
fn python_socketserver_with_a_hung_handler() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let Some(mut server) = Program::script("python3", "socketserver_hung.py", None) else {
        return;
    };
    let why = expect_hung(&mut server, 1, 1, CauseId::AcceptorBlocked);
    assert!(why.contains("nanosleep") || why.contains("select"), "{why}");
}

#[test]
fn python_socketserver_with_a_hung_thread_for_each_client() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let Some(mut server) = Program::script("python3", "socketserver_hung.py", Some("threads"))
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
    let Some(mut parent) = Program::script("python3", "prefork_hung.py", None) else {
        return;
    };
    let why = expect_hung(&mut parent, 2, 2, CauseId::AcceptorBlocked);
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
    let Some(mut client) = Program::script("python3", "connection_pool.py", Some(&port)) else {
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
    let Some(mut server) = Program::script("node", "busy_loop.js", None) else {
        return;
    };
    expect_hung(&mut server, 1, 1, CauseId::AcceptorBusy);
}

#[test]
fn node_in_a_synchronous_call() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let Some(mut server) = Program::script("node", "sync_child.js", None) else {
        return;
    };
    let why = expect_hung(&mut server, 1, 1, CauseId::AcceptorBlocked);
    assert!(why.contains("main thread of node"), "{why}");
}

#[test]
fn java_with_an_exhausted_pool() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let Some(mut server) = Program::script("java", "ExhaustedPool.java", None) else {
        return;
    };
    // Two threads of the pool, and the one that accepts.
    let why = expect_hung(&mut server, 5, 3, CauseId::AcceptorBlocked);
    assert!(why.contains("futex"), "{why}");
}

/// How many descriptors a process has in its epoll sets.
fn registrations(pid: &str) -> usize {
    let files = std::fs::read_dir(format!("/proc/{pid}/fdinfo"));
    let files = files.into_iter().flatten().flatten();
    files
        .filter_map(|file| std::fs::read_to_string(file.path()).ok())
        .map(|text| text.matches("tfd:").count())
        .sum()
}

#[test]
fn nginx_whose_workers_are_stopped() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let directory = Directory::new("nginx");
    let file = directory.0.join("nginx.conf");
    let configuration = format!(
        "daemon off; worker_processes 2; error_log stderr crit; pid {0}/pid;
        events {{ worker_connections 64; }}
        http {{ access_log off; server {{ listen {ADDRESS}; location / {{ return 204; }} }} }}",
        directory.0.display()
    );
    std::fs::write(&file, configuration).unwrap();
    let Some(master) = Program::start(Command::new("nginx").arg("-c").arg(&file)) else {
        return;
    };
    wait_until_accepting(ADDRESS);
    // Each with the listener in its epoll set, and the channel from the master.
    let workers = eventually("two workers that accept", || {
        let pid = master.pid();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap();
        let children = children.split_whitespace();
        let workers: Vec<Pid> = children
            .filter(|child| registrations(child) >= 2)
            .filter_map(|child| Pid::from_raw(child.parse().ok()?))
            .collect();
        (workers.len() == 2).then_some(workers)
    });
    let signal = |signal| {
        for worker in &workers {
            kill_process(*worker, signal).unwrap();
        }
    };
    signal(Signal::STOP);
    let why = expect_stuck(ADDRESS, CauseId::ProcessStopped);
    let named = |pid: i32| why.contains(&format!("(pid {pid})"));
    assert!(
        workers
            .iter()
            .all(|worker| named(worker.as_raw_nonzero().get())),
        "{why}"
    );
    assert!(!named(master.pid().try_into().unwrap()), "{why}");
    signal(Signal::CONT);
    wait_until_accepting(ADDRESS);
    assert!(report(&scan()).findings.is_empty());
}

#[test]
fn redis_in_a_command_that_sleeps() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let port = ADDRESS.port().to_string();
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &port, "--save", ""]);
    command.args(["--enable-debug-command", "yes", "--logfile", "/dev/null"]);
    let Some(_server) = Program::start(&mut command) else {
        return;
    };
    wait_until_accepting(ADDRESS);
    let mut sleeper = TcpStream::connect(ADDRESS).unwrap();
    sleeper.write_all(b"PING\r\n").unwrap();
    let mut answer = [0; 7];
    sleeper.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"+PONG\r\n");
    sleeper.write_all(b"DEBUG SLEEP 60\r\n").unwrap();
    let why = expect_stuck(ADDRESS, CauseId::AcceptorBlocked);
    assert!(why.contains("nanosleep"), "{why}");
}

#[test]
fn haproxy_at_its_limit() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let directory = Directory::new("haproxy");
    let file = directory.0.join("haproxy.cfg");
    let configuration = format!(
        "defaults\n mode http\n timeout client 1m\n timeout connect 1m\n timeout server 1m\n \
        timeout http-request 1m\n\
        frontend limited\n bind {ADDRESS} backlog 64\n maxconn 2\n http-request return status 204\n"
    );
    std::fs::write(&file, configuration).unwrap();
    let Some(_server) = Program::start(Command::new("haproxy").arg("-db").arg("-f").arg(&file))
    else {
        return;
    };
    wait_until_accepting(ADDRESS);
    // Served, and kept alive.
    let _served = clients(ADDRESS, 2);
    let why = expect_stuck(ADDRESS, CauseId::ListenerNotPolled);
    assert!(why.contains("maxconn"), "{why}");
}
