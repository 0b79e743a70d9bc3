//! What a watch has to say: one event for each thing that changed.

use std::fmt;
use std::time::Duration;

use crate::model::{Finding, Severity, Subject};

/// Something that happened between two looks.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// When it was noticed, since the watch began.
    pub at: Duration,
    /// What kind of thing.
    pub kind: EventKind,
    /// How bad.
    pub severity: Severity,
    /// What it is about; nothing if it is about the watch itself.
    pub subject: Option<Subject>,
    /// One sentence about this instance.
    pub summary: String,
    /// The finding that appeared, changed or went, as it was seen last.
    pub finding: Option<Box<Finding>>,
    /// The numbers of the sentence.
    pub measures: Measures,
}

/// The numbers that an event is about, those that apply.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Measures {
    /// Connections in the queue, or sockets in CLOSE_WAIT.
    pub count: Option<u64>,
    /// How fast that number grows, or if negative shrinks, per second.
    pub rate: Option<f64>,
    /// Until the queue is empty, or the holder out of descriptors, if it goes on like this.
    pub time_left: Option<Duration>,
    /// Connections that came into the queue, or handshake packets that were dropped.
    pub came: Option<u64>,
    /// Connections that were taken from the queue.
    pub left: Option<u64>,
    /// How long what the event says has been so.
    pub lasted: Option<Duration>,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)+) => {
        /// The kinds of events. Identifiers are permanent: they are in JSON.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum EventKind { $($(#[$doc])* $variant,)+ }

        impl EventKind {
            /// Every kind.
            pub const ALL: &[EventKind] = &[$(EventKind::$variant,)+];

            /// The permanent identifier, in kebab case.
            pub fn as_str(self) -> &'static str {
                match self { $(EventKind::$variant => $text,)+ }
            }
        }
    };
}

kinds! {
    /// A finding that was not there before.
    Appeared = "appeared",
    /// A finding has another severity or cause, or a stuck queue moves.
    Changed = "changed",
    /// What the finding was about is gone: accepted, closed, or no longer old.
    Recovered = "recovered",
    /// The listener of a finding was closed, and its queue with it.
    Closed = "closed",
    /// One connection came, and exactly one, the oldest, was let out.
    OneInOneOut = "one-in-one-out",
    /// The same connections, look after look.
    NotMoving = "not-moving",
    /// A queue becomes shorter.
    Draining = "draining",
    /// A number grows steadily.
    Growing = "growing",
    /// A listener has dropped connections since the last look.
    Dropping = "dropping",
    /// A SYN queue has been full since the last look: cookies were sent, or SYNs dropped.
    SynQueueFull = "syn-queue-full",
    /// A look took longer than the interval.
    Late = "late",
    /// The history is full; what is beyond it is not followed.
    LimitReached = "limit-reached",
    /// The watch has ended.
    Summary = "summary",
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
