//! The lines around the panes: above them what is watched and how well, below them the keys.

use super::layout::{LEAST_COLUMNS, LEAST_ROWS};
use super::look::Look;
use super::panes::{Pane, clock};
use super::state::{Input, State};
use super::table::begin_of;
use crate::model::{Coverage, count_of, human_duration};

/// Columns between two parts.
const GAP: &str = "  ";

/// The line above the panes.
pub(super) fn header(state: &State) -> String {
    let title = match (state.recorded, state.over) {
        (false, _) => "tcpleak watch",
        (true, false) => "tcpleak watch --from, being read",
        (true, true) => "tcpleak watch --from, read to its end",
    };
    let mut parts = vec![(0, title.to_owned())];
    if state.frozen.is_some() {
        let behind = count_of(state.behind(), "look");
        parts.push((1, format!("PAUSED, {behind} behind")));
    }
    if let Some(look) = state.shown() {
        parts.extend(about(state, look));
    }
    fitting(parts, state.size.0.into())
}

fn about(state: &State, look: &Look) -> Vec<(u8, String)> {
    let now = look.snapshot.taken_at;
    let every = look.interval.map(human_duration);
    let every = every.map_or_else(String::new, |every| format!(" every {every}"));
    // What stands still says when that was.
    let stands = state.frozen.is_some() || state.recorded;
    let at_rank = if stands { 2 } else { 7 };
    let mut parts = vec![
        (3, format!("since {}", clock(look.began, now))),
        (4, format!("{}{every}", count_of(look.number, "look"))),
        (
            5,
            format!("last took {}", human_duration(look.snapshot.duration)),
        ),
        (2, seen(&look.snapshot.coverage)),
        (at_rank, format!("at {}", clock(Some(now), now))),
    ];
    if look.late > 0 {
        parts.push((6, format!("{} late", look.late)));
    }
    parts
}

/// The coverage in a few words; what is behind them is among the events.
fn seen(coverage: &Coverage) -> String {
    let (read, total) = (coverage.processes_read, coverage.processes_total);
    if coverage.is_complete() {
        "all seen".into()
    } else if read < total {
        format!("{read} of {total} processes read")
    } else {
        count_of(coverage.gaps.len() as u64, "gap")
    }
}

/// The line below the panes.
pub(super) fn footer(state: &State) -> String {
    let width = usize::from(state.size.0);
    let text = match (&state.input, &state.message) {
        (Some(Input::Filter(text)), _) => {
            format!("filter: {text}_{GAP}(Enter keeps it, Esc does not)")
        }
        (Some(Input::Save(name)), _) => {
            format!("save as {name}? Enter: yes, Esc: no")
        }
        (None, Some(message)) => message.clone(),
        (None, None) => return keys(state, width),
    };
    begin_of(&text, width, state.theme)
}

fn keys(state: &State, width: usize) -> String {
    let (pause, esc) = match state.frozen {
        Some(_) => ("p go on", "Esc back"),
        None => ("p pause", "Esc back"),
    };
    let parts: &[(u8, &str)] = if state.overlay.is_some() {
        &[(0, esc), (1, "up/down scroll"), (2, "PgUp/PgDn page")]
    } else {
        &[
            (0, "q quit"),
            (4, "Tab pane"),
            (5, "up/down row"),
            (2, "Enter evidence"),
            (6, "s sort"),
            (7, "/ filter"),
            (3, pause),
            (8, "S save"),
            (1, "? help"),
        ]
    };
    let parts = parts.iter().map(|(rank, part)| (*rank, (*part).to_owned()));
    fitting(parts.collect(), width)
}

/// The title of a pane, with how it is sorted and filtered.
pub(super) fn title(state: &State, pane: Pane, shown: usize, of: usize) -> String {
    let mark = if state.focus == pane { '>' } else { ' ' };
    let count = match (pane, shown == of) {
        (_, false) => format!(" {shown} of {of}"),
        (_, true) if of == 0 => " none".into(),
        (_, true) => format!(" {of}"),
    };
    let filter = match (&state.input, &state.filter[..]) {
        (Some(Input::Filter(text)), _) if !text.is_empty() => format!(", filter '{text}'"),
        (Some(Input::Filter(_)), _) | (_, "") => String::new(),
        (_, text) => format!(", filter '{text}'"),
    };
    let order = state.order(pane);
    let sorted = match pane {
        Pane::Events => order.to_owned(),
        _ => format!("by {order}"),
    };
    let text = format!("{mark}{}:{count}, {sorted}{filter} ", pane.name());
    ruled(state, &text)
}

/// A text, and a rule behind it to the end of the line.
pub(super) fn ruled(state: &State, text: &str) -> String {
    let width = usize::from(state.size.0);
    let text = begin_of(text, width, state.theme);
    let used = unicode_width::UnicodeWidthStr::width(&text[..]);
    let rule = state.theme.rule().to_string();
    text + &rule.repeat(width.saturating_sub(used))
}

/// What is said where nothing fits.
pub(super) fn too_small((columns, rows): (u16, u16)) -> String {
    format!("terminal too small: {columns}x{rows}, needs {LEAST_COLUMNS}x{LEAST_ROWS}")
}

/// The parts beside each other that fit; those with a higher rank are left out first.
fn fitting(mut parts: Vec<(u8, String)>, width: usize) -> String {
    loop {
        let texts: Vec<&str> = parts.iter().map(|(_, text)| &text[..]).collect();
        let line = texts.join(GAP);
        if unicode_width::UnicodeWidthStr::width(&line[..]) <= width {
            return line;
        }
        let Some(highest) = parts.iter().map(|(rank, _)| *rank).max() else {
            return String::new();
        };
        parts.retain(|(rank, _)| *rank != highest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_least_is_left_out_first() {
        let parts = || vec![(0, "a".to_owned()), (2, "bb".into()), (1, "c".into())];
        let check = |width, expect: &str| assert_eq!(fitting(parts(), width), expect);
        check(8, "a  bb  c");
        check(7, "a  c");
        check(3, "a");
        check(0, "");
    }
}
