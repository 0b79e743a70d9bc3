//! What is true of each case, and so what a report has to say of it and what it may say.

use tcpleak::model::{Finding, Severity};

/// A case of `scenario` or a variant, and what is true of it.
#[derive(Debug)]
pub(crate) struct State {
    /// The id of the case, or the name of the variant.
    pub(crate) id: &'static str,
    /// What a report has to say, `FINDING` or `FINDING/CAUSE`; the first has to come first.
    pub(crate) must: &'static [&'static str],
    /// Where not every process could be seen, if that makes a difference.
    pub(crate) must_if_incomplete: Option<&'static [&'static str]>,
    /// Whether its server computes without end: one of those is enough for a machine.
    pub(crate) is_busy: bool,
}

impl State {
    pub(crate) fn must(&self, complete: bool) -> &'static [&'static str] {
        match self.must_if_incomplete {
            Some(must) if !complete => must,
            _ => self.must,
        }
    }

    /// Whether nothing is wrong with it.
    pub(crate) fn is_healthy(&self) -> bool {
        self.must.is_empty()
    }
}

const fn state(id: &'static str, must: &'static [&'static str]) -> State {
    State {
        id,
        must,
        must_if_incomplete: None,
        is_busy: false,
    }
}

const NOT_POLLED: &str = "accept-queue-leak/listener-not-polled";
const BLOCKED: &str = "accept-queue-leak/acceptor-blocked";

pub(crate) static STATES: &[State] = &[
    state(
        "edge-triggered-missed-wakeup",
        &["accept-queue-leak/edge-triggered-missed-wakeup"],
    ),
    state("process-stopped", &["accept-queue-leak/process-stopped"]),
    // 32 of 32 descriptors: both are so.
    state(
        "fd-limit-reached",
        &[
            "accept-queue-leak/fd-limit-reached",
            "descriptor-exhaustion",
        ],
    ),
    state(
        "oneshot-not-rearmed",
        &["accept-queue-leak/oneshot-not-rearmed"],
    ),
    state(
        "listener-not-polled",
        &["accept-queue-leak/listener-not-polled"],
    ),
    state("acceptor-blocked", &[BLOCKED]),
    State {
        is_busy: true,
        ..state("acceptor-busy", &["accept-queue-leak/acceptor-busy"])
    },
    // That nobody holds it may be said only by who has seen everybody.
    State {
        must_if_incomplete: Some(&["accept-queue-leak/unknown"]),
        ..state("no-holder", &["accept-queue-leak/no-holder"])
    },
    state("accept-queue-backlog", &["accept-queue-backlog"]),
    // Its server sleeps and never accepts: once the three are old, that is so as well.
    state("accept-queue-overflow", &[BLOCKED, "accept-queue-overflow"]),
    state("eof-not-read", &["close-wait-leak/eof-not-read"]),
    state("data-not-read", &["close-wait-leak/data-not-read"]),
    state("read-not-closed", &["close-wait-leak/read-not-closed"]),
    state(
        "held-by-another-process",
        &["close-wait-leak/held-by-another-process"],
    ),
    state(
        "idle-pool-connection",
        &["close-wait-leak/idle-pool-connection"],
    ),
    state("close-wait-half-closed", &["close-wait-half-closed"]),
    state("dead-socket-leak", &["dead-socket-leak"]),
    state("descriptor-exhaustion", &["descriptor-exhaustion"]),
    state("gone-in-queue", &[BLOCKED]),
    state("prefork", &[BLOCKED]),
    state("reuseport-member-stuck", &[BLOCKED]),
    state("dual-stack", &[BLOCKED]),
    state("poll-without-the-listener", &[NOT_POLLED]),
    state("one-of-two-listeners", &[NOT_POLLED]),
    state("pool-of-readers", &[BLOCKED]),
    state(
        "edge-triggered-in-a-nested-set",
        &["accept-queue-leak/edge-triggered-missed-wakeup"],
    ),
    state("accept-thread-ended", &[BLOCKED]),
    state("healthy", &[]),
    state("unconnected-sockets", &[]),
];

/// What a report may say of anything at any time, since it is so at times and accuses nobody: a
/// queue that is young, one that was full once, a connection that is served after its end of file.
const HARMLESS: &[&str] = &[
    "accept-queue-backlog",
    "accept-queue-overflow",
    "close-wait-half-closed",
];

pub(crate) fn is_harmless(finding: &Finding) -> bool {
    finding.severity == Severity::Info && HARMLESS.contains(&finding.id.as_str())
}

/// `FINDING` or `FINDING/CAUSE`.
pub(crate) fn verdict(finding: &Finding) -> String {
    match &finding.cause {
        Some(cause) => format!("{}/{}", finding.id, cause.id),
        None => finding.id.to_string(),
    }
}
