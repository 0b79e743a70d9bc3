//! What the experiment proves, in words: the answer, what follows from it, and what to do.

use super::verdict::{Outcome, Verdict};
use super::{End, Experiment, QueueSeen};
use crate::model::{CauseId, CauseVerdict, Confidence, human_duration};

pub(super) fn healthy(seen: &Experiment) -> Verdict {
    let after = human_duration(seen.accepted_after().unwrap_or_default());
    let closed = seen.opened.is_some_and(|opened| opened.end == End::Closed);
    let closed = if closed {
        ", and closed by the server"
    } else {
        ""
    };
    let queue = match seen.before.length {
        0 => "the queue was empty".into(),
        length => format!("{length} waited, and the queue moves by itself"),
    };
    Verdict {
        outcome: Outcome::Healthy,
        confidence: Confidence::Certain,
        summary: format!(
            "{} accepts: {queue}, and a new connection was accepted within {after}{closed}",
            seen.target
        ),
        meaning: "The accept loop works now. What it does with a connection afterwards was not \
            tried: nothing was sent."
            .into(),
        remedy: "Nothing.".into(),
        cause: None,
    }
}

pub(super) fn one_in_one_out(seen: &Experiment, cause: Option<&CauseVerdict>) -> Verdict {
    let id = CauseId::EdgeTriggeredMissedWakeup;
    let confidence = match cause {
        Some(cause) if cause.id == id && cause.confidence >= Confidence::Likely => {
            Confidence::Certain
        }
        Some(cause) if cause.id != id && cause.id != CauseId::Unknown => Confidence::Possible,
        _ => Confidence::Likely,
    };
    let registered = match confidence {
        Confidence::Certain => "it is registered edge-triggered and the program sleeps there; ",
        _ => "",
    };
    Verdict {
        outcome: Outcome::OneInOneOut,
        confidence,
        summary: format!(
            "one in, one out at {}: a new connection let exactly one old one out, and {} wait as \
             before",
            seen.target, seen.now.length
        ),
        meaning: match confidence {
            Confidence::Possible => format!(
                "It looks like a missed wake-up, but the scan sees another cause ({}): repeat it.",
                cause.map_or("unknown", |cause| cause.id.as_str())
            ),
            _ => "The program is woken by a new connection, accepts one, and sleeps again before \
                the queue is empty: its accept loop returns early. A connection limit would have \
                let none in, since no accepted connection ended."
                .into(),
        },
        remedy:
            "In the accept loop: go on until EAGAIN, or register the listener level-triggered. \
            Until then each further connection lets one old one out; a restart resets those that \
            wait."
                .into(),
        cause: (confidence > Confidence::Possible).then(|| CauseVerdict {
            id,
            confidence,
            summary: format!(
                "{registered}one new connection let exactly one old one out, and then nothing \
                 moved for {}",
                human_duration(seen.quiet_for())
            ),
        }),
    }
}

pub(super) fn stuck(seen: &Experiment, cause: Option<&CauseVerdict>) -> Verdict {
    let watched = human_duration(seen.watched());
    let summary = match seen.before.length {
        0 => format!(
            "nobody accepts at {}: a new connection waits, for {watched}",
            seen.target
        ),
        length => format!(
            "nothing moves at {}: {length} waited, a new connection came and waits too, for \
             {watched}",
            seen.target
        ),
    };
    // A missed wake-up would have been made good by ours, for one connection at least.
    let cause = cause.filter(|cause| cause.id != CauseId::Unknown);
    let refuted = cause.is_some_and(|cause| cause.id == CauseId::EdgeTriggeredMissedWakeup);
    let (meaning, remedy) = match cause {
        Some(_) if refuted => (
            "The listener is edge-triggered and the program sleeps, but it is not the missed \
             wake-up: ours was an event for it, and it accepted none. Most likely it holds back on \
             purpose: a connection limit that is still reached."
                .to_owned(),
            "End one old client: a program at its limit then accepts one. Raise the limit, or \
             find the connections that keep their places."
                .to_owned(),
        ),
        Some(cause) => (
            format!(
                "A new connection does not help: it is not a missed wake-up. The scan says why: {}.",
                cause.summary
            ),
            format!("See tcpleak scan --port {}.", seen.target.port()),
        ),
        None => (
            "A new connection does not help: it is not a missed wake-up. The program is stopped, \
             blocked or busy, is at a limit, or waits for other things; what it does could not be \
             read."
                .to_owned(),
            format!(
                "See tcpleak scan --port {} as root: it tells what the program waits for.",
                seen.target.port()
            ),
        ),
    };
    Verdict {
        outcome: Outcome::Stuck,
        confidence: Confidence::Certain,
        summary,
        meaning,
        remedy,
        cause: cause.filter(|_| !refuted).cloned(),
    }
}

