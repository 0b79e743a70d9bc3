//! Each case puts the kernel into the state that it promises, and leaves nothing behind.
//!
//! What is seen here is read from `/proc` alone, not with this program's own collectors. The facts
//! are those of the facts page that diagnosis stands on (Q1 to Q4, W1, W7, W8, O1 to O3).
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::thread;
use std::time::Duration;

use tcpleak::model::TcpState::{self, CloseWait, Established, Listen, SynSent};
use tcpleak::model::{Family, Queues, SocketEntry};
use tcpleak::scenario::{self, Running};

/// Runs a case in a namespace of its own, checks it, and checks that its processes are gone.
fn check(id: &str, check: impl FnOnce(&Case)) {
    let Some(_namespace) = support::in_own_namespace() else {
        return;
    };
    let scenario = scenario::find(id).unwrap();
    let running = Running::start(Path::new(env!("CARGO_BIN_EXE_tcpleak")), scenario).unwrap();
    let pids = running.pids();
    let sockets = running.sockets().unwrap();
    check(&Case { running, sockets }); // Ends the case.
    for pid in pids {
        assert!(
            !Path::new(&format!("/proc/{pid}")).exists(),
            "{pid} is left"
        );
    }
}

struct Case {
    running: Running,
    sockets: Vec<SocketEntry>,
}

impl Case {
    fn server(&self) -> u32 {
        self.running.server_pid()
    }

    fn workers(&self) -> Vec<u32> {
        self.running.pids().split_off(1)
    }

    /// The rows of the server's side in that state.
    fn at_server(&self, state: TcpState) -> Vec<&SocketEntry> {
        let address = self.running.address();
        let rows = self.sockets.iter();
        rows.filter(|row| row.state == state && row.local == address)
            .collect()
    }

    fn unaccepted(&self, state: TcpState) -> usize {
        let rows = self.at_server(state);
        rows.iter().filter(|row| row.inode.is_none()).count()
    }

    fn accepted(&self, state: TcpState) -> usize {
        self.at_server(state).len() - self.unaccepted(state)
    }

    fn recv_q(&self, state: TcpState) -> Vec<u32> {
        let rows = self.at_server(state);
        let mut lengths: Vec<u32> = rows
            .iter()
            .map(|row| row.stream_queues().unwrap().0)
            .collect();
        lengths.dedup();
        lengths
    }

    fn accept_queue(&self) -> u32 {
        match self.at_server(Listen)[..] {
            [listener] => match listener.queues {
                Queues::Listen { accept_queue, .. } => accept_queue,
                Queues::Stream { .. } => panic!("a listener without an accept queue"),
            },
            _ => panic!("not one listener"),
        }
    }

    fn listener(&self) -> u64 {
        self.at_server(Listen)[0].inode.unwrap().0
    }

    /// `events` of the listener in the server's epoll sets, by inode.
    fn listener_events(&self) -> Option<u32> {
        registrations(self.server())
            .into_iter()
            .find(|(inode, _)| *inode == self.listener())
            .map(|(_, events)| events)
    }
}

const IN: u32 = 0x1;
const ONESHOT: u32 = 1 << 30;
const ET: u32 = 1 << 31;
/// The kernel adds them to every registration (`ep_insert`, fs/eventpoll.c).
const ERR_HUP: u32 = 0x8 | 0x10;

/// Every `(inode, events)` in the epoll sets of a process.
fn registrations(pid: u32) -> Vec<(u64, u32)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap() {
        let info = fs::read_to_string(entry.unwrap().path()).unwrap();
        for line in info.lines().filter(|line| line.starts_with("tfd:")) {
            let after = |key| {
                line.split(key)
                    .nth(1)
                    .unwrap()
                    .split_whitespace()
                    .next()
                    .unwrap()
            };
            let events = u32::from_str_radix(after("events:"), 16).unwrap();
            found.push((u64::from_str_radix(after("ino:"), 16).unwrap(), events));
        }
    }
    found
}

/// The inodes of the sockets that a process has descriptors of, one for each descriptor.
fn held_sockets(pid: u32) -> Vec<u64> {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    links
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .filter_map(|link| {
            let link = link.to_str()?;
            link.strip_prefix("socket:[")?
                .strip_suffix(']')?
                .parse()
                .ok()
        })
        .collect()
}

fn descriptors(pid: u32) -> Vec<u64> {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let names = links.map(|entry| entry.unwrap().file_name());
    names
        .map(|name| name.to_str().unwrap().parse().unwrap())
        .collect()
}

fn holds(pid: u32, inode: u64) -> bool {
    held_sockets(pid).contains(&inode)
}

fn threads(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).unwrap().count()
}

