//! What the holder does with its leaked sockets at this moment, which refines every cause.

use std::collections::{BTreeMap, BTreeSet};

use super::leaked::{Leaked, Watched};
use super::phrase;
use crate::diagnose::wait::Wait;
use crate::model::{Evidence, Fact, Runtime, count_of};

/// What keeps the holder from getting further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Attention {
    /// It is stopped, traced or frozen.
    Halted,
    /// No thread waits for events; they sleep in these calls.
    Blocked(Vec<String>),
    /// Other threads wait for events, and as many as there are such sockets, or more, sleep in
    /// this call.
    HandlersBlocked(String, usize),
    /// It runs.
    Busy,
    /// Their one-shot registrations have fired.
    Spent,
    /// They are registered edge-triggered.
    EdgeTriggered,
    /// They are registered without EPOLLIN.
    Masked,
    /// They are in none of its epoll sets.
    Unwatched,
}

/// `None` where it could not be read, or says nothing.
pub(super) fn of(leaked: &Leaked<'_, '_>) -> Option<Attention> {
    let watched = leaked.watched()?;
    let waits = &watched.waits;
    let halted = |wait: &Wait| matches!(wait, Wait::Stopped | Wait::Traced);
    if watched.detail.frozen == Fact::Known(true) || !waits.is_empty() && waits.iter().all(halted) {
        return Some(Attention::Halted);
    }
    let registered = &watched.registrations;
    if registered
        .iter()
        .any(|registration| registration.is_spent())
    {
        return Some(Attention::Spent);
    }
    if !registered.is_empty() && registered.iter().all(|r| !r.wants_input()) {
        return Some(Attention::Masked);
    }
    if waits
        .iter()
        .any(|wait| matches!(wait, Wait::Unknown(_) | Wait::IoUring))
    {
        return None;
    }
    let waits_for_events = waits
        .iter()
        .any(|wait| wait.is_for_events() || matches!(wait, Wait::Accept { .. }));
    if !waits_for_events {
        return if waits.contains(&Wait::Running) {
            Some(Attention::Busy)
        } else {
            let calls: BTreeSet<String> = waits.iter().map(Wait::to_string).collect();
            (!calls.is_empty()).then(|| Attention::Blocked(calls.into_iter().take(3).collect()))
        };
    }
    let fin_unread = leaked.count(|socket| socket.fin_unread) > 0;
    if registered.iter().any(|r| r.edge_triggered()) && fin_unread {
        return Some(Attention::EdgeTriggered);
    }
    if registered.is_empty()
        && let Some((call, count)) = blocked_alike(waits)
        && count >= leaked.sockets.len()
    {
        return Some(Attention::HandlersBlocked(call, count));
    }
    let has_sets = watched
        .detail
        .epoll_sets
        .known()
        .is_some_and(|sets| !sets.is_empty());
    (registered.is_empty() && has_sets).then_some(Attention::Unwatched)
}

/// The call in which most threads sleep, whatever the descriptor, and how many do. Not futex, in
/// which the idle threads of a pool sleep too.
fn blocked_alike(waits: &[Wait]) -> Option<(String, usize)> {
    let mut calls: BTreeMap<&str, usize> = BTreeMap::new();
    for wait in waits {
        match wait {
            Wait::Blocked { call, .. } if call != "futex" => {
                *calls.entry(call).or_default() += 1;
            }
            _ => {}
        }
    }
    let most = calls.into_iter().max_by_key(|(_, count)| *count)?;
    Some((most.0.to_owned(), most.1))
}

impl Attention {
    /// To follow a sentence about what is unread.
    pub(super) fn clause(&self, leaked: &Leaked<'_, '_>) -> Option<String> {
        let watched = leaked.watched()?;
        let who = phrase::process(Some(watched.process), watched.process.id);
        Some(match self {
            Attention::Halted => {
                format!("; {who} is stopped or frozen, and can close nothing until it runs again")
            }
            Attention::Blocked(calls) => format!(
                "; every thread is {}: a handler that hangs, rather than a forgotten close",
                calls.join(" or ")
            ),
            Attention::HandlersBlocked(call, count) => format!(
                "; {} of {who} {} asleep in {call}: handlers that hang, rather than a forgotten \
                 close",
                count_of(*count as u64, "thread"),
                if *count == 1 { "is" } else { "are" }
            ),
            Attention::Busy => "; it is computing, and none of its threads waits for events".into(),
            Attention::Spent => {
                "; their one-shot registrations have fired and were not armed again".into()
            }
            Attention::EdgeTriggered if watched.detail.runtime == Fact::Known(Runtime::Go) => {
                "; no goroutine reads from them (Go registers every socket edge-triggered)".into()
            }
            Attention::EdgeTriggered => {
                "; they are registered edge-triggered: it stopped reading before EAGAIN".into()
            }
            Attention::Masked => "; they are registered without EPOLLIN".into(),
            Attention::Unwatched => {
                "; they are in none of its epoll sets: the end of file wakes nobody, so that \
                 something else (a back end's answer, a timer, another thread) has to make it look"
                    .into()
            }
        })
    }

