//! `listener-not-polled`: threads wait for events, and not for this listener's.

use super::{Cause, CauseId, Judgement, Reason, Stuck};
use crate::diagnose::wait::Wait;
use crate::model::{Confidence, Runtime};

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
    let runtime = stuck.runtime();
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
            "{} {} for events ({}), and {what}: accepting was paused, {}",
            stuck.names(),
            stuck.verb("waits", "wait"),
            asleep.join(", "),
            if runtime == Some(Runtime::Haproxy) {
                "as HAProxy does on purpose at its maxconn"
            } else {
                "on purpose (a connection limit) or by mistake (it was not resumed)"
            }
        ),
        evidence: Vec::new(),
        remedy: remedy(runtime).into(),
    })
}

fn remedy(runtime: Option<Runtime>) -> &'static str {
    match runtime {
        Some(Runtime::Haproxy) => {
            "Compare CurrConns with Maxconn (`show info` on its stats socket; each frontend has a \
             limit too): at the limit, see what keeps the connections (`show sess`; most often a \
             slow back end), end them or raise maxconn. It accepts again as soon as one ends."
        }
        _ => {
            "See whether the program is at a connection limit (worker_connections, \
             maxConnections): then end connections or raise it, and it accepts again. Otherwise \
             find in the program what pauses accepting (a limit, EMFILE, overload) and make every \
             path resume it, when connections end and by a timer; until then only a restart helps, \
             which resets the clients that wait."
        }
    }
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
    fn a_poll_of_one_descriptor_is_no_loop() {
        let several = StuckCase::unregistered().polling(2);
        expect(&several, judge, Some(Confidence::Likely), "asleep in poll");
        expect(&StuckCase::unregistered().polling(1), judge, None, "");
    }

    #[test]
    fn a_pause_that_is_meant_is_not_excluded() {
        let case = StuckCase::unregistered().thread('S', "epoll_wait", 4);
        let likely = Some(Confidence::Likely);
        expect(&case, judge, likely, "on purpose (a connection limit)");
        expect(&case.runtime(Runtime::Haproxy), judge, likely, "maxconn");
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
        let with_time_limit = StuckCase::unregistered().polling(1);
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
