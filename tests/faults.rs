//! System calls that fail, made to by strace: what the program does then, and what it says.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]
#![expect(clippy::print_stderr, reason = "a test that cannot run has to say so")]

mod fault;
mod support;

use std::process::{Command, Stdio};

use fault::{Scene, Tally, View};
use support::clock::eventually;
use support::command::{self, Outcome};
use support::in_own_namespace;
use support::scan::start;
use tcpleak::scenario::Running;

/// There is an strace; where tests have to run, it has to be there.
fn strace_is_there() -> bool {
    let version = Command::new("strace")
        .arg("-V")
        .stdout(Stdio::null())
        .status();
    let there = version.is_ok_and(|status| status.success());
    if !there {
        let required = std::env::var_os("TCPLEAK_REQUIRE_KERNEL").is_some_and(|value| value == "1");
        assert!(!required, "no strace for this test");
        eprintln!("NOT TESTED: needs strace");
    }
    there
}

/// `tcpleak scan` of the case, old or not, while `call` fails as `fault` says.
fn scan(running: &Running, call: &str, fault: &str, arguments: &str) -> Outcome {
    let port = running.address().port();
    let mut traced = Command::new("strace");
    traced
        .args(["-f", "-qq", "-o", "/dev/null", "-e"])
        .arg(format!("trace={call}"))
        .args(["-e", &format!("inject={call}:{fault}")])
        .arg(env!("CARGO_BIN_EXE_tcpleak"))
        .args([
            "scan",
            "--netns",
            "self",
            "--accept-age",
            "200ms",
            "--port",
            &port.to_string(),
        ])
        .args(arguments.split_whitespace());
    command::run(&mut traced)
}

/// The first line that is printed once the connections are old enough.
fn first_line(running: &Running, call: &str, fault: &str, starts: &str) -> Outcome {
    eventually(starts, || {
        let outcome = scan(running, call, fault, "");
        outcome.stdout.starts_with(starts).then_some(outcome)
    })
}

#[test]
fn without_sock_diag_proc_is_read_and_the_queue_watched() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    if !strace_is_there() {
        return;
    }
    let running = start("edge-triggered-missed-wakeup");
    for fault in ["error=EPROTONOSUPPORT", "error=EPERM"] {
        let outcome = first_line(&running, "socket", fault, "CRITICAL   8 connections wait");
        assert!(
            outcome.stdout.contains("8 of an unknown limit"),
            "{outcome:?}"
        );
        assert!(
            outcome
                .stdout
                .contains("likely edge-triggered-missed-wakeup"),
            "{outcome:?}"
        );
        assert!(
            outcome.stderr.contains("sock_diag cannot be had"),
            "{outcome:?}"
        );
        assert_eq!(outcome.status, 1);
    }
    // A socket that can be made, and a kernel that does not answer it.
    let outcome = first_line(
        &running,
        "sendto",
        "error=EPERM",
        "CRITICAL   8 connections wait",
    );
    assert!(
        outcome.stderr.contains("send: Operation not permitted"),
        "{outcome:?}"
    );
}

#[test]
fn sock_diag_or_nothing_is_an_error_without_it() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    if !strace_is_there() {
        return;
    }
    let running = start("healthy");
    let outcome = scan(&running, "socket", "error=EPERM", "--source sock_diag");
    assert_eq!((outcome.status, outcome.stdout.as_str()), (2, ""));
    assert!(
        outcome.stderr.contains("socket: Operation not permitted"),
        "{outcome:?}"
    );
}

#[test]
fn signals_do_not_cut_a_dump_short() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    if !strace_is_there() {
        return;
    }
    let running = start("edge-triggered-missed-wakeup");
    let interrupted = "error=EINTR:when=1..9+2";
    let outcome = first_line(
        &running,
        "recvfrom",
        interrupted,
        "CRITICAL   8 connections wait",
    );
    assert!(!outcome.stderr.contains("sock_diag"), "{outcome:?}");
}

#[test]
fn what_may_not_be_read_is_a_gap_and_not_nobody() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    if !strace_is_there() {
        return;
    }
    let running = start("edge-triggered-missed-wakeup");
    let outcome = first_line(
        &running,
        "getdents64",
        "error=EACCES",
        "CRITICAL   8 connections",
    );
    assert!(
        outcome.stdout.contains("its holder could not be seen"),
        "{outcome:?}"
    );
    assert!(
        !outcome.stdout.contains("no process holds it"),
        "{outcome:?}"
    );
    assert!(outcome.stdout.contains("cause unknown"), "{outcome:?}");
    assert!(outcome.stderr.contains("not seen"), "{outcome:?}");
}

/// Every call of a scan with every error it can end with; here each so many-th of these pairs, and
/// with `TCPLEAK_FAULTS=every` all of them, and a table of what became of them.
fn check_every_fault(view: View) {
    const EACH: usize = 61;
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    if !strace_is_there() {
        return;
    }
    let Some(scene) = Scene::new(view) else {
        return;
    };
    let all = std::env::var_os("TCPLEAK_FAULTS").is_some_and(|value| value == "every");
    let calls = scene.calls();
    let with_faults = |call| fault::faults_of(call).into_iter().map(move |it| (call, it));
    let pairs = calls.iter().flat_map(with_faults);
    let pairs: Vec<_> = pairs.step_by(if all { 1 } else { EACH }).collect();
    assert!(pairs.len() > 20, "so few: {pairs:?}");
    let (mut tally, mut wrong) = (Tally::default(), Vec::new());
    for (call, fault) in &pairs {
        let outcome = scene.scan(call, fault);
        match fault::judge(call, fault, &outcome, &scene.truth) {
            Ok(ending) => tally.count(call, fault, ending),
            Err(why) => wrong.push(format!("{fault} of {call}: {why}; {}", outcome.stderr)),
        }
    }
    if all {
        eprintln!("{view}, {} calls:\n{tally}", calls.len());
    }
    let count = wrong.len();
    assert!(
        count == 0,
        "{count} of {} are wrong:\n{}",
        pairs.len(),
        wrong.join("\n")
    );
}

#[test]
fn no_fault_makes_a_scan_lie() {
    check_every_fault(View::Inside);
}

#[test]
fn nor_one_of_another_namespace() {
    check_every_fault(View::Outside);
}

#[test]
fn nor_one_of_files() {
    check_every_fault(View::Files);
}
