//! `tcpleak probe` on the running kernel: every outcome that a real server can be brought to, what
//! is refused, and its JSON against the schema.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

mod support;

use std::fs;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::Value;

use support::clock::{EndWithOwner, PAUSE};
use support::command::{Outcome, tcpleak, tcpleak_as_nobody};
use support::in_own_namespace;
use support::scan::start;
use support::sockets::{LOOPBACK, LOOPBACK6, connect, listen_at};

const SCHEMA: &str = include_str!("../docs/probe.schema.json");

/// The JSON of a probe, which has to be what the schema says, with its status and notes.
fn probe(target: impl std::fmt::Display) -> (Value, Outcome) {
    let outcome = tcpleak(&format!("probe --json {target}"));
    let document = outcome.json();
    let schema = serde_json::from_str(SCHEMA).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(&document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{document}\n{}", errors.join("\n"));
    assert_eq!(outcome.stdout.lines().count(), 1);
    (document, outcome)
}

/// Connections that were begun in this namespace: `ActiveOpens` of `/proc/net/snmp`.
fn active_opens() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let at = names.split(' ').position(|name| name == "ActiveOpens");
    values.split(' ').nth(at.unwrap()).unwrap().parse().unwrap()
}

fn refused(target: &str, why: &str) {
    let before = active_opens();
    let outcome = tcpleak(&format!("probe {target}"));
    assert_eq!(outcome.status, 2, "{outcome:?}");
    assert!(outcome.stdout.is_empty(), "{outcome:?}");
    assert!(outcome.stderr.contains(why), "{outcome:?}");
    assert!(!outcome.stderr.contains("opens one"), "{outcome:?}");
    assert_eq!(active_opens(), before, "{target}: a connection was begun");
}

#[test]
fn a_missed_wakeup_is_proved() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let running = start("edge-triggered-missed-wakeup");
    let before = active_opens();
    let (document, outcome) = probe(running.address());
    assert_eq!(active_opens(), before + 1, "one connection, and no more");
    assert_eq!(outcome.status, 1);
    let says = format!(
        "opens one TCP connection to {}, sends nothing, closes it after at most 2.0 s",
        running.address()
    );
    assert!(outcome.stderr.contains(&says), "{outcome:?}");
    assert_eq!(document["outcome"], "one-in-one-out", "{document}");
    assert_eq!(document["confidence"], "certain", "{document}");
    let cause = &document["cause"];
    assert_eq!(cause["id"], "edge-triggered-missed-wakeup", "{document}");
    assert_eq!(cause["confidence"], "certain", "{document}");
    assert_eq!(document["before"]["accept_queue"], 8);
    assert_eq!(document["after"]["accept_queue"], 8);
    assert_eq!(document["connection"]["fate"], "queued");
    assert_eq!(document["changes"]["old_left"], 1);

    // Ours is the youngest in the queue now, and what was proved can be proved again.
    let text = tcpleak(&format!("probe {}", running.address()));
    assert_eq!(text.status, 1);
    let first = text.stdout.lines().next().unwrap();
    let proved = "[one-in-one-out, certain edge-triggered-missed-wakeup]";
    assert!(
        first.starts_with("PROBLEM") && first.ends_with(proved),
        "{first}"
    );
    let more = "tcpleak explain edge-triggered-missed-wakeup\n";
    assert!(text.stdout.ends_with(more), "{}", text.stdout);
}

/// What the experiment shows anybody can see; that the registration fits it cannot.
#[test]
fn without_rights_it_is_likely_only() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let running = start("edge-triggered-missed-wakeup");
    let outcome = tcpleak_as_nobody(&format!("probe --json {}", running.address()));
    let document = outcome.json();
    assert_eq!(document["outcome"], "one-in-one-out", "{document}");
    assert_eq!(document["confidence"], "likely", "{document}");
    assert!(outcome.stderr.contains("not seen"), "{outcome:?}");
}

#[test]
fn a_healthy_server_is_healthy() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let running = start("healthy");
    let (document, outcome) = probe(running.address());
    assert_eq!(document["outcome"], "healthy", "{document}");
    assert_eq!(outcome.status, 0);
    assert_eq!(document["cause"], Value::Null);
    assert!(document["connection"]["accepted_after_ms"].as_u64() <= Some(1000));
}

#[test]
fn a_stopped_server_is_stuck_and_no_missed_wakeup() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let running = start("process-stopped");
    let (document, outcome) = probe(running.address());
    assert_eq!(document["outcome"], "stuck", "{document}");
    assert_eq!(outcome.status, 1);
    assert_eq!(document["cause"]["id"], "process-stopped", "{document}");
    assert_eq!(document["before"]["accept_queue"], 5);
    assert_eq!(document["after"]["accept_queue"], 6);
    assert_eq!(document["changes"]["freed"], 0);
}

