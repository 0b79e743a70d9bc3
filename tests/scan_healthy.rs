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

use support::clock::{EndWithOwner, eventually};
use support::in_own_namespace;
use support::scan::{request, start};
use support::sockets::connect;

#[test]
fn ten_scans_of_a_correct_server_in_a_storm() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    /// Each leaves a TIME_WAIT entry; the namespace has 28,000 ports for them.
    const CLIENTS_AT_MOST: usize = 20_000;
    const BETWEEN_SCANS: usize = 100;
    let case = start("healthy");
    let address = case.address();
    let (gone, end) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let storm = scope.spawn(|| {
            while !end.load(Ordering::Relaxed) && gone.load(Ordering::Relaxed) < CLIENTS_AT_MOST {
                connect(address)
                    .write_all(b"GET / HTTP/1.1\r\n\r\n")
                    .unwrap();
                gone.fetch_add(1, Ordering::Relaxed);
            }
        });
        let _end = EndWithOwner(&end);
        for scan in 1..=10 {
            eventually("a storm", || {
                (gone.load(Ordering::Relaxed) >= scan * BETWEEN_SCANS).then_some(())
            });
            let as_the_command = Request {
                accept_age: Thresholds::default().accept_age,
                settle: Duration::from_millis(250),
                ..request()
            };
            let snapshot = collect(&as_the_command).unwrap();
            let report = Report::new(&snapshot, &Thresholds::default(), &Filter::default());
            assert_eq!(report.listeners_seen(), 1);
            assert!(report.table.strays.is_empty(), "{:?}", report.table.strays);
            for finding in &report.findings {
                assert_eq!(finding.severity, Severity::Info, "scan {scan}: {finding:?}");
            }
        }
        assert!(!storm.is_finished(), "the storm was over before the scans");
    });
}
