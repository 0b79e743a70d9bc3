//! Where looks come from, and when: this machine, one an interval.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::wish::Wish;
use crate::collect::{CollectError, Session};
use crate::model::Snapshot;

/// A look that began at `at`, since the watch began.
pub(super) struct Look {
    pub(super) at: Duration,
    pub(super) taken: Taken,
}

/// What a look gave.
pub(super) enum Taken {
    Snapshot(Box<Snapshot>),
    /// No socket table could be read at all.
    Failed(anyhow::Error),
}

/// The next look, or the end and when that was.
pub(super) enum Next {
    Look(Look),
    End(Duration),
}

/// Looks at this machine.
pub(super) struct Live {
    session: Session,
    interval: Duration,
    wishes: Receiver<Wish>,
    /// When the look before began.
    before: Option<Duration>,
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

    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    /// Waits until it is time for the next look, and takes it; unless the time `limit`, or a wish,
    /// comes first. A late look delays the next one; none is made up for.
    pub(super) fn next(&mut self, limit: Option<Duration>) -> Result<Next, CollectError> {
        if let Some(before) = self.before {
            let now = self.session.elapsed();
            let due = (before + self.interval).max(now);
            let limit = limit.filter(|limit| *limit < due);
            match self
                .wishes
                .recv_timeout(limit.unwrap_or(due).saturating_sub(now))
            {
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(limit) = limit {
                        return Ok(Next::End(limit.max(now)));
                    }
                }
                Ok(Wish::End) | Err(RecvTimeoutError::Disconnected) => {
                    return Ok(Next::End(self.session.elapsed()));
                }
            }
        }
        let at = self.session.elapsed();
        self.before = Some(at);
        let taken = match self.session.look() {
            Ok(snapshot) => Taken::Snapshot(Box::new(snapshot)),
            Err(error) => Taken::Failed(error.into()),
        };
        Ok(Next::Look(Look { at, taken }))
    }

    /// How long the look that began at `at` took, all that was made of it until now included.
    pub(super) fn took(&self, at: Duration) -> Duration {
        self.session.elapsed().saturating_sub(at)
    }
}