#[test]
fn a_full_queue_proves_nothing() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let running = start("accept-queue-overflow");
    let before = active_opens();
    let (document, outcome) = probe(running.address());
    assert_eq!(document["outcome"], "full", "{document}");
    assert_eq!(outcome.status, 3);
    assert_eq!(document["connection"], Value::Null);
    let summary = document["summary"].as_str().unwrap();
    assert!(summary.contains("proves nothing"), "{summary}");
    assert_eq!(active_opens(), before, "what would be dropped was not sent");
}

#[test]
fn a_queue_that_moves_is_no_missed_wakeup() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let running = start("accept-queue-backlog");
    let (document, outcome) = probe(running.address());
    let seen = (document["outcome"].as_str().unwrap(), outcome.status);
    let fits = matches!(seen, ("moves-by-itself", 1) | ("cannot-tell", 3));
    assert!(fits, "{document}");
    assert!(document["changes"]["freed_before"].as_u64() > Some(0));
}

/// One in, one out all the time: each newcomer lets an old one out, and ours may not have.
#[test]
fn nothing_is_claimed_in_traffic() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let running = start("edge-triggered-missed-wakeup");
    let (address, ended) = (running.address(), AtomicBool::new(false));
    // Threads start in the namespace of this one.
    let (document, outcome) = thread::scope(|scope| {
        let _end = EndWithOwner(&ended);
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                drop(connect(address));
                thread::sleep(8 * PAUSE);
            }
        });
        probe(address)
    });
    assert_eq!(document["outcome"], "cannot-tell", "{document}");
    assert_eq!(outcome.status, 3);
}

#[test]
fn ipv6_and_one_listener_for_both() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let nobody_accepts = listen_at(LOOPBACK6).open().unwrap();
    let (document, outcome) = probe(format!("--for 1s {}", nobody_accepts.local_addr().unwrap()));
    assert_eq!(document["outcome"], "stuck", "{document}");
    assert_eq!(
        (outcome.status, &document["target"]["addr"]),
        (1, &"::1".into())
    );

    let both = listen_at((Ipv6Addr::UNSPECIFIED, 0)).open().unwrap();
    let port = both.local_addr().unwrap().port();
    for address in ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "127.0.0.9"] {
        let (document, _) = accepting(&both, &format!("{address}:{port}"));
        assert_eq!(document["outcome"], "healthy", "{document}");
        assert_eq!(document["listener"]["local"]["addr"], "::");
    }
}

/// Probes a listener from which one connection is accepted meanwhile.
fn accepting(listener: &TcpListener, target: &str) -> (Value, Outcome) {
    thread::scope(|scope| {
        scope.spawn(|| {
            let (accepted, _) = listener.accept().unwrap();
            // Until the probe closes its end.
            let _ = std::io::Read::read(&mut &accepted, &mut [0]);
        });
        probe(target)
    })
}

#[test]
fn a_connection_that_is_closed_at_once_was_accepted() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let listener = listen_at(LOOPBACK).open().unwrap();
    let target = listener.local_addr().unwrap();
    let (document, _) = thread::scope(|scope| {
        scope.spawn(|| drop(listener.accept().unwrap()));
        probe(target)
    });
    assert_eq!(document["outcome"], "healthy", "{document}");
    assert_eq!(document["connection"]["fate"], "closed", "{document}");
}

#[test]
fn other_machines_are_left_alone() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let listener = listen_at((Ipv6Addr::UNSPECIFIED, 0)).open().unwrap();
    let port = listener.local_addr().unwrap().port();
    refused(
        &format!("192.0.2.1:{port}"),
        "not an address of this machine",
    );
    refused(
        &format!("[2001:db8::1]:{port}"),
        "not an address of this machine",
    );
    refused(&format!("0.0.0.0:{port}"), "say which one");
    refused("127.0.0.1:1", "nothing listens at 127.0.0.1:1");
    // Where programs may bind to addresses that the machine does not have, bind() tells nothing.
    fs::write("/proc/sys/net/ipv4/ip_nonlocal_bind", "1").unwrap();
    refused(
        &format!("192.0.2.1:{port}"),
        "not an address of this machine",
    );
}

#[test]
fn a_listener_of_another_namespace_is_named() {
    let Some(namespace) = in_own_namespace() else {
        return;
    };
    let running = start("healthy");
    drop(namespace);
    let target: SocketAddr = running.address();
    let outcome = tcpleak(&format!("probe {target}"));
    assert_eq!(outcome.status, 2, "{outcome:?}");
    let there = format!("nsenter --net=/proc/{}/ns/net", running.server_pid());
    assert!(outcome.stderr.contains(&there), "{outcome:?}");
}

#[test]
fn what_is_typed_is_checked() {
    for wrong in [
        "",
        "8080",
        "localhost:80",
        "127.0.0.1:80 --for 5",
        "127.0.0.1:80 --for 999ms",
    ] {
        assert_eq!(tcpleak(&format!("probe {wrong}")).status, 2, "{wrong}");
    }
}
