//! `tcpleak list` and `scan` against `ss` on one mixed population, row by row and number by number.
//!
//! Alone in its file: a process that another test starts would, between fork and exec, hold the
//! sockets of this one.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::{Ipv6Addr, Shutdown};
use std::ops::RangeInclusive;
use std::process::Command;

use serde_json::Value;

use support::clock::eventually;
use support::command::tcpleak;
use support::rows::{field, our_rows, ss, ss_address, ss_rows};
use support::scan::start;
use support::sockets::{LOOPBACK, LOOPBACK6, connect, connection, listen_at, reset, transfer};
use support::{cannot_run, in_own_namespace};

/// Sockets of every kind and the processes that hold them, for as long as this lives.
fn population() -> Box<dyn std::any::Any> {
    // Queues with CLOSE_WAIT, with gone slots, full; shared listeners; holders that are several.
    let cases: Vec<_> = [
        "edge-triggered-missed-wakeup",
        "gone-in-queue",
        "accept-queue-overflow",
        "prefork",
        "dual-stack",
        "held-by-another-process",
        "data-not-read",
        "idle-pool-connection",
    ]
    .map(start)
    .into_iter()
    .collect();
    let (v4, v6) = (listen_at(LOOPBACK), listen_at(LOOPBACK6));
    let listeners = [
        v4.open().unwrap(),
        v6.open().unwrap(),
        listen_at((Ipv6Addr::UNSPECIFIED, 0))
            .v6only()
            .open()
            .unwrap(),
        v4.bound_to("lo").backlog(3).open().unwrap(),
        v4.sharing_its_port().open().unwrap(),
    ];
    let mut ends = Vec::new();
    for listener in &listeners[..2] {
        for bytes in [0, 5, 70_000] {
            let (mut client, mut accepted) = connection(listener);
            transfer(&mut client, &mut accepted, bytes);
            accepted.write_all(b"unread").unwrap();
            ends.push((client, accepted));
        }
        // A half-closed connection each way, a duplicated socket, a reset one, an ended one.
        let (client, accepted) = connection(listener);
        client.shutdown(Shutdown::Write).unwrap();
        ends.push((client, accepted));
        let (client, accepted) = connection(listener);
        accepted.shutdown(Shutdown::Write).unwrap();
        ends.push((accepted.try_clone().unwrap(), accepted));
        ends.push((client.try_clone().unwrap(), client));
        let (client, accepted) = connection(listener);
        reset(client);
        drop(accepted);
        let (client, accepted) = connection(listener);
        drop(client);
        drop(accepted);
    }
    // Left in the queues: one that stays, one that has sent and closed, each.
    let queued: Vec<_> = listeners[3..]
        .iter()
        .map(|listener| {
            let address = listener.local_addr().unwrap();
            connect(address).write_all(b"request").unwrap();
            connect(address)
        })
        .collect();
    Box::new((queued, ends, listeners, cases))
}

#[test]
fn a_mixed_population_is_what_ss_says_it_is() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    if let Err(error) = Command::new("ss").arg("-V").output() {
        return cannot_run(&format!("needs ss of iproute2: {error}"));
    }
    let _population = population();
    check_rows();
    check_times();
}

/// Every row of ss, and no other.
fn check_rows() {
    // Some segments may still be on their way, and one client goes on trying to connect.
    let rows = eventually("the same rows from both", || {
        let (before, ss, after) = (our_rows(), ss_rows(), our_rows());
        (before == after).then(|| {
            assert!(before.keys().eq(ss.keys()), "{before:?} {ss:?}");
            for (cookie, row) in &before {
                assert_eq!(*row, ss[cookie], "{cookie}");
            }
            before
        })
    });
    let states: BTreeSet<&str> = rows.values().map(|row| row.state.as_str()).collect();
    let expect = [
        "CLOSE-WAIT",
        "ESTAB",
        "FIN-WAIT-2",
        "LISTEN",
        "SYN-SENT",
        "TIME-WAIT",
    ];
    assert!(
        expect.iter().all(|state| states.contains(state)),
        "{states:?}"
    );
    let several = rows.values().filter(|row| row.held.len() > 2).count();
    assert!(several > 0 && rows.len() > 100, "{} rows", rows.len());
}

/// Milliseconds in CLOSE_WAIT by cookie, and the oldest wait by the listener's port.
fn our_times() -> (BTreeMap<String, u64>, BTreeMap<u16, u64>) {
    let json = tcpleak("scan --json --settle 0").json();
    let age = |row: &Value| {
        let cookie = row["cookie"].as_str().unwrap().to_owned();
        (cookie, row["age_ms"].as_u64().unwrap())
    };
    let wait = |row: &Value| {
        let port = row["local"]["port"].as_u64().unwrap();
        Some((
            u16::try_from(port).unwrap(),
            row["oldest_wait_ms"].as_u64()?,
        ))
    };
    let ages = json["close_wait"].as_array().unwrap().iter().map(age);
    let waits = json["listeners"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(wait);
    (ages.collect(), waits.collect())
}

/// The times that the kernel keeps of each socket, from two scans around one look of ss.
fn check_times() {
    /// A jiffy of the slowest kernels, and what is lost by rounding.
    const STEP: u64 = 11;
    let (ages_before, waits_before) = our_times();
    let lines = ss("-HntieO");
    let (ages_after, waits_after) = our_times();
    let between = |before: u64, after: u64| -> RangeInclusive<u64> {
        before.saturating_sub(STEP)..=after + STEP
    };
    let millis =
        |line: &str, key| field(line, key).map_or(0, |value| value.parse::<u64>().unwrap());

    assert!(ages_before.len() > 40);
    for (cookie, before) in &ages_before {
        let cookie_field = format!("sk:{cookie}");
        let is_it = |line: &&String| line.split_whitespace().any(|word| word == cookie_field);
        let line = lines.iter().find(is_it).unwrap();
        let range = between(*before, ages_after[cookie]);
        assert!(
            range.contains(&millis(line, "lastack:")),
            "{range:?}: {line}"
        );
    }
    let mut oldest: BTreeMap<u16, u64> = BTreeMap::new();
    for line in lines.iter().filter(|line| millis(line, "ino:") == 0) {
        let columns: Vec<&str> = line.split_whitespace().collect();
        if ["ESTAB", "CLOSE-WAIT"].contains(&columns[0]) {
            let (_, port) = ss_address(columns[3]);
            let wait = oldest.entry(port).or_default();
            *wait = (*wait).max(millis(line, "lastsnd:"));
        }
    }
    assert!(
        oldest.keys().eq(waits_before.keys()),
        "{oldest:?} {waits_before:?}"
    );
    for (port, wait) in oldest {
        let range = between(waits_before[&port], waits_after[&port]);
        assert!(range.contains(&wait), "{port}: {wait} is not in {range:?}");
    }
}
