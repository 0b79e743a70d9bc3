//! Nothing is reported on a server without a fault, however fast its clients come and go.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

mod support;

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tcpleak::collect::{Request, collect};
use tcpleak::diagnose::Thresholds;
use tcpleak::join::Filter;
use tcpleak::model::Severity;
use tcpleak::report::Report;

use support::clock::{EndWithOwner, PAUSE, eventually};
use support::in_own_namespace;
use support::scan::{LOWERED, findings_here, request, start};
use support::sockets::{LOOPBACK, connect, listen_at, reset};

#[test]
fn ten_scans_of_a_correct_server_in_a_storm() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    /// Each leaves a TIME_WAIT entry; the namespace has 28,000 ports for all ten scans.
    const CLIENTS_A_SCAN: usize = 2_500;
    let case = start("healthy");
    let address = case.address();
    let (gone, allowed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let end = AtomicBool::new(false);
    let count = || gone.load(Ordering::Relaxed);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !end.load(Ordering::Relaxed) {
                if count() >= allowed.load(Ordering::Relaxed) {
                    thread::sleep(PAUSE);
                    continue;
                }
                let mut client = connect(address);
                client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
                drop(client);
                gone.fetch_add(1, Ordering::Relaxed);
            }
        });
        let _end = EndWithOwner(&end);
        let mut during_scans = 0;
        for scan in 1..=10 {
            let before = allowed.fetch_add(CLIENTS_A_SCAN, Ordering::Relaxed);
            eventually("a storm", || (count() > before + 10).then_some(()));
            let as_the_command = Request {
                accept_age: Thresholds::default().accept_age,
                settle: Duration::from_millis(250),
                ..request()
            };
            let at_begin = count();
            let snapshot = collect(&as_the_command).unwrap();
            during_scans += count() - at_begin;
            let report = Report::new(&snapshot, &Thresholds::default(), &Filter::default());
            assert_eq!(report.listeners_seen(), 1);
            assert!(report.table.strays.is_empty(), "{:?}", report.table.strays);
            for finding in findings_here(&report, &case.pids()) {
                assert_eq!(finding.severity, Severity::Info, "scan {scan}: {finding:?}");
            }
            eventually("its end", || {
                (count() == before + CLIENTS_A_SCAN).then_some(())
            });
        }
        assert!(
            during_scans > 100,
            "{during_scans} clients during ten scans"
        );
    });
}

/// As health checks do that reset: the queue has as many slots all the time, none of them with a
/// connection that any table shows, and is taken from all the time.
#[test]
fn a_queue_of_reset_connections_that_is_taken_from() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    const SLOTS: usize = 40;
    const AGE: Duration = Duration::from_millis(500);
    let listener = listen_at(LOOPBACK).open().unwrap();
    let address = listener.local_addr().unwrap();
    let come_and_reset = || reset(connect(address));
    (0..SLOTS).for_each(|_| come_and_reset());
    let end = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !end.load(Ordering::Relaxed) {
                come_and_reset();
                thread::sleep(PAUSE);
                drop(listener.accept().unwrap());
                thread::sleep(PAUSE);
            }
        });
        let _end = EndWithOwner(&end);
        for scan in 1..=5 {
            let watched = Request {
                accept_age: AGE,
                settle: Duration::from_millis(100),
                ..request()
            };
            let snapshot = collect(&watched).unwrap();
            let thresholds = Thresholds {
                accept_age: AGE,
                ..LOWERED
            };
            let report = Report::new(&snapshot, &thresholds, &Filter::default());
            let queue = report.table.listeners[0].accept_queue as usize;
            assert!((SLOTS..=SLOTS + 1).contains(&queue), "{queue}");
            for finding in findings_here(&report, &[]) {
                assert_eq!(finding.severity, Severity::Info, "scan {scan}: {finding:?}");
            }
        }
    });
}
