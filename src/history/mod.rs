//! What becomes of things from look to look: a fold over reports in time.
//!
//! [`History::look`] takes a report and the time since the watch began, and returns what is new as
//! [`Event`]s. Pure: no clock, no I/O, so a recording gives the same events. Sockets are known by
//! cookie and processes by pid and start time (`key`), so a server that is restarted on its port
//! is another one. `queue` and `group` follow single listeners and groups of sockets in
//! CLOSE_WAIT, `findings` says what appears, changes and goes, `series` tells growth from chance.
//!
//! A finding stays open until what it was about is gone, whatever a single look makes of it: a
//! stuck queue that lets one connection out for each that comes moves in one look and is stuck
//! nevertheless.

mod event;
mod findings;
mod group;
mod key;
mod queue;
mod series;
mod so_far;
#[cfg(test)]
mod test_history;
#[cfg(test)]
mod test_watch;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, SystemTime};

pub use event::{Event, EventKind, Measures};
use group::Group;
use key::{FindingKey, GroupKey, ListenerKey};
use queue::Queue;
pub use so_far::{CloseWaitSoFar, OpenFinding, QueueSoFar};

use crate::join::CloseWait;
use crate::model::{Finding, ListenCounters, Netns, Severity, count_of, human_duration};
use crate::report::Report;

/// Sockets that are remembered at most, by default: about 10 MB.
pub const SOCKETS_AT_MOST: usize = 100_000;

/// The history of one watch.
#[derive(Debug)]
pub struct History {
    close_wait_age: Duration,
    sockets_at_most: usize,
    is_full: bool,
    limit_was_said: bool,
    queues: HashMap<ListenerKey, Queue>,
    groups: HashMap<GroupKey, Group>,
    open: BTreeMap<FindingKey, Open>,
    /// The counters of each namespace at the last look.
    counters: HashMap<Netns, ListenCounters>,
    /// What is said behind the addresses of a namespace that is not the own one: ` in netns web`.
    titles: HashMap<Netns, String>,
    /// Wall-clock time of the last look, for display.
    last: Option<(Duration, SystemTime)>,
    totals: Totals,
}

/// A finding that is open.
#[derive(Debug)]
struct Open {
    /// As it was reported last.
    finding: Finding,
    since: Duration,
}

/// What a whole watch has seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Totals {
    /// Looks at the machine.
    pub looks: u64,
    /// Those among them that took longer than the interval.
    pub late: u64,
    /// Findings that appeared.
    pub appeared: u64,
    /// Findings that went, by recovering or with their listener.
    pub gone: u64,
    /// The longest accept queue, and whose it was.
    pub peak_queue: Option<(String, u32)>,
    /// The most sockets in CLOSE_WAIT that belong together, and where.
    pub peak_close_wait: Option<(String, u64)>,
}

impl History {
    /// An empty history. `close_wait_age` is the threshold that the reports are made with; no more
    /// than `sockets_at_most` sockets are remembered.
    pub fn new(close_wait_age: Duration, sockets_at_most: usize) -> History {
        History {
            close_wait_age,
            sockets_at_most,
            is_full: false,
            limit_was_said: false,
            queues: HashMap::new(),
            groups: HashMap::new(),
            open: BTreeMap::new(),
            counters: HashMap::new(),
            titles: HashMap::new(),
            last: None,
            totals: Totals::default(),
        }
    }

    /// Takes the report of the look at `at`, and returns what is new. What the history proves
    /// beyond the single look is added to the report.
    pub fn look(&mut self, at: Duration, report: &mut Report<'_>) -> Vec<Event> {
        self.totals.looks += 1;
        self.last = Some((at, report.table.snapshot.taken_at));
        self.learn_titles(report);
        let mut events = Vec::new();
        self.follow_queues(at, report, &mut events);
        self.follow_groups(at, report);
        self.prove(report);
        self.compare(at, report, &mut events);
        self.judge(at, &mut events);
        self.note_limit(at, &mut events);
        events
    }

