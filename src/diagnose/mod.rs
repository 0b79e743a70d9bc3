//! What is wrong, how bad it is, and why: findings from a [`SocketTable`].
//!
//! One file a finding, each a rule that looks at the table and returns what it finds. Nothing here
//! reads a clock, a file or the network: time comes with the snapshot. A rule never claims more
//! than its evidence; "nobody" and "nothing" need complete coverage.
//!
//! To add a finding: a file with a `find` function, its identifier in `model`, its line in
//! `RULES`, its page in `docs/findings`. Why a queue is stuck is in `queue_cause`, why sockets stay
//! in CLOSE_WAIT in `close_wait_cause`.

mod accept_queue;
mod accept_queue_backlog;
mod accept_queue_leak;
mod accept_queue_overflow;
mod close_wait_cause;
mod close_wait_half_closed;
mod close_wait_leak;
mod dead_socket_leak;
mod descriptor_exhaustion;
mod judgement;
mod phrase;
mod queue_cause;
#[cfg(test)]
mod test_close_wait;
#[cfg(test)]
pub(crate) mod test_stuck;
#[cfg(test)]
pub(crate) mod test_table;
mod wait;

use std::cmp::Reverse;
use std::time::Duration;

use crate::join::SocketTable;
use crate::model::Finding;

/// From when on something is worth a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// How long a connection may wait for `accept()`.
    pub accept_age: Duration,
    /// How long a socket may stay in CLOSE_WAIT.
    pub close_wait_age: Duration,
}

impl Default for Thresholds {
    fn default() -> Thresholds {
        Thresholds {
            accept_age: Duration::from_secs(1),
            close_wait_age: Duration::from_secs(10),
        }
    }
}

type Rule = fn(&SocketTable<'_>, &Thresholds) -> Vec<Finding>;

const RULES: &[Rule] = &[
    accept_queue_leak::find,
    accept_queue_overflow::find,
    accept_queue_backlog::find,
    close_wait_leak::find,
    close_wait_half_closed::find,
    dead_socket_leak::find,
    descriptor_exhaustion::find,
];

/// All findings, the worst first.
pub fn diagnose(table: &SocketTable<'_>, thresholds: &Thresholds) -> Vec<Finding> {
    let mut findings: Vec<Finding> = RULES
        .iter()
        .flat_map(|rule| rule(table, thresholds))
        .collect();
    // Stable: rules keep the order of the table among findings that are equally bad.
    findings.sort_by_key(|finding| {
        (
            Reverse(finding.severity),
            finding.id,
            Reverse(finding.count),
        )
    });
    findings
}
