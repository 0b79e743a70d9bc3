//! Who holds a socket: every process and every descriptor, and nobody else. Facts W7, O6 and O7.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

mod support;

use std::collections::BTreeSet;
use std::fs::create_dir_all;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use tcpleak::collect::SourceChoice;
use tcpleak::join::{FarEnd, Filter};
use tcpleak::model::{Direction, Fact, FindingId, ProcessId, Subject};
use tcpleak::report::Report;

use support::clock::{Moment, eventually};
use support::command::{Ended, at_port, tcpleak};
use support::in_own_namespace;
use support::scan::{
    Directory, LOWERED, OLD, accepted, descriptors_of, findings, held_by, listener_of, only,
    report, request, scan, start,
};
use support::sockets::{LOOPBACK, connection, listen_at};

/// Waits until every accepted CLOSE_WAIT socket is old enough for a finding.
fn wait_until_old(sockets: usize) {
    eventually("old sockets in CLOSE_WAIT", || {
        let snapshot = scan();
        let table = report(&snapshot).table;
        let old = accepted(&table)
            .iter()
            .filter(|socket| socket.age.is_some_and(|age| age >= OLD))
            .count();
        (old == sockets).then_some(())
    });
}

#[test]
fn every_process_of_a_prefork_server_holds_its_listener() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let case = start("prefork");
    let snapshot = scan();
    let report = report(&snapshot);
    let listener = listener_of(&report.table, &case);
    let inode = listener.entry.inode.unwrap().0;
    let mut expect: Vec<(u32, Vec<i32>)> = case
        .pids()
        .into_iter()
        .map(|pid| (pid, descriptors_of(pid, inode)))
        .collect();
    expect.sort_unstable();
    assert_eq!((expect.len(), held_by(&listener.holders)), (3, expect));
}

#[test]
fn a_child_that_keeps_what_its_parent_closed_is_the_holder() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let case = start("held-by-another-process");
    let [server, helper] = case.pids()[..] else {
        panic!("not a server and its helper")
    };
    wait_until_old(5);
    let snapshot = scan();
    let report = report(&snapshot);
    let sockets = accepted(&report.table);
    assert_eq!(sockets.len(), 5);
    for socket in sockets {
        let fds = descriptors_of(helper, socket.entry.inode.unwrap().0);
        assert_eq!(fds.len(), 1);
        assert_eq!(held_by(&socket.holders), [(helper, fds)]);
    }
    let leak = only(findings(&report, FindingId::CloseWaitLeak).into_iter());
    assert!(matches!(
        leak.subject,
        Subject::Connections { holder: Some(ProcessId { pid, .. }), .. } if pid == helper
    ));
    assert!(
        leak.summary.contains(&format!("(pid {helper})")),
        "{}",
        leak.summary
    );
    assert!(
        !leak.summary.contains(&format!("pid {server}")),
        "{}",
        leak.summary
    );
}

/// 23 accepted sockets of another process: its pid, all of its descriptors, what is unread.
fn check_leak(id: &str, recv_q: u32) {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let case = start(id);
    wait_until_old(23);
    let snapshot = scan();
    let report = report(&snapshot);
    let sockets = accepted(&report.table);
    let mut seen = BTreeSet::<i32>::new();
    for socket in &sockets {
        assert_eq!(socket.entry.local, case.address());
        assert_eq!(socket.entry.stream_queues(), Some((recv_q, 0)));
        let fds = descriptors_of(case.server_pid(), socket.entry.inode.unwrap().0);
        seen.extend(&fds);
        assert_eq!(held_by(&socket.holders), [(case.server_pid(), fds)]);
    }
    assert_eq!((sockets.len(), seen.len()), (23, 23));

    let at_port = at_port(case.address());
    let outcome = tcpleak(&format!("scan --json --close-wait-age 200ms {at_port}"));
    assert_eq!(outcome.status, 1, "{outcome:?}");
    let json = outcome.json();
    let finding = only(json["findings"].as_array().unwrap().iter());
    assert_eq!(
        (&finding["id"], &finding["severity"], &finding["count"]),
        (&json!("close-wait-leak"), &json!("warning"), &json!(23))
    );
    assert_eq!(finding["subject"]["pid"], json!(case.server_pid()));
    let rows = json["close_wait"].as_array().unwrap();
    let fds = |row: &serde_json::Value| row["holders"][0]["fds"][0].as_i64().unwrap();
    let fds: BTreeSet<i64> = rows.iter().map(fds).collect();
    assert_eq!(fds, seen.into_iter().map(i64::from).collect());
    let is_right = |row: &serde_json::Value| {
        row["accepted"] == json!(true)
            && row["unread_bytes"] == json!(recv_q.saturating_sub(1))
            && row["fin_unread"] == json!(recv_q > 0)
            && row["age_ms"].as_u64().unwrap() >= 200
    };
    assert!(rows.iter().all(is_right), "{rows:?}");
    // By default ten seconds are no age.
    assert_eq!(tcpleak(&format!("scan {at_port}")).status, 0);
}

