//! `edge-triggered-missed-wakeup`: the listener is edge-triggered, and the program sleeps with
//! connections in the queue.

use super::{Cause, CauseId, Judgement, Reason, Stuck};
use crate::model::{Confidence, Runtime};

pub(super) const CAUSE: Cause = Cause {
    id: CauseId::EdgeTriggeredMissedWakeup,
    judge,
};

/// Asleep where an edge-triggered registration would wake it, with a queue that is not empty: the
/// program stopped accepting before EAGAIN, by mistake or on purpose (facts O5). One sample does
/// not tell which, so this is never certain.
fn judge(stuck: &Stuck<'_, '_>) -> Judgement {
    if let Some(reason) = stuck.waits_hidden() {
        return Judgement::CannotTell(reason);
    }
    let edge_triggered = || {
        stuck.registrations().filter(|(_, registered)| {
            let registration = registered.registration;
            registration.edge_triggered() && registration.wants_input() && !registration.is_spent()
        })
    };
    let Some((_, first)) = edge_triggered().find(|(judged, r)| judged.sleepers_in(r) > 0) else {
        return Judgement::DoesNotHold;
    };
    let all_asleep = edge_triggered().all(|(judged, r)| judged.sleepers_in(r) > 0);
    let seen_stuck = stuck
        .listener
        .movement
        .is_some_and(|movement| movement.is_stuck());
    let runtime = stuck.runtime();
    let confidence = if all_asleep && seen_stuck && runtime != Some(Runtime::Go) {
        Confidence::Likely
    } else {
        Confidence::Possible
    };
    let decides = "one new connection decides it: if exactly one old one is then accepted, it is \
        the missed wake-up";
    let summary = if runtime == Some(Runtime::Go) {
        format!(
            "{} {} not call Accept: Go registers every socket edge-triggered, so \
             this is most often on purpose (a LimitListener at its limit) or an accept loop that \
             is blocked or has ended; {decides}",
            stuck.names(),
            stuck.verb("sleeps and does", "sleep and do"),
        )
    } else {
        format!(
            "the listener is registered edge-triggered in epoll fd {}, and {} {} there with \
             connections in the queue: it stopped accepting before EAGAIN, by mistake (an accept \
             loop that returns early) or on purpose (a connection limit); {decides}",
            first.epoll,
            stuck.names(),
            stuck.verb("sleeps", "sleep"),
        )
    };
    Judgement::Holds(Reason {
        confidence,
        summary,
        evidence: Vec::new(),
        remedy: remedy(runtime),
    })
}

fn remedy(runtime: Option<Runtime>) -> String {
    match runtime {
        Some(Runtime::Go) => {
            "Look where the goroutine of the accept loop is (SIGQUIT or pprof's goroutine \
             profile prints it and, for SIGQUIT, ends the program): if a limit holds it, end or \
             time out old connections; if it has returned on an error, retry temporary errors."
        }
        _ => {
            "In the accept loop: `continue` instead of `return` after closing a connection over \
             the limit, and go on until EAGAIN; or register the listener level-triggered. Until \
             then each new connection lets one old one out, and a restart resets those that wait. \
             If it is a deliberate limit: end old connections or raise it."
        }
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::test_stuck::{StuckCase, expect};

    const EDGE: u32 = 0x8000_0019;

    #[test]
    fn asleep_on_an_edge() {
        let case = StuckCase::epoll(EDGE).thread('S', "epoll_wait", 4);
        expect(
            &case,
            judge,
            Some(Confidence::Likely),
            "edge-triggered in epoll fd 4",
        );
        expect(
            &case.clone().thread('S', "futex", 0),
            judge,
            Some(Confidence::Likely),
            "edge",
        );
        expect(
            &case.looked_once(),
            judge,
            Some(Confidence::Possible),
            "edge",
        );
    }

    #[test]
    fn a_nested_set_wakes_through_the_outer_one() {
        let case = StuckCase::epoll(EDGE)
            .nested_in(7)
            .thread('S', "epoll_wait", 7);
        expect(&case, judge, Some(Confidence::Likely), "edge");
    }

    #[test]
    fn a_number_that_was_reused_is_no_nested_set() {
        let case = StuckCase::epoll(EDGE)
            .number_registered_in(7)
            .thread('S', "epoll_wait", 7);
        expect(&case, judge, None, "");
    }

    #[test]
    fn go_is_edge_triggered_by_nature() {
        let case = StuckCase::epoll(EDGE)
            .thread('S', "epoll_pwait", 4)
            .runtime(Runtime::Go);
        expect(&case, judge, Some(Confidence::Possible), "LimitListener");
    }

    #[test]
    fn level_triggered_busy_or_elsewhere_is_not_it() {
        expect(
            &StuckCase::epoll(0x19).thread('S', "epoll_wait", 4),
            judge,
            None,
            "",
        );
        expect(
            &StuckCase::epoll(EDGE).thread('R', "running", 0),
            judge,
            None,
            "",
        );
        expect(
            &StuckCase::epoll(EDGE).thread('S', "recvfrom", 9),
            judge,
            None,
            "",
        );
        expect(
            &StuckCase::epoll(EDGE).thread('S', "epoll_wait", 5),
            judge,
            None,
            "",
        );
    }

    #[test]
    fn calls_that_may_not_be_read_are_not_judged() {
        let case = StuckCase::epoll(EDGE).thread_unread();
        assert!(
            matches!(case.judge(judge), Judgement::CannotTell(reason) if reason.contains("CAP_SYS_PTRACE"))
        );
    }
}
