//! Findings, table and coverage together: what is to be shown, and the exit status it means.

use std::collections::HashMap;

use crate::diagnose::{Thresholds, diagnose};
use crate::join::{Filter, Listener, SocketTable};
use crate::model::{
    Cookie, Finding, FindingId, Inode, Netns, Severity, Snapshot, Subject, TcpState,
};

/// Everything that a run has to say.
#[derive(Debug)]
pub struct Report<'a> {
    /// Who holds what, narrowed to what was asked for.
    pub table: SocketTable<'a>,
    /// What is wrong, the worst first.
    pub findings: Vec<Finding>,
    /// How many findings of each severity.
    pub summary: Summary,
    /// The verdict on each queue that is not empty.
    verdicts: HashMap<ListenerKey, FindingId>,
}

/// How many findings of each severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the names are those of the severities")]
pub struct Summary {
    pub critical: u64,
    pub warning: u64,
    pub info: u64,
}

/// What a run means for whoever called it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing at or above the wanted severity.
    Clear,
    /// Something at or above it.
    Found,
    /// Nothing was found, and not everything could be seen.
    Incomplete,
}

type ListenerKey = (Netns, Option<Cookie>, Option<Inode>);

impl<'a> Report<'a> {
    /// Joins and diagnoses a snapshot.
    pub fn new(snapshot: &'a Snapshot, thresholds: &Thresholds, filter: &Filter) -> Report<'a> {
        let mut table = SocketTable::new(snapshot);
        if !filter.is_empty() {
            table.retain(filter);
        }
        let findings = diagnose(&table, thresholds);
        let mut summary = Summary::default();
        for finding in &findings {
            *match finding.severity {
                Severity::Critical => &mut summary.critical,
                Severity::Warning => &mut summary.warning,
                Severity::Info => &mut summary.info,
            } += 1;
        }
        let mut verdicts = HashMap::new();
        for finding in &findings {
            if let Subject::Listener {
                netns,
                cookie,
                inode,
                ..
            } = finding.subject
            {
                // The worst comes first and stays.
                verdicts.entry((netns, cookie, inode)).or_insert(finding.id);
            }
        }
        Report {
            table,
            findings,
            summary,
            verdicts,
        }
    }

    /// Whether anything is at or above `fail_on`.
    pub fn outcome(&self, fail_on: Severity) -> Outcome {
        if self
            .findings
            .iter()
            .any(|finding| finding.severity >= fail_on)
        {
            Outcome::Found
        } else if self.table.snapshot.coverage.is_complete() {
            Outcome::Clear
        } else {
            Outcome::Incomplete
        }
    }

    /// Listeners that have an accept queue or a full SYN queue, or that a finding names.
    pub fn notable_listeners(&self) -> impl Iterator<Item = &Listener<'a>> {
        let is_notable = |listener: &&Listener<'a>| {
            listener.accept_queue > 0
                || listener.syn_queue_is_full() == Some(true)
                || self.verdict(listener).is_some()
        };
        self.table.listeners.iter().filter(is_notable)
    }

    /// The worst finding about a listener.
    pub fn verdict(&self, listener: &Listener<'_>) -> Option<FindingId> {
        let entry = listener.entry;
        self.verdicts
            .get(&(entry.netns, entry.cookie, entry.inode))
            .copied()
    }

    /// How many listeners were looked at.
    pub fn listeners_seen(&self) -> usize {
        self.table
            .rows
            .iter()
            .filter(|row| row.state == TcpState::Listen)
            .count()
    }
}
