//! `descriptor-exhaustion`: a holder of listeners or of leaked sockets is close to its limit of
//! descriptors.

use crate::join::{Crowded, SocketTable};
use crate::model::{
    Confidence, CrowdedProcess, Evidence, Finding, FindingId, Holdings, Severity, Subject,
    count_of, printable,
};

use super::{Thresholds, phrase};

/// From this share of the limit on, in percent, it is a matter of the next few connections.
const CRITICAL_PERCENT: u64 = 95;
/// How many kinds of descriptors the evidence names.
const KINDS_NAMED: usize = 3;

pub(super) fn find(table: &SocketTable<'_>, _thresholds: &Thresholds) -> Vec<Finding> {
    table
        .crowded
        .iter()
        .filter(|crowded| crowded.percent() >= CrowdedProcess::PERCENT)
        .filter_map(|crowded| Some(finding(crowded, &sockets_at_stake(crowded, table)?)))
        .collect()
}

/// What makes the limit matter here; `None` for a process whose sockets are no concern of ours,
/// such as a database's with its files.
fn sockets_at_stake(crowded: &Crowded<'_>, table: &SocketTable<'_>) -> Option<String> {
    let dead = table
        .dead_sockets
        .iter()
        .filter(|dead| dead.holder.id == crowded.id)
        .map(|dead| dead.holder.fds.len() as u64)
        .sum();
    let parts = [
        (crowded.listeners.len() as u64, "listener", ""),
        (crowded.close_wait, "socket", " in CLOSE_WAIT"),
        (dead, "TCP socket", " in no table"),
    ];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, noun, where_)| format!("{}{where_}", count_of(count, noun)))
        .collect();
    (!parts.is_empty()).then(|| phrase::join_words(&parts))
}

fn finding(crowded: &Crowded<'_>, at_stake: &str) -> Finding {
    let (pid, limit, percent) = (crowded.id.pid, crowded.soft_limit, crowded.percent());
    let name = phrase::process(crowded.process, crowded.id);
    let full = crowded.used >= limit;
    let summary = if full {
        format!(
            "{name} has used all {limit} descriptors that it may have: accept(), connect() and \
             open() fail with EMFILE"
        )
    } else {
        format!(
            "{name} has used {} of {limit} descriptors ({percent} %): {} left until accept(), \
             connect() and open() fail with EMFILE",
            crowded.used,
            limit - crowded.used,
        )
    };
    Finding {
        id: FindingId::DescriptorExhaustion,
        severity: if percent >= CRITICAL_PERCENT {
            Severity::Critical
        } else {
            Severity::Warning
        },
        confidence: Confidence::Certain,
        summary,
        subject: Subject::Process(crowded.id),
        count: crowded.used,
        oldest: None,
        cause: None,
        other_causes: Vec::new(),
        evidence: evidence(crowded, at_stake),
        remedy: format!(
            "Now: raise the soft limit of the running process, up to the hard one: prlimit --pid \
             {pid} --nofile={}: (not for a program that uses select()). Then find what grows and \
             close it, or set the limit where the service is defined (LimitNOFILE=).",
            higher_limit(limit)
        ),
        confirm: vec![
            format!("ls /proc/{pid}/fd | wc -l"),
            format!("grep 'Max open files' /proc/{pid}/limits"),
            format!(
                "ls -l /proc/{pid}/fd | awk '{{print $NF}}' | sed 's/[0-9]\\{{1,\\}}/N/g' | sort \
                 | uniq -c | sort -rn | head"
            ),
        ],
    }
}

/// Enough to win time.
fn higher_limit(limit: u64) -> u64 {
    limit.saturating_mul(4).max(65_536)
}

fn evidence(crowded: &Crowded<'_>, at_stake: &str) -> Vec<Evidence> {
    let pid = crowded.id.pid;
    let above = match crowded.open.saturating_sub(crowded.used) {
        0 => String::new(),
        above => format!("; {above} above it, which do not count"),
    };
    let mut evidence = vec![
        Evidence::new(
            format!(
                "{} with numbers below the soft limit of {}{above}",
                count_of(crowded.used, "descriptor"),
                crowded.soft_limit
            ),
            format!("/proc/{pid}/fd, /proc/{pid}/limits"),
        ),
        Evidence::new(
            format!("it holds {at_stake}"),
            format!("/proc/{pid}/fd, sock_diag"),
        ),
    ];
    let kinds = crowded
        .holds
        .filter(|holds| holds.kinds.iter().any(|kind| kind.count > 1));
    evidence.extend(kinds.map(|holds| {
        let digits = "each N stands for digits";
        Evidence::new(
            format!("{} ({digits})", most_are(holds)),
            format!("/proc/{pid}/fd"),
        )
    }));
    evidence
}

