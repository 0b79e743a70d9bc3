//! `oneshot-not-rearmed`: every registration of the listener was one-shot and has fired.

use super::{Cause, CauseId, Judgement, Reason, Stuck};
use crate::model::Confidence;

pub(super) const CAUSE: Cause = Cause {
    id: CauseId::OneshotNotRearmed,
    judge,
};

fn judge(stuck: &Stuck<'_, '_>) -> Judgement {
    if let Some(reason) = stuck.cannot_judge() {
        return Judgement::CannotTell(reason);
    }
    let Some((_, first)) = stuck.registrations().next() else {
        return Judgement::DoesNotHold;
    };
    if !stuck
        .registrations()
        .all(|(_, registered)| registered.registration.is_spent())
    {
        return Judgement::DoesNotHold;
    }
    // A thread at work may be the one that arms it again when it is done.
    let all_wait = stuck.waits().next().is_some() && stuck.waits().all(|wait| wait.is_for_events());
    Judgement::Holds(Reason {
        confidence: if all_wait {
            Confidence::Certain
        } else {
            Confidence::Likely
        },
        summary: format!(
            "the listener is registered one-shot in epoll fd {}, it has fired, and {} did not arm \
             it again: no connection wakes it",
            first.epoll,
            stuck.names()
        ),
        evidence: Vec::new(),
        remedy: "In the program: after accepting until EAGAIN, arm the listener again with \
            EPOLL_CTL_MOD, on every path, errors included; or register it without EPOLLONESHOT. \
            Until then only a restart helps, which resets the clients that wait."
            .into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::test_stuck::{StuckCase, expect};

    const SPENT: u32 = 0x4000_0000;

    #[test]
    fn fired_and_not_armed() {
        let case = StuckCase::epoll(SPENT).thread('S', "epoll_wait", 4);
        expect(
            &case,
            judge,
            Some(Confidence::Certain),
            "did not arm it again",
        );
        let at_work = case.thread('S', "recvfrom", 9);
        expect(
            &at_work,
            judge,
            Some(Confidence::Likely),
            "did not arm it again",
        );
    }

    #[test]
    fn threads_that_were_not_seen_may_arm_it() {
        expect(
            &StuckCase::epoll(SPENT),
            judge,
            Some(Confidence::Likely),
            "did not arm it again",
        );
    }

    #[test]
    fn paused_on_purpose_has_not_fired() {
        // EPOLL_CTL_MOD to no events: the kernel adds EPOLLERR and EPOLLHUP.
        let paused = StuckCase::epoll(SPENT | 0x18).thread('S', "epoll_wait", 4);
        expect(&paused, judge, None, "");
    }

    #[test]
    fn armed_or_not_one_shot_or_not_registered() {
        expect(
            &StuckCase::epoll(SPENT | 0x19).thread('S', "epoll_wait", 4),
            judge,
            None,
            "",
        );
        expect(
            &StuckCase::epoll(0x19).thread('S', "epoll_wait", 4),
            judge,
            None,
            "",
        );
        expect(
            &StuckCase::unregistered().thread('S', "epoll_wait", 4),
            judge,
            None,
            "",
        );
        let two = StuckCase::epoll(SPENT)
            .and_epoll(5, 0x19)
            .thread('S', "epoll_wait", 4);
        expect(&two, judge, None, "");
    }

    #[test]
    fn an_unseen_holder_cannot_be_judged() {
        let case = StuckCase::epoll(SPENT)
            .thread('S', "epoll_wait", 4)
            .unseen();
        assert!(matches!(case.judge(judge), Judgement::CannotTell(_)));
    }
}
