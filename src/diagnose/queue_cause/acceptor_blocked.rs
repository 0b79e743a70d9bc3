//! `acceptor-blocked`: the threads that could accept sleep in other system calls.

use std::collections::BTreeMap;

use super::{Cause, CauseId, Judgement, Reason, Stuck};
use crate::diagnose::wait::Wait;
use crate::model::{Confidence, Thread, printable};

pub(super) const CAUSE: Cause = Cause {
    id: CauseId::AcceptorBlocked,
    judge,
};

fn judge(stuck: &Stuck<'_, '_>) -> Judgement {
    if let Some(reason) = stuck.waits_hidden() {
        return Judgement::CannotTell(reason);
    }
    if stuck.sleepers_on_listener() > 0 || stuck.waits().any(|wait| *wait == Wait::Running) {
        return Judgement::DoesNotHold;
    }
    let named = named_acceptors(stuck);
    let blocked = |wait: &Wait| match wait {
        // On another listener, since nobody sleeps on this one.
        Wait::Blocked { .. } | Wait::Accept { .. } => Some(wait.to_string()),
        _ => None,
    };
    let mut calls: BTreeMap<String, usize> = BTreeMap::new();
    let named_waits: Vec<&Wait> = named.iter().map(|(_, wait)| *wait).collect();
    let waits: Vec<&Wait> = if named.is_empty() {
        stuck.waits().collect()
    } else {
        named_waits
    };
    for call in waits.iter().filter_map(|wait| blocked(wait)) {
        *calls.entry(call).or_default() += 1;
    }
    if calls.is_empty() || !named.is_empty() && calls.values().sum::<usize>() < named.len() {
        return Judgement::DoesNotHold;
    }
    // Threads that wait for events elsewhere may be the ones that do not poll the listener.
    let others_wait = waits.iter().any(|wait| wait.is_for_events());
    let registered = stuck.registrations().next().is_some();
    let spent_or_masked = stuck.registrations().any(|(_, registered)| {
        registered.registration.is_spent() || !registered.registration.wants_input()
    });
    if spent_or_masked {
        return Judgement::DoesNotHold;
    }
    let mut calls: Vec<(String, usize)> = calls.into_iter().collect();
    calls.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let where_: Vec<String> = calls.iter().take(3).map(|(call, _)| call.clone()).collect();
    let who = match &named[..] {
        [(thread, _), ..] => format!("thread {} of {}", printable(&thread.comm), stuck.names()),
        [] => stuck.names(),
    };
    let be = if named.is_empty() {
        stuck.verb("is", "are")
    } else {
        "is"
    };
    let so = if !named.is_empty() {
        "its name says that it accepts, and it does not until that returns"
    } else if others_wait {
        "the threads that wait for events do not wait for this listener, so it may be the one \
         that is to accept"
    } else {
        "no thread waits for events or in accept() on this listener, so nobody takes its \
         connections until that returns"
    };
    Judgement::Holds(Reason {
        confidence: if others_wait && !registered {
            Confidence::Possible
        } else {
            Confidence::Likely
        },
        summary: format!("{who} {be} {}: {so}", where_.join(", ")),
        evidence: Vec::new(),
        remedy: remedy(stuck, &waits),
    })
}

/// Threads whose own name says that accepting is their work. The kernel keeps 15 bytes of a name,
/// so Tomcat's `http-nio-8080-Acceptor` is `http-nio-8080-A`.
fn named_acceptors<'s>(stuck: &'s Stuck<'_, '_>) -> Vec<(&'s Thread, &'s Wait)> {
    const NAME_LENGTH: usize = 15;
    let says_so = |thread: &Thread| {
        let name = String::from_utf8_lossy(&thread.comm).to_ascii_lowercase();
        let last = name.rsplit('-').next().unwrap_or_default();
        // Fewer letters of the word are in many names, but not behind the name of a connector.
        let is_told = last.len() >= "acc".len() || name.contains("http-") || name.contains("ajp-");
        let cut_short = thread.comm.len() == NAME_LENGTH && last != name && !last.is_empty();
        let cut_short = cut_short && is_told;
        name.contains("accept") || cut_short && "acceptor".starts_with(last)
    };
    let threads = stuck.judged.iter().flat_map(|judged| &judged.threads);
    threads
        .filter(|(thread, _)| says_so(thread))
        .map(|(thread, wait)| (*thread, wait))
        .collect()
}

