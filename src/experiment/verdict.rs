//! What the experiment proves.

use std::fmt;
use std::time::Duration;

use super::words::{cannot_tell, drained, healthy, one_in_one_out, plain, stuck};
use super::{EFFECT, End, Experiment, PROMPT, Place, QUIET, QueueSeen, Waiting};
use crate::model::{CauseVerdict, Confidence, count_of, human_duration};

/// What became of it. Identifiers are permanent: they are in the JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Ours was accepted promptly.
    Healthy,
    /// Ours was accepted, and late.
    Slow,
    /// Ours came in and exactly one old one went out: a wake-up was missed.
    OneInOneOut,
    /// Nothing moved, and ours waits too.
    Stuck,
    /// Ours came in and all went out: a wake-up was lost once.
    Drained,
    /// The queue moves without ours, and ours waits in it: overload.
    MovesByItself,
    /// The queue is full: nothing can join it, and nothing is proved.
    Full,
    /// The connection was refused.
    Refused,
    /// The connection was reset before it was seen to be accepted.
    Reset,
    /// What was seen can be several things.
    CannotTell,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: &[Outcome] = &[
        Outcome::Healthy,
        Outcome::Slow,
        Outcome::OneInOneOut,
        Outcome::Stuck,
        Outcome::Drained,
        Outcome::MovesByItself,
        Outcome::Full,
        Outcome::Refused,
        Outcome::Reset,
        Outcome::CannotTell,
    ];

    /// The permanent identifier, in kebab case.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Healthy => "healthy",
            Outcome::Slow => "slow",
            Outcome::OneInOneOut => "one-in-one-out",
            Outcome::Stuck => "stuck",
            Outcome::Drained => "drained",
            Outcome::MovesByItself => "moves-by-itself",
            Outcome::Full => "full",
            Outcome::Refused => "refused",
            Outcome::Reset => "reset",
            Outcome::CannotTell => "cannot-tell",
        }
    }

    /// Something is wrong with the listener: `Some(false)` if nothing is, `None` if it is not known.
    pub fn is_problem(self) -> Option<bool> {
        match self {
            Outcome::Healthy => Some(false),
            Outcome::Slow
            | Outcome::OneInOneOut
            | Outcome::Stuck
            | Outcome::Drained
            | Outcome::MovesByItself => Some(true),
            Outcome::Full | Outcome::Refused | Outcome::Reset | Outcome::CannotTell => None,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What the experiment proves, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What became of it.
    pub outcome: Outcome,
    /// How sure it is that this is the case.
    pub confidence: Confidence,
    /// One sentence: the answer.
    pub summary: String,
    /// What follows from it.
    pub meaning: String,
    /// What to do.
    pub remedy: String,
    /// Why the queue is stuck, as far as experiment and scan agree.
    pub cause: Option<CauseVerdict>,
}

/// Says what was proved; `cause` is what the normal scan takes for the cause of the queue.
pub fn judge(experiment: &Experiment, cause: Option<&CauseVerdict>) -> Verdict {
    let said = match outcome(experiment) {
        Ok(outcome) => outcome,
        Err(why) => return cannot_tell(why, cause),
    };
    match said {
        Outcome::Healthy => healthy(experiment),
        Outcome::OneInOneOut => one_in_one_out(experiment, cause),
        Outcome::Stuck => stuck(experiment, cause),
        Outcome::Drained => drained(experiment),
        other => plain(experiment, other, cause),
    }
}

/// Which outcome, or why that cannot be told.
fn outcome(seen: &Experiment) -> Result<Outcome, String> {
    let Some(opened) = &seen.opened else {
        return Ok(Outcome::Full);
    };
    match (opened.end, seen.accepted_after(), seen.now.ours) {
        (End::Refused, ..) => Ok(Outcome::Refused),
        (_, Some(after), _) => accepted(seen, after),
        (End::Reset, ..) => Ok(Outcome::Reset),
        (_, _, Some(Place::Queued)) => queued(seen),
        _ if seen.now.full => Ok(Outcome::Full),
        (End::Connecting, ..) => Err(
            "nothing answered the connection, and the queue is not full: \
            a packet filter, or a listener with a filter of its own"
                .into(),
        ),
        (_, _, Some(Place::Handshake)) => Err("the listener has not queued a connection that \
            sends nothing: it waits for data first (TCP_DEFER_ACCEPT, nginx's `deferred`)"
            .into()),
        _ => Err(
            "the connection is in no table of this network namespace: something took it \
            elsewhere (address translation, a transparent proxy)"
                .into(),
        ),
    }
}

/// Ours was accepted, and so whatever waited before it in the same queue.
fn accepted(seen: &Experiment, after: Duration) -> Result<Outcome, String> {
    let late = after > PROMPT;
    if seen.old_left_behind() > 0 {
        return Err(format!(
            "ours was accepted and {} wait on: it came to another queue than they are in",
            count_of(seen.old_left_behind() as u64, "older connection")
        ));
    }
    if seen.before.length == 0 {
        return Ok(if late {
            Outcome::Slow
        } else {
            Outcome::Healthy
        });
    }
    if seen.moved_before > 0 {
        return match seen.now.length {
            0 if !late => Ok(Outcome::Healthy),
            _ => moved_before(seen),
        };
    }
    if seen.others_came() > 0 || seen.came_before > 0 {
        return Err(others_came(seen));
    }
    if !is_effect(seen) {
        return Err(late_effect(seen));
    }
    Ok(Outcome::Drained)
}

/// Ours waits in the queue.
fn queued(seen: &Experiment) -> Result<Outcome, String> {
    let taken = seen.taken();
    if seen.moved_before > 0 {
        return moved_before(seen);
    }
    if taken == 0 {
        return Ok(Outcome::Stuck);
    }
    if seen.sharing > 1 {
        return Err(format!(
            "{} listeners share the address, and the kernel does not tell in which of their \
             queues a connection waits",
            seen.sharing
        ));
    }
    if seen.others_came() > 0 || seen.came_before > 0 {
        return Err(others_came(seen));
    }
    if taken > 1 {
        return Err(format!(
            "{taken} left the queue, not one and not all: a loop that accepts so many at a time \
             and stops too early, or a program that got going again"
        ));
    }
    if !is_effect(seen) {
        return Err(late_effect(seen));
    }
    if seen.ended() > 0 {
        return Err(format!(
            "one left the queue, and {} that the program had accepted ended at the same time: a \
             limit would let one in for it",
            count_of(seen.ended() as u64, "connection")
        ));
    }
    if seen.quiet_for() < QUIET {
        return Err(
            "one left the queue shortly before the end: whether others follow was not \
            seen; give it more time with --for"
                .into(),
        );
    }
    if !took_the_oldest(&seen.before, &seen.left()) {
        return Err(
            "one left the queue, and it was not the oldest: it did not leave by being \
            accepted"
                .into(),
        );
    }
    Ok(Outcome::OneInOneOut)
}

/// The queue moved before ours came. Where others came as well, one in, one out looks like that in
/// traffic, and so does a slow server whose clients come again.
fn moved_before(seen: &Experiment) -> Result<Outcome, String> {
    if seen.moved_alone > 0 && seen.came_before == 0 {
        return Ok(Outcome::MovesByItself);
    }
    Err(format!(
        "before ours was opened {} came and {} left: a slow server looks like that, and so does \
         one that accepts once for each newcomer",
        count_of(seen.came_before.into(), "connection"),
        seen.moved_before
    ))
}

/// What left did so soon after ours came that it may be its effect.
fn is_effect(seen: &Experiment) -> bool {
    let opened = seen.opened.map(|opened| opened.at);
    let out = seen.first_out.map(|out| out.at);
    matches!((opened, out), (Some(opened), Some(out)) if out.saturating_sub(opened) <= EFFECT)
}

/// At most one is missing, and none is notably older: a slot whose connection was reset is taken in
/// its turn, and nothing visible leaves then (facts Q6). Ages are told in steps of up to 10 ms.
fn took_the_oldest(before: &QueueSeen, left: &[&Waiting]) -> bool {
    const STEP: Duration = Duration::from_millis(20);
    match left {
        [] => before.length as usize > before.waiting.len(),
        [one] => match (one.waited, before.oldest_wait()) {
            (Some(waited), Some(oldest)) => waited + STEP >= oldest,
            _ => false,
        },
        _ => false,
    }
}

fn others_came(seen: &Experiment) -> String {
    format!(
        "{} from elsewhere came during the experiment: what moved may be their effect; repeat it \
         when it is quiet, or follow the traffic with tcpleak scan",
        count_of(
            seen.others_came() as u64 + u64::from(seen.came_before),
            "connection"
        )
    )
}

fn late_effect(seen: &Experiment) -> String {
    let at = |time: Option<Duration>| time.unwrap_or_default();
    let (out, opened) = (seen.first_out.map(|out| out.at), seen.opened.map(|o| o.at));
    format!(
        "the queue moved only {} after ours came: that may be by chance; repeat it",
        human_duration(at(out).saturating_sub(at(opened)))
    )
}
