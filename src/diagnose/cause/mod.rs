//! Why an accept queue is stuck: one file a cause, judged over all holders of the listener together.
//!
//! A cause is a predicate on [`Stuck`] with its texts. [`CAUSES`] is in the order of preference:
//! where several hold, the more specific comes first. To add one: a file with its `CAUSE`, its
//! line in [`CAUSES`], its identifier in `model`, its page in `docs/findings`, its demo in
//! `scenario`.

mod acceptor_blocked;
mod acceptor_busy;
mod edge_triggered_missed_wakeup;
mod fd_limit_reached;
mod listener_not_polled;
mod no_holder;
mod oneshot_not_rearmed;
mod process_stopped;
mod stuck;

use std::cmp::Reverse;

use super::phrase;
use crate::model::{CauseId, CauseVerdict, Confidence, Evidence};

pub(super) use stuck::Stuck;

/// A known reason for a stuck queue.
struct Cause {
    id: CauseId,
    judge: fn(&Stuck<'_, '_>) -> Judgement,
}

/// Whether a cause holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Judgement {
    Holds(Reason),
    DoesNotHold,
    /// What would tell could not be read; says what, and what would show it.
    CannotTell(String),
}

/// A cause that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reason {
    pub(super) confidence: Confidence,
    pub(super) summary: String,
    evidence: Vec<Evidence>,
    remedy: String,
}

const CAUSES: &[Cause] = &[
    process_stopped::CAUSE,
    fd_limit_reached::CAUSE,
    oneshot_not_rearmed::CAUSE,
    edge_triggered_missed_wakeup::CAUSE,
    listener_not_polled::CAUSE,
    acceptor_blocked::CAUSE,
    acceptor_busy::CAUSE,
    no_holder::CAUSE,
];

/// Why a queue is stuck, as far as can be told.
pub(super) struct Explanation {
    pub(super) cause: CauseVerdict,
    pub(super) other_causes: Vec<CauseVerdict>,
    pub(super) evidence: Vec<Evidence>,
    pub(super) remedy: Option<String>,
}

/// Judges every cause.
pub(super) fn explain(stuck: &Stuck<'_, '_>) -> Explanation {
    let (mut holding, mut open) = (Vec::new(), Vec::new());
    for cause in CAUSES {
        match (cause.judge)(stuck) {
            Judgement::Holds(reason) => holding.push((cause.id, reason)),
            Judgement::CannotTell(what) if !open.contains(&what) => open.push(what),
            Judgement::CannotTell(_) | Judgement::DoesNotHold => {}
        }
    }
    // A better supported cause comes before a more specific one.
    holding.sort_by_key(|(_, reason)| Reverse(reason.confidence.min(Confidence::Likely)));
    let mut evidence = stuck.evidence();
    let mut verdicts = Vec::new();
    let mut remedy = None;
    for (id, reason) in holding {
        evidence.extend(reason.evidence);
        remedy.get_or_insert(reason.remedy);
        verdicts.push(CauseVerdict {
            id,
            // A holder that could not be seen may accept, and be none of this.
            confidence: reason.confidence.min(stuck.ceiling()),
            summary: reason.summary,
        });
    }
    let mut verdicts = verdicts.into_iter();
    let cause = verdicts.next().unwrap_or_else(|| CauseVerdict {
        id: CauseId::Unknown,
        confidence: Confidence::Possible,
        summary: if open.is_empty() {
            "everything was read, and it fits no cause that this version knows".into()
        } else {
            open.join("; ")
        },
    });
    Explanation {
        cause,
        other_causes: verdicts.collect(),
        evidence,
        remedy,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_cause_is_listed_once() {
        let ids: BTreeSet<CauseId> = CAUSES.iter().map(|cause| cause.id).collect();
        assert_eq!(ids.len(), CAUSES.len());
    }
}
