//! One population through different eyes: sock_diag and `/proc/net/tcp`, live and from a recording,
//! to a reader and to a closed pipe.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use tcpleak::collect::{SourceChoice, collect};
use tcpleak::model::{Family, HeldDescriptor, Snapshot, SocketEntry, SocketSource, TcpState};
use tcpleak::scenario::Running;

use support::clock::eventually;
use support::command::{Ended, tcpleak, wait, words};
use support::in_own_namespace;
use support::scan::{Directory, every_socket, numbers, only, report, scan, start};
use support::sockets::{LOOPBACK, LOOPBACK6, connect, connection, listen_at};

/// What both sources know of a row.
type Row = (Family, TcpState, (u32, Option<u32>), Option<u64>, u32);

fn rows(snapshot: &Snapshot, limits: bool) -> BTreeMap<(SocketAddr, SocketAddr), Row> {
    let row = |entry: &SocketEntry| {
        let (first, second) = numbers(entry);
        // Only sock_diag knows the limit of a listener's queue.
        let second = second.filter(|_| limits || entry.state != TcpState::Listen);
        let inode = entry.inode.map(|inode| inode.0);
        let row = (entry.family, entry.state, (first, second), inode, entry.uid);
        ((entry.local, entry.remote), row)
    };
    let rows: BTreeMap<_, _> = snapshot.sockets.iter().map(row).collect();
    assert_eq!(
        rows.len(),
        snapshot.sockets.len(),
        "two rows of one connection"
    );
    rows
}

#[test]
fn both_sources_tell_the_same_of_every_row() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let cases = [
        start("edge-triggered-missed-wakeup"),
        start("dual-stack"),
        start("accept-queue-overflow"),
    ];
    let (v4, v6) = (
        listen_at(LOOPBACK).open().unwrap(),
        listen_at(LOOPBACK6).open().unwrap(),
    );
    let kept: Vec<_> = [&v4, &v6, &v4, &v6].map(connection).into_iter().collect();
    (&kept[0].0).write_all(b"unread").unwrap();
    (&kept[1].1).write_all(b"unread").unwrap();
    kept[2].0.shutdown(Shutdown::Write).unwrap();
    kept[3].1.shutdown(Shutdown::Write).unwrap();
    let (client, accepted) = connection(&v6);
    drop(client);
    drop(accepted); // Leaves a TIME_WAIT entry.
    let queued = connect(v4.local_addr().unwrap());

    let (sock_diag, proc) = eventually("the same from both", || {
        let sock_diag = collect(&every_socket(SourceChoice::SockDiag)).unwrap();
        let proc = collect(&every_socket(SourceChoice::Proc)).unwrap();
        // A segment may still be on its way.
        (rows(&sock_diag, false) == rows(&proc, false)).then_some((sock_diag, proc))
    });
    assert_eq!(sock_diag.socket_source(), SocketSource::SockDiag);
    assert_eq!(proc.socket_source(), SocketSource::ProcNetTcp);
    for state in [
        TcpState::Listen,
        TcpState::Established,
        TcpState::CloseWait,
        TcpState::FinWait2,
        TcpState::TimeWait,
        TcpState::SynSent,
    ] {
        assert!(proc.sockets.iter().any(|row| row.state == state), "{state}");
    }
    for row in &proc.sockets {
        assert_eq!(
            (row.cookie, row.info, row.drops, row.shutdown),
            (None, None, None, None)
        );
    }
    assert!(sock_diag.sockets.iter().all(|row| row.cookie.is_some()));
    // The same holders, too; of those that are known, since a process that another test starts
    // has every descriptor of this one between fork and exec.
    let mut pids: Vec<u32> = cases.iter().flat_map(Running::pids).collect();
    pids.push(std::process::id());
    let held = |snapshot: &Snapshot| -> Vec<HeldDescriptor> {
        let held = snapshot.descriptors.iter().copied();
        held.filter(|held| pids.contains(&held.process.pid))
            .collect()
    };
    assert_eq!(held(&proc), held(&sock_diag));
    assert!(held(&proc).len() > 10);
    drop(queued);
}