/// A thread that has just been woken may still be on its way.
fn eventually(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..200 {
        if is_so() {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
    panic!("not seen within a second: {what}");
}

/// Checks which system calls the threads of a process sleep in, in the order of their names.
fn system_calls(pid: u32, expected: &[&str]) {
    eventually(&format!("{expected:?}"), || {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let calls = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("syscall")));
        let mut names: Vec<String> = calls
            .map(|line| name(line.unwrap().split_whitespace().next().unwrap()).to_owned())
            .collect();
        names.sort();
        names == expected
    });
}

/// `unistd_64.h` and `asm-generic/unistd.h`.
fn name(number: &str) -> &str {
    let names: &[(&str, &str)] = if cfg!(target_arch = "x86_64") {
        &[
            ("0", "read"),
            ("45", "recvfrom"),
            ("43", "accept"),
            ("288", "accept"),
            ("61", "wait4"),
            ("202", "futex"),
            ("230", "sleep"),
            ("232", "epoll_wait"),
            ("281", "epoll_wait"),
            ("247", "waitid"),
        ]
    } else {
        &[
            ("63", "read"),
            ("207", "recvfrom"),
            ("202", "accept"),
            ("242", "accept"),
            ("260", "wait4"),
            ("98", "futex"),
            ("115", "sleep"),
            ("22", "epoll_wait"),
            ("95", "waitid"),
        ]
    };
    let known = names.iter().find(|(known, _)| *known == number);
    known.map_or(number, |(_, name)| name)
}

fn state(pid: u32) -> char {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit(") ").next().unwrap().chars().next().unwrap()
}

#[test]
fn edge_triggered_missed_wakeup() {
    check("edge-triggered-missed-wakeup", |case| {
        assert_eq!(case.accept_queue(), 8);
        assert_eq!(case.unaccepted(CloseWait), 8);
        assert_eq!(case.recv_q(CloseWait), [46]);
        assert_eq!(
            (case.accepted(Established), case.unaccepted(Established)),
            (1, 0)
        );
        assert_eq!(case.listener_events(), Some(IN | ET | ERR_HUP));
        assert!(holds(case.server(), case.listener()));
        assert_eq!(threads(case.server()), 1);
        system_calls(case.server(), &["epoll_wait"]);
        // A newcomer wakes it once, and lets the one out that has waited longest.
        let waiting = || -> BTreeSet<SocketAddr> {
            let sockets = case.running.sockets().unwrap();
            let queued = sockets.iter().filter(|row| row.is_unaccepted());
            queued.map(|row| row.remote).collect()
        };
        let before = waiting();
        let newcomer = case.running.connect().unwrap();
        let newcomer = newcomer.local_addr().unwrap();
        eventually("one out", || before.difference(&waiting()).count() == 1);
        assert_eq!((waiting().len(), waiting().contains(&newcomer)), (8, true));
    });
}

#[test]
fn process_stopped() {
    check("process-stopped", |case| {
        assert_eq!(state(case.server()), 'T');
        assert_eq!((case.accept_queue(), case.unaccepted(Established)), (5, 5));
        assert_eq!(case.listener_events(), Some(IN | ERR_HUP));
    });
}

#[test]
fn fd_limit_reached() {
    check("fd-limit-reached", |case| {
        let open = descriptors(case.server());
        assert!((0..32).all(|number| open.contains(&number)), "{open:?}");
        let limits = fs::read_to_string(format!("/proc/{}/limits", case.server())).unwrap();
        let mut limits = limits.lines();
        let limit = limits
            .find(|line| line.starts_with("Max open files"))
            .unwrap();
        assert_eq!(limit.split_whitespace().nth(3), Some("32"));
        assert_eq!((case.accept_queue(), case.unaccepted(Established)), (5, 5));
        system_calls(case.server(), &["sleep"]);
    });
}

#[test]
fn oneshot_not_rearmed() {
    check("oneshot-not-rearmed", |case| {
        assert_eq!((case.accept_queue(), case.accepted(Established)), (4, 1));
        assert_eq!(case.listener_events(), Some(ONESHOT));
        system_calls(case.server(), &["epoll_wait"]);
    });
}

#[test]
fn listener_not_polled() {
    check("listener-not-polled", |case| {
        assert_eq!((case.accept_queue(), case.accepted(Established)), (3, 1));
        assert_eq!(case.listener_events(), None);
        assert_eq!(
            registrations(case.server()).len(),
            1,
            "the remaining client"
        );
        system_calls(case.server(), &["epoll_wait"]);
    });
}

#[test]
fn acceptor_blocked() {
    check("acceptor-blocked", |case| {
        assert_eq!((case.accept_queue(), case.accepted(Established)), (4, 1));
        assert_eq!(registrations(case.server()), []);
        system_calls(case.server(), &["recvfrom"]);
    });
}

