//! SYN queues through time: that one is full shows by what the namespace's counters say of the time
//! between two looks, and whose it is by its length now.

use std::collections::HashMap;

use super::event::Measures;
use super::key::ListenerKey;
use crate::model::{Namespace, Netns, Subject, SynCounters, count_of};
use crate::report::Report;

/// The SYN queues of all namespaces.
#[derive(Debug, Default)]
pub(super) struct SynQueues(HashMap<Netns, Before>);

/// A namespace at the look before.
#[derive(Debug)]
struct Before {
    counters: SynCounters,
    was_full: bool,
}

/// A SYN queue was full between two looks, and not in the look before.
#[derive(Debug, PartialEq)]
pub(super) struct BecameFull {
    pub(super) subject: Option<Subject>,
    pub(super) summary: String,
    pub(super) measures: Measures,
}

impl SynQueues {
    /// In every namespace; `title` is said behind an address there.
    pub(super) fn look(
        &mut self,
        report: &Report<'_>,
        title: impl Fn(Netns) -> String,
    ) -> Vec<BecameFull> {
        let (mut now, mut became_full) = (HashMap::new(), Vec::new());
        for namespace in &report.table.snapshot.namespaces {
            let counters = namespace.listen_counters.known();
            let Some(counters) = counters.and_then(|counters| counters.syn) else {
                continue;
            };
            let before = self.0.get(&namespace.id);
            let turned_away =
                before.and_then(|before| turned_away(namespace, counters, before.counters));
            let was_full = turned_away.is_some();
            now.insert(namespace.id, Before { counters, was_full });
            if before.is_some_and(|before| !before.was_full) {
                let is_full = |away| full(away, namespace.id, report, &title(namespace.id));
                became_full.extend(turned_away.map(is_full));
            }
        }
        self.0 = now;
        became_full
    }
}

/// Whose queue it was: of one listener, if exactly one has a full queue now.
fn full(
    (count, what): (u64, String),
    netns: Netns,
    report: &Report<'_>,
    title: &str,
) -> BecameFull {
    let here = report.table.listeners.iter();
    let mut full = here
        .filter(|listener| listener.entry.netns == netns)
        .filter(|listener| listener.syn_recv > 0 && !listener.shares_syn_queue)
        .filter(|listener| listener.syn_queue_is_full() != Some(false));
    let (whose, listener) = match (full.next(), full.next()) {
        (Some(one), None) => {
            let whose = format!("the SYN queue of {}{title} is", one.entry.local);
            (whose, Some(one))
        }
        (None, _) => (format!("a SYN queue{title} was"), None),
        (Some(_), Some(_)) => (format!("several SYN queues{title} are"), None),
    };
    BecameFull {
        subject: listener.map(|listener| ListenerKey::of(listener).subject()),
        summary: format!("{whose} full: {what} since the last look"),
        measures: Measures {
            count: listener.map(|listener| listener.syn_recv.into()),
            came: Some(count),
            ..Measures::default()
        },
    }
}

/// How many SYNs found a SYN queue full, and what became of them. With cookies always, that cannot be
/// told.
fn turned_away(
    namespace: &Namespace,
    now: SynCounters,
    before: SynCounters,
) -> Option<(u64, String)> {
    let dropped = now.full_with_drops.saturating_sub(before.full_with_drops);
    let cookies = now.cookies_sent.saturating_sub(before.cookies_sent);
    if dropped > 0 {
        let dropped_are = count_of(dropped, "SYN");
        let text = format!("{dropped_are} dropped (net.ipv4.tcp_syncookies is 0)");
        return Some((dropped, text));
    }
    let sent = format!("{} sent", count_of(cookies, "SYN cookie"));
    (cookies > 0 && namespace.cookies_mean_full()).then_some((cookies, sent))
}

#[cfg(test)]
mod tests {
    use super::super::EventKind;
    use super::super::test_watch::Watch;
    use super::*;
    use crate::diagnose::test_table::snapshot;
    use crate::join::test_rows::connection;
    use crate::model::{Fact, ListenCounters, Queues, Severity, SynSettings, TcpState};

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
        taken.namespaces[0].listen_counters = Fact::Known(counters);
        taken.namespaces[0].syn_settings = Some(SynSettings {
            cookies: when,
            max_backlog: 128,
        });
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
            1,
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
