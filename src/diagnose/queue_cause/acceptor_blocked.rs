//! `acceptor-blocked`: the threads that could accept sleep in other system calls.

use std::collections::BTreeMap;

use super::stuck::Judged;
use super::{Cause, CauseId, Judgement, Reason, Stuck, phrase};
use crate::diagnose::wait::Wait;
use crate::model::{Confidence, Runtime, Thread, printable};

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
    let known = known_acceptors(stuck);
    let waits: Vec<&Wait> = match &known {
        Some(known) => known.waits.clone(),
        None => stuck.waits().collect(),
    };
    // A thread that is known to accept may sleep on a set without the listener: Node in execSync().
    let is_blocked = |wait: &Wait| match wait {
        // In accept on another listener, since nobody sleeps on this one.
        Wait::Blocked { .. } | Wait::Accept { .. } => true,
        Wait::Epoll { .. } => known.as_ref().is_some_and(|known| known.runs_the_loop),
        _ => false,
    };
    let mut calls: BTreeMap<String, usize> = BTreeMap::new();
    for wait in waits.iter().filter(|wait| is_blocked(wait)) {
        *calls.entry(wait.to_string()).or_default() += 1;
    }
    if calls.is_empty() || known.is_some() && calls.values().sum::<usize>() < waits.len() {
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
    // Threads of a pool that idle sleep in futex, many of them: other calls tell more.
    let only_futex = calls.iter().all(|(call, _)| call == IN_FUTEX);
    calls.sort_by_key(|(call, count)| (call == IN_FUTEX, std::cmp::Reverse(*count)));
    let where_: Vec<String> = calls.iter().take(3).map(|(call, _)| call.clone()).collect();
    let be = if known.is_some() {
        "is"
    } else {
        stuck.verb("is", "are")
    };
    let (who, so) = match &known {
        Some(known) => (known.who.clone(), known.so),
        None if others_wait => (
            stuck.names(),
            "the threads that wait for events do not wait for this listener, so it may be the one \
             that is to accept",
        ),
        None if only_futex && !registered => (
            stuck.names(),
            "no thread waits for events or in accept(): the one that accepts waits for a lock or a \
             free place, or it has ended",
        ),
        None => (
            stuck.names(),
            "no thread waits for events or in accept() on this listener, so nobody takes its \
             connections until that returns",
        ),
    };
    Judgement::Holds(Reason {
        confidence: if others_wait && !registered && known.is_none() {
            Confidence::Possible
        } else {
            Confidence::Likely
        },
        summary: format!("{who} {be} {}: {so}", where_.join(" or ")),
        evidence: Vec::new(),
        remedy: remedy(stuck, &waits),
    })
}

const IN_FUTEX: &str = "asleep in futex";

/// Threads of which is known that accepting is their work.
struct KnownAcceptors<'s> {
    who: String,
    so: &'static str,
    waits: Vec<&'s Wait>,
    /// They run the event loop in which the listener is.
    runs_the_loop: bool,
}

fn known_acceptors<'s>(stuck: &'s Stuck<'_, '_>) -> Option<KnownAcceptors<'s>> {
    let named = named_acceptors(stuck);
    if let Some((thread, _)) = named.first() {
        return Some(KnownAcceptors {
            who: format!("thread {} of {}", printable(&thread.comm), stuck.names()),
            so: "its name says that it accepts, and it does not until that returns",
            waits: named.into_iter().map(|(_, wait)| wait).collect(),
            runs_the_loop: false,
        });
    }
    // Node's loop, with every listener, is on the main thread.
    if stuck.runtime() != Some(Runtime::Node) || stuck.registrations().next().is_none() {
        return None;
    }
    let main_thread = |judged: &'s Judged<'_>| {
        let mut threads = judged.threads.iter();
        threads.find(|(thread, _)| thread.tid == judged.process.id.pid)
    };
    let waits = stuck.judged.iter().filter_map(main_thread);
    Some(KnownAcceptors {
        who: format!("the main thread of {}", stuck.names()),
        so: "it runs Node's event loop and every handler, and nothing else happens until that \
             returns (a synchronous call in a handler: execSync, Atomics.wait)",
        waits: waits.map(|(_, wait)| wait).collect(),
        runs_the_loop: true,
    })
    .filter(|known| !known.waits.is_empty())
}

/// Threads whose own name says that accepting is their work.
fn named_acceptors<'s>(stuck: &'s Stuck<'_, '_>) -> Vec<(&'s Thread, &'s Wait)> {
    let says_so = |thread: &Thread| is_acceptors_name(&String::from_utf8_lossy(&thread.comm));
    let threads = stuck.judged.iter().flat_map(|judged| &judged.threads);
    threads
        .filter(|(thread, _)| says_so(thread))
        .map(|(thread, wait)| (*thread, wait))
        .collect()
}

/// The kernel keeps 15 bytes of a name: Tomcat's `http-nio-8080-Acceptor` is `http-nio-8080-A`.
fn is_acceptors_name(name: &str) -> bool {
    const NAME_LENGTH: usize = 15;
    let name = name.to_ascii_lowercase();
    if name.contains("accept") {
        return true;
    }
    let last = name.rsplit('-').next().unwrap_or_default();
    // Fewer letters of the word are in many names, but not behind the name of a connector.
    let is_told = last.len() >= "acc".len() || name.contains("http-") || name.contains("ajp-");
    let cut_short = name.len() == NAME_LENGTH && last != name && !last.is_empty();
    cut_short && is_told && "acceptor".starts_with(last)
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
            let runtime = judged.detail.runtime.known().copied();
            format!(" {} shows where.", phrase::stacks(judged.process, runtime))
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
    fn in_a_poll_of_one_other_descriptor() {
        let case = StuckCase::unregistered().polling(1);
        let likely = Some(Confidence::Likely);
        expect(&case, judge, likely, "asleep in poll of one descriptor");
        expect(&StuckCase::unregistered().polling(2), judge, None, "");
    }

    #[test]
    fn names_of_acceptors_however_they_are_cut() {
        for name in ["acceptor", "my-acceptor", "http-nio-8080-A"] {
            assert!(is_acceptors_name(name), "{name}");
        }
        for name in ["http-nio-8080-P", "http-nio-127.0.", "java"] {
            assert!(!is_acceptors_name(name), "{name}");
        }
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
    fn calls_that_idle_threads_make_come_last() {
        let redis = StuckCase::epoll(0x19)
            .thread('S', "futex", 0)
            .thread('S', "futex", 0)
            .thread('S', "clock_nanosleep", 0);
        let likely = Some(Confidence::Likely);
        expect(
            &redis,
            judge,
            likely,
            "in clock_nanosleep or asleep in futex",
        );
        let java = StuckCase::unregistered().thread('S', "futex", 0);
        expect(&java, judge, likely, "or it has ended");
    }

    #[test]
    fn the_main_thread_runs_nodes_loop() {
        let node = |call, set| {
            StuckCase::epoll(0x19)
                .runtime(Runtime::Node)
                .thread('S', call, set)
        };
        let likely = Some(Confidence::Likely);
        expect(
            &node("epoll_wait", 20),
            judge,
            likely,
            "main thread of server",
        );
        expect(&node("futex", 0), judge, likely, "asleep in futex");
        expect(&node("epoll_wait", 4), judge, None, "");
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
