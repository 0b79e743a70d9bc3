//! `no-holder`: nothing holds the listener, and everything could be seen.

use super::{Cause, CauseId, Judgement, Reason, Stuck};
use crate::model::{Confidence, Evidence};

pub(super) const CAUSE: Cause = Cause {
    id: CauseId::NoHolder,
    judge,
};

fn judge(stuck: &Stuck<'_, '_>) -> Judgement {
    if !stuck.listener.holders.is_empty() {
        return Judgement::DoesNotHold;
    }
    if let Some(reason) = stuck.cannot_judge() {
        return Judgement::CannotTell(reason);
    }
    let coverage = &stuck.table.snapshot.coverage;
    Judgement::Holds(Reason {
        confidence: Confidence::Certain,
        summary: "no process has a descriptor for the listener: the kernel itself holds it, or it \
            is on its way through a unix socket, and nobody accepts"
            .into(),
        evidence: vec![Evidence::new(
            format!(
                "none of {} processes has a descriptor for it",
                coverage.processes_read
            ),
            "/proc/*/fd",
        )],
        remedy:
            "A listener of the kernel (NFS, a storage target) is stopped with its service. One \
            that was sent over a unix socket is freed when its receiver reads it or ends: look for \
            `scm_fds:` in /proc/*/fdinfo."
                .into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::test_stuck::{StuckCase, expect};

    #[test]
    fn only_with_complete_coverage() {
        expect(
            &StuckCase::unheld(),
            judge,
            Some(Confidence::Certain),
            "no process",
        );
        let unseen = StuckCase::unheld().unreadable_processes();
        assert!(
            matches!(unseen.judge(judge), Judgement::CannotTell(reason) if reason.contains("denied"))
        );
    }

    #[test]
    fn a_held_listener_is_exempt() {
        expect(
            &StuckCase::epoll(0x19).thread('S', "epoll_wait", 4),
            judge,
            None,
            "",
        );
    }
}
