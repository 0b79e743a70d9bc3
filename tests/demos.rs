//! Every scenario, scanned as `tcpleak demo` scans it: the finding and the cause that it was made
//! for, and no other cause before it.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

mod support;

use std::time::Duration;

use tcpleak::collect::{Request, collect};
use tcpleak::join::Filter;
use tcpleak::model::{Finding, Severity, Snapshot};
use tcpleak::report::Report;
use tcpleak::scenario::{self, Running, Scenario};

use support::clock::eventually;
use support::in_own_namespace;
use support::scan::{LOWERED, OLD, request, start};

/// Between two looks at queues: as long as the program's own default.
const SETTLE: Duration = Duration::from_millis(250);

/// What is said about this case alone: other tests have processes on this machine too.
fn findings(snapshot: &Snapshot, running: &Running) -> Vec<Finding> {
    let by_process = ["dead-socket-leak", "descriptor-exhaustion"];
    let filter = match running.scenario().finding {
        Some(id) if by_process.contains(&id) => Filter {
            pids: running.pids(),
            ..Filter::default()
        },
        _ => Filter {
            ports: vec![running.address().port()..=running.address().port()],
            ..Filter::default()
        },
    };
    Report::new(snapshot, &LOWERED, &filter).findings
}

/// The finding of that kind with that cause, once the case's sockets are old enough.
fn finding_of(scenario: &'static Scenario, running: &Running) -> Finding {
    let id = scenario.finding.unwrap();
    eventually(id, || {
        let request = Request {
            settle: SETTLE,
            ..request()
        };
        let snapshot = collect(&request).unwrap();
        let found = findings(&snapshot, running);
        let found = found
            .into_iter()
            .find(|finding| finding.id.as_str() == id)?;
        // A backlog is a backlog from the first moment, but one that moves only when it is old.
        let old = found.oldest.is_none_or(|oldest| oldest >= OLD);
        old.then_some(found)
    })
}

fn check(id: &str) {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let running = start(id);
    let scenario = running.scenario();
    let finding = finding_of(scenario, &running);
    let cause = finding.cause.as_ref().map(|cause| cause.id.as_str());
    assert_eq!(cause, scenario.cause, "{finding:#?}");
    if finding.severity > Severity::Info {
        assert!(!finding.remedy.is_empty(), "{finding:#?}");
        assert!(!finding.confirm.is_empty(), "{finding:#?}");
        assert!(!finding.evidence.is_empty(), "{finding:#?}");
    }
}

macro_rules! cases {
    ($($name:ident = $id:literal,)+) => {
        $(#[test]
        fn $name() {
            check($id);
        })+

        /// Those with a test of their own below aside.
        const CHECKED: &[&str] = &[$($id,)+];
    };
}

cases! {
    edge_triggered_missed_wakeup = "edge-triggered-missed-wakeup",
    process_stopped = "process-stopped",
    fd_limit_reached = "fd-limit-reached",
    oneshot_not_rearmed = "oneshot-not-rearmed",
    listener_not_polled = "listener-not-polled",
    acceptor_blocked = "acceptor-blocked",
    acceptor_busy = "acceptor-busy",
    accept_queue_backlog = "accept-queue-backlog",
    accept_queue_overflow = "accept-queue-overflow",
    eof_not_read = "eof-not-read",
    data_not_read = "data-not-read",
    read_not_closed = "read-not-closed",
    held_by_another_process = "held-by-another-process",
    idle_pool_connection = "idle-pool-connection",
    close_wait_half_closed = "close-wait-half-closed",
    dead_socket_leak = "dead-socket-leak",
    descriptor_exhaustion = "descriptor-exhaustion",
    gone_in_queue = "gone-in-queue",
    prefork = "prefork",
    reuseport_member_stuck = "reuseport-member-stuck",
    dual_stack = "dual-stack",
}

/// Nobody holds it; but that may be said only where every process could be read.
#[test]
fn no_holder_is_said_only_with_complete_coverage() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let running = start("no-holder");
    let finding = finding_of(running.scenario(), &running);
    let snapshot = collect(&request()).unwrap();
    let expect = if snapshot.coverage.owners_complete() {
        "no-holder"
    } else {
        "unknown"
    };
    assert_eq!(finding.cause.as_ref().unwrap().id.as_str(), expect);
}

#[test]
fn narrowed_to_its_holder_a_listener_keeps_what_waits_there() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let running = start("edge-triggered-missed-wakeup");
    let snapshot = collect(&request()).unwrap();
    let waiting = |pid| {
        let filter = Filter {
            pids: vec![pid],
            ..Filter::default()
        };
        Report::new(&snapshot, &LOWERED, &filter)
            .table
            .close_wait
            .len()
    };
    assert_eq!(waiting(running.server_pid()), 8);
    assert_eq!(waiting(std::process::id()), 0);
}

#[test]
fn nothing_is_found_on_what_is_healthy() {
    let healthy = scenario::ALL
        .iter()
        .filter(|scenario| scenario.finding.is_none());
    for scenario in healthy {
        let Some(_namespace) = in_own_namespace() else {
            return;
        };
        let running = start(scenario.id);
        let snapshot = collect(&request()).unwrap();
        let found = findings(&snapshot, &running);
        assert!(found.is_empty(), "{}: {found:#?}", scenario.id);
    }
}

#[test]
fn no_case_is_left_out() {
    for scenario in scenario::ALL {
        let checked = CHECKED.contains(&scenario.id)
            || scenario.id == "no-holder"
            || scenario.finding.is_none();
        assert!(checked, "{} is not checked here", scenario.id);
    }
}