#[test]
fn acceptor_busy() {
    check("acceptor-busy", |case| {
        assert_eq!((case.accept_queue(), case.accepted(Established)), (4, 1));
        assert_eq!(case.listener_events(), Some(IN | ERR_HUP));
        assert_eq!((state(case.server()), threads(case.server())), ('R', 1));
        system_calls(case.server(), &["running"]);
    });
}

#[test]
fn no_holder() {
    check("no-holder", |case| {
        assert_eq!((case.accept_queue(), case.unaccepted(Established)), (4, 4));
        assert!(!holds(case.server(), case.listener()));
        assert_eq!(held_sockets(case.server()).len(), 2, "the Unix pair");
    });
}

#[test]
fn accept_queue_backlog() {
    check("accept-queue-backlog", |case| {
        let mut seen = BTreeSet::new();
        // Two periods of the server: the same number waits, never the same clients.
        for _ in 0..30 {
            let sockets = case.running.sockets().unwrap();
            let waiting = sockets.iter().filter(|row| row.is_unaccepted());
            seen.extend(waiting.map(|row| row.remote));
            thread::sleep(Duration::from_millis(10));
        }
        assert!(seen.len() > 10, "{seen:?}");
        assert!((8..=10).contains(&case.accept_queue()));
    });
}

#[test]
fn accept_queue_overflow() {
    check("accept-queue-overflow", |case| {
        assert_eq!((case.accept_queue(), case.unaccepted(Established)), (3, 3));
        let unanswered = case.sockets.iter().filter(|row| row.state == SynSent);
        assert_eq!(unanswered.count(), 1);
        let counters = fs::read_to_string("/proc/thread-self/net/netstat").unwrap();
        let mut lines = counters.lines().filter(|line| line.starts_with("TcpExt:"));
        let names = lines.next().unwrap().split_whitespace();
        let mut named = names.zip(lines.next().unwrap().split_whitespace());
        let (_, drops) = named.find(|(name, _)| *name == "ListenDrops").unwrap();
        assert_ne!(drops, "0");
    });
}

/// 23 accepted connections in CLOSE_WAIT, by descriptor and by Recv-Q.
fn check_close_wait(case: &Case, recv_q: u32) {
    let held = held_sockets(case.server());
    let rows = case.at_server(CloseWait);
    assert_eq!(rows.len(), 23);
    assert!(rows.iter().all(|row| held.contains(&row.inode.unwrap().0)));
    assert_eq!(case.recv_q(CloseWait), [recv_q]);
    assert_eq!(case.accept_queue(), 0);
}

#[test]
fn eof_not_read() {
    check("eof-not-read", |case| {
        check_close_wait(case, 1);
        assert_eq!(registrations(case.server()).len(), 1, "the listener");
        system_calls(case.server(), &["epoll_wait"]);
    });
}

#[test]
fn data_not_read() {
    check("data-not-read", |case| {
        check_close_wait(case, 11);
        assert_eq!(case.accepted(Established), 1);
        system_calls(case.server(), &["accept", "recvfrom"]);
    });
}

#[test]
fn read_not_closed() {
    check("read-not-closed", |case| {
        check_close_wait(case, 0);
        assert_eq!(registrations(case.server()).len(), 1, "the listener");
        system_calls(case.server(), &["epoll_wait"]);
    });
}

#[test]
fn held_by_another_process() {
    check("held-by-another-process", |case| {
        let [helper] = case.workers()[..] else {
            panic!("not one helper")
        };
        let rows = case.at_server(CloseWait);
        assert_eq!((rows.len(), case.recv_q(CloseWait)), (5, vec![1]));
        for row in rows {
            let inode = row.inode.unwrap().0;
            assert!(holds(helper, inode) && !holds(case.server(), inode));
        }
        assert!(holds(case.server(), case.listener()) && !holds(helper, case.listener()));
    });
}

#[test]
fn idle_pool_connection() {
    check("idle-pool-connection", |case| {
        let address = case.running.address();
        let pool = case.sockets.iter().filter(|row| row.state == CloseWait);
        let pool: Vec<_> = pool.collect();
        assert_eq!(pool.len(), 6);
        for connection in pool {
            assert_eq!(connection.remote, address);
            assert_eq!(connection.stream_queues(), Some((1, 0)));
            assert!(holds(case.server(), connection.inode.unwrap().0));
        }
        system_calls(case.server(), &["read"]);
    });
}

#[test]
fn close_wait_half_closed() {
    check("close-wait-half-closed", |case| {
        assert_eq!(
            (case.accepted(CloseWait), case.recv_q(CloseWait)),
            (3, vec![0])
        );
        let arrived = || -> u32 {
            let sockets = case.running.sockets().unwrap();
            let clients = sockets.iter().filter(|row| row.state == TcpState::FinWait2);
            clients.map(|row| row.stream_queues().unwrap().0).sum()
        };
        let before = arrived();
        thread::sleep(Duration::from_millis(200));
        assert!(arrived() > before, "the server does not go on");
    });
}

