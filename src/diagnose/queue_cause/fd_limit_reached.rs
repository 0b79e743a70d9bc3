//! `fd-limit-reached`: `accept()` fails, since a holder that accepts, or the machine, has no
//! descriptor left.

use super::{Cause, CauseId, Judgement, Reason, Stuck, phrase};
use crate::model::{Confidence, Evidence, Fact};

pub(super) const CAUSE: Cause = Cause {
    id: CauseId::FdLimitReached,
    judge,
};

fn judge(stuck: &Stuck<'_, '_>) -> Judgement {
    if let Some(reason) = stuck.cannot_judge() {
        return Judgement::CannotTell(reason);
    }
    if let Fact::Known(files) = stuck.table.snapshot.file_table
        && files.allocated >= files.limit
        && !stuck.judged.is_empty()
    {
        return Judgement::Holds(Reason {
            confidence: Confidence::Likely,
            summary: format!(
                "the machine has no open file left ({} of {}): accept() fails with ENFILE",
                files.allocated, files.limit
            ),
            evidence: vec![Evidence::new(
                format!("{} of {} files are open", files.allocated, files.limit),
                "/proc/sys/fs/file-nr",
            )],
            remedy: "Find who holds the files (lsof | sort by process), or raise fs.file-max."
                .into(),
        });
    }
    let mut exhausted = Vec::new();
    for judged in &stuck.judged {
        match &judged.process.descriptors {
            Fact::Known(used) if used.exhausted => exhausted.push((judged.process, used)),
            Fact::Known(_) => {}
            Fact::Unknown(reason) => {
                let who = phrase::process(Some(judged.process), judged.process.id);
                return Judgement::CannotTell(format!(
                    "how many descriptors {who} has could not be read: {reason}"
                ));
            }
        }
    }
    let Some((process, used)) = exhausted.first() else {
        return Judgement::DoesNotHold;
    };
    let pid = process.id.pid;
    let limit = used.soft_limit.unwrap_or(0);
    Judgement::Holds(Reason {
        confidence: if exhausted.len() == stuck.judged.len() {
            Confidence::Certain
        } else {
            Confidence::Likely
        },
        summary: format!(
            "{} has no descriptor left below its limit of {limit}: accept() fails with EMFILE",
            phrase::process(Some(process), process.id)
        ),
        evidence: exhausted
            .iter()
            .take(3)
            .map(|(process, used)| {
                Evidence::new(
                    format!(
                        "{} has {} descriptors open, and none below its limit of {} is free",
                        phrase::process(Some(process), process.id),
                        used.open,
                        used.soft_limit.unwrap_or(0)
                    ),
                    format!("/proc/{0}/fd, /proc/{0}/limits", process.id.pid),
                )
            })
            .collect(),
        remedy: format!(
            "Find what fills them (`ls -l /proc/{pid}/fd`) and close it; \
             `prlimit --pid {pid} --nofile={more}:` gives it room at once, up to the hard limit \
             (which root can raise: `--nofile={more}:{more}`). An edge-triggered server then still \
             sleeps until the next connection comes.",
            more = limit.saturating_mul(2)
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::test_stuck::{StuckCase, expect};

    #[test]
    fn the_limit_is_one_of_numbers() {
        let case = StuckCase::epoll(0x19).thread('S', "clock_nanosleep", 0);
        expect(
            &case.clone().descriptors(33, 32, true),
            judge,
            Some(Confidence::Certain),
            "limit of 32",
        );
        // As many as the limit, but some inherited above it: a number is free.
        expect(&case.clone().descriptors(32, 32, false), judge, None, "");
        expect(&case.descriptors(31, 32, false), judge, None, "");
    }

    #[test]
    fn a_full_machine_stops_everybody() {
        let case = StuckCase::epoll(0x19)
            .thread('S', "epoll_wait", 4)
            .files(100, 100);
        expect(&case, judge, Some(Confidence::Likely), "ENFILE");
    }

    #[test]
    fn what_was_not_read_is_not_judged() {
        let case = StuckCase::epoll(0x19)
            .thread('S', "epoll_wait", 4)
            .descriptors_unread();
        assert!(matches!(case.judge(judge), Judgement::CannotTell(_)));
    }
}
