//! Findings and causes: what is wrong, why, and what that rests on.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use super::{Cookie, Direction, Inode, Netns, ProcessId};

/// A problem, or something worth knowing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which kind.
    pub id: FindingId,
    /// How bad.
    pub severity: Severity,
    /// How sure it is that this is the case at all.
    pub confidence: Confidence,
    /// One sentence about this instance: what, where, who, how many, how long.
    pub summary: String,
    /// What it is about.
    pub subject: Subject,
    /// How many connections or descriptors.
    pub count: u64,
    /// The longest wait or age among them, where it is known.
    pub oldest: Option<Duration>,
    /// Why, the best of the causes that hold.
    pub cause: Option<CauseVerdict>,
    /// The other causes that hold as well.
    pub other_causes: Vec<CauseVerdict>,
    /// The facts it rests on.
    pub evidence: Vec<Evidence>,
    /// What to do.
    pub remedy: String,
    /// Commands that show the same by hand.
    pub confirm: Vec<String>,
}

/// What a finding is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A listener.
    Listener {
        /// Its namespace.
        netns: Netns,
        /// Its cookie.
        cookie: Option<Cookie>,
        /// Its inode.
        inode: Option<Inode>,
        /// Its address.
        local: SocketAddr,
    },
    /// Connections that belong together.
    Connections {
        /// Their namespace.
        netns: Netns,
        /// Who holds them, if that is known.
        holder: Option<ProcessId>,
        /// Who opened them, if that is known.
        direction: Option<Direction>,
        /// Inbound: the local port. Outbound: the remote address and port.
        endpoint: String,
    },
    /// A process.
    Process(ProcessId),
}

/// Why, with how sure that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CauseVerdict {
    /// Which cause.
    pub id: CauseId,
    /// How sure.
    pub confidence: Confidence,
    /// What is the case, in words for this instance.
    pub summary: String,
}

/// A fact, and where it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// What is the case.
    pub fact: String,
    /// `sock_diag`, `/proc/4866/fdinfo/4`, …
    pub source: String,
}

impl Evidence {
    /// A fact read at `source`.
    pub fn new(fact: impl Into<String>, source: impl Into<String>) -> Evidence {
        Evidence {
            fact: fact.into(),
            source: source.into(),
        }
    }
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing; nothing is wrong.
    Info,
    /// Something is wrong, and nobody is being turned away yet.
    Warning,
    /// Clients are not being served, or soon will not be.
    Critical,
}

/// How sure a statement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Confidence {
    /// It fits what was seen, and so do other things.
    Possible,
    /// It is the usual reason for what was seen; something else could look the same.
    Likely,
    /// What was seen cannot be otherwise.
    Certain,
}

macro_rules! identifiers {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// Every identifier.
            pub const ALL: &[$name] = &[$($name::$variant,)+];

            /// The permanent identifier, in kebab case.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

identifiers! {
    /// The kinds of findings. Identifiers are permanent: they are in JSON, docs and alerts.
    FindingId {
        /// Connections wait for `accept()` and nobody takes them.
        AcceptQueueLeak = "accept-queue-leak",
        /// Connections wait for `accept()`.
        AcceptQueueBacklog = "accept-queue-backlog",
        /// An accept queue is or was full.
        AcceptQueueOverflow = "accept-queue-overflow",
        /// A holder keeps sockets in CLOSE_WAIT.
        CloseWaitLeak = "close-wait-leak",
        /// CLOSE_WAIT, and still sending.
        CloseWaitHalfClosed = "close-wait-half-closed",
        /// Descriptors of TCP sockets that are in no table.
        DeadSocketLeak = "dead-socket-leak",
        /// A process is about to run out of descriptors.
        DescriptorExhaustion = "descriptor-exhaustion",
    }
}

identifiers! {
    /// The causes of findings. Identifiers are permanent.
    CauseId {
        /// The processes that accept are stopped, traced or frozen.
        ProcessStopped = "process-stopped",
        /// `accept()` fails for want of a descriptor.
        FdLimitReached = "fd-limit-reached",
        /// A one-shot registration has fired and was not armed again.
        OneshotNotRearmed = "oneshot-not-rearmed",
        /// An edge-triggered listener, and a program asleep with a queue that is not empty.
        EdgeTriggeredMissedWakeup = "edge-triggered-missed-wakeup",
        /// The program waits for events, but not for this listener's.
        ListenerNotPolled = "listener-not-polled",
        /// The threads that could accept sleep in other system calls.
        AcceptorBlocked = "acceptor-blocked",
        /// The threads that could accept are computing.
        AcceptorBusy = "acceptor-busy",
        /// Nothing holds the listener.
        NoHolder = "no-holder",
        /// What would tell could not be read, or fits nothing known.
        Unknown = "unknown",
        /// A process other than the one that serves the connections keeps them open.
        HeldByAnotherProcess = "held-by-another-process",
        /// A client's pool keeps idle connections that the server has closed.
        IdlePoolConnection = "idle-pool-connection",
        /// Only the FIN is unread.
        EofNotRead = "eof-not-read",
        /// Data and the FIN are unread.
        DataNotRead = "data-not-read",
        /// Everything was read, and the socket not closed.
        ReadNotClosed = "read-not-closed",
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        })
    }
}

impl fmt::Display for Confidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Confidence::Possible => "possible",
            Confidence::Likely => "likely",
            Confidence::Certain => "certain",
        })
    }
}
