//! What all looks together have seen of single things, for a screen that shows it.

use std::time::Duration;

use super::History;
use super::key::ListenerKey;
use crate::join::Listener;
use crate::model::{Finding, ProcessId, Subject};

/// A finding that is open.
#[derive(Debug, Clone, Copy)]
pub struct OpenFinding<'a> {
    /// As it was reported last.
    pub finding: &'a Finding,
    /// When it appeared, since the watch began.
    pub since: Duration,
}

/// A listener's accept queue over the looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSoFar {
    /// Its lengths, the oldest look first.
    pub lengths: Vec<u64>,
    /// The longest that it was.
    pub peak: u32,
    /// Connections that were seen to come into it and to be taken from it. What is accepted between
    /// two looks is seen by neither. `None` if the connections of this queue cannot be told.
    pub moved: Option<(u64, u64)>,
    /// Handshake packets that it has dropped since the watch began, where the source tells.
    pub dropped: Option<u64>,
}

/// Sockets in CLOSE_WAIT that belong together, over the looks.
#[derive(Debug, Clone, PartialEq)]
pub struct CloseWaitSoFar {
    /// Which they are, as findings about them have it.
    pub subject: Subject,
    /// Who holds them, if that is known.
    pub holder: Option<ProcessId>,
    /// How many of them are not being served, the oldest look first.
    pub counts: Vec<u64>,
    /// The longest that one has been in CLOSE_WAIT at least, where the source tells.
    pub oldest: Option<Duration>,
    /// How many more there are each second; `None` if they do not grow steadily.
    pub rate: Option<f64>,
    /// Until their holder is out of descriptors, at this rate.
    pub time_left: Option<Duration>,
}

impl History {
    /// The findings that are open, and since when.
    pub fn open_since(&self) -> impl Iterator<Item = OpenFinding<'_>> {
        self.open.values().map(|open| OpenFinding {
            finding: &open.finding,
            since: open.since,
        })
    }

    /// What the newest `at_most` looks have seen of a listener's queue; `None` if it was in none.
    pub fn queue(&self, listener: &Listener<'_>, at_most: usize) -> Option<QueueSoFar> {
        let queue = self.queues.get(&ListenerKey::of(listener))?;
        Some(QueueSoFar {
            lengths: queue.lengths.newest(at_most).collect(),
            peak: queue.peak,
            moved: queue.moved,
            dropped: queue.dropped,
        })
    }

    /// What the newest `at_most` looks have seen of sockets in CLOSE_WAIT, in a stable order.
    pub fn close_wait(&self, at_most: usize) -> Vec<CloseWaitSoFar> {
        let mut groups: Vec<_> = self.groups.iter().collect();
        groups.sort_unstable_by_key(|(key, _)| *key);
        let so_far = groups.into_iter().map(|(key, group)| {
            let growth = group.rate();
            CloseWaitSoFar {
                subject: key.subject(),
                holder: key.holder,
                counts: group.counts.newest(at_most).collect(),
                oldest: group.oldest,
                rate: growth.map(|growth| growth.rate),
                time_left: growth.and_then(|growth| growth.time_left),
            }
        });
        so_far.collect()
    }
}
