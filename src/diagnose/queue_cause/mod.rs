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

use super::judgement::{Explanation, Judgement, Reason, rank};
use super::phrase;
use crate::model::CauseId;

pub(super) use stuck::Stuck;

/// A known reason for a stuck queue.
struct Cause {
    id: CauseId,
    judge: fn(&Stuck<'_, '_>) -> Judgement,
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
pub(super) fn explain(stuck: &Stuck<'_, '_>) -> Explanation {
    let judgements = CAUSES.iter().map(|cause| (cause.id, (cause.judge)(stuck)));
    // A holder that could not be seen may accept, and be none of this.
    let mut explanation = rank(judgements, stuck.ceiling());
    explanation.evidence.splice(..0, stuck.evidence());
    explanation
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
