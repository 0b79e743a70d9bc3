//! Watches of a server, for the tests of this folder, built from a few words.

use std::time::Duration;

use super::{Event, History, SOCKETS_AT_MOST};
use crate::diagnose::Thresholds;
use crate::diagnose::test_stuck::StuckCase;
use crate::diagnose::test_table::{held, snapshot};
use crate::join::Filter;
use crate::join::test_rows::{connection, listener};
use crate::model::{
    AcceptedOnPort, CauseId, Confidence, Cookie, CookieSet, Fact, FindingId, Inode, ListenCounters,
    Process, QueueRead, Queues, Snapshot, SocketEntry, TcpInfo, TcpState,
};
use crate::report::Report;

pub(super) const PORT: &str = "127.0.0.1:8080";
pub(super) const SECOND: Duration = Duration::from_secs(1);

/// A watch of one server, which has an edge-triggered listener and sleeps.
pub(super) struct Watch {
    pub(super) history: History,
    pub(super) at: Duration,
    pub(super) before: Option<Vec<SocketEntry>>,
    pub(super) listener: SocketEntry,
    pub(super) has_ages: bool,
    /// What the program has accepted and not closed.
    pub(super) accepted: Option<CookieSet>,
    /// What came in that second was established so much later.
    pub(super) stamped_late: Option<(u32, Duration)>,
    pub(super) counters: ListenCounters,
}

pub(super) const NO_DROPS: ListenCounters = ListenCounters {
    overflows: 0,
    drops: 0,
    syn: None,
};

impl Watch {
    pub(super) fn new() -> Watch {
        Watch::of(SOCKETS_AT_MOST)
    }

    pub(super) fn of(sockets_at_most: usize) -> Watch {
        Watch {
            history: History::new(Duration::from_secs(10), sockets_at_most),
            at: Duration::ZERO,
            before: None,
            listener: listener(PORT, 0),
            has_ages: true,
            accepted: Some(CookieSet::default().with(Cookie(1))),
            stamped_late: None,
            counters: NO_DROPS,
        }
    }

    pub(super) fn take(&mut self, snapshot: &Snapshot) -> Vec<Event> {
        let mut report = Report::new(snapshot, &Thresholds::default(), &Filter::default());
        let events = self.history.look(self.at, &mut report);
        self.at += SECOND;
        events
    }

    /// A look at a queue of these connections, named by the second in which they came; and of so
    /// many slots whose connection is gone.
    pub(super) fn queue_with_gone(&mut self, came: &[u32], gone: u32) -> Vec<Event> {
        let mut listener = self.listener.clone();
        listener.queues = Queues::Listen {
            accept_queue: u32::try_from(came.len()).unwrap() + gone,
            backlog: Some(511),
        };
        let mut rows = vec![listener];
        for second in came {
            let mut row = connection(PORT, TcpState::Established);
            row.cookie = Some(cookie_of(*second));
            row.remote
                .set_port(u16::try_from(*second).unwrap() + 40_000);
            // The watch begins in the 100th second.
            let late = self.stamped_late.filter(|(late, _)| late == second);
            let late = late.map_or(Duration::ZERO, |(_, by)| by);
            let waited = self.at + SECOND * 100 - SECOND * *second - late;
            row.info = self.has_ages.then(|| TcpInfo {
                since_data_sent: waited,
                ..TcpInfo::default()
            });
            rows.push(row);
        }
        let accepted = self.accepted.map(|set| {
            let (netns, port) = (self.listener.netns, self.listener.local.port());
            vec![AcceptedOnPort { netns, port, set }]
        });
        let read = |after, sockets| QueueRead {
            after,
            sockets,
            accepted: accepted.clone(),
            freed: None,
        };
        let mut taken = snapshot(rows.clone());
        let before = self
            .before
            .replace(rows.clone())
            .filter(|_| rows.len() > 1 || gone > 0);
        taken
            .queue_reads
            .extend(before.map(|rows| read(Duration::ZERO, rows)));
        if !came.is_empty() || gone > 0 {
            taken.queue_reads.push(read(SECOND, rows));
        }
        let asleep = StuckCase::epoll(0x8000_0019).thread('S', "epoll_wait", 4);
        taken.processes = asleep.snapshot().processes;
        let inode = self.listener.inode.unwrap();
        taken.descriptors = vec![held(taken.processes[0].id, 3, inode)];
        taken.namespaces[0].listen_counters = Fact::Known(self.counters);
        self.take(&taken)
    }

    pub(super) fn queue(&mut self, came: &[u32]) -> Vec<Event> {
        self.queue_with_gone(came, 0)
    }

    /// The kinds of the events of a look.
    pub(super) fn see(&mut self, came: &[u32], expect: &[&str]) -> Vec<Event> {
        let events = self.queue(came);
        assert_eq!(kinds(&events), expect, "{:#?}", texts(&events));
        events
    }

    /// A queue that three looks have seen not to move.
    pub(super) fn stuck(came: &[u32]) -> Watch {
        let mut watch = Watch::new();
        watch.see(came, &["appeared"]);
        watch.see(came, &[]);
        watch.see(came, &["not-moving"]);
        watch
    }

    /// What is open about the queue: the finding, its cause, and how sure that is.
    pub(super) fn open(&self) -> Option<(FindingId, Option<(CauseId, Confidence)>)> {
        let finding = self.history.open().next()?;
        let cause = finding.cause.as_ref();
        Some((finding.id, cause.map(|cause| (cause.id, cause.confidence))))
    }
}

/// The cookie of the connection that came in that second.
pub(super) fn cookie_of(second: u32) -> Cookie {
    Cookie(u64::from(second) + 100_000)
}

pub(super) fn kinds(events: &[Event]) -> Vec<&'static str> {
    events.iter().map(|event| event.kind.as_str()).collect()
}

pub(super) fn texts(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.summary.as_str()).collect()
}

/// A look at sockets in CLOSE_WAIT that `holder` has had for so long.
pub(super) fn close_wait(holder: &Process, ages: &[(u64, Duration)]) -> Snapshot {
    let mut rows = Vec::new();
    let mut descriptors = Vec::new();
    for (index, (number, age)) in ages.iter().enumerate() {
        let mut row = connection(PORT, TcpState::CloseWait);
        row.cookie = Some(Cookie(*number));
        row.inode = Some(Inode(*number));
        row.remote.set_port(u16::try_from(*number).unwrap());
        row.info = Some(TcpInfo {
            since_ack_received: *age,
            since_data_received: *age,
            since_data_sent: *age + SECOND,
            ..TcpInfo::default()
        });
        descriptors.push(held(
            holder.id,
            i32::try_from(index).unwrap() + 5,
            Inode(*number),
        ));
        rows.push(row);
    }
    Snapshot {
        descriptors,
        processes: vec![holder.clone()],
        ..snapshot(rows)
    }
}

pub(super) fn aged(numbers: std::ops::Range<u64>) -> Vec<(u64, Duration)> {
    numbers.map(|number| (number, SECOND * 20)).collect()
}
