//! What the holder does with its leaked sockets at this moment, which refines every cause.

use std::collections::BTreeSet;

use super::leaked::{Leaked, Watched};
use super::phrase;
use crate::diagnose::wait::Wait;
use crate::model::{Evidence, Fact, count_of};

/// What keeps the holder from getting further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Attention {
    /// It is stopped, traced or frozen.
    Halted,
    /// No thread waits for events; they sleep in these calls.
    Blocked(Vec<String>),
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
    let has_sets = watched
        .detail
        .epoll_sets
        .known()
        .is_some_and(|sets| !sets.is_empty());
    (registered.is_empty() && has_sets).then_some(Attention::Unwatched)
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
            Attention::Busy => "; it is computing, and none of its threads waits for events".into(),
            Attention::Spent => {
                "; their one-shot registrations have fired and were not armed again".into()
            }
            Attention::EdgeTriggered => {
                "; they are registered edge-triggered: it stopped reading before EAGAIN".into()
            }
            Attention::Masked => "; they are registered without EPOLLIN".into(),
            Attention::Unwatched => {
                "; they are in none of its epoll sets: no event will remind it of them".into()
            }
        })
    }

    /// Where the remedy is not in the code that reads.
    pub(super) fn remedy(&self, leaked: &Leaked<'_, '_>) -> Option<String> {
        let pid = leaked.watched()?.process.id.pid;
        match self {
            Attention::Halted => Some(format!(
                "Let it run again (`kill -CONT {pid}`, or thaw its cgroup); it then sees the end \
                 of file by itself."
            )),
            Attention::Blocked(_) => Some(format!(
                "End what it waits for, or restart it; `gdb -p {pid} -batch -ex 'thread apply all \
                 bt'` shows where it hangs. In the program: time limits on every call that can \
                 wait."
            )),
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
    fn what_was_not_read_says_nothing() {
        check(case(), None);
        check(case().thread_unread(), None);
    }
}