#[test]
fn what_proc_cannot_know_is_null_and_is_said() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let queue = start("edge-triggered-missed-wakeup");
    let leak = start("eof-not-read");
    let outcome = tcpleak("scan --source proc --json");
    let json = outcome.json();
    assert_eq!(json["source"]["sockets"], json!("proc_net_tcp"));
    let port = json!(queue.address().port());
    let listeners = json["listeners"].as_array().unwrap();
    let listener = only(listeners.iter().filter(|one| one["local"]["port"] == port));
    for key in ["cookie", "backlog", "drops"] {
        assert_eq!(listener[key], Value::Null, "{key}");
    }
    assert_eq!(listener["accept_queue"], json!(8));
    assert_eq!(listener["holders"][0]["pid"], json!(queue.server_pid()));
    // No age was read: the same eight were seen for as long as --accept-age.
    assert_eq!(listener["movement"]["stayed"], json!(8));
    assert!(
        listener["oldest_wait_ms"].as_u64().unwrap() >= 1000,
        "{listener}"
    );
    assert_eq!(listener["verdict"], json!("accept-queue-leak"));
    assert_eq!(outcome.status, 1);

    let rows = json["close_wait"].as_array().unwrap();
    assert_eq!(rows.len(), 8 + 23);
    for row in rows {
        for key in ["cookie", "age_ms", "listener", "far_end"] {
            assert_eq!(row[key], Value::Null, "{key}");
        }
    }
    let accepted = rows.iter().filter(|row| row["accepted"] == json!(true));
    for row in accepted {
        assert_eq!(row["holders"][0]["pid"], json!(leak.server_pid()));
    }
    // Without an age it is no accusation.
    let findings = json["findings"].as_array().unwrap();
    let close_wait = findings
        .iter()
        .filter(|one| one["id"] == json!("close-wait-leak"));
    for finding in close_wait {
        assert_eq!(finding["severity"], json!("info"));
        assert_eq!(finding["oldest_ms"], Value::Null);
    }
    let text = tcpleak("scan --source proc");
    assert!(
        text.stdout.contains("for how long cannot be told"),
        "{text:?}"
    );
    let list = tcpleak("list --source proc --listening");
    assert!(
        list.stdout
            .lines()
            .skip(1)
            .all(|line| line.split_whitespace().nth(2) == Some("?"))
    );
}

#[test]
fn a_recording_gives_the_same_bytes() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let _cases = [
        start("edge-triggered-missed-wakeup"),
        start("eof-not-read"),
        start("gone-in-queue"),
    ];
    let directory = Directory::new("recording");
    let file = directory.0.join("snapshot");
    let file = file.to_str().unwrap();
    for options in [
        "--accept-age 100ms --close-wait-age 100ms --json",
        "--accept-age 100ms --close-wait-age 100ms --sockets --all",
        "--source proc --accept-age 100ms",
    ] {
        let live = tcpleak(&format!("scan --save {file} {options}"));
        let replay = tcpleak(&format!(
            "scan --from {file} {}",
            options.trim_start_matches("--source proc")
        ));
        assert_eq!(live.status, 1, "{live:?}");
        assert_eq!(live.stdout, replay.stdout, "{options}");
        assert_eq!(
            (live.status, live.stderr),
            (replay.status, replay.stderr),
            "{options}"
        );
    }
    // Cut anywhere: an error that names the file, and no report.
    let whole = fs::read(file).unwrap();
    for part in 1..8 {
        fs::write(file, &whole[..whole.len() * part / 8]).unwrap();
        let cut = tcpleak(&format!("scan --from {file}"));
        assert_eq!((cut.status, cut.stdout.as_str()), (2, ""), "{cut:?}");
        assert!(cut.stderr.contains(file), "{cut:?}");
    }
}

#[test]
fn a_closed_pipe_is_no_error() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let _case = start("edge-triggered-missed-wakeup");
    assert!(!report(&scan()).table.close_wait.is_empty());
    for arguments in [
        "scan",
        "scan --json",
        "scan --save -",
        "list",
        "list --json",
        "demo --list",
    ] {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let child = Command::new(env!("CARGO_BIN_EXE_tcpleak"))
            .args(words(arguments))
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn();
        let mut child = Ended(child.unwrap());
        let status = wait(&mut child.0);
        let said = io::read_to_string(child.0.stderr.take().unwrap()).unwrap();
        assert_eq!((status, said.as_str()), (0, ""), "{arguments}");
    }
}
