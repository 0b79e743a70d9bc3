//! Findings through time: what appears, changes and goes, and verdicts that need more than one look.

use std::collections::BTreeMap;
use std::time::Duration;

use super::event::{Event, EventKind, Measures};
use super::group::Group;
use super::key::{FindingKey, ListenerKey, Place, Topic};
use super::queue::{Queue, Verdict};
use super::{History, Open, about_the_watch};
use crate::model::{
    CauseId, Confidence, Evidence, Finding, FindingId, Severity, count_of, human_duration,
};
use crate::report::Report;

impl History {
    /// Makes certain, in the report and in what is open, what one look could not tell: a program
    /// that lets out exactly one for each that comes, and none otherwise, is woken up by new
    /// connections only (facts O5). That holds for a holder that could not be seen as well.
    pub(super) fn prove(&mut self, report: &mut Report<'_>) {
        let open = self.open.values_mut().map(|open| &mut open.finding);
        for finding in report.findings.iter_mut().chain(open) {
            let key = FindingKey::of(finding);
            let (Place::Listener(listener), FindingId::AcceptQueueLeak) = (key.place, finding.id)
            else {
                continue;
            };
            let queue = self.queues.get(&listener);
            let exchanges = queue.map_or(0, Queue::proven_exchanges);
            if exchanges > 0 {
                make_certain(finding, exchanges);
            }
        }
    }

    /// What is new, other or gone among the findings.
    pub(super) fn compare(&mut self, at: Duration, report: &Report<'_>, events: &mut Vec<Event>) {
        let mut now: BTreeMap<FindingKey, &Finding> = BTreeMap::new();
        for finding in report
            .findings
            .iter()
            .filter(|finding| is_followed(finding))
        {
            // The worst comes first and stays.
            now.entry(FindingKey::of(finding)).or_insert(finding);
        }
        for (key, finding) in &now {
            let is_exchange = finding.id != FindingId::AcceptQueueLeak && self.only_exchanges(key);
            match self.open.get_mut(key) {
                Some(open) if is_exchange && open.finding.id == FindingId::AcceptQueueLeak => {
                    continue;
                }
                None => {
                    self.totals.appeared += 1;
                    let finding = (*finding).clone();
                    let summary = finding.summary.clone();
                    events.push(about(at, EventKind::Appeared, &finding, summary));
                    self.open.insert(key.clone(), Open { finding, since: at });
                }
                Some(open) => {
                    if differs(&open.finding, finding) {
                        let summary = finding.summary.clone();
                        events.push(about(at, EventKind::Changed, finding, summary));
                    }
                    open.finding = (*finding).clone();
                }
            }
            if let Some(open) = self.open.get(key)
                && let Place::Listener(listener) = key.place
                && key.topic == Topic::Queue
                && let Some(queue) = self.queues.get_mut(&listener)
            {
                if open.finding.id == FindingId::AcceptQueueLeak {
                    queue.begin(at);
                } else {
                    queue.unstick();
                }
            }
        }
        let gone: Vec<FindingKey> = self
            .open
            .keys()
            .filter(|key| !now.contains_key(key) && !self.is_held(key))
            .cloned()
            .collect();
        for key in gone {
            if let Some(open) = self.open.remove(&key) {
                self.totals.gone += 1;
                events.push(self.ended(at, &key, &open, report));
            }
        }
    }

    /// Not reported in this look, and not over.
    fn is_held(&self, key: &FindingKey) -> bool {
        match &key.place {
            Place::Group(group) if key.topic == Topic::CloseWait => {
                self.groups.get(group).is_some_and(Group::has_suspects)
            }
            Place::Listener(_) => self.only_exchanges(key),
            _ => false,
        }
    }

    fn only_exchanges(&self, key: &FindingKey) -> bool {
        let Place::Listener(listener) = &key.place else {
            return false;
        };
        let queue = self.queues.get(listener);
        key.topic == Topic::Queue && queue.is_some_and(Queue::only_exchanges)
    }

