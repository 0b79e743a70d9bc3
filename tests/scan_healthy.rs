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
use support::scan::{findings_here, request, start};
use support::sockets::connect;

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
