//! What a cause's predicate answers, and how several answers are ranked.

use std::cmp::Reverse;

use crate::model::{CauseId, CauseVerdict, Confidence, Evidence};

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
    pub(super) evidence: Vec<Evidence>,
    pub(super) remedy: String,
}

/// Why something is as it is, as far as can be told.
#[derive(Debug)]
pub(super) struct Explanation {
    pub(super) cause: CauseVerdict,
    pub(super) other_causes: Vec<CauseVerdict>,
    pub(super) evidence: Vec<Evidence>,
    /// Of the first cause; none if that is unknown.
    pub(super) remedy: Option<String>,
}

/// Ranks the judgements on causes, given in the order of preference.
///
/// A cause that is only possible comes behind better supported ones; otherwise the order stays.
/// No confidence exceeds `ceiling`.
pub(super) fn rank(
    judgements: impl Iterator<Item = (CauseId, Judgement)>,
    ceiling: Confidence,
) -> Explanation {
    let (mut holding, mut open) = (Vec::new(), Vec::new());
    for (id, judgement) in judgements {
        match judgement {
            Judgement::Holds(reason) => holding.push((id, reason)),
            Judgement::CannotTell(what) if !open.contains(&what) => open.push(what),
            Judgement::CannotTell(_) | Judgement::DoesNotHold => {}
        }
    }
    holding.sort_by_key(|(_, reason)| Reverse(reason.confidence.min(Confidence::Likely)));
    let (mut evidence, mut verdicts, mut remedy) = (Vec::new(), Vec::new(), None);
    for (id, reason) in holding {
        evidence.extend(reason.evidence);
        remedy.get_or_insert(reason.remedy);
        let confidence = reason.confidence.min(ceiling);
        verdicts.push(CauseVerdict {
            id,
            confidence,
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
    use super::*;

    fn holds(confidence: Confidence) -> Judgement {
        let (summary, remedy) = (String::new(), format!("{confidence}"));
        Judgement::Holds(Reason {
            confidence,
            summary,
            evidence: Vec::new(),
            remedy,
        })
    }

    #[test]
    fn the_possible_comes_behind_the_likely() {
        let judgements = [
            (CauseId::ListenerNotPolled, holds(Confidence::Possible)),
            (CauseId::AcceptorBlocked, holds(Confidence::Likely)),
            (CauseId::AcceptorBusy, holds(Confidence::Certain)),
        ];
        let ranked = rank(judgements.into_iter(), Confidence::Likely);
        assert_eq!(ranked.cause.id, CauseId::AcceptorBlocked);
        assert_eq!(ranked.remedy.as_deref(), Some("likely"));
        let others: Vec<_> = ranked
            .other_causes
            .iter()
            .map(|c| (c.id, c.confidence))
            .collect();
        let busy = (CauseId::AcceptorBusy, Confidence::Likely);
        assert_eq!(
            others,
            [busy, (CauseId::ListenerNotPolled, Confidence::Possible)]
        );
    }

    #[test]
    fn what_cannot_be_told_is_said_once_and_only_without_a_cause() {
        let open = || {
            (
                CauseId::AcceptorBusy,
                Judgement::CannotTell("denied".into()),
            )
        };
        let unknown = rank([open(), open()].into_iter(), Confidence::Certain);
        assert_eq!(
            (unknown.cause.id, unknown.cause.summary.as_str()),
            (CauseId::Unknown, "denied")
        );
        let known = [open(), (CauseId::NoHolder, holds(Confidence::Certain))];
        assert_eq!(
            rank(known.into_iter(), Confidence::Certain).cause.id,
            CauseId::NoHolder
        );
        let nothing = [(CauseId::NoHolder, Judgement::DoesNotHold)];
        let cause = rank(nothing.into_iter(), Confidence::Certain).cause;
        assert!(cause.summary.contains("fits no cause"));
    }
}
