//! Accept queues on the real kernel: what a scan says of them, against what the test knows.
//! Facts Q1 to Q6, Q9 and Q10.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use tcpleak::join::Queued;
use tcpleak::model::{Fact, FindingId, Queues, Severity, SocketEntry, Subject, TcpState};
use tcpleak::scenario::Running;

use support::clock::{Moment, eventually};
use support::command::{at_port, tcpleak};
use support::in_own_namespace;
use support::scan::{
    OLD, descriptors_of, findings, findings_here, held_by, listener_of, only, report, scan, start,
};

const REQUEST: &[u8; 45] = b"GET /health HTTP/1.1\r\nHost: localhost:80\r\n\r\n\n";

/// Lets eight clients of the test's own take the places of the eight that wait in the seed case.
/// Each lets the oldest one out. Returns when each of them connected.
fn replace_waiting_clients(case: &Running) -> BTreeMap<SocketAddr, Moment> {
    let waiting = || -> BTreeSet<SocketAddr> {
        let sockets = case.sockets().unwrap();
        let whole = sockets
            .iter()
            .filter(|row| row.is_unaccepted() && row.state == TcpState::CloseWait)
            .filter(|row| row.stream_queues() == Some((46, 0)));
        whole.map(|row| row.remote).collect()
    };
    let mut connected = BTreeMap::new();
    for _ in 0..8 {
        let before = waiting();
        let (mut client, moment) = Moment::of(|| case.connect().unwrap());
        let address = client.local_addr().unwrap();
        client.write_all(REQUEST).unwrap();
        drop(client);
        eventually("one in and one out", || {
            let now = waiting();
            (now.contains(&address) && now.len() == 8 && !before.is_subset(&now)).then_some(())
        });
        connected.insert(address, moment);
    }
    connected
}

fn accept_queue(row: &SocketEntry) -> u32 {
    match row.queues {
        Queues::Listen { accept_queue, .. } => accept_queue,
        Queues::Stream { .. } => 0,
    }
}

fn queued(established: u32, close_wait: u32, gone: u32) -> Fact<Queued> {
    Fact::Known(Queued {
        established,
        close_wait,
        gone,
    })
}

#[test]
fn the_seed_case_in_every_number() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let case = start("edge-triggered-missed-wakeup");
    let connected = replace_waiting_clients(&case);
    for moment in connected.values() {
        moment.wait_until_aged(OLD);
    }
    let (snapshot, read) = Moment::of(scan);
    let report = report(&snapshot);

    let listener = listener_of(&report.table, &case);
    assert_eq!((listener.accept_queue, listener.backlog), (8, Some(511)));
    assert_eq!(listener.queued, queued(0, 8, 0));
    let fds = descriptors_of(case.server_pid(), listener.entry.inode.unwrap().0);
    assert_eq!(fds.len(), 1);
    assert_eq!(
        held_by(&listener.holders),
        [(case.server_pid(), fds)],
        "the listener's holder"
    );

    let mut oldest = Duration::ZERO;
    for child in listener.children.iter() {
        let waited = child.waited.unwrap();
        let truth = connected[&child.entry.remote].age_at(read);
        assert!(truth.contains(&waited), "{waited:?} is not in {truth:?}");
        oldest = oldest.max(waited);
    }
    assert_eq!(listener.oldest_wait(), Some(oldest));

    assert_eq!(report.table.close_wait.len(), 8);
    for socket in &report.table.close_wait {
        assert!(!socket.accepted && socket.holders.is_empty());
        assert_eq!((socket.unread_bytes, socket.fin_unread), (45, true));
        assert_eq!(socket.listener.unwrap().cookie, listener.entry.cookie);
        assert!(connected.contains_key(&socket.entry.remote));
    }

    let leak = only(findings_here(&report, &case.pids()).into_iter());
    assert_eq!(leak.id, FindingId::AcceptQueueLeak);
    assert_eq!((leak.severity, leak.count), (Severity::Critical, 8));
    assert_eq!(leak.oldest, Some(oldest));
    assert!(matches!(leak.subject, Subject::Listener { local, .. } if local == case.address()));
    for part in [
        case.address().to_string(),
        format!(
            "(pid {}, fd {})",
            case.server_pid(),
            held_by(&listener.holders)[0].1[0]
        ),
    ] {
        assert!(leak.summary.contains(&part), "{part}: {}", leak.summary);
    }
}

