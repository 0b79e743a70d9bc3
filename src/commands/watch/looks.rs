//! Where looks come from, and when: this machine, one an interval, or a recording, one after the
//! other. The times of a recording are those of the watch that was recorded, so everything that
//! is made of it is the same.

use std::io::BufRead;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};

use super::wish::Wish;
use crate::collect::Session;
use crate::model::Snapshot;
use crate::record::{Entry, Recording};

/// A look that began at `at`, since the watch began.
pub(super) struct Look {
    pub(super) at: Duration,
    pub(super) taken: Taken,
}

/// What a look gave.
pub(super) enum Taken {
    Snapshot(Arc<Snapshot>),
    /// No socket table could be read at all.
    Failed(anyhow::Error),
}

/// What comes next.
pub(super) enum Next {
    Look(Look),
    /// The end, and when that was.
    End(Duration),
}

/// Looks, one after the other.
pub(super) trait Looks {
    /// From which duration on a look is late.
    fn interval(&self) -> Duration;

    /// The next look, when it is its time. The end comes first if there is a wish for it, or if
    /// the look would begin at `limit` or later; the first look is always taken.
    fn next(&mut self, limit: Option<Duration>) -> anyhow::Result<Next>;

    /// How long the look before took, all that was made of it until now included; asked once.
    fn took(&mut self) -> Duration;

    /// When the look before ended.
    fn ended(&self) -> Duration;

    /// What is to be said about them when they are over.
    fn remark(&self) -> Option<String>;
}

/// When the look before began and how long it took.
#[derive(Debug, Clone, Copy, Default)]
struct Time {
    at: Duration,
    took: Duration,
}

impl Time {
    fn ended(self) -> Duration {
        self.at + self.took
    }

    /// When the watch ends if that is asked for at `now`. A recording has to give the same end,
    /// so none is said to be later than the limit but for a look that was.
    fn end(self, now: Duration, limit: Option<Duration>) -> Duration {
        match limit {
            Some(limit) if limit <= now => limit.max(self.ended()),
            _ => now,
        }
    }
}

/// Looks at this machine.
pub(super) struct Live {
    session: Session,
    interval: Duration,
    wishes: Receiver<Wish>,
    before: Option<Time>,
}

impl Live {
    pub(super) fn new(session: Session, interval: Duration, wishes: Receiver<Wish>) -> Live {
        Live {
            session,
            interval,
            wishes,
            before: None,
        }
    }
}

impl Looks for Live {
    fn interval(&self) -> Duration {
        self.interval
    }

    /// A late look delays the next one; none is made up for.
    fn next(&mut self, limit: Option<Duration>) -> anyhow::Result<Next> {
        if let Some(before) = self.before {
            let now = self.session.elapsed();
            let due = before.at + self.interval;
            let pause = limit.map_or(due, |limit| limit.min(due));
            let wish = self.wishes.recv_timeout(pause.saturating_sub(now));
            let now = self.session.elapsed();
            let over = limit.is_some_and(|limit| limit <= now);
            if over || wish != Err(RecvTimeoutError::Timeout) {
                return Ok(Next::End(before.end(now, limit)));
            }
        }
        let at = self.session.elapsed();
        let took = Duration::ZERO;
        self.before = Some(Time { at, took });
        let taken = match self.session.look() {
            Ok(snapshot) => Taken::Snapshot(Arc::new(snapshot)),
            Err(error) => Taken::Failed(error.into()),
        };
        Ok(Next::Look(Look { at, taken }))
    }

    fn took(&mut self) -> Duration {
        let now = self.session.elapsed();
        let before = self.before.get_or_insert_default();
        before.took = now.saturating_sub(before.at);
        before.took
    }

    fn ended(&self) -> Duration {
        self.before.unwrap_or_default().ended()
    }

    fn remark(&self) -> Option<String> {
        None
    }
}

/// Looks that were recorded, as fast as they can be read.
pub(super) struct Recorded<R> {
    recording: Recording<R>,
    /// The name of the file, for messages.
    name: String,
    wishes: Receiver<Wish>,
    before: Option<Time>,
    /// The line at which the file is cut.
    cut: Option<u64>,
}

impl<R: BufRead> Recorded<R> {
    pub(super) fn new(
        recording: Recording<R>,
        name: String,
        wishes: Receiver<Wish>,
    ) -> Recorded<R> {
        Recorded {
            recording,
            name,
            wishes,
            before: None,
            cut: None,
        }
    }
}

impl<R: BufRead> Looks for Recorded<R> {
    fn interval(&self) -> Duration {
        // One look cannot be late.
        self.recording.interval().unwrap_or(Duration::MAX)
    }

    fn next(&mut self, limit: Option<Duration>) -> anyhow::Result<Next> {
        if self.wishes.try_recv().is_ok() {
            return Ok(Next::End(self.ended()));
        }
        let entry = self.recording.entry();
        let entry = entry.with_context(|| format!("cannot read {}", self.name))?;
        let look = match (entry, self.before) {
            (Entry::Look(look), _) => look,
            (_, None) => bail!("cannot read {}: it ends before its first look", self.name),
            (Entry::End(end), Some(before)) => return Ok(Next::End(before.end(end, limit))),
            (Entry::Cut { line }, Some(before)) => {
                self.cut = Some(line);
                return Ok(Next::End(before.ended()));
            }
        };
        if let (Some(before), Some(limit)) = (self.before, limit)
            && limit <= look.at
        {
            return Ok(Next::End(before.end(look.at, Some(limit))));
        }
        let (at, took) = (look.at, look.took);
        self.before = Some(Time { at, took });
        let taken = match look.taken {
            Ok(snapshot) => Taken::Snapshot(Arc::from(snapshot)),
            Err(reason) => Taken::Failed(anyhow!(reason)),
        };
        Ok(Next::Look(Look { at, taken }))
    }

    fn took(&mut self) -> Duration {
        self.before.unwrap_or_default().took
    }

    fn ended(&self) -> Duration {
        self.before.unwrap_or_default().ended()
    }

    fn remark(&self) -> Option<String> {
        self.cut.map(|line| {
            format!(
                "{} ends at line {line} without its end line: its watch was killed, or goes on; \
                 this is up to the last look that is whole",
                self.name
            )
        })
    }
}