#[test]
fn another_process_has_read_everything_and_closed_nothing() {
    check_leak("read-not-closed", 0);
}

#[test]
fn another_process_has_not_read_the_end_of_file() {
    check_leak("eof-not-read", 1);
}

#[test]
fn another_process_has_not_read_the_data() {
    check_leak("data-not-read", 11);
}

#[test]
fn a_pool_of_outbound_connections_is_told_by_its_far_end() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let case = start("idle-pool-connection");
    wait_until_old(6);
    let snapshot = scan();
    let report = report(&snapshot);
    for socket in accepted(&report.table) {
        assert_eq!(socket.entry.remote, case.address());
        assert_eq!(socket.direction, Some(Direction::Outbound));
        assert!(socket.listener.is_none());
        // The server's end has no descriptor any more, and the kernel has not forgotten it yet.
        let Fact::Known(FarEnd::Here(far)) = socket.far_end else {
            panic!("{:?}", socket.far_end)
        };
        assert_eq!((far.local, far.inode), (socket.entry.remote, None));
    }
    let leak = only(findings(&report, FindingId::CloseWaitLeak).into_iter());
    let endpoint = case.address().to_string();
    assert!(matches!(
        &leak.subject,
        Subject::Connections { endpoint: seen, .. } if *seen == endpoint
    ));
}

/// For as long as the server goes on sending, whether the client's last word is old or not.
#[test]
fn a_half_closed_connection_that_is_being_answered_is_no_leak() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let case = start("close-wait-half-closed");
    let began = Moment::of(|| ()).1;
    for tenths in 1..=15 {
        began.wait_until_aged(Duration::from_millis(100 * tenths));
        let snapshot = scan();
        let report = Report::new(&snapshot, &LOWERED, &Filter::default());
        assert_eq!(accepted(&report.table).len(), 3);
        let leaks = findings(&report, FindingId::CloseWaitLeak);
        assert!(
            leaks.is_empty(),
            "after {tenths} tenths of a second: {leaks:?}"
        );
    }
    let at_port = at_port(case.address());
    let outcome = tcpleak(&format!("scan --json --close-wait-age 200ms {at_port}"));
    assert_eq!(outcome.status, 0, "{outcome:?}");
    let finding = &outcome.json()["findings"][0];
    assert_eq!(finding["id"], json!("close-wait-half-closed"));
    assert!(
        finding["summary"]
            .to_string()
            .contains(&case.server_pid().to_string())
    );
}

/// A program that has `descriptor` as its standard input and sleeps.
fn sleeper(program: impl AsRef<std::ffi::OsStr>, descriptor: impl Into<OwnedFd>) -> Ended {
    let child = Command::new(program)
        .arg("60")
        .stdin(Stdio::from(descriptor.into()))
        .spawn();
    Ended(child.unwrap())
}

#[test]
fn a_name_with_escape_sequences_is_shown_harmlessly() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    // What /proc/PID/stat has to be read around too: brackets, spaces, a line end.
    const NAME: &str = "\u{1b}[2J) R\n\u{1b}[31m";
    let directory = Directory::new("names");
    let program = directory.0.join(NAME);
    symlink("/bin/sleep", &program).unwrap();
    let listener = listen_at(LOOPBACK).open().unwrap();
    let (client, accepted_end) = connection(&listener);
    drop(client);
    let sleeper = sleeper(&program, accepted_end);
    wait_until_old(1);
    for arguments in [
        "scan --close-wait-age 200ms --sockets --all --color always",
        "list",
        "scan --close-wait-age 200ms --json",
        "list --json",
    ] {
        let outcome = tcpleak(arguments);
        assert!(
            outcome.stdout.contains(&sleeper.0.id().to_string()),
            "{outcome:?}"
        );
        for sequence in ["\u{1b}[2J", "\u{1b}[31m) R", "R\n\u{1b}"] {
            assert!(
                !outcome.stdout.contains(sequence),
                "{arguments}: {outcome:?}"
            );
        }
    }
    let json = tcpleak("scan --close-wait-age 200ms --json").json();
    assert_eq!(json["close_wait"][0]["holders"][0]["comm"], json!(NAME));
}

