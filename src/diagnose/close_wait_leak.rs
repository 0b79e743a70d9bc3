//! `close-wait-leak`: a holder keeps sockets in CLOSE_WAIT.
//!
//! Grouped by who holds them, who opened them and the far endpoint: one finding for each leak, not
//! for each socket.

use std::collections::BTreeMap;

use crate::join::{CloseWait, Crowded, SocketTable};
use crate::model::{
    CauseId, Confidence, Direction, Evidence, Fact, Finding, FindingId, Netns, ProcessId, Severity,
    Subject, Timer, count_of, human_duration,
};

use super::close_wait_cause::{self, Leaked};
use super::{Thresholds, phrase};

/// From which share of its descriptor limit on a leaking holder is about to fail, in percent.
const CRITICAL_DESCRIPTOR_PERCENT: u64 = 80;

/// How many holders the evidence describes.
const HOLDERS_SHOWN: usize = 4;

/// What makes sockets one leak.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    netns: Netns,
    holders: Vec<ProcessId>,
    direction: Option<Direction>,
    endpoint: String,
}

pub(super) fn find(table: &SocketTable<'_>, thresholds: &Thresholds) -> Vec<Finding> {
    let mut groups: BTreeMap<Key, Vec<&CloseWait<'_>>> = BTreeMap::new();
    for socket in table
        .close_wait
        .iter()
        .filter(|socket| is_leaked(socket, thresholds))
    {
        groups.entry(key(socket)).or_default().push(socket);
    }
    groups
        .into_iter()
        .map(|(key, sockets)| finding(key, &sockets, table, thresholds))
        .collect()
}

/// Held by a program, not being served, and old, or of an age that cannot be told. Not where all
/// holders ended while they were read: then it is closed by now. Nor the subflow of an MPTCP
/// connection, which the kernel closes and not the program.
fn is_leaked(socket: &CloseWait<'_>, thresholds: &Thresholds) -> bool {
    let holders = &socket.holders;
    socket.accepted
        && socket.entry.ulp.as_deref() != Some("mptcp")
        && (holders.is_empty() || holders.iter().any(|holder| holder.process.is_some()))
        && socket
            .entry
            .may_be_in_close_wait_for(thresholds.close_wait_age)
        && !socket.is_being_served(thresholds.close_wait_age)
}

fn key(socket: &CloseWait<'_>) -> Key {
    Key {
        netns: socket.entry.netns,
        holders: socket.holders.iter().map(|holder| holder.id).collect(),
        direction: socket.direction,
        endpoint: socket.endpoint(),
    }
}

