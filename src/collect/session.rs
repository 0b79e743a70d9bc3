//! Repeated looks: what moves in a queue shows by the look before, and no look waits for it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{CollectError, Request, look, proc_root};
use crate::model::{QueueRead, Snapshot};

/// Watching longer than this tells nothing more about a queue.
const COMPARED_AT_MOST: Duration = Duration::from_secs(2);

/// The looks of one watch, and their clock.
pub struct Session {
    request: Request,
    began: Instant,
    /// The last reads of the queues of looks in the past, in the order of time.
    reads: VecDeque<(Instant, QueueRead)>,
}

impl Session {
    /// Begins now. `request` is that of every look; the two reads of a queue that are compared are
    /// `settle` apart at least, or `accept_age` where that is longer.
    pub fn begin(request: Request) -> Session {
        Session {
            request,
            began: Instant::now(),
            reads: VecDeque::new(),
        }
    }

    /// Time since the beginning, by the monotonic clock: a suspended machine and a clock that is
    /// set do not count.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Takes a look. Only one before which no queue was read waits as a single look does; and for
    /// `settle` one that finds slots of reset connections, whose number alone may be what changes.
    pub fn look(&mut self) -> Result<Snapshot, CollectError> {
        let started = Instant::now();
        proc_root::has_to_move(&self.request.proc_root)?;
        let earlier = self.earlier(started);
        let mut snapshot = look(&self.request, started, earlier.is_some())?;
        match snapshot.queue_reads.last() {
            Some(last) => self.reads.push_back((started + last.after, last.clone())),
            // Nothing waits anywhere: what was read before says nothing about what comes.
            None => self.reads.clear(),
        }
        if let Some((read_at, earlier)) = earlier
            && !snapshot.queue_reads.is_empty()
        {
            let before = started.saturating_duration_since(read_at);
            for read in &mut snapshot.queue_reads {
                read.after += before;
            }
            snapshot.queue_reads.insert(0, earlier);
        }
        Ok(snapshot)
    }

    /// The newest read that is old enough to compare with, or else the oldest one.
    fn earlier(&mut self, now: Instant) -> Option<(Instant, QueueRead)> {
        let distance = self
            .request
            .settle
            .max(self.request.accept_age.min(COMPARED_AT_MOST));
        let is_old =
            |(at, _): &(Instant, QueueRead)| now.saturating_duration_since(*at) >= distance;
        while self.reads.get(1).is_some_and(is_old) {
            self.reads.pop_front();
        }
        let (at, read) = self.reads.front()?;
        Some((
            *at,
            QueueRead {
                after: Duration::ZERO,
                // Before this interval.
                freed: None,
                ..read.clone()
            },
        ))
    }
}
