//! What happens to a listener's queue when one connection more comes: the reads of it, folded.
//!
//! `probe` opens the connection and hands in what it reads; [`judge`] says what that proves. Pure:
//! time comes with the reads. The idea is fact O5: a program that sleeps before a queue that is not
//! empty has stopped accepting by mistake or on purpose, and one new connection tells which.

mod queue;
#[cfg(test)]
mod test_verdict;
mod verdict;
mod words;

use std::collections::{BTreeSet, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use crate::model::Cookie;
pub use queue::{ListenerSeen, Place, QueueSeen, Waiting};
pub use verdict::{Outcome, Verdict, judge};

/// For so long the queue has to be seen as it is before the connection, and again after the last
/// change: what moves at its own pace is not to be taken for an answer.
pub const QUIET: Duration = Duration::from_millis(500);

/// What happens within this time of the new connection may be its effect.
pub const EFFECT: Duration = Duration::from_millis(250);

/// How long a connection may wait before a listener counts as slow; `scan`'s default too.
pub const PROMPT: Duration = Duration::from_secs(1);

/// One connection to a listener, and what was seen before, while and after it was opened.
#[derive(Debug, Clone)]
pub struct Experiment {
    /// Where it goes.
    pub target: SocketAddr,
    /// The listener that takes it; the first of them where several share the address.
    pub listener: ListenerSeen,
    /// How many listeners share the address.
    pub sharing: usize,
    /// The queue before the connection was opened.
    pub before: QueueSeen,
    /// How long it was watched before.
    pub watched_before: Duration,
    /// How many left the queue in that time, at most.
    pub moved_before: u32,
    /// How many came into it in that time.
    pub came_before: u32,
    /// How many left it so late in that time that no connection which came before it, and nobody
    /// saw come, can have let them out.
    pub moved_alone: u32,
    /// Our end; `None` if no connection was opened.
    pub opened: Option<Opened>,
    /// The queue as it was last seen.
    pub now: QueueSeen,
    /// The first read at which something had left the queue since, and still had at the last one.
    pub first_out: Option<FirstOut>,
    first: QueueSeen,
    settled: Option<QueueSeen>,
    others: BTreeSet<Cookie>,
    changed_at: Duration,
}

/// Our end of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// When `connect()` was called.
    pub at: Duration,
    /// Its address and port.
    pub local: SocketAddr,
    /// What it says.
    pub end: End,
    /// When it was first seen to be accepted.
    pub accepted_at: Option<Duration>,
}

/// What our own end of the connection says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The handshake is not done.
    Connecting,
    /// It is.
    Connected,
    /// Connection refused.
    Refused,
    /// It was reset.
    Reset,
    /// The server has closed it. Only what was accepted can be closed: a listener that goes resets
    /// what waits.
    Closed,
}

/// The first effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstOut {
    /// When it was seen.
    pub at: Duration,
    /// How many of the connections that the program had accepted before had ended by then: each
    /// may have made room under a limit.
    pub ended: usize,
}

impl Experiment {
    /// Begins with a first look at the queue.
    pub fn begin(
        target: SocketAddr,
        listener: ListenerSeen,
        sharing: usize,
        seen: QueueSeen,
    ) -> Self {
        Experiment {
            target,
            listener,
            sharing,
            before: seen.clone(),
            watched_before: Duration::ZERO,
            moved_before: 0,
            came_before: 0,
            moved_alone: 0,
            settled: None,
            opened: None,
            now: seen.clone(),
            first_out: None,
            changed_at: seen.at,
            first: seen,
            others: BTreeSet::new(),
        }
    }

    /// A further look before the connection is opened.
    pub fn also_before(&mut self, seen: QueueSeen) {
        self.watched_before = seen.at.saturating_sub(self.first.at);
        let came = self.first.newcomers(&seen).count();
        self.moved_before = self.first.taken(&seen, came).max(self.moved_before);
        self.came_before = u32::try_from(came)
            .unwrap_or(u32::MAX)
            .max(self.came_before);
        match &self.settled {
            Some(settled) => {
                let came = settled.newcomers(&seen).count();
                self.moved_alone = settled.taken(&seen, came).max(self.moved_alone);
            }
            None if self.watched_before >= EFFECT => self.settled = Some(seen.clone()),
            None => {}
        }
        self.changed_at = seen.at;
        self.now = seen.clone();
        self.before = seen;
    }