fn finding(
    key: Key,
    sockets: &[&CloseWait<'_>],
    table: &SocketTable<'_>,
    thresholds: &Thresholds,
) -> Finding {
    let count = sockets.len() as u64;
    let oldest = sockets.iter().filter_map(|socket| socket.age).max();
    let where_ = match key.direction {
        Some(Direction::Outbound) => format!("to {} (outbound)", key.endpoint),
        Some(Direction::Inbound) => format!("on local port {} (inbound)", &key.endpoint[1..]),
        None => format!("on local port {}", &key.endpoint[1..]),
    };
    let where_ = where_ + &table.snapshot.in_namespace(key.netns);
    let holders = &sockets[0].holders;
    let sockets_are = count_of(count, "socket");
    let keeps = match holders.len() {
        0 => format!(
            "{sockets_are} {where_} {} left in CLOSE_WAIT; {}",
            if count == 1 { "is" } else { "are" },
            phrase::nobody(sockets.iter().map(|socket| socket.entry), table)
        ),
        number => format!(
            "{}{} {} {sockets_are} {where_} in CLOSE_WAIT",
            phrase::processes(holders),
            phrase::place(holders),
            if number == 1 { "keeps" } else { "keep" },
        ),
    };
    let age = match oldest {
        Some(age) => format!(", the oldest for {}", human_duration(age)),
        None => ", for how long cannot be told".into(),
    };
    let why = close_wait_cause::explain(&Leaked::new(sockets, table));
    let mut evidence = evidence(sockets, table);
    evidence.extend(why.evidence);
    Finding {
        id: FindingId::CloseWaitLeak,
        severity: severity(sockets, oldest.is_some(), why.cause.id, table),
        confidence: confidence(sockets, thresholds),
        summary: format!("{keeps}{age}"),
        subject: Subject::Connections {
            netns: key.netns,
            holder: key.holders.first().copied(),
            direction: key.direction,
            endpoint: key.endpoint.clone(),
        },
        count,
        oldest,
        remedy: why.remedy.unwrap_or_default(),
        cause: Some(why.cause),
        other_causes: why.other_causes,
        evidence,
        confirm: confirm(&key, sockets, table),
    }
}

fn severity(
    sockets: &[&CloseWait<'_>],
    age_is_known: bool,
    cause: CauseId,
    table: &SocketTable<'_>,
) -> Severity {
    // A client's idle pool is bounded; and without an age, a socket that was closed by its peer a
    // moment ago looks the same. A holder without descriptors is a finding of its own.
    if !age_is_known || cause == CauseId::IdlePoolConnection {
        return Severity::Info;
    }
    let nearly_out = |crowded: &Crowded<'_>| {
        crowded.percent() >= CRITICAL_DESCRIPTOR_PERCENT
            && sockets[0]
                .holders
                .iter()
                .any(|holder| holder.id == crowded.id)
    };
    if table.crowded.iter().any(nearly_out) {
        Severity::Critical
    } else {
        Severity::Warning
    }
}

/// Certain where nothing can have been sent since the FIN; a keepalive's answers hide that.
fn confidence(sockets: &[&CloseWait<'_>], thresholds: &Thresholds) -> Confidence {
    // Without an age, or with one that a keepalive's answer has made young.
    let old = |age| age >= thresholds.close_wait_age;
    if !sockets.iter().all(|socket| socket.age.is_some_and(old)) {
        return Confidence::Possible;
    }
    let silent_since_fin = sockets.iter().all(|socket| {
        socket.entry.info.is_some_and(|info| {
            let margin = std::time::Duration::from_micros(info.rtt_us.into())
                + std::time::Duration::from_millis(200);
            info.since_data_sent > info.since_ack_received + margin
        }) && socket.entry.timer != Timer::Keepalive
    });
    if silent_since_fin {
        Confidence::Certain
    } else {
        Confidence::Likely
    }
}

fn evidence(sockets: &[&CloseWait<'_>], table: &SocketTable<'_>) -> Vec<Evidence> {
    let source = phrase::socket_source(table, sockets[0].entry.netns);
    let mut evidence = Vec::new();
    let ages = || sockets.iter().filter_map(|socket| socket.age);
    if let (Some(oldest), Some(youngest)) = (ages().max(), ages().min()) {
        let keepalive = sockets
            .iter()
            .any(|socket| socket.entry.timer == Timer::Keepalive);
        let note = if keepalive {
            "; answers to keepalive probes make it look younger"
        } else {
            ""
        };
        evidence.push(Evidence::new(
            format!(
                "in CLOSE_WAIT for {} at least{note}",
                phrase::range(youngest, oldest)
            ),
            "sock_diag, tcpi_last_ack_recv",
        ));
    }
    let oldest = sockets.iter().max_by_key(|socket| socket.age);
    evidence.extend(oldest.and_then(|socket| phrase::timeline(socket.entry)));
    let unread: u64 = sockets
        .iter()
        .map(|socket| u64::from(socket.unread_bytes))
        .sum();
    let fins = sockets.iter().filter(|socket| socket.fin_unread).count();
    evidence.push(Evidence::new(
        format!(
            "{} unread; the end of file is unread in {fins}",
            count_of(unread, "byte")
        ),
        format!("{source}, Recv-Q"),
    ));
    if let Some(direction) = sockets[0].direction {
        let from_counters = sockets
            .iter()
            .all(|socket| socket.entry.info.and_then(|i| i.direction()).is_some());
        let (who, source) = match (direction, from_counters) {
            (Direction::Inbound, true) => ("the far end", "sock_diag, tcpi_bytes_acked"),
            (Direction::Outbound, true) => ("this side", "sock_diag, tcpi_bytes_acked"),
            (Direction::Inbound, false) => ("the far end", "a listener has their address"),
            (Direction::Outbound, false) => ("this side", "the local ports are ephemeral"),
        };
        evidence.push(Evidence::new(
            format!("{who} opened the connections"),
            source,
        ));
    }
    let holders = &sockets[0].holders;
    for (index, holder) in holders.iter().enumerate().take(HOLDERS_SHOWN) {
        let fds: Vec<i32> = sockets
            .iter()
            .filter_map(|socket| socket.holders.get(index))
            .flat_map(|h| h.fds.clone())
            .collect();
        evidence.push(Evidence::new(
            format!(
                "{} holds {} as {}",
                phrase::process(holder.process, holder.id),
                if sockets.len() == 1 { "it" } else { "them" },
                phrase::fd_list(&fds)
            ),
            format!("/proc/{}/fd", holder.id.pid),
        ));
        if let Some(Fact::Known(used)) = holder.process.map(|process| &process.descriptors) {
            let open = count_of(used.open, "descriptor");
            let fact = match used.soft_limit {
                None => format!("it has {open}, without a limit"),
                Some(limit) if used.open > limit => {
                    format!("it has {open}, at a limit of {limit} for their numbers")
                }
                Some(limit) => format!("it has {open} of {limit} ({} %)", used.percent()),
            };
            evidence.push(Evidence::new(
                fact,
                format!("/proc/{0}/fd, /proc/{0}/limits", holder.id.pid),
            ));
        }
    }
    if holders.len() > HOLDERS_SHOWN {
        let more = holders.len() - HOLDERS_SHOWN;
        let more = count_of(more as u64, "more process");
        evidence.push(Evidence::new(format!("{more} hold them too"), "/proc/*/fd"));
    }
    evidence.extend(phrase::old_binaries(holders));
    if holders.is_empty() {
        let entries = sockets.iter().map(|socket| socket.entry);
        evidence.extend(phrase::opened_in(entries, table));
    }
    evidence.extend(phrase::far_ends(
        sockets.iter().map(|socket| socket.entry),
        table,
    ));
    evidence
}

fn confirm(key: &Key, sockets: &[&CloseWait<'_>], table: &SocketTable<'_>) -> Vec<String> {
    let command = |text: String| phrase::command(text, key.netns, table);
    let filter = match key.direction {
        Some(Direction::Outbound) => format!("'dst = {}'", sockets[0].entry.remote),
        _ => format!("'sport = {}'", key.endpoint),
    };
    let mut commands = vec![command(format!("ss -ntpi state close-wait {filter}"))];
    if let Some(holder) = sockets[0].holders.first() {
        commands.push(command(format!(
            "lsof -nP -a -p {} -iTCP -sTCP:CLOSE_WAIT",
            holder.id.pid
        )));
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::test_close_wait::CloseWaitCase;
    use crate::diagnose::test_table::seconds;

    fn found(case: &CloseWaitCase) -> Vec<Finding> {
        let snapshot = case.snapshot();
        find(&SocketTable::new(&snapshot), &Thresholds::default())
    }

    #[test]
    fn what_is_unread_is_the_cause() {
        let check = |recv_q, cause, confidence| {
            let finding = found(&CloseWaitCase::sockets(23).recv_q(recv_q)).remove(0);
            let seen = finding.cause.map(|cause| (cause.id, cause.confidence));
            assert_eq!((seen, finding.count), (Some((cause, confidence)), 23));
            assert_eq!(finding.severity, Severity::Warning);
        };
        check(0, CauseId::ReadNotClosed, Confidence::Likely);
        check(1, CauseId::EofNotRead, Confidence::Certain);
        check(11, CauseId::DataNotRead, Confidence::Certain);
    }

    #[test]
    fn just_below_the_age_is_nothing() {
        let below = seconds(10) - std::time::Duration::from_millis(1);
        assert!(found(&CloseWaitCase::sockets(1).age(below)).is_empty());
        assert_eq!(found(&CloseWaitCase::sockets(1).age(seconds(10))).len(), 1);
    }

    #[test]
    fn answers_to_keepalive_probes_do_not_make_it_young() {
        let answered = |age| CloseWaitCase::sockets(7).age(age).keepalive();
        let finding = found(&answered(seconds(1))).remove(0);
        assert_eq!(finding.severity, Severity::Warning);
        assert_eq!(finding.confidence, Confidence::Possible);
        assert!(finding.evidence[0].fact.contains("keepalive"));
        // Just closed, or probed: it is seen at the next look.
        let below = seconds(1) - std::time::Duration::from_millis(1);
        assert!(found(&answered(below)).is_empty());
        assert!(found(&CloseWaitCase::sockets(7).age(seconds(1))).is_empty());
    }

    #[test]
    fn unaccepted_and_served_sockets_are_exempt() {
        assert!(found(&CloseWaitCase::sockets(3).unaccepted()).is_empty());
        assert!(found(&CloseWaitCase::sockets(3).send_q(5)).is_empty());
        assert!(found(&CloseWaitCase::sockets(3).subflows()).is_empty());
    }

    #[test]
    fn nearly_out_of_descriptors_is_critical() {
        let severity = |open| found(&CloseWaitCase::sockets(3).descriptors(open, 100))[0].severity;
        assert_eq!(severity(79), Severity::Warning);
        assert_eq!(severity(80), Severity::Critical);
    }

    #[test]
    fn few_descriptors_make_no_leak_of_an_idle_pool_or_of_what_may_be_young() {
        let severity = |case: CloseWaitCase| found(&case.descriptors(90, 100))[0].severity;
        let pool = CloseWaitCase::sockets(3).outbound().recv_q(1);
        assert_eq!(severity(pool), Severity::Info);
        let ageless = CloseWaitCase::sockets(1).without_info();
        assert_eq!(severity(ageless), Severity::Info);
    }

    #[test]
    fn descriptors_above_a_lowered_limit_do_not_count() {
        // 200 descriptors at a limit of 100: how many are below it is not known.
        let mut snapshot = CloseWaitCase::sockets(3).snapshot();
        snapshot.processes[0].descriptors = Fact::Known(crate::model::DescriptorUse {
            open: 200,
            soft_limit: Some(100),
            exhausted: false,
        });
        let found = find(&SocketTable::new(&snapshot), &Thresholds::default());
        assert_eq!(found[0].severity, Severity::Warning);
        let facts: Vec<&str> = found[0].evidence.iter().map(|e| e.fact.as_str()).collect();
        let fact = "it has 200 descriptors, at a limit of 100 for their numbers";
        assert!(facts.contains(&fact), "{facts:?}");
    }

    #[test]
    fn a_holder_that_has_ended_keeps_nothing() {
        let mut snapshot = CloseWaitCase::sockets(3).snapshot();
        snapshot.processes.clear();
        let found = find(&SocketTable::new(&snapshot), &Thresholds::default());
        assert_eq!(found, []);
    }

    #[test]
    fn many_holders_are_counted_not_listed() {
        let mut snapshot = CloseWaitCase::sockets(2).snapshot();
        let first = snapshot.processes[0].clone();
        for more in 1..1_000 {
            let mut process = first.clone();
            process.id.pid += more;
            for index in 0..2_u8 {
                let inode = crate::model::Inode(500 + u64::from(index));
                let fd = 4 + i32::from(index);
                let process = process.id;
                snapshot
                    .descriptors
                    .push(crate::model::HeldDescriptor { process, fd, inode });
            }
            snapshot.processes.push(process);
        }
        let finding = find(&SocketTable::new(&snapshot), &Thresholds::default()).remove(0);
        assert!(
            finding
                .summary
                .contains("server (pid 4869) and 996 more keep 2 sockets"),
            "{}",
            finding.summary
        );
        assert!(finding.evidence.len() < 20, "{:?}", finding.evidence);
    }

    #[test]
    fn an_age_that_cannot_be_told_is_no_accusation() {
        let finding = found(&CloseWaitCase::sockets(2).without_info()).remove(0);
        assert_eq!(finding.severity, Severity::Info);
        assert_eq!(finding.confidence, Confidence::Possible);
    }

    #[test]
    fn an_unseen_holder_is_not_nobody() {
        let unseen = CloseWaitCase::sockets(2).without_holder();
        assert!(found(&unseen)[0].summary.contains("no process holds them"));
        let summary = found(&unseen.unreadable_processes(3))[0].summary.clone();
        assert!(
            summary.contains("their holder could not be seen"),
            "{summary}"
        );
    }
}