#[test]
fn the_seed_case_as_the_command_tells_it() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let case = start("edge-triggered-missed-wakeup");
    let connected = replace_waiting_clients(&case);
    for moment in connected.values() {
        // What the command calls old by default.
        moment.wait_until_aged(Duration::from_secs(1));
    }
    let at_port = at_port(case.address());
    let (outcome, read) = Moment::of(|| tcpleak(&format!("scan --json {at_port}")));
    assert_eq!(outcome.status, 1, "{outcome:?}");
    let json = outcome.json();
    let address = json!({"addr": "127.0.0.1", "port": case.address().port()});

    let listener = only(json["listeners"].as_array().unwrap().iter());
    let expect = json!({
        "local": address, "accept_queue": 8, "backlog": 511, "full": false, "syn_recv": 0,
        "verdict": "accept-queue-leak",
    });
    assert_contains(listener, &expect);
    assert_contains(
        &listener["queued"],
        &json!({"established": 0, "close_wait": 8, "gone": 0, "unknown": null}),
    );
    assert_contains(
        &listener["movement"],
        &json!({"left": 0, "came": 0, "stayed": 8}),
    );
    let fds = descriptors_of(case.server_pid(), listener["inode"].as_u64().unwrap());
    let holder = only(listener["holders"].as_array().unwrap().iter());
    assert_contains(holder, &json!({"pid": case.server_pid(), "fds": fds}));
    let oldest = Duration::from_millis(listener["oldest_wait_ms"].as_u64().unwrap());
    let ages = connected.values().map(|moment| moment.age_at(read));
    let truth = ages.max_by_key(|age| *age.start()).unwrap();
    assert!(truth.contains(&oldest), "{oldest:?} is not in {truth:?}");

    let rows = json["close_wait"].as_array().unwrap();
    assert_eq!(rows.len(), 8);
    for row in rows {
        let expect = json!({
            "local": address, "recv_q": 46, "unread_bytes": 45, "fin_unread": true,
            "accepted": false, "inode": null, "direction": "inbound", "holders": [],
            "listener": listener["cookie"],
        });
        assert_contains(row, &expect);
    }
    let finding = only(json["findings"].as_array().unwrap().iter());
    let expect = json!({
        "id": "accept-queue-leak", "severity": "critical", "confidence": "certain", "count": 8,
    });
    assert_contains(finding, &expect);
    assert_contains(
        &finding["subject"],
        &json!({"listener": listener["cookie"], "local": address}),
    );
    assert_eq!(
        json["summary"],
        json!({"critical": 1, "warning": 0, "info": 0})
    );

    let outcome = tcpleak(&format!("scan {at_port}"));
    assert_eq!(outcome.status, 1, "{outcome:?}");
    for part in [
        case.address().to_string(),
        case.server_pid().to_string(),
        "8 of 511 = 0 ESTABLISHED + 8 CLOSE_WAIT + 0 gone".to_owned(),
        "45 bytes unread in each of them".to_owned(),
        "no descriptor refers to them".to_owned(),
    ] {
        assert!(
            unwrapped(&outcome.stdout).contains(&part),
            "{part}: {outcome:?}"
        );
    }
}

/// Text without the line breaks that the width of the page puts in.
fn unwrapped(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Checks those keys of an object that `expect` has.
fn assert_contains(object: &Value, expect: &Value) {
    for (key, value) in expect.as_object().unwrap() {
        assert_eq!(&object[key], value, "{key} in {object}");
    }
}

#[test]
fn slots_of_reset_clients_are_gone() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let case = start("gone-in-queue");
    let snapshot = scan();
    let report = report(&snapshot);
    let listener = listener_of(&report.table, &case);
    assert_eq!((listener.accept_queue, listener.children.len()), (6, 4));
    assert_eq!(listener.queued, queued(4, 0, 2));
    assert!(report.table.strays.is_empty());
}

#[test]
fn nothing_but_gone_slots_is_stuck_once_it_was_watched() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let listener = support::sockets::listen_at(support::sockets::LOOPBACK);
    let listener = listener.open().unwrap();
    for _ in 0..3 {
        support::sockets::reset(support::sockets::connect(listener.local_addr().unwrap()));
    }
    let queue_of_gone = || {
        let snapshot = scan();
        let report = report(&snapshot);
        let queue = only(report.table.listeners.iter()).queued.clone();
        queue == queued(0, 0, 3)
    };
    eventually("three gone slots", || queue_of_gone().then_some(()));
    let snapshot = scan();
    let at_port = at_port(listener.local_addr().unwrap());
    // One look cannot tell how long they have been there.
    assert!(findings(&report(&snapshot), FindingId::AcceptQueueLeak).is_empty());
    let outcome = tcpleak(&format!("scan --json --accept-age 200ms {at_port}"));
    assert_eq!(outcome.status, 1, "{outcome:?}");
    let finding = &outcome.json()["findings"][0];
    assert_eq!(
        (&finding["id"], &finding["count"]),
        (&json!("accept-queue-leak"), &json!(3))
    );
}

