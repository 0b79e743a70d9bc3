//! Why sockets stay in CLOSE_WAIT: one file a cause, judged on all sockets of a leak together.
//!
//! What is unread says how far the program got (facts W1); what it does with the descriptors now
//! ([`attention`]) says why it gets no further. To add one: a file with its `CAUSE`, its line in
//! [`CAUSES`], its identifier in `model`, its page in `docs/findings`, its demo in `scenario`.

mod attention;
mod data_not_read;
mod eof_not_read;
mod held_by_another_process;
mod idle_pool_connection;
mod leaked;
mod read_not_closed;

use super::judgement::{Explanation, Judgement, Reason, rank};
use super::phrase;
use crate::model::{CauseId, Confidence};

pub(super) use leaked::Leaked;

/// A known reason for sockets to stay in CLOSE_WAIT.
struct Cause {
    id: CauseId,
    judge: fn(&Leaked<'_, '_>) -> Judgement,
}

const CAUSES: &[Cause] = &[
    held_by_another_process::CAUSE,
    idle_pool_connection::CAUSE,
    data_not_read::CAUSE,
    eof_not_read::CAUSE,
    read_not_closed::CAUSE,
];

/// Why these sockets stay, as far as can be told.
pub(super) fn explain(leaked: &Leaked<'_, '_>) -> Explanation {
    let judgements = CAUSES.iter().map(|cause| (cause.id, (cause.judge)(leaked)));
    let mut explanation = rank(judgements, Confidence::Certain);
    explanation
        .evidence
        .splice(..0, attention::evidence(leaked));
    explanation
}

/// What the causes about unread bytes have in common: `count` of the sockets are so, `what` the
/// program has done with them. The most common is the cause, the others come behind it.
fn unread_cause(
    leaked: &Leaked<'_, '_>,
    count: usize,
    confidence: Confidence,
    what: &str,
    fix: &str,
) -> Judgement {
    if count == 0 {
        return Judgement::DoesNotHold;
    }
    let total = leaked.sockets.len();
    let of = if count == total {
        String::new()
    } else {
        format!(" ({count} of {total} sockets)")
    };
    let attention = attention::of(leaked);
    let now = attention
        .as_ref()
        .and_then(|attention| attention.clause(leaked))
        .unwrap_or_default();
    let remedy = attention
        .and_then(|attention| attention.remedy(leaked))
        .unwrap_or_else(|| {
            format!(
                "In the program: {fix}. Until then a restart of the holder is the only thing that \
             releases the descriptors; CLOSE_WAIT has no timeout."
            )
        });
    Judgement::Holds(Reason {
        confidence: if count * 2 >= total {
            confidence
        } else {
            Confidence::Possible
        },
        summary: format!("the program has {what}{of}{now}"),
        evidence: Vec::new(),
        remedy,
    })
}