    fn ended(&mut self, at: Duration, key: &FindingKey, open: &Open, report: &Report<'_>) -> Event {
        let lasted = at.saturating_sub(open.since);
        let id = open.finding.id;
        let time = human_duration(lasted);
        let where_ = match &key.place {
            Place::Listener(listener) => self.address(listener),
            Place::Group(group) => self.place(group),
            Place::Process(process) => format!("pid {}", process.pid),
        };
        let (kind, summary) = match &key.place {
            Place::Listener(listener) => match self.queues.get_mut(listener) {
                None => (
                    EventKind::Closed,
                    format!(
                        "{where_} was closed, and with it what waited in its queue{}; {id} was \
                         open for {time}",
                        reopened(listener, report)
                    ),
                ),
                Some(queue) => {
                    if key.topic == Topic::Queue {
                        queue.end();
                    }
                    (
                        EventKind::Recovered,
                        format!("{where_} is well again; {id} was open for {time}"),
                    )
                }
            },
            Place::Group(_) => (
                EventKind::Recovered,
                format!(
                    "none of the sockets {where_} is left in CLOSE_WAIT; {id} was open for {time}"
                ),
            ),
            Place::Process(_) => (
                EventKind::Recovered,
                format!("{id} of {where_} is over, after {time}"),
            ),
        };
        Event {
            severity: Severity::Info,
            measures: Measures {
                lasted: Some(lasted),
                ..Measures::default()
            },
            ..about(at, kind, &open.finding, summary)
        }
    }

    /// Verdicts that need time, on what is open.
    pub(super) fn judge(&mut self, at: Duration, events: &mut Vec<Event>) {
        for (key, open) in &self.open {
            match &key.place {
                Place::Listener(listener) if key.topic == Topic::Queue => {
                    let local = self.address(listener);
                    let Some(queue) = self.queues.get_mut(listener) else {
                        continue;
                    };
                    let Some(verdict) = queue.verdict(at, &local) else {
                        continue;
                    };
                    let (kind, summary, measures) = match verdict {
                        Verdict::NotMoving(text, m) => (EventKind::NotMoving, text, m),
                        Verdict::OneInOneOut(text, m) => (EventKind::OneInOneOut, text, m),
                        Verdict::Draining(text, m) => (EventKind::Draining, text, m),
                        Verdict::Growing(text, m) => (EventKind::Growing, text, m),
                    };
                    let severity = match kind {
                        EventKind::Draining => Severity::Info,
                        _ => open.finding.severity,
                    };
                    events.push(Event {
                        measures,
                        severity,
                        ..about(at, kind, &open.finding, summary)
                    });
                }
                Place::Group(group) if key.topic == Topic::CloseWait => {
                    let place = self.place(group);
                    let growth = self.groups.get_mut(group).and_then(|g| g.growth(&place));
                    if let Some((summary, measures)) = growth {
                        events.push(Event {
                            measures,
                            ..about(at, EventKind::Growing, &open.finding, summary)
                        });
                    }
                }
                _ => {}
            }
        }
    }
}

/// A finding about a server that only does its work is followed by nobody: it comes and goes with
/// every look.
fn is_followed(finding: &Finding) -> bool {
    let is_work = matches!(
        finding.id,
        FindingId::AcceptQueueBacklog | FindingId::CloseWaitHalfClosed
    );
    !(is_work && finding.severity == Severity::Info)
}

/// Whether the change is worth telling. A confidence follows what threads did at that moment.
fn differs(before: &Finding, now: &Finding) -> bool {
    let cause = |finding: &Finding| finding.cause.as_ref().map(|cause| cause.id);
    (before.id, before.severity, cause(before)) != (now.id, now.severity, cause(now))
}

/// Raises the missed wake-up to the first cause, if it is one of those that hold.
fn make_certain(finding: &mut Finding, exchanges: u32) {
    let is_it = |id: CauseId| id == CauseId::EdgeTriggeredMissedWakeup;
    let others = &mut finding.other_causes;
    let Some(first) = &mut finding.cause else {
        return;
    };
    if !is_it(first.id) {
        let Some(place) = others.iter().position(|cause| is_it(cause.id)) else {
            return;
        };
        std::mem::swap(first, &mut others[place]);
    }
    if first.confidence == Confidence::Certain {
        return;
    }
    first.confidence = Confidence::Certain;
    let times = count_of(exchanges.into(), "time");
    finding.evidence.push(Evidence::new(
        format!(
            "one in, one out, {times}: a new connection came, exactly one, the oldest, was let \
             out, no connection that was accepted before had ended, and without a new one nothing \
             moved"
        ),
        "sock_diag, cookies look after look",
    ));
}

/// Whether another listener has its address now.
fn reopened(listener: &ListenerKey, report: &Report<'_>) -> &'static str {
    let mut listeners = report.table.listeners.iter();
    if listeners.any(|other| listener.has_address_of(other.entry)) {
        " (a new listener has the address now)"
    } else {
        ""
    }
}

/// An event about a finding.
fn about(at: Duration, kind: EventKind, finding: &Finding, summary: String) -> Event {
    Event {
        severity: finding.severity,
        subject: Some(finding.subject.clone()),
        finding: Some(Box::new(finding.clone())),
        measures: Measures {
            count: Some(finding.count),
            ..Measures::default()
        },
        ..about_the_watch(at, kind, summary)
    }
}