#[test]
fn a_full_queue_overflows() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let case = start("accept-queue-overflow");
    let snapshot = scan();
    let report = report(&snapshot);
    let listener = listener_of(&report.table, &case);
    assert_eq!((listener.accept_queue, listener.backlog), (3, Some(2)));
    assert!(listener.is_full() && listener.entry.drops.unwrap() > 0);
    let overflow = only(findings(&report, FindingId::AcceptQueueOverflow).into_iter());
    assert_eq!((overflow.severity, overflow.count), (Severity::Critical, 3));
    assert!(
        overflow
            .summary
            .contains(&format!("pid {}", case.server_pid()))
    );
    let counters = snapshot.namespaces[0].listen_counters.known().unwrap();
    assert!(counters.overflows > 0 && counters.drops > 0);
    assert_eq!(
        tcpleak(&format!("scan {}", at_port(case.address()))).status,
        1
    );
}

#[test]
fn of_a_reuseport_group_only_the_stuck_member_is_named() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let case = start("reuseport-member-stuck");
    let oldest = || {
        let snapshot = scan();
        let table = report(&snapshot).table;
        table
            .listeners
            .iter()
            .filter_map(|one| one.oldest_wait())
            .max()
    };
    eventually("an old queue", || oldest().filter(|wait| *wait >= OLD));
    let snapshot = scan();
    let report = report(&snapshot);
    assert_eq!(report.table.listeners.len(), 2);
    let stuck = only(
        report
            .table
            .listeners
            .iter()
            .filter(|one| one.accept_queue > 0),
    );
    let idle = only(
        report
            .table
            .listeners
            .iter()
            .filter(|one| one.accept_queue == 0),
    );
    assert_eq!(stuck.queued, queued(stuck.accept_queue, 0, 0));
    assert_eq!(
        (stuck.children.len(), stuck.shared_with),
        (stuck.accept_queue as usize, 0)
    );
    let pids: Vec<u32> = held_by(&stuck.holders)
        .iter()
        .map(|(pid, _)| *pid)
        .collect();
    assert_eq!(pids, [case.server_pid()]);
    assert_ne!(stuck.entry.cookie, idle.entry.cookie);
    let finding = only(findings_here(&report, &case.pids()).into_iter());
    assert_eq!(finding.id, FindingId::AcceptQueueLeak);
    assert!(
        finding
            .summary
            .contains(&format!("(pid {}, ", case.server_pid()))
    );
    let worker = case.pids()[1];
    assert!(
        !finding.summary.contains(&worker.to_string()),
        "{}",
        finding.summary
    );
    // The socket table of the kernel agrees.
    let rows = case.sockets().unwrap();
    let lengths: BTreeSet<u32> = rows
        .iter()
        .filter(|row| row.state == TcpState::Listen)
        .map(accept_queue)
        .collect();
    assert_eq!(lengths, BTreeSet::from([0, stuck.accept_queue]));
}

#[test]
fn ipv4_clients_of_an_ipv6_wildcard_wait_in_its_queue() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let case = start("dual-stack");
    let snapshot = scan();
    let report = report(&snapshot);
    let listener = listener_of(&report.table, &case);
    assert_eq!(listener.queued, queued(4, 0, 0));
    let mapped = listener
        .children
        .iter()
        .filter(|child| child.entry.remote.ip().to_canonical().is_ipv4());
    assert_eq!((listener.children.len(), mapped.count()), (4, 3));
    assert!(report.table.strays.is_empty());
}

#[test]
fn a_listener_without_a_holder_is_called_so_only_if_everything_was_seen() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let case = start("no-holder");
    let table_wait = || {
        let snapshot = scan();
        listener_of(&report(&snapshot).table, &case).oldest_wait()
    };
    eventually("an old queue", || table_wait().filter(|wait| *wait >= OLD));
    let snapshot = scan();
    let report = report(&snapshot);
    let listener = listener_of(&report.table, &case);
    assert!(listener.holders.is_empty());
    assert!(snapshot.coverage.processes_read > 0);
    let leak = only(findings(&report, FindingId::AcceptQueueLeak).into_iter());
    let said = if snapshot.coverage.owners_complete() {
        "no process holds it"
    } else {
        "its holder could not be seen"
    };
    assert!(leak.summary.ends_with(said), "{}", leak.summary);
}
