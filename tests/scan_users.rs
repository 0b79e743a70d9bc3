//! What a plain user is told: everything that can be seen, what cannot and what would show it,
//! and never that nobody holds what somebody may hold. Fact O7.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

mod support;

use serde_json::{Value, json};

use support::clock::eventually;
use support::command::{Outcome, at_port, tcpleak, tcpleak_as_nobody};
use support::in_own_namespace;
use support::scan::{OLD, listener_of, only, report, scan, start};
use support::sockets::{LOOPBACK, listen_at};

const LOWERED: &str = "--accept-age 200ms --close-wait-age 200ms";

/// Whatever the format: it is named with the capability, and nothing unseen is called unowned.
fn check_what_was_not_seen(outcome: &Outcome) {
    for text in [&outcome.stdout, &outcome.stderr] {
        assert!(!text.contains("no process"), "{outcome:?}");
    }
    let gap = outcome
        .stderr
        .lines()
        .find(|line| line.contains("descriptors of"));
    let gap = gap.unwrap_or_else(|| panic!("{outcome:?}"));
    assert!(gap.contains("permission denied"), "{gap}");
    assert!(gap.contains("CAP_SYS_PTRACE"), "{gap}");
}

fn descriptor_gap(json: &Value) -> &Value {
    let gaps = json["coverage"]["gaps"].as_array().unwrap();
    let of_descriptors = |gap: &&Value| gap["what"].as_str().unwrap().starts_with("descriptors of");
    gaps.iter().find(of_descriptors).unwrap()
}

#[test]
fn a_stuck_queue_of_another_user() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let case = start("edge-triggered-missed-wakeup");
    let at_port = at_port(case.address());
    eventually("an old queue", || {
        let snapshot = scan();
        let wait = listener_of(&report(&snapshot).table, &case).oldest_wait();
        wait.filter(|wait| *wait >= OLD)
    });
    let outcome = tcpleak_as_nobody(&format!("scan --json {LOWERED} {at_port}"));
    assert_eq!(outcome.status, 1, "{outcome:?}");
    check_what_was_not_seen(&outcome);
    let json = outcome.json();
    assert_eq!(json["coverage"]["complete"], json!(false));
    let listener = only(json["listeners"].as_array().unwrap().iter());
    assert_eq!(
        (
            &listener["accept_queue"],
            &listener["backlog"],
            &listener["queued"]["close_wait"]
        ),
        (&json!(8), &json!(511), &json!(8))
    );
    assert!(listener["cookie"].is_string() && listener["inode"].is_u64());
    assert_eq!(listener["holders"], json!([]));
    let leak = &json["findings"][0];
    assert_eq!(leak["id"], json!("accept-queue-leak"));
    let summary = leak["summary"].as_str().unwrap();
    assert!(summary.contains("could not be seen"), "{summary}");
    assert!(
        descriptor_gap(&json)["needs"]
            .as_str()
            .unwrap()
            .contains("CAP_SYS_PTRACE")
    );
    // What root sees of the same.
    let all = tcpleak(&format!("scan --json {LOWERED} {at_port}")).json();
    for key in [
        "cookie",
        "inode",
        "local",
        "accept_queue",
        "backlog",
        "drops",
    ] {
        assert_eq!(listener[key], all["listeners"][0][key], "{key}");
    }
    assert_eq!(
        all["listeners"][0]["holders"][0]["pid"],
        json!(case.server_pid())
    );

    let text = tcpleak_as_nobody(&format!("scan {LOWERED} {at_port}"));
    assert_eq!(text.status, 1);
    check_what_was_not_seen(&text);
    assert!(text.stdout.contains("could not be seen"), "{text:?}");
}

#[test]
fn sockets_in_close_wait_of_another_user() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let case = start("eof-not-read");
    let at_port = at_port(case.address());
    eventually("old sockets", || {
        let snapshot = scan();
        let table = report(&snapshot).table;
        let is_old = |age| age >= OLD;
        table
            .close_wait
            .iter()
            .all(|socket| socket.age.is_some_and(is_old))
            .then_some(())
    });
    let outcome = tcpleak_as_nobody(&format!("scan --json {LOWERED} {at_port}"));
    assert_eq!(outcome.status, 1, "{outcome:?}");
    check_what_was_not_seen(&outcome);
    let json = outcome.json();
    let rows = json["close_wait"].as_array().unwrap();
    assert_eq!(rows.len(), 23);
    let is_right = |row: &Value| {
        row["inode"].is_u64()
            && row["accepted"] == json!(true)
            && row["direction"] == json!("inbound")
            && row["holders"] == json!([])
    };
    assert!(rows.iter().all(is_right), "{rows:?}");
    let leak = only(json["findings"].as_array().unwrap().iter());
    assert_eq!(
        (&leak["id"], &leak["count"]),
        (&json!("close-wait-leak"), &json!(23))
    );
    let summary = leak["summary"].as_str().unwrap();
    assert!(summary.contains("could not be seen"), "{summary}");

    let list = tcpleak_as_nobody("list --state close-wait");
    check_what_was_not_seen(&list);
    assert_eq!(list.stdout.matches("- (not seen)").count(), 23, "{list:?}");
    drop(case);
}

/// The exit status tells "nothing is wrong" from "nothing was found", when that is asked for.
#[test]
fn strict_tells_nothing_wrong_from_nothing_seen() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let listener = listen_at(LOOPBACK).open().unwrap();
    for arguments in ["scan --all", "scan --all --json"] {
        let arguments = format!("{arguments} {}", at_port(listener.local_addr().unwrap()));
        assert_eq!(tcpleak_as_nobody(&arguments).status, 0);
        let strict = tcpleak_as_nobody(&format!("{arguments} --strict"));
        assert_eq!(strict.status, 3, "{strict:?}");
        check_what_was_not_seen(&strict);
    }
    drop(listener);
}