/// What the calls are about, where a descriptor tells.
fn remedy(stuck: &Stuck<'_, '_>, waits: &[&Wait]) -> String {
    let fd = waits.iter().find_map(|wait| match wait {
        Wait::Blocked { fd: Some(fd), .. } => Some(*fd),
        _ => None,
    });
    let look = match (fd, stuck.judged.first()) {
        (Some(fd), Some(judged)) => format!(
            " `ls -l /proc/{}/fd/{fd}` names what it waits for.",
            judged.process.id.pid
        ),
        (None, Some(judged)) => {
            format!(
                " `gdb -p {} -batch -ex 'thread apply all bt'` shows where.",
                judged.process.id.pid
            )
        }
        _ => String::new(),
    };
    format!(
        "End what it waits for, or restart it.{look} In the program: time limits on every call that \
         can wait (reads, locks, back ends), and accepting apart from handling."
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::test_stuck::{StuckCase, expect};

    #[test]
    fn asleep_in_other_calls() {
        let case = StuckCase::unregistered().thread('S', "recvfrom", 9);
        expect(
            &case,
            judge,
            Some(Confidence::Likely),
            "asleep in recvfrom on fd 9",
        );
        let pool = StuckCase::epoll(0x19)
            .thread('S', "futex", 0)
            .thread('D', "fsync", 5);
        expect(&pool, judge, Some(Confidence::Likely), "asleep in futex");
    }

    #[test]
    fn a_time_limit_makes_no_event_loop_of_a_blocking_call() {
        let case = StuckCase::unregistered().thread_in_poll_on_one();
        expect(
            &case,
            judge,
            Some(Confidence::Likely),
            "asleep in poll on one descriptor",
        );
    }

    #[test]
    fn waiting_for_another_listener_is_blocking_too() {
        let case = StuckCase::unregistered().thread('S', "accept4", 9);
        expect(
            &case,
            judge,
            Some(Confidence::Likely),
            "asleep in accept on fd 9",
        );
        let own = StuckCase::unregistered().thread('S', "accept4", 3);
        expect(&own, judge, None, "");
    }

    #[test]
    fn a_thread_that_is_named_acceptor_is_the_one() {
        let case = StuckCase::unregistered()
            .thread('S', "epoll_wait", 4)
            .named_thread("http-nio-8080-A", 'S', "futex");
        expect(
            &case,
            judge,
            Some(Confidence::Likely),
            "thread http-nio-8080-A",
        );
    }

    #[test]
    fn other_threads_in_poll_leave_it_open() {
        let case = StuckCase::unregistered()
            .thread('S', "poll", 0)
            .thread('S', "futex", 0);
        expect(&case, judge, Some(Confidence::Possible), "asleep in futex");
    }

    #[test]
    fn somebody_ready_or_running_is_not_it() {
        expect(
            &StuckCase::unregistered().thread('S', "epoll_wait", 4),
            judge,
            None,
            "",
        );
        let awake = StuckCase::unregistered()
            .thread('S', "futex", 0)
            .thread('R', "running", 0);
        expect(&awake, judge, None, "");
        let on_it = StuckCase::epoll(0x8000_0019)
            .thread('S', "epoll_wait", 4)
            .thread('S', "futex", 0);
        expect(&on_it, judge, None, "");
    }

    #[test]
    fn calls_that_may_not_be_read_are_not_judged() {
        let case = StuckCase::unregistered().thread_unread();
        assert!(matches!(case.judge(judge), Judgement::CannotTell(_)));
    }
}
