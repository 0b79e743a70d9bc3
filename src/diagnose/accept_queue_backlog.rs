//! `accept-queue-backlog`: connections wait for `accept()`, and are young, or are being taken.

use std::time::Duration;

use crate::join::{Listener, Movement, SocketTable};
use crate::model::{Confidence, Finding, FindingId, Severity, count_of, human_duration};

use super::accept_queue::{self, LastSaid, QueueState};
use super::{Thresholds, phrase};

pub(super) fn find(table: &SocketTable<'_>, thresholds: &Thresholds) -> Vec<Finding> {
    let (mut findings, mut said) = (Vec::new(), LastSaid::default());
    for listener in &table.listeners {
        let severity = match accept_queue::state(listener, thresholds) {
            Some(QueueState::Slow) => Severity::Warning,
            Some(QueueState::Young) => Severity::Info,
            Some(QueueState::Stuck) | None => continue,
        };
        findings.push(finding(listener, table, severity, &mut said));
    }
    findings
}

fn finding<'a>(
    listener: &Listener<'a>,
    table: &SocketTable<'a>,
    severity: Severity,
    said: &mut LastSaid<'a>,
) -> Finding {
    let connections = count_of(listener.accept_queue.into(), "connection");
    let verb = if listener.accept_queue == 1 {
        "waits"
    } else {
        "wait"
    };
    let oldest = match listener.oldest_wait() {
        Some(wait) => format!(", the oldest for {}", human_duration(wait)),
        None => ", for how long cannot be told".into(),
    };
    let rate = listener
        .movement
        .and_then(|movement| drain(movement, listener.accept_queue));
    let holders = phrase::holders(listener, table);
    Finding {
        id: FindingId::AcceptQueueBacklog,
        severity,
        confidence: Confidence::Certain,
        summary: format!(
            "{connections} {verb} in the accept queue of {}{oldest}{}; {holders}",
            phrase::address(listener.entry, table),
            rate.unwrap_or_default(),
        ),
        subject: accept_queue::subject(listener),
        count: listener.accept_queue.into(),
        oldest: listener.oldest_wait(),
        cause: None,
        other_causes: Vec::new(),
        evidence: accept_queue::evidence(listener, table, said),
        remedy: match severity {
            Severity::Info => "Nothing yet: a queue that is not empty for a moment is normal.",
            _ => {
                "The program accepts more slowly than clients come: give it more workers or fewer \
                 clients. A larger backlog only makes them wait longer."
            }
        }
        .into(),
        confirm: accept_queue::confirm(listener, table),
    }
}

/// How fast the queue is taken from, and what that means for a newcomer.
fn drain(movement: Movement, queue: u32) -> Option<String> {
    if movement.taken == 0 {
        return None;
    }
    let per_second = f64::from(movement.taken) / movement.over.as_secs_f64();
    let newcomer = Duration::try_from_secs_f64(f64::from(queue) / per_second).ok()?;
    Some(format!(
        "; it moves: {} taken within {} (about {per_second:.0}/s), a newcomer waits about {}",
        movement.taken,
        human_duration(movement.over),
        human_duration(newcomer)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::test_table::{Case, seconds};

    fn check(case: Case, expect: Option<Severity>) -> Option<Finding> {
        let snapshot = case.snapshot();
        let found = find(&SocketTable::new(&snapshot), &Thresholds::default()).pop();
        assert_eq!(
            found.as_ref().map(|finding| finding.severity),
            expect,
            "{case:?}"
        );
        found
    }

    #[test]
    fn young_is_info_and_slow_is_a_warning() {
        check(
            Case::queue(2).waiting(&[Duration::from_millis(20); 2]),
            Some(Severity::Info),
        );
        let slow = Case::queue(4).waiting(&[seconds(2); 4]).looked_twice(2, 2);
        let finding = check(slow, Some(Severity::Warning)).unwrap();
        assert!(
            finding
                .summary
                .contains("2 taken within 250 ms (about 8/s)"),
            "{}",
            finding.summary
        );
        assert!(
            finding.summary.contains("a newcomer waits about 500 ms"),
            "{}",
            finding.summary
        );
    }

    #[test]
    fn an_empty_or_stuck_queue_is_not_a_backlog() {
        check(Case::queue(0), None);
        check(Case::queue(2).waiting(&[seconds(2); 2]), None);
    }

    #[test]
    fn an_age_that_is_not_known_is_not_invented() {
        let finding = check(Case::queue(3).without_info(3), Some(Severity::Info)).unwrap();
        assert!(
            finding.summary.contains("cannot be told"),
            "{}",
            finding.summary
        );
    }
}
