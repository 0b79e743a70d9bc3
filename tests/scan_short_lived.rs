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

use support::clock::EndWithOwner;
use support::in_own_namespace;
use support::scan::{accepted, report, scan};
use support::sockets::{LOOPBACK, connection, listen_at};

/// The holder of a socket is one of the processes that it was given to, or the test itself, which
/// hands it on. A socket that is closed with its holder, while that is looked for, is in nobody's
/// hands for a good reason and not shown.
#[test]
fn holders_that_end_meanwhile() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    const PROCESSES: usize = 100;
    let listener = listen_at(LOOPBACK).open().unwrap();
    // Locked while a process is started and while a scan runs: processes end during a scan, and
    // none begins. One that begins is in no list of processes that was made before.
    let pids = Mutex::new(BTreeSet::from([std::process::id()]));
    let end = AtomicBool::new(false);
    let (mut scans, mut ownerless, mut holders) = (0, 0, BTreeSet::new());
    thread::scope(|scope| {
        let churn = scope.spawn(|| {
            for _ in 0..PROCESSES {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                let (client, accepted) = connection(&listener);
                drop(client);
                let mut command = Command::new("/bin/sleep");
                command.arg("0.01");
                command.stdin(Stdio::from(OwnedFd::from(accepted)));
                let mut pids = pids.lock().unwrap();
                let mut child = command.spawn().unwrap();
                pids.insert(child.id());
                drop((pids, command));
                child.wait().unwrap();
            }
        });
        let _end = EndWithOwner(&end);
        while !churn.is_finished() {
            let known = pids.lock().unwrap();
            let snapshot = scan();
            for held in &snapshot.descriptors {
                assert!(known.contains(&held.process.pid), "{held:?}");
                holders.insert(held.process.pid);
            }
            drop(known);
            let table = report(&snapshot).table;
            let nobody = accepted(&table)
                .iter()
                .any(|socket| socket.holders.is_empty());
            ownerless += usize::from(nobody);
            scans += 1;
            thread::yield_now();
        }
    });
    let seen = format!(
        "{scans} scans, {ownerless} with ownerless sockets, {} holders",
        holders.len()
    );
    assert!(holders.len() > 3, "{seen}");
    // Between giving up its descriptors and closing them a process may be seen without them.
    assert!(ownerless * 20 <= scans, "{seen}");
}