pub(super) fn drained(seen: &Experiment) -> Verdict {
    Verdict {
        outcome: Outcome::Drained,
        confidence: Confidence::Likely,
        summary: format!(
            "{} waited at {} and did not move; a new connection came, and all were accepted",
            seen.before.length, seen.target
        ),
        meaning: "Most likely the program had lost a wake-up once, and the new one was the next: \
            its loop goes on to the end when it runs. Typical after accept() failed (EMFILE) on \
            an edge-triggered listener."
            .into(),
        remedy: "After an error from accept() other than EAGAIN, try again later without waiting \
            for an event. The queue is empty now."
            .into(),
        cause: None,
    }
}

/// Outcomes whose words do not depend on much.
pub(super) fn plain(seen: &Experiment, outcome: Outcome, cause: Option<&CauseVerdict>) -> Verdict {
    let target = seen.target;
    let (summary, meaning, remedy) = match outcome {
        Outcome::Slow => (
            format!(
                "{target} accepts late: the queue was empty, and a new connection waited {}",
                human_duration(seen.accepted_after().unwrap_or_default())
            ),
            "The accept loop works, but does not come to it in time.",
            "Look at what the accepting thread does between two calls of accept().",
        ),
        Outcome::MovesByItself => (
            format!(
                "the queue of {target} moves without help: before ours came, {} left it and none came",
                seen.moved_before
            ),
            "This is overload, not a leak: the program accepts, more slowly than it should.",
            "Accept in a thread of its own, or give the program more of what it waits for.",
        ),
        Outcome::Full => (
            format!(
                "the queue of {target} is full ({}): the kernel drops what comes, and the \
                 experiment proves nothing",
                queue_words(&seen.now)
            ),
            "No new connection reaches the program, so none can wake it.",
            "Ask tcpleak scan for the cause. Free a slot, then repeat the experiment: end one \
             client that was accepted, or use the remedy of accept-queue-leak.",
        ),
        Outcome::Refused => (
            format!("{target} refused the connection, and there is a listener"),
            "The listener went away meanwhile, or a packet filter rejects the connection.",
            "Repeat it; look at the rules of nft or iptables.",
        ),
        _ => (
            format!("the connection to {target} was reset before it was seen to be accepted"),
            "The server reset it at once, the listener was closed, or the queue overflowed with \
             net.ipv4.tcp_abort_on_overflow set.",
            "Repeat it; look at the server's log.",
        ),
    };
    Verdict {
        outcome,
        confidence: Confidence::Certain,
        summary,
        meaning: meaning.into(),
        remedy: remedy.into(),
        cause: cause
            .filter(|cause| outcome == Outcome::Full && cause.id != CauseId::Unknown)
            .cloned(),
    }
}

pub(super) fn cannot_tell(why: String, cause: Option<&CauseVerdict>) -> Verdict {
    Verdict {
        outcome: Outcome::CannotTell,
        confidence: Confidence::Certain,
        summary: format!("the experiment decides nothing: {why}"),
        meaning: "What was seen can be several things.".into(),
        remedy: "Repeat it, or ask tcpleak scan.".into(),
        cause: cause.filter(|cause| cause.id != CauseId::Unknown).cloned(),
    }
}

/// `8 of 511`.
fn queue_words(queue: &QueueSeen) -> String {
    match queue.backlog {
        Some(backlog) => format!("{} of {backlog}", queue.length),
        None => queue.length.to_string(),
    }
}
