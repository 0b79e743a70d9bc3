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
use crate::model::{CauseId, Confidence};

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
    let mut judgements: Vec<(CauseId, Judgement)> = Vec::new();
    for cause in CAUSES {
        let judgement = (cause.judge)(stuck);
        let explains_the_rest = explains_the_rest(cause.id, &judgement);
        judgements.push((cause.id, judgement));
        if explains_the_rest {
            break;
        }
    }
    // A holder that could not be seen may accept, and be none of this.
    let mut explanation = rank(judgements.into_iter(), stuck.ceiling());
    explanation.evidence.splice(..0, stuck.evidence());
    explanation
}

/// Where every holder that accepts is out of descriptors, how it waits for one (nginx takes the
/// listener out of its set, Redis tries on and on, others sleep) is no cause of its own.
fn explains_the_rest(cause: CauseId, judgement: &Judgement) -> bool {
    cause == CauseId::FdLimitReached
        && matches!(judgement, Judgement::Holds(reason) if reason.confidence == Confidence::Certain)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::diagnose::test_stuck::StuckCase;
    use crate::join::SocketTable;

    #[test]
    fn what_a_program_without_descriptors_does_is_no_cause_of_its_own() {
        let causes = |case: &StuckCase| -> Vec<CauseId> {
            let snapshot = case.snapshot();
            let table = SocketTable::new(&snapshot);
            let why = explain(&Stuck::new(&table.listeners[0], &table));
            let others = why.other_causes.into_iter().map(|cause| cause.id);
            std::iter::once(why.cause.id).chain(others).collect()
        };
        let case = StuckCase::unregistered().thread('S', "epoll_wait", 4);
        assert_eq!(causes(&case), [CauseId::ListenerNotPolled]);
        assert_eq!(
            causes(&case.descriptors(20, 20, true)),
            [CauseId::FdLimitReached]
        );
    }

    #[test]
    fn every_cause_is_listed_once() {
        let ids: BTreeSet<CauseId> = CAUSES.iter().map(|cause| cause.id).collect();
        assert_eq!(ids.len(), CAUSES.len());
    }
}
