//! `accept-queue-overflow`: the queue is full now, or its listener has dropped connections.

use crate::join::{Listener, SocketTable};
use crate::model::{Confidence, Evidence, Finding, FindingId, ListenCounters, Severity, count_of};

use super::accept_queue::{self, LastSaid};
use super::{Thresholds, phrase};

pub(super) fn find(table: &SocketTable<'_>, _thresholds: &Thresholds) -> Vec<Finding> {
    let (mut findings, mut said) = (Vec::new(), LastSaid::default());
    for listener in &table.listeners {
        let drops = connections_dropped(listener, table);
        if listener.is_full() {
            findings.push(full(listener, table, &mut said));
        } else if drops > 0 {
            findings.push(dropped(listener, drops, table));
        }
    }
    findings
}

/// How many connections the listener has dropped, at most.
///
/// Its own counter has other packets in it too: under TCP_DEFER_ACCEPT (Apache's default, nginx's
/// `deferred`) the last packet of every handshake is counted there. A dropped connection is also
/// in ListenDrops, of the whole namespace; the others are not.
fn connections_dropped(listener: &Listener<'_>, table: &SocketTable<'_>) -> u32 {
    let drops = listener.entry.drops.unwrap_or(0);
    match counters(listener, table) {
        Some(counters) => u32::try_from(counters.drops).map_or(drops, |all| all.min(drops)),
        None => drops,
    }
}

/// The counters of the listener's namespace.
fn counters(listener: &Listener<'_>, table: &SocketTable<'_>) -> Option<ListenCounters> {
    let namespace = table.snapshot.namespace(listener.entry.netns)?;
    namespace.listen_counters.known().copied()
}

fn full<'a>(listener: &Listener<'a>, table: &SocketTable<'a>, said: &mut LastSaid<'a>) -> Finding {
    let limit = listener.backlog.unwrap_or(0);
    let mut evidence = accept_queue::evidence(listener, table, said);
    evidence.extend(drop_evidence(listener, table));
    Finding {
        severity: Severity::Critical,
        summary: format!(
            "the accept queue of {} is full ({} of {limit}): new connections are dropped; {}",
            phrase::address(listener.entry, table),
            listener.accept_queue,
            phrase::holders(listener, table),
        ),
        count: listener.accept_queue.into(),
        oldest: listener.oldest_wait(),
        evidence,
        remedy: "Make the program accept faster, or again. The limit is the smaller of listen()'s \
            backlog and net.core.somaxconn, taken when listen() is called; \
            net.ipv4.tcp_max_syn_backlog does not lengthen this queue."
            .into(),
        ..skeleton(listener, table)
    }
}

fn dropped(listener: &Listener<'_>, drops: u32, table: &SocketTable<'_>) -> Finding {
    Finding {
        severity: Severity::Info,
        summary: format!(
            "{} has dropped {} since it was opened, each try of a client counted; its queue is not \
             full now",
            phrase::address(listener.entry, table),
            count_of(drops.into(), "handshake packet"),
        ),
        count: drops.into(),
        oldest: None,
        evidence: drop_evidence(listener, table),
        remedy:
            "Nothing now. If the number grows, the queue overflows at times: accept faster, or \
            raise listen()'s backlog together with net.core.somaxconn."
                .into(),
        ..skeleton(listener, table)
    }
}

fn skeleton(listener: &Listener<'_>, table: &SocketTable<'_>) -> Finding {
    let port = listener.entry.local.port();
    let command = |text: String| phrase::command(text, listener.entry.netns, table);
    Finding {
        id: FindingId::AcceptQueueOverflow,
        severity: Severity::Info,
        confidence: Confidence::Certain,
        summary: String::new(),
        subject: accept_queue::subject(listener),
        count: 0,
        oldest: None,
        cause: None,
        other_causes: Vec::new(),
        evidence: Vec::new(),
        remedy: String::new(),
        confirm: vec![
            command(format!("ss -ntlpm 'sport = :{port}'")),
            command("nstat -asz TcpExtListenOverflows TcpExtListenDrops".into()),
        ],
    }
}

fn drop_evidence(listener: &Listener<'_>, table: &SocketTable<'_>) -> Vec<Evidence> {
    let mut evidence = Vec::new();
    if let Some(drops) = listener.entry.drops {
        evidence.push(Evidence::new(
            format!(
                "this listener has dropped {}",
                count_of(drops.into(), "handshake packet")
            ),
            "sock_diag, SK_MEMINFO_DROPS",
        ));
    }
    if let Some(counters) = counters(listener, table) {
        evidence.push(Evidence::new(
            format!(
                "in its namespace since that began: {} overflows of accept queues, {} drops by \
                 listeners",
                counters.overflows, counters.drops
            ),
            format!(
                "{}, ListenOverflows and ListenDrops",
                netstat(listener, table)
            ),
        ));
    }
    evidence
}

/// Where its namespace's counters are.
fn netstat(listener: &Listener<'_>, table: &SocketTable<'_>) -> String {
    let namespace = table.snapshot.namespace(listener.entry.netns);
    match namespace
        .filter(|namespace| !namespace.own)
        .and_then(|one| one.process)
    {
        Some(pid) => format!("/proc/{pid}/net/netstat"),
        None => "/proc/net/netstat".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::test_table::{Case, seconds};
    use crate::model::Fact;

    fn check(case: Case, expect: Option<Severity>) {
        let snapshot = case.snapshot();
        let found = find(&SocketTable::new(&snapshot), &Thresholds::default());
        assert_eq!(
            found.first().map(|finding| finding.severity),
            expect,
            "{case:?}"
        );
    }

    #[test]
    fn full_is_one_more_than_the_backlog() {
        check(
            Case::queue(3).backlog(2).waiting(&[seconds(0); 3]),
            Some(Severity::Critical),
        );
        check(Case::queue(2).backlog(2).waiting(&[seconds(0); 2]), None);
    }

    #[test]
    fn past_drops_are_information() {
        check(Case::queue(0).drops(5), Some(Severity::Info));
        check(Case::queue(0).drops(0), None);
    }

    #[test]
    fn packets_that_a_deferring_listener_drops_are_no_connections() {
        let found = |namespace_drops| {
            let mut snapshot = Case::queue(0).drops(8).snapshot();
            snapshot.namespaces[0].listen_counters = Fact::Known(ListenCounters {
                overflows: 0,
                drops: namespace_drops,
            });
            let found = find(&SocketTable::new(&snapshot), &Thresholds::default());
            found.first().map(|finding| finding.count)
        };
        assert_eq!(found(0), None);
        assert_eq!(found(3), Some(3));
        assert_eq!(found(100), Some(8));
    }

    #[test]
    fn without_a_limit_nothing_is_called_full() {
        check(Case::queue(3).without_info(3), None);
    }
}