/// A `/proc` in which one process has ended since it was listed.
#[test]
fn a_process_that_vanished_is_counted_and_hides_nobody() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    const VANISHED: &str = "4194305"; // One more than PID_MAX_LIMIT.
    let directory = Directory::new("proc");
    let own = std::process::id().to_string();
    for name in [own.as_str(), VANISHED, "1", "self", "thread-self", "sys"] {
        let target = PathBuf::from("/proc").join(name);
        symlink(target, directory.0.join(name)).unwrap();
    }
    let case = start("eof-not-read");
    let server = case.server_pid().to_string();
    symlink(format!("/proc/{server}"), directory.0.join(&server)).unwrap();
    let snapshot = tcpleak::collect::collect(&tcpleak::collect::Request {
        source: SourceChoice::Proc, // Of a copy, which this is.
        proc_root: directory.0.clone(),
        ..request()
    });
    let snapshot = snapshot.unwrap();
    let report = report(&snapshot);
    let coverage = &snapshot.coverage;
    assert_eq!(
        (coverage.processes_total, coverage.processes_vanished),
        (4, 1)
    );
    assert!(coverage.processes_read >= 2);
    for socket in accepted(&report.table) {
        let pids: Vec<u32> = socket.holders.iter().map(|holder| holder.id.pid).collect();
        assert_eq!(pids, [case.server_pid()]);
    }
}

/// A `/proc` in which the server's descriptors are only where two rare kinds of holders have them:
/// at a thread other than the first, which has ended, and in an io_uring. Seen on Linux 6.18.
#[test]
fn an_ended_first_thread_and_a_ring_hide_no_holder() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let case = start("eof-not-read");
    let server = case.server_pid();
    let inodes: Vec<u64> = {
        let snapshot = scan();
        let table = report(&snapshot).table;
        let inodes = accepted(&table).into_iter().map(|row| row.entry.inode);
        inodes.map(|inode| inode.unwrap().0).collect()
    };
    let directory = Directory::new("proc-hidden");
    for name in ["self", "thread-self", "sys"] {
        symlink(PathBuf::from("/proc").join(name), directory.0.join(name)).unwrap();
    }
    let process = |pid: &str| {
        let path = directory.0.join(pid);
        create_dir_all(path.join("fd")).unwrap();
        create_dir_all(path.join("fdinfo")).unwrap();
        create_dir_all(path.join("task").join(pid).join("fd")).unwrap();
        symlink(format!("/proc/{server}/stat"), path.join("stat")).unwrap();
        path
    };
    let thread = process("4194305").join("task/4194306/fd");
    create_dir_all(&thread).unwrap();
    symlink(format!("socket:[{}]", inodes[0]), thread.join("7")).unwrap();
    let ring = process("4194307");
    symlink("anon_inode:[io_uring]", ring.join("fd/5")).unwrap();
    let registered = format!("UserFiles:\t1\n    0: socket:[{}]\n", inodes[1]);
    std::fs::write(ring.join("fdinfo/5"), registered).unwrap();
    let snapshot = tcpleak::collect::collect(&tcpleak::collect::Request {
        source: SourceChoice::Proc, // Of a copy, which this is.
        proc_root: directory.0.clone(),
        ..request()
    });
    let snapshot = snapshot.unwrap();
    let held = |inode: u64| -> Vec<(u32, i32)> {
        let descriptors = snapshot.descriptors.iter();
        let of_it = descriptors.filter(|held| held.inode.0 == inode);
        of_it.map(|held| (held.process.pid, held.fd)).collect()
    };
    assert_eq!(held(inodes[0]), [(4_194_305, 7)]);
    assert_eq!(held(inodes[1]), [(4_194_307, 5)]);
    assert_eq!(held(inodes[2]), []);
}