    /// Notes a look that took so long, and more than the interval.
    pub fn late(&mut self, at: Duration, took: Duration, interval: Duration) -> Option<Event> {
        self.totals.late += 1;
        // Said at the 1st, 2nd, 4th, 8th, …: a machine that is always late is no news.
        self.totals.late.is_power_of_two().then(|| {
            let summary = format!(
                "a look took {}, longer than the interval of {}; the next one began later ({} so \
                 far)",
                human_duration(took),
                human_duration(interval),
                count_of(self.totals.late, "late look"),
            );
            Event {
                measures: Measures {
                    lasted: Some(took),
                    ..Measures::default()
                },
                ..about_the_watch(at, EventKind::Late, summary)
            }
        })
    }

    /// The worst severity among the findings that are open.
    pub fn worst(&self) -> Option<Severity> {
        let open = self.open.values();
        open.map(|open| open.finding.severity).max()
    }

    /// The findings that are open, each as it was reported last.
    pub fn open(&self) -> impl Iterator<Item = &Finding> {
        self.open.values().map(|open| &open.finding)
    }

    /// What all looks together have seen.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// The wall-clock time of `at`, from that of the last look.
    pub fn wall_clock(&self, at: Duration) -> Option<SystemTime> {
        let (last, time) = self.last?;
        match at.checked_sub(last) {
            Some(later) => time.checked_add(later),
            None => time.checked_sub(last - at),
        }
    }

    /// The end of the watch.
    pub fn summary(&self, at: Duration) -> Event {
        let totals = &self.totals;
        let late = match totals.late {
            0 => String::new(),
            late => format!(" ({late} late)"),
        };
        let mut parts = vec![format!(
            "watched for {}, {}{late}",
            human_duration(at),
            count_of(totals.looks, "look"),
        )];
        parts.push(format!(
            "{} appeared, {} gone, {} open",
            count_of(totals.appeared, "finding"),
            totals.gone,
            self.open.len()
        ));
        if let Some((local, length)) = &totals.peak_queue {
            parts.push(format!("longest accept queue {length} at {local}"));
        }
        if let Some((place, count)) = &totals.peak_close_wait {
            parts.push(format!("most in CLOSE_WAIT {count} {place}"));
        }
        Event {
            measures: Measures {
                lasted: Some(at),
                ..Measures::default()
            },
            ..about_the_watch(at, EventKind::Summary, parts.join("; "))
        }
    }

    /// How many more sockets may be remembered.
    fn room(&self) -> usize {
        let queues: usize = self.queues.values().map(Queue::remembered).sum();
        let groups: usize = self.groups.values().map(Group::remembered).sum();
        self.sockets_at_most.saturating_sub(queues + groups)
    }

    fn learn_titles(&mut self, report: &Report<'_>) {
        let snapshot = report.table.snapshot;
        let others = snapshot.namespaces.iter().filter(|one| !one.own);
        let titles = others.map(|one| (one.id, snapshot.in_namespace(one.id)));
        self.titles.extend(titles);
    }

    /// `127.0.0.1:80`, and `127.0.0.1:80 in netns web`.
    fn address(&self, listener: &ListenerKey) -> String {
        format!("{}{}", listener.local, self.title(listener.netns))
    }

    /// `on local port 80 (inbound) in netns web`
    fn place(&self, group: &GroupKey) -> String {
        group.place() + self.title(group.netns)
    }

    fn title(&self, netns: Netns) -> &str {
        self.titles.get(&netns).map_or("", String::as_str)
    }

