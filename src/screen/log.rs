//! What happened, for the pane of events: as much of it as anybody scrolls back.

use std::collections::VecDeque;
use std::time::SystemTime;

use crate::history::{Event, EventKind};
use crate::model::{Coverage, Finding, Severity};
use crate::render;

/// Entries that are kept.
const ENTRIES_AT_MOST: usize = 1_000;

/// Something that happened, or that has to be said.
#[derive(Debug)]
pub struct Entry {
    pub(super) time: Option<SystemTime>,
    pub(super) severity: Severity,
    pub(super) kind: &'static str,
    pub(super) text: String,
    pub(super) finding: Option<Box<Finding>>,
}

impl Entry {
    /// An event that was noticed at `time`.
    pub fn event(event: &Event, time: Option<SystemTime>) -> Entry {
        let finding = match (&event.finding, event.kind) {
            (Some(finding), EventKind::Appeared | EventKind::Changed | EventKind::OneInOneOut) => {
                format!(" [{}{}]", finding.id, render::short_cause(finding))
            }
            _ => String::new(),
        };
        Entry {
            time,
            severity: event.severity,
            kind: event.kind.as_str(),
            text: format!("{}{finding}", event.summary),
            finding: event.finding.clone(),
        }
    }

    /// What goes to standard error where there is no screen.
    pub fn note(text: impl Into<String>, time: Option<SystemTime>) -> Entry {
        Entry {
            time,
            severity: Severity::Info,
            kind: "note",
            text: text.into(),
            finding: None,
        }
    }

    /// One for each thing that could not be seen.
    pub fn gaps(coverage: &Coverage, time: Option<SystemTime>) -> Vec<Entry> {
        let gaps = coverage.gaps.iter();
        gaps.map(|gap| {
            let needs = gap.needs.as_ref().map(|needs| format!(" (needs {needs})"));
            let (what, why) = (&gap.what, &gap.why);
            let text = format!("not seen: {what}: {why}{}", needs.unwrap_or_default());
            Entry::note(text, time)
        })
        .collect()
    }
}

/// Entries with their numbers, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Log {
    entries: VecDeque<Entry>,
    /// How many there have been before the first that is kept.
    forgotten: u64,
}

impl Log {
    pub(super) fn push(&mut self, entry: Entry) {
        if self.entries.len() == ENTRIES_AT_MOST {
            self.entries.pop_front();
            self.forgotten += 1;
        }
        self.entries.push_back(entry);
    }

    /// How many there have been.
    pub(super) fn end(&self) -> u64 {
        self.forgotten + self.entries.len() as u64
    }

    /// Those with a number below `end`.
    pub(super) fn before(&self, end: u64) -> impl DoubleEndedIterator<Item = (u64, &Entry)> {
        let entries = self.entries.iter().zip(self.forgotten..);
        let kept = usize::try_from(end.saturating_sub(self.forgotten)).unwrap_or(usize::MAX);
        let kept: Vec<_> = entries.take(kept).collect();
        kept.into_iter().map(|(entry, number)| (number, entry))
    }

    pub(super) fn entry(&self, number: u64) -> Option<&Entry> {
        let index = usize::try_from(number.checked_sub(self.forgotten)?).ok()?;
        self.entries.get(index)
    }
}