    /// Where the remedy is not in the code that reads.
    pub(super) fn remedy(&self, leaked: &Leaked<'_, '_>) -> Option<String> {
        let watched = leaked.watched()?;
        let pid = watched.process.id.pid;
        match self {
            Attention::Halted => Some(format!(
                "Let it run again (`kill -CONT {pid}`, or thaw its cgroup); it then sees the end \
                 of file by itself."
            )),
            Attention::Blocked(_) | Attention::HandlersBlocked(..) => Some(format!(
                "End what it waits for, or restart it; {} shows where it hangs. In the program: \
                 time limits on every call that can wait.",
                phrase::stacks(watched.process, watched.detail.runtime.known().copied())
            )),
            Attention::EdgeTriggered if watched.detail.runtime == Fact::Known(Runtime::Go) => Some(
                "In the program: a goroutine has to read each to the end of file, then close it; \
                 for an HTTP client that is `defer resp.Body.Close()` after every request, those \
                 with an error status too. Until then only a restart releases the descriptors; \
                 CLOSE_WAIT has no timeout."
                    .into(),
            ),
            Attention::Unwatched if watched.detail.runtime == Fact::Known(Runtime::Haproxy) => {
                Some(
                    "A proxy that waits for its back end does not look at the client meanwhile: \
                     see the back end first (`show sess` on the stats socket). `option \
                     abortonclose` lets it see clients that have left."
                        .into(),
                )
            }
            Attention::Busy
            | Attention::Spent
            | Attention::EdgeTriggered
            | Attention::Masked
            | Attention::Unwatched => None,
        }
    }
}

/// What was read of the holder.
pub(super) fn evidence(leaked: &Leaked<'_, '_>) -> Vec<Evidence> {
    let Some(watched) = leaked.watched() else {
        return Vec::new();
    };
    let pid = watched.process.id.pid;
    let mut evidence = Vec::new();
    if let Fact::Known(sets) = &watched.detail.epoll_sets
        && !sets.is_empty()
    {
        evidence.push(Evidence::new(
            registration_fact(watched, leaked.sockets.len()),
            format!("/proc/{pid}/fdinfo"),
        ));
    }
    let waits: BTreeSet<String> = watched.waits.iter().map(Wait::to_string).collect();
    if !waits.is_empty() {
        let waits: Vec<String> = waits.into_iter().take(4).collect();
        evidence.push(Evidence::new(
            format!(
                "{}: {}",
                count_of(watched.waits.len() as u64, "thread"),
                waits.join(", ")
            ),
            format!("/proc/{pid}/task/*/syscall, stat"),
        ));
    }
    evidence
}

fn registration_fact(watched: &Watched<'_>, sockets: usize) -> String {
    let masks: BTreeSet<String> = watched
        .registrations
        .iter()
        .map(|r| r.to_string())
        .collect();
    if masks.is_empty() {
        return "none of them is in an epoll set of its holder".into();
    }
    let masks: Vec<String> = masks.into_iter().collect();
    format!(
        "{} of {sockets} are registered, with {}",
        watched.registrations.len(),
        masks.join(" or ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::test_close_wait::CloseWaitCase;

    fn check(case: CloseWaitCase, expect: Option<Attention>) {
        case.with_leaked(|leaked| assert_eq!(of(leaked), expect, "{case:?}"));
    }

    fn case() -> CloseWaitCase {
        CloseWaitCase::sockets(3).recv_q(1)
    }

    #[test]
    fn halted_comes_first() {
        check(
            case().thread('T', "epoll_wait", 9).registered(0x19),
            Some(Attention::Halted),
        );
    }

    #[test]
    fn registrations_tell_what_is_waited_for() {
        let waiting = || case().thread('S', "epoll_wait", 9);
        check(waiting().registered(0x4000_0000), Some(Attention::Spent));
        check(waiting().registered(0x18), Some(Attention::Masked));
        check(
            waiting().registered(0x8000_0019),
            Some(Attention::EdgeTriggered),
        );
        check(waiting().unregistered(), Some(Attention::Unwatched));
        check(waiting().registered(0x19), None);
    }

    #[test]
    fn threads_that_do_not_wait_for_events() {
        let calls = vec!["asleep in recvfrom on fd 30".to_owned()];
        check(
            case().thread('S', "recvfrom", 30),
            Some(Attention::Blocked(calls)),
        );
        check(case().thread('R', "running", 0), Some(Attention::Busy));
        check(case().thread('S', "accept4", 3), None);
    }

    #[test]
    fn handlers_that_hang_beside_a_loop_that_waits() {
        let server = case().thread('S', "poll", 0);
        let two = server
            .thread('S', "clock_nanosleep", 0)
            .thread('S', "clock_nanosleep", 0);
        check(two.clone(), None);
        check(
            two.thread('S', "clock_nanosleep", 0),
            Some(Attention::HandlersBlocked("clock_nanosleep".into(), 3)),
        );
        let idle_pool = (0..3).fold(case().thread('S', "poll", 0), |case, _| {
            case.thread('S', "futex", 0)
        });
        check(idle_pool, None);
    }

    #[test]
    fn what_was_not_read_says_nothing() {
        check(case(), None);
        check(case().thread_unread(), None);
    }
}
