//! `process-stopped`: the holders that accept are stopped, traced or frozen.

use super::stuck::Judged;
use super::{Cause, CauseId, Judgement, Reason, Stuck, phrase};
use crate::diagnose::wait::Wait;
use crate::model::{Confidence, Evidence, Fact, printable};

pub(super) const CAUSE: Cause = Cause {
    id: CauseId::ProcessStopped,
    judge,
};

/// Why a process does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Halt {
    Frozen,
    Traced,
    Stopped,
}

fn judge(stuck: &Stuck<'_, '_>) -> Judgement {
    if let Some(reason) = stuck.cannot_judge() {
        return Judgement::CannotTell(reason);
    }
    let halts: Vec<(&Judged<'_>, Option<Halt>)> = stuck
        .judged
        .iter()
        .map(|judged| (judged, halt(judged)))
        .collect();
    let Some((first, Some(how))) = halts.first() else {
        return Judgement::DoesNotHold;
    };
    if halts.iter().any(|(_, halt)| halt.is_none()) {
        return Judgement::DoesNotHold;
    }
    let pid = first.process.id.pid;
    let stopped: Vec<String> = halts
        .iter()
        .map(|(judged, _)| judged.process.id.pid.to_string())
        .collect();
    let pids = stopped.join(" ");
    let (what, remedy) = match how {
        Halt::Stopped => (
            "stopped by a signal (state T)",
            format!("find out who stopped it and why, then `kill -CONT {pids}`"),
        ),
        Halt::Traced => (
            "stopped by a tracer (state t), a debugger for instance",
            format!("find the tracer (`grep TracerPid /proc/{pid}/status`) and let it continue"),
        ),
        Halt::Frozen => (
            "frozen with its cgroup",
            format!(
                "thaw the cgroup named in /proc/{pid}/cgroup (`systemctl thaw UNIT`, \
                     `docker unpause`, or write 0 to cgroup.freeze)"
            ),
        ),
    };
    Judgement::Holds(Reason {
        confidence: Confidence::Certain,
        summary: format!(
            "{} {} {what}",
            stuck.names(),
            if halts.len() == 1 { "is" } else { "are" }
        ),
        evidence: halts
            .iter()
            .take(3)
            .filter_map(|(judged, halt)| evidence(judged, (*halt)?))
            .collect(),
        remedy: format!(
            "Let it run again: {remedy}. Connections that still wait are then accepted."
        ),
    })
}

fn halt(judged: &Judged<'_>) -> Option<Halt> {
    if judged.detail.frozen == Fact::Known(true) {
        return Some(Halt::Frozen);
    }
    let every = |halted: fn(&Wait) -> bool| {
        !judged.threads.is_empty() && judged.threads.iter().all(|(_, wait)| halted(wait))
    };
    if every(|wait| *wait == Wait::Traced) {
        Some(Halt::Traced)
    } else if every(|wait| matches!(wait, Wait::Stopped | Wait::Traced)) {
        Some(Halt::Stopped)
    } else {
        None
    }
}

fn evidence(judged: &Judged<'_>, halt: Halt) -> Option<Evidence> {
    let pid = judged.process.id.pid;
    let who = phrase::process(Some(judged.process), judged.process.id);
    match halt {
        // The threads' states are in the evidence of every stuck queue.
        Halt::Stopped | Halt::Traced => None,
        Halt::Frozen => {
            let cgroup = judged.process.cgroup.known().map_or(&[][..], Vec::as_slice);
            let path = crate::diagnose::phrase::last_cgroup_path(cgroup);
            Some(Evidence::new(
                format!("the cgroup of {who}, {}, is frozen", printable(path)),
                format!("/proc/{pid}/cgroup, cgroup.events or freezer.state"),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::test_stuck::{StuckCase, expect};

    #[test]
    fn every_acceptor_must_be_halted() {
        let case = StuckCase::epoll(0x8000_0019).thread('T', "epoll_wait", 4);
        expect(
            &case,
            judge,
            Some(Confidence::Certain),
            "stopped by a signal",
        );
        expect(
            &case.clone().thread('t', "futex", 0),
            judge,
            Some(Confidence::Certain),
            "stopped",
        );
        expect(&case.thread('S', "epoll_wait", 4), judge, None, "");
    }

    #[test]
    fn a_tracer_and_a_freezer_are_named() {
        let traced = StuckCase::epoll(0x19).thread('t', "epoll_wait", 4);
        expect(&traced, judge, Some(Confidence::Certain), "tracer");
        let frozen = StuckCase::epoll(0x19).thread('S', "epoll_wait", 4).frozen();
        expect(&frozen, judge, Some(Confidence::Certain), "frozen");
    }

    #[test]
    fn an_unseen_holder_cannot_be_judged() {
        let case = StuckCase::epoll(0x19).thread('T', "epoll_wait", 4).unseen();
        assert!(
            matches!(case.judge(judge), Judgement::CannotTell(reason) if reason.contains("denied"))
        );
    }
}
