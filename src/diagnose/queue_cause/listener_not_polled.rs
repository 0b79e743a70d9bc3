//! `listener-not-polled`: threads wait for events, and not for this listener's.

use super::{Cause, CauseId, Judgement, Reason, Stuck};
use crate::diagnose::wait::Wait;
use crate::model::Confidence;

pub(super) const CAUSE: Cause = Cause {
    id: CauseId::ListenerNotPolled,
    judge,
};

/// A level-triggered wait for a listener with a queue returns at once (facts O4), so a thread
/// asleep in epoll, poll or select does not wait for this one, whatever its memory says.
fn judge(stuck: &Stuck<'_, '_>) -> Judgement {
    if let Some(reason) = stuck.waits_hidden() {
        return Judgement::CannotTell(reason);
    }
    let mut waiting = 0_usize;
    let mut others = 0_usize;
    for wait in stuck.waits() {
        match wait {
            wait if wait.is_for_events() => waiting += 1,
            _ => others += 1,
        }
    }
    if waiting == 0
        || stuck
            .registrations()
            .any(|(_, r)| r.registration.is_spent())
    {
        return Judgement::DoesNotHold;
    }
    let armed = || {
        stuck
            .registrations()
            .filter(|(_, r)| r.registration.wants_input())
    };
    if stuck.sleepers_on_listener() > 0 {
        let level = armed()
            .any(|(judged, r)| !r.registration.edge_triggered() && judged.sleepers_in(r) > 0);
        return if level {
            Judgement::CannotTell(format!(
                "{} {} for this very listener, level-triggered: a sleep that cannot last, so it \
                 was read in the middle of a change; look again",
                stuck.names(),
                stuck.verb("waits", "wait"),
            ))
        } else {
            Judgement::DoesNotHold
        };
    }
    let what = match (stuck.registrations().next(), armed().next()) {
        (None, _) => "the listener is in none of the sets on which it waits",
        (Some(_), None) => "the listener is registered without EPOLLIN",
        // Somebody else is to wait on that set, and is at work: not this cause.
        (Some(_), Some(_)) if others > 0 => return Judgement::DoesNotHold,
        (Some(_), Some(_)) => "the listener is registered in a set on which nobody waits",
    };
    // Without a registration, one of the other threads may be the one that is to accept.
    let registered = stuck.registrations().next().is_some();
    let asleep: Vec<String> = {
        let mut calls: Vec<String> = stuck
            .waits()
            .filter(|wait| wait.is_for_events())
            .map(Wait::to_string)
            .collect();
        calls.sort();
        calls.dedup();
        calls
    };
    Judgement::Holds(Reason {
        confidence: if registered || others == 0 {
            Confidence::Likely
        } else {
            Confidence::Possible
        },
        summary: format!(
            "{} {} for events ({}), and {what}: accepting was paused and not resumed",
            stuck.names(),
            stuck.verb("waits", "wait"),
            asleep.join(", ")
        ),
        evidence: Vec::new(),
        remedy:
            "In the program: find what pauses accepting (a connection limit, EMFILE, overload) \
            and make every path resume it, when connections end and by a timer. Until then only a \
            restart helps, which resets the clients that wait."
                .into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::test_stuck::{StuckCase, expect};

    #[test]
    fn in_no_set_or_without_input() {
        let case = StuckCase::unregistered().thread('S', "epoll_wait", 4);
        expect(
            &case,
            judge,
            Some(Confidence::Likely),
            "in none of the sets",
        );
        expect(
            &StuckCase::unregistered().thread('S', "poll", 0),
            judge,
            Some(Confidence::Likely),
            "asleep in poll",
        );
        let masked = StuckCase::epoll(0x18).thread('S', "epoll_wait", 4);
        expect(&masked, judge, Some(Confidence::Likely), "without EPOLLIN");
        let elsewhere = StuckCase::epoll(0x19).thread('S', "epoll_wait", 9);
        expect(&elsewhere, judge, Some(Confidence::Likely), "nobody waits");
    }

    #[test]
    fn other_threads_may_be_the_acceptor() {
        let case = StuckCase::unregistered()
            .thread('S', "epoll_wait", 4)
            .thread('S', "futex", 0);
        expect(
            &case,
            judge,
            Some(Confidence::Possible),
            "in none of the sets",
        );
    }

    #[test]
    fn edge_triggered_spent_or_nobody_waiting_is_not_it() {
        expect(
            &StuckCase::epoll(0x8000_0019).thread('S', "epoll_wait", 4),
            judge,
            None,
            "",
        );
        expect(
            &StuckCase::epoll(0x4000_0000).thread('S', "epoll_wait", 4),
            judge,
            None,
            "",
        );
        expect(
            &StuckCase::unregistered().thread('S', "recvfrom", 4),
            judge,
            None,
            "",
        );
        let with_time_limit = StuckCase::unregistered().thread_in_poll_on_one();
        expect(&with_time_limit, judge, None, "");
    }

    #[test]
    fn a_contradiction_and_io_uring_cannot_be_judged() {
        let level = StuckCase::epoll(0x19).thread('S', "epoll_wait", 4);
        assert!(
            matches!(level.judge(judge), Judgement::CannotTell(reason) if reason.contains("look again"))
        );
        let ring = StuckCase::unregistered()
            .thread('S', "epoll_wait", 4)
            .io_uring();
        assert!(
            matches!(ring.judge(judge), Judgement::CannotTell(reason) if reason.contains("io_uring"))
        );
    }
}
