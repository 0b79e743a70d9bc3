//! The lines of a pane in which the chosen row takes several.

use std::ops::Range;

use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr;

use super::panes::Pane;
use super::state::State;
use crate::render::wrap;

/// Lines below each other.
#[derive(Debug)]
pub(super) struct Lines {
    pub(super) lines: Vec<Line<'static>>,
    /// Those of the chosen row.
    pub(super) chosen: Range<usize>,
}

impl Lines {
    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }
}

/// Events, one a line but for the chosen one, which is there as a whole.
pub(super) fn events(state: &State) -> Lines {
    let table = state.table(Pane::Events);
    let width = usize::from(state.size.0).saturating_sub(2);
    // The sentence gets the rest.
    let fitting = table.fit(width / 3, false);
    let chosen = state.chosen(Pane::Events, &table);
    let mark = match state.focus {
        Pane::Events => "> ",
        _ => "  ",
    };
    let mut lines = Lines {
        lines: Vec::new(),
        chosen: 0..0,
    };
    for (index, row) in table.rows.iter().enumerate() {
        if index != chosen {
            let mut line = table.row(row, &fitting, width, state.theme);
            line.spans.insert(0, Span::raw("  "));
            lines.lines.push(line);
            continue;
        }
        let begin = lines.len();
        let cells = table.cells(row, &fitting, state.theme);
        let indent = cells.width() + 2;
        let room = width.saturating_sub(indent).max(1);
        for (index, text) in wrap(&row.sentence, Some(room)).into_iter().enumerate() {
            let mut line = if index == 0 {
                let mut line = cells.clone();
                line.spans.insert(0, Span::raw(mark));
                line.push_span("  ");
                line
            } else {
                Line::raw(" ".repeat(indent + 2))
            };
            line.push_span(text);
            lines.lines.push(line);
        }
        lines.chosen = begin..lines.len();
    }
    lines
}

/// How many lines are scrolled past so that those that are chosen can be seen, from their first.
pub(super) fn skipped(chosen: &Range<usize>, of: usize, height: usize) -> usize {
    if chosen.end <= height {
        return 0;
    }
    let last = of.saturating_sub(height);
    let middle = chosen.start.saturating_sub(height / 2);
    let whole = chosen.end.saturating_sub(height);
    middle.max(whole).min(chosen.start).min(last)
}

/// A text, and spaces to that width.
pub(super) fn padded(text: &str, width: usize) -> String {
    let missing = width.saturating_sub(text.width());
    format!("{text}{:missing$}", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_chosen_can_be_seen() {
        let check = |chosen, of, height, expect| {
            assert_eq!(
                skipped(&chosen, of, height),
                expect,
                "{chosen:?} {of} {height}"
            );
        };
        check(0..1, 100, 10, 0);
        check(9..10, 100, 10, 0);
        check(10..11, 100, 10, 5);
        check(50..51, 100, 10, 45);
        check(99..100, 100, 10, 90);
        // Taller than its place: from its first line.
        check(20..40, 50, 10, 20);
        check(0..0, 0, 10, 0);
        check(0..1, 1, 0, 0);
    }
}