#[test]
fn dead_socket_leak() {
    check("dead-socket-leak", |case| {
        let known: Vec<u64> = case
            .sockets
            .iter()
            .map(|row| row.inode.unwrap().0)
            .collect();
        let dead = held_sockets(case.server());
        let dead = dead.iter().filter(|inode| !known.contains(inode));
        assert_eq!(dead.count(), 12);
        assert_eq!(case.sockets.len(), 1, "the listener");
    });
}

#[test]
fn descriptor_exhaustion() {
    check("descriptor-exhaustion", |case| {
        assert_eq!(
            (descriptors(case.server()).len(), case.accept_queue()),
            (54, 0)
        );
    });
}

#[test]
fn healthy() {
    check("healthy", |case| {
        for _ in 0..50 {
            drop(case.running.connect().unwrap());
        }
        eventually(
            "nothing but the listener and what the kernel winds up",
            || {
                let sockets = case.running.sockets().unwrap();
                let held = sockets.iter().filter(|row| row.inode.is_some());
                held.count() == 1 && !sockets.iter().any(|row| row.is_unaccepted())
            },
        );
        assert_eq!(threads(case.server()), 1);
        system_calls(case.server(), &["epoll_wait"]);
    });
}

#[test]
fn unconnected_sockets() {
    check("unconnected-sockets", |case| {
        let known: Vec<u64> = case
            .sockets
            .iter()
            .filter_map(|row| Some(row.inode?.0))
            .collect();
        let held = held_sockets(case.server());
        let in_no_table = held.iter().filter(|inode| !known.contains(inode));
        assert_eq!(in_no_table.count(), 23, "three fresh and twenty bound");
        assert_eq!(case.accepted(Established), 20);
    });
}

#[test]
fn prefork() {
    check("prefork", |case| {
        assert_eq!((case.accept_queue(), case.accepted(Established)), (3, 2));
        assert_eq!(case.workers().len(), 2);
        for pid in case.running.pids() {
            assert!(holds(pid, case.listener()), "{pid}");
        }
        system_calls(case.server(), &["wait4"]);
        for worker in case.workers() {
            system_calls(worker, &["recvfrom"]);
        }
    });
}

#[test]
fn gone_in_queue() {
    check("gone-in-queue", |case| {
        assert_eq!((case.accept_queue(), case.unaccepted(Established)), (6, 4));
        assert_eq!(case.at_server(TcpState::Close).len(), 0, "in no table");
        system_calls(case.server(), &["futex"]);
    });
}

#[test]
fn reuseport_member_stuck() {
    check("reuseport-member-stuck", |case| {
        let rows = case.at_server(Listen);
        let [a, b] = rows[..] else {
            panic!("not two listeners")
        };
        let is_stuck = |row: &SocketEntry| {
            matches!(
                row.queues,
                Queues::Listen {
                    accept_queue: 1..,
                    ..
                }
            )
        };
        let (stuck, fine) = if is_stuck(a) { (a, b) } else { (b, a) };
        let inode = |row: &SocketEntry| row.inode.unwrap().0;
        let [worker] = case.workers()[..] else {
            panic!("not one worker")
        };
        assert!(is_stuck(stuck) && !is_stuck(fine));
        assert!(holds(case.server(), inode(stuck)) && !holds(worker, inode(stuck)));
        assert!(holds(worker, inode(fine)) && !holds(case.server(), inode(fine)));
        assert_eq!(
            case.unaccepted(Established) + case.accepted(Established),
            24
        );
    });
}

#[test]
fn dual_stack() {
    check("dual-stack", |case| {
        let port = case.running.address().port();
        let waiting = case.sockets.iter().filter(|row| row.is_unaccepted());
        let waiting: Vec<_> = waiting.filter(|row| row.local.port() == port).collect();
        let mapped = waiting.iter().filter(|row| {
            row.family == Family::V6 && row.local.ip().to_canonical() == Ipv4Addr::LOCALHOST
        });
        assert_eq!(
            (case.accept_queue(), waiting.len(), mapped.count()),
            (4, 4, 3)
        );
    });
}

#[test]
fn every_case_is_tested_and_found_by_its_id() {
    let source = include_str!("scenarios.rs");
    for scenario in scenario::ALL {
        assert!(std::ptr::eq(
            scenario::find(scenario.id).unwrap(),
            *scenario
        ));
        assert!(
            source.contains(&format!("check(\"{}\"", scenario.id)),
            "{}",
            scenario.id
        );
        assert!(scenario.finding.is_some() || scenario.cause.is_none());
    }
}