    fn follow_queues(&mut self, at: Duration, report: &Report<'_>, events: &mut Vec<Event>) {
        let now: HashMap<Netns, ListenCounters> = report
            .table
            .snapshot
            .namespaces
            .iter()
            .filter_map(|one| Some((one.id, *one.listen_counters.known()?)))
            .collect();
        let before = std::mem::replace(&mut self.counters, now.clone());
        let listeners = &report.table.listeners;
        let keys: HashSet<ListenerKey> = listeners.iter().map(ListenerKey::of).collect();
        self.queues.retain(|key, _| keys.contains(key));
        let mut room = self.room();
        for listener in listeners {
            let key = ListenerKey::of(listener);
            let queue = self.queues.entry(key).or_default();
            let kept = queue.remembered();
            queue.look(at, listener, room + kept);
            let netns = listener.entry.netns;
            let counted = now.get(&netns).zip(before.get(&netns));
            let others = counted.map(|(now, before)| now.drops.saturating_sub(before.drops));
            let dropped = queue.drops(listener, others);
            self.is_full |= listener.children.len() > room + kept;
            room = (room + kept).saturating_sub(queue.remembered());
            let title = self.titles.get(&key.netns).map_or("", String::as_str);
            let peak = self.totals.peak_queue.as_ref();
            if queue.peak > peak.map_or(0, |(_, peak)| *peak) {
                self.totals.peak_queue = Some((format!("{}{title}", key.local), queue.peak));
            }
            if queue.begins_to_drop(dropped) {
                // A connection is dropped for other reasons too, on a server that is well: where a
                // client uses a port again too early, or for want of memory.
                let severity = match counted {
                    Some((now, before)) if now.overflows > before.overflows => Severity::Warning,
                    _ => Severity::Info,
                };
                events.push(Event {
                    severity,
                    subject: Some(key.subject()),
                    measures: Measures {
                        came: Some(dropped),
                        count: Some(listener.accept_queue.into()),
                        ..Measures::default()
                    },
                    ..about_the_watch(
                        at,
                        EventKind::Dropping,
                        format!(
                            "{}{title} has dropped {} since the last look",
                            key.local,
                            count_of(dropped, "handshake packet")
                        ),
                    )
                });
            }
        }
    }

    fn follow_groups(&mut self, at: Duration, report: &Report<'_>) {
        let reported: BTreeSet<FindingKey> = report.findings.iter().map(FindingKey::of).collect();
        let mut groups: HashMap<GroupKey, Vec<&CloseWait<'_>>> = HashMap::new();
        let sockets = report.table.close_wait.iter();
        for socket in sockets.filter(|socket| socket.accepted) {
            groups.entry(GroupKey::of(socket)).or_default().push(socket);
        }
        self.groups.retain(|key, _| groups.contains_key(key));
        let mut room = self.room();
        for (key, sockets) in groups {
            let is_reported = reported.contains(&FindingKey::close_wait(&key));
            let group = self.groups.entry(key.clone()).or_default();
            let before = group.remembered();
            let may_keep = room + before;
            group.look(at, &sockets, is_reported, self.close_wait_age, may_keep);
            self.is_full |= sockets.len() > may_keep;
            room = may_keep.saturating_sub(group.remembered());
            let peak = self.totals.peak_close_wait.as_ref();
            if group.peak > peak.map_or(0, |(_, peak)| *peak) {
                let title = self.titles.get(&key.netns).map_or("", String::as_str);
                self.totals.peak_close_wait = Some((key.place() + title, group.peak));
            }
        }
    }

    fn note_limit(&mut self, at: Duration, events: &mut Vec<Event>) {
        // Said once.
        if self.is_full && !std::mem::replace(&mut self.limit_was_said, true) {
            let summary = format!(
                "the history is full: {} are followed, and no more; what comes and leaves beyond \
                 them is not told apart",
                count_of(self.sockets_at_most as u64, "socket")
            );
            events.push(about_the_watch(at, EventKind::LimitReached, summary));
        }
    }
}

/// An event about no subject in particular, or whose subject follows.
fn about_the_watch(at: Duration, kind: EventKind, summary: String) -> Event {
    Event {
        at,
        kind,
        severity: Severity::Info,
        subject: None,
        summary,
        finding: None,
        measures: Measures::default(),
    }
}