    /// The queue was seen for long enough before. An empty one says at once what there is to say.
    pub fn is_prepared(&self) -> bool {
        self.before.length == 0 || self.watched_before >= QUIET
    }

    /// The queue is full and does not move: the kernel would drop the SYN (facts Q2).
    pub fn is_pointless(&self) -> bool {
        self.before.full && self.moved_before == 0
    }

    /// Our end, opened or as it is now.
    pub fn ours(&mut self, at: Duration, local: SocketAddr, end: End) {
        let opened = self.opened.get_or_insert(Opened {
            at,
            local,
            end,
            accepted_at: None,
        });
        opened.end = end;
        if end == End::Closed {
            opened.accepted_at.get_or_insert(at);
        }
    }

    /// A look after the connection was opened.
    pub fn then(&mut self, seen: QueueSeen) {
        let newcomers: Vec<Cookie> = self.before.newcomers(&seen).collect();
        self.others.extend(newcomers);
        let accepted = seen.ours == Some(Place::Accepted);
        if let Some(opened) = self.opened.as_mut().filter(|_| accepted) {
            opened.accepted_at.get_or_insert(seen.at);
        }
        if self.taken_by(&seen) == 0 {
            // What looked like it was between two rows of one read.
            self.first_out = None;
        } else if self.first_out.is_none() {
            let ended = self.before.accepted.difference(&seen.accepted).count();
            self.first_out = Some(FirstOut { at: seen.at, ended });
        }
        if !self.now.is_as(&seen) {
            self.changed_at = seen.at;
        }
        self.now = seen;
    }

    /// Nothing more can be learned by waiting.
    pub fn is_decided(&self) -> bool {
        let Some(opened) = &self.opened else {
            return self.is_pointless();
        };
        match opened.end {
            End::Refused | End::Reset => true,
            _ if self.accepted_after().is_some() => self.old_left_behind() == 0 || self.is_quiet(),
            _ => self.taken() > 0 && self.is_quiet(),
        }
    }

    /// Nothing has changed for a while.
    fn is_quiet(&self) -> bool {
        self.now.at.saturating_sub(self.changed_at) >= QUIET
    }

    /// How long after it was opened our connection was seen to be accepted.
    pub fn accepted_after(&self) -> Option<Duration> {
        let opened = self.opened?;
        Some(opened.accepted_at?.saturating_sub(opened.at))
    }

    /// For how long our connection was watched.
    pub fn watched(&self) -> Duration {
        self.opened.map_or(Duration::ZERO, |opened| {
            self.now.at.saturating_sub(opened.at)
        })
    }

    /// How long nothing had changed at the end.
    pub fn quiet_for(&self) -> Duration {
        self.now.at.saturating_sub(self.changed_at)
    }

    /// Other connections that came after ours was opened.
    pub fn others_came(&self) -> usize {
        self.others.len()
    }

    /// Slots of the queue that were freed since, which only `accept()` does (facts Q6).
    pub fn taken(&self) -> u32 {
        self.taken_by(&self.now)
    }

    fn taken_by(&self, seen: &QueueSeen) -> u32 {
        let accepted = self
            .opened
            .is_some_and(|opened| opened.accepted_at.is_some());
        let ours = accepted || matches!(seen.ours, Some(Place::Queued | Place::Accepted));
        self.before
            .taken(seen, self.others.len() + usize::from(ours))
    }

    /// Connections that waited before and do not any more.
    pub fn left(&self) -> Vec<&Waiting> {
        let still: HashSet<Cookie> = self.now.waiting.iter().map(|one| one.cookie).collect();
        let left = self.before.waiting.iter();
        left.filter(|one| !still.contains(&one.cookie)).collect()
    }

    /// Connections that waited before and still do.
    pub fn old_left_behind(&self) -> usize {
        self.before.waiting.len() - self.left().len()
    }

    /// Connections that had been accepted before ours came and ended since.
    pub fn ended(&self) -> usize {
        self.first_out.map_or_else(
            || self.before.accepted.difference(&self.now.accepted).count(),
            |out| out.ended,
        )
    }
}