/// `most are: 48 /dev/null, 3 socket:[N]`
fn most_are(holds: &Holdings) -> String {
    let kinds: Vec<String> = holds
        .kinds
        .iter()
        .take(KINDS_NAMED)
        .filter(|kind| kind.count > 1)
        .map(|kind| format!("{} {}", kind.count, printable(&kind.link)))
        .collect();
    let of = if holds.looked_at < holds.open {
        format!(" of the first {}", holds.looked_at)
    } else {
        String::new()
    };
    format!("the most frequent{of}: {}", kinds.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::test_close_wait::CloseWaitCase;
    use crate::diagnose::test_table::{Case, HOLDER, held, process, seconds, snapshot};
    use crate::model::{DescriptorKind, DescriptorUse, Fact, Inode, Snapshot, Unknown};

    fn holdings(open: u64, below_limit: u64) -> Holdings {
        Holdings {
            open,
            below_limit,
            looked_at: open,
            sockets: 3,
            listeners: vec![Inode(10_080)],
            close_wait: 0,
            kinds: vec![DescriptorKind {
                link: b"/var/log/\x1b[2J.N".to_vec(),
                count: 48,
            }],
        }
    }

    fn crowded(soft_limit: u64, holds: Fact<Holdings>) -> Snapshot {
        Snapshot {
            crowded: vec![CrowdedProcess {
                process: HOLDER,
                soft_limit,
                holds,
            }],
            processes: vec![process("server")],
            ..snapshot(Vec::new())
        }
    }

    fn found(snapshot: &Snapshot) -> Option<Finding> {
        let mut findings = find(&SocketTable::new(snapshot), &Thresholds::default());
        assert!(findings.len() <= 1);
        findings.pop()
    }

    fn severity(open: u64) -> Option<Severity> {
        found(&crowded(100, Fact::Known(holdings(open, open)))).map(|finding| finding.severity)
    }

    #[test]
    fn a_listener_and_few_descriptors_left() {
        let finding = found(&crowded(64, Fact::Known(holdings(54, 54)))).unwrap();
        assert_eq!(finding.severity, Severity::Warning);
        assert!(
            finding.summary.starts_with(
                "server (pid 4866) has used 54 of 64 descriptors (84 %): 10 left until accept()"
            ),
            "{}",
            finding.summary
        );
        let kinds = &finding.evidence[2].fact;
        assert!(kinds.contains("48 /var/log/\\x1b[2J.N"), "{kinds}");
    }

    #[test]
    fn thresholds_are_80_and_95_percent() {
        assert_eq!(severity(79), None);
        assert_eq!(severity(80), Some(Severity::Warning));
        assert_eq!(severity(94), Some(Severity::Warning));
        assert_eq!(severity(95), Some(Severity::Critical));
    }

    #[test]
    fn only_numbers_below_the_limit_count() {
        let lowered_later = holdings(500, 10);
        assert_eq!(found(&crowded(64, Fact::Known(lowered_later))), None);
        let full = found(&crowded(64, Fact::Known(holdings(70, 64)))).unwrap();
        assert_eq!(full.severity, Severity::Critical);
        assert!(
            full.summary.contains("has used all 64 descriptors"),
            "{}",
            full.summary
        );
        assert!(full.evidence[0].fact.contains("6 above it"));
    }

    #[test]
    fn who_holds_no_such_socket_is_exempt() {
        let mut files = holdings(90, 90);
        files.listeners.clear();
        assert_eq!(found(&crowded(100, Fact::Known(files.clone()))), None);
        files.close_wait = 7;
        assert!(found(&crowded(100, Fact::Known(files.clone()))).is_some());
        files.close_wait = 0;
        let with_dead = Snapshot {
            dead_sockets: vec![held(HOLDER, 9, Inode(9))],
            ..crowded(100, Fact::Known(files))
        };
        assert!(found(&with_dead).is_some());
    }

    #[test]
    fn what_could_not_be_looked_at_is_not_accused() {
        assert_eq!(
            found(&crowded(100, Fact::Unknown(Unknown::Permission))),
            None
        );
    }

    #[test]
    fn holders_are_judged_on_kernels_that_cannot_be_screened() {
        let close_wait = |open| found(&CloseWaitCase::sockets(3).descriptors(open, 100).snapshot());
        assert!(close_wait(80).is_some());
        assert_eq!(close_wait(79), None);
        let mut listener = Case::queue(3)
            .waiting(&[seconds(2); 3])
            .held_by("server")
            .snapshot();
        let mut descriptors = |open, exhausted| {
            listener.processes[0].descriptors = Fact::Known(DescriptorUse {
                open,
                soft_limit: Some(64),
                exhausted,
            });
            found(&listener)
        };
        assert!(descriptors(54, false).is_some());
        assert!(descriptors(70, true).is_some());
        assert_eq!(
            descriptors(70, false),
            None,
            "how many are below cannot be told"
        );
    }
}
