//! SYN queues through time: that one is full shows by what the namespace's counters say of the time
//! between two looks, and whose it is by its length now.

use super::event::Measures;
use super::key::ListenerKey;
use crate::model::{Severity, Subject, SynCounters, count_of};
use crate::report::Report;

/// The SYN queues of one namespace.
#[derive(Debug, Default)]
pub(super) struct SynQueues {
    before: Option<SynCounters>,
    was_full: bool,
}

/// A SYN queue was full between two looks, and not in the look before.
#[derive(Debug, PartialEq)]
pub(super) struct BecameFull {
    pub(super) severity: Severity,
    pub(super) subject: Option<Subject>,
    pub(super) summary: String,
    pub(super) measures: Measures,
}

impl SynQueues {
    pub(super) fn look(&mut self, report: &Report<'_>) -> Option<BecameFull> {
        let counters = report.table.snapshot.listen_counters.known();
        let now = counters.and_then(|counters| counters.syn);
        let before = std::mem::replace(&mut self.before, now);
        let turned_away = now
            .zip(before)
            .and_then(|(now, before)| turned_away(now, before));
        let was_full = std::mem::replace(&mut self.was_full, turned_away.is_some());
        let (count, what) = turned_away.filter(|_| !was_full)?;
        let listeners = report.table.listeners.iter();
        let mut full = listeners
            .filter(|listener| listener.syn_recv > 0 && !listener.shares_syn_queue)
            .filter(|listener| listener.syn_queue_is_full() != Some(false));
        let (whose, listener) = match (full.next(), full.next()) {
            (Some(one), None) => (
                format!("the SYN queue of {} is", one.entry.local),
                Some(one),
            ),
            (None, _) => ("a SYN queue was".to_owned(), None),
            (Some(_), Some(_)) => ("several SYN queues are".to_owned(), None),
        };
        Some(BecameFull {
            severity: Severity::Warning,
            subject: listener.map(|listener| ListenerKey::of(listener).subject()),
            summary: format!("{whose} full: {what} since the last look"),
            measures: Measures {
                count: listener.map(|listener| listener.syn_recv.into()),
                came: Some(count),
                ..Measures::default()
            },
        })
    }
}

/// How many SYNs found a SYN queue full, and what became of them. With cookies always, that cannot be
/// told.
fn turned_away(now: SynCounters, before: SynCounters) -> Option<(u64, String)> {
    let dropped = now.full_with_drops.saturating_sub(before.full_with_drops);
    let cookies = now.cookies_sent.saturating_sub(before.cookies_sent);
    if dropped > 0 {
        let dropped_are = count_of(dropped, "SYN");
        let text = format!("{dropped_are} dropped (net.ipv4.tcp_syncookies is 0)");
        return Some((dropped, text));
    }
    let sent = format!("{} sent", count_of(cookies, "SYN cookie"));
    (cookies > 0 && now.cookies_mean_full()).then_some((cookies, sent))
}

#[cfg(test)]
mod tests {
    use super::super::EventKind;
    use super::super::test_watch::Watch;
    use super::*;
    use crate::diagnose::test_table::snapshot;
    use crate::join::test_rows::connection;
    use crate::model::{Fact, ListenCounters, Queues, TcpState};

    /// Looks at a listener with a limit of 2 and so many handshakes, and these counters.
    fn look(
        watch: &mut Watch,
        handshakes: u16,
        sent: u64,
        dropped: u64,
        when: u64,
    ) -> Option<String> {
        let mut listener = watch.listener.clone();
        listener.queues = Queues::Listen {
            accept_queue: 0,
            backlog: Some(2),
        };
        let counters = ListenCounters {
            syn: Some(SynCounters {
                cookies_sent: sent,
                full_with_drops: dropped,
                cookies_when: Some(when),
                ..SynCounters::default()
            }),
            ..ListenCounters::default()
        };
        let handshakes = (0..handshakes).map(|index| {
            let mut row = connection("127.0.0.1:8080", TcpState::SynRecv);
            row.remote.set_port(50_000 + index);
            row.info = None;
            row
        });
        let mut taken = snapshot(handshakes.chain([listener]).collect());
        taken.listen_counters = Fact::Known(counters);
        let events = watch.take(&taken);
        let mut told = events
            .into_iter()
            .filter(|event| event.kind == EventKind::SynQueueFull);
        told.next().map(|event| {
            assert_eq!(event.severity, Severity::Warning);
            assert_eq!(event.subject.is_some(), event.measures.count.is_some());
            event.summary
        })
    }

    #[test]
    fn cookies_say_that_a_queue_is_full_when_they_begin() {
        let mut watch = Watch::new();
        let mut check = |handshakes, sent, expect: Option<&str>| {
            let told = look(&mut watch, handshakes, sent, 0, 1);
            assert_eq!(told.as_deref(), expect, "{handshakes} {sent}");
        };
        check(3, 7, None);
        check(3, 7, None);
        let told =
            "the SYN queue of 127.0.0.1:8080 is full: 5 SYN cookies sent since the last look";
        check(3, 12, Some(told));
        check(3, 20, None);
        check(0, 20, None);
        // By the time of the look there was room again.
        check(
            2,
            21,
            Some("a SYN queue was full: 1 SYN cookie sent since the last look"),
        );
    }

    #[test]
    fn without_cookies_they_are_dropped() {
        let mut watch = Watch::new();
        look(&mut watch, 3, 0, 0, 0);
        let told = look(&mut watch, 3, 0, 2, 0).unwrap();
        assert!(
            told.ends_with("2 SYNs dropped (net.ipv4.tcp_syncookies is 0) since the last look"),
            "{told}"
        );
    }

    #[test]
    fn cookies_for_everybody_say_nothing() {
        let mut watch = Watch::new();
        look(&mut watch, 0, 0, 0, 2);
        assert_eq!(look(&mut watch, 0, 9, 0, 2), None);
    }
}
