//! Holders that end while they are looked for.
//!
//! Alone in its file: a process that another test starts would, between fork and exec, hold the
//! sockets of this one.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

mod support;

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tcpleak::diagnose::Thresholds;
use tcpleak::join::Filter;
use tcpleak::report::Report;

use support::clock::EndWithOwner;
use support::in_own_namespace;
use support::scan::scan;
use support::sockets::{LOOPBACK, connection, listen_at};

/// The holder of a socket is one of the processes that it was given to, or the test itself, which
/// hands it on; and nobody is said not to hold it.
#[test]
fn short_lived_holders() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    const PROCESSES: usize = 100;
    const EVERYTHING: Thresholds = Thresholds {
        accept_age: Duration::ZERO,
        close_wait_age: Duration::ZERO,
    };
    let listener = listen_at(LOOPBACK).open().unwrap();
    let pids = Mutex::new(BTreeSet::from([std::process::id()]));
    let end = AtomicBool::new(false);
    let mut empty = 0;
    let (mut scans, mut holders, mut alarms) = (0, BTreeSet::new(), Vec::new());
    thread::scope(|scope| {
        let churn = scope.spawn(|| {
            for _ in 0..PROCESSES {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                let (client, accepted) = connection(&listener);
                drop(client);
                let mut command = Command::new("/bin/sleep");
                command
                    .arg("0.01")
                    .stdin(Stdio::from(OwnedFd::from(accepted)));
                // Locked meanwhile: whoever has seen the process finds it in the set.
                let mut pids = pids.lock().unwrap();
                let mut child = command.spawn().unwrap();
                pids.insert(child.id());
                drop((pids, command));
                child.wait().unwrap();
            }
        });
        let _end = EndWithOwner(&end);
        while !churn.is_finished() {
            let snapshot = scan();
            let report = Report::new(&snapshot, &EVERYTHING, &Filter::default());
            let known = pids.lock().unwrap().clone();
            for held in &snapshot.descriptors {
                assert!(known.contains(&held.process.pid), "{held:?}");
                holders.insert(held.process.pid);
            }
            let summaries = report.findings.iter().map(|finding| &finding.summary);
            alarms.extend(
                summaries
                    .filter(|text| text.contains("no process"))
                    .cloned(),
            );
            scans += 1;
            if report
                .table
                .close_wait
                .iter()
                .any(|c| c.accepted && c.holders.is_empty())
            {
                empty += 1;
            }
        }
    });
    eprintln!(
        "{scans} scans, {empty} ownerless, {} holders, {} alarms: {:?}",
        holders.len(),
        alarms.len(),
        alarms.first()
    );
    assert!(
        scans > 3 && holders.len() > 3,
        "{scans} scans saw {holders:?}"
    );
}
