//! `acceptor-busy`: the threads that could accept are computing.

use std::time::Duration;

use super::{Cause, CauseId, Judgement, Reason, Stuck, phrase};
use crate::diagnose::wait::Wait;
use crate::model::{Confidence, Evidence, Thread, human_duration};

pub(super) const CAUSE: Cause = Cause {
    id: CauseId::AcceptorBusy,
    judge,
};

/// `USER_HZ`: `/proc/PID/stat` counts in hundredths of a second on every architecture in use.
const TICK: Duration = Duration::from_millis(10);

fn judge(stuck: &Stuck<'_, '_>) -> Judgement {
    if let Some(reason) = stuck.waits_hidden() {
        return Judgement::CannotTell(reason);
    }
    if stuck.sleepers_on_listener() > 0 {
        return Judgement::DoesNotHold;
    }
    let over = stuck.listener.movement.map(|movement| movement.over);
    let running = stuck.judged.iter().flat_map(|judged| {
        let threads = judged
            .threads
            .iter()
            .filter(|(_, wait)| *wait == Wait::Running);
        threads.map(move |(thread, _)| (judged, *thread))
    });
    // The one that used most.
    let used_ticks = |thread: &Thread| thread.second_look.map(|look| look.cpu_ticks);
    let Some((judged, thread)) = running.max_by_key(|(_, thread)| used_ticks(thread)) else {
        return Judgement::DoesNotHold;
    };
    let used = used_ticks(thread)
        .map(|ticks| TICK.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX)));
    let share = used.zip(over);
    // Where the listener is registered, those that sleep on other sets are not to accept.
    let others_wait =
        stuck.registrations().next().is_none() && stuck.waits().any(Wait::is_for_events);
    let confidence = match share {
        Some((used, over)) if used * 2 >= over && !others_wait => Confidence::Likely,
        // It may be waiting for a core, or work for a thread that has nothing to do with this.
        _ => Confidence::Possible,
    };
    let pid = judged.process.id.pid;
    let evidence = share.map(|(used, over)| {
        Evidence::new(
            format!(
                "thread {} used {} of CPU time between the two looks, {} apart at most",
                thread.tid,
                human_duration(used),
                human_duration(over)
            ),
            format!("/proc/{pid}/task/{}/stat", thread.tid),
        )
    });
    Judgement::Holds(Reason {
        confidence,
        summary: format!(
            "{} {} computing (thread {}), and the queue does not get its turn",
            stuck.names(),
            stuck.verb("is", "are"),
            thread.tid
        ),
        evidence: evidence.into_iter().collect(),
        remedy: format!(
            "See what it computes: `perf top -p {pid}`, {}. If it does not end by itself, restart \
             it. In the program: long work off the thread that accepts.",
            phrase::stacks(judged.process, judged.detail.runtime.known().copied())
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::test_stuck::{StuckCase, expect};

    #[test]
    fn running_most_of_the_time_between_the_looks() {
        let case = |state, ticks| StuckCase::unregistered().running(Some((state, ticks)));
        let likely = Some(Confidence::Likely);
        expect(&case('R', 24), judge, likely, "computing");
        expect(&case('S', 13), judge, likely, "computing");
        // On a machine that has no core free, it gets little.
        expect(
            &case('R', 1),
            judge,
            Some(Confidence::Possible),
            "computing",
        );
        expect(&case('S', 1), judge, None, "");
        let once = StuckCase::unregistered().running(None).looked_once();
        expect(&once, judge, Some(Confidence::Possible), "computing");
    }

    #[test]
    fn threads_that_wait_leave_it_open() {
        let case = StuckCase::unregistered()
            .running(Some(('R', 25)))
            .thread('S', "poll", 0);
        expect(&case, judge, Some(Confidence::Possible), "computing");
    }

    #[test]
    fn threads_on_sets_without_the_listener_are_not_to_accept() {
        let node = StuckCase::epoll(0x19)
            .running(Some(('R', 25)))
            .thread('S', "epoll_wait", 9);
        expect(&node, judge, Some(Confidence::Likely), "computing");
    }

    #[test]
    fn asleep_is_not_busy_and_unread_is_not_judged() {
        expect(
            &StuckCase::unregistered().thread('S', "futex", 0),
            judge,
            None,
            "",
        );
        let on_it = StuckCase::epoll(0x8000_0019)
            .thread('S', "epoll_wait", 4)
            .running(Some(('R', 25)));
        expect(&on_it, judge, None, "");
        let unread = StuckCase::unregistered().thread_unread();
        assert!(matches!(unread.judge(judge), Judgement::CannotTell(_)));
    }
}
