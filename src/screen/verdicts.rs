//! The pane of verdicts: the chosen one, first of all the worst, as a sentence, the others as a row
//! each.

use ratatui::text::{Line, Span};

use super::lines::Lines;
use super::look::{Look, Verdict};
use super::panes::{Pane, clock};
use super::state::State;
use super::table::Row;
use super::theme::Tone;
use crate::model::{CauseId, human_duration};
use crate::render::{self, wrap};

/// Columns of a label and what is behind it.
const LABEL: usize = 11;
/// From this height on the sentence has room for why and for what to do.
const TALL: u16 = 40;

pub(super) fn lines(state: &State) -> Lines {
    let table = state.table(Pane::Verdicts);
    let width = usize::from(state.size.0);
    let Some(look) = state.shown() else {
        return text(state, "", Tone::Plain, "the first look is being taken");
    };
    if table.rows.is_empty() {
        return match table.of {
            0 => text(state, "OK", Tone::Good, &look.calm),
            hidden => {
                let message = format!("none of {hidden} matches the filter");
                text(state, "", Tone::Plain, &message)
            }
        };
    }
    let chosen = state.chosen(Pane::Verdicts, &table);
    let fitting = table.fit(width.saturating_sub(2), false);
    let mut lines = Lines {
        lines: Vec::new(),
        chosen: 0..0,
    };
    for (index, row) in table.rows.iter().enumerate() {
        let verdict = if index == chosen {
            find(look, row)
        } else {
            None
        };
        match verdict {
            Some(verdict) => {
                let begin = lines.len();
                lines.lines.extend(sentence(state, look, verdict));
                lines.chosen = begin..lines.len();
            }
            None => {
                let mut line = table.row(row, &fitting, width, state.theme);
                line.spans.insert(0, Span::raw("  "));
                lines.lines.push(line);
            }
        }
    }
    lines
}

fn find<'a>(look: &'a Look, row: &Row) -> Option<&'a Verdict> {
    let mut verdicts = look.verdicts.iter();
    verdicts.find(|verdict| verdict.key == row.key)
}

fn sentence(state: &State, look: &Look, verdict: &Verdict) -> Vec<Line<'static>> {
    let finding = &verdict.finding;
    let now = look.snapshot.taken_at;
    let summary = format!(
        "{} [{}{}], open since {} ({})",
        finding.summary,
        finding.id,
        render::short_cause(finding),
        clock(verdict.since_time, now),
        human_duration(look.at.saturating_sub(verdict.since))
    );
    let severity = finding.severity.to_string().to_uppercase();
    let tone = Tone::Severity(finding.severity);
    let mut lines = labelled(state, &severity, tone, &summary);
    if state.size.1 >= TALL {
        if let Some(cause) = &finding.cause {
            let text = match cause.id {
                CauseId::Unknown => format!("unknown: {}", cause.summary),
                id => format!("{id} ({}): {}", cause.confidence, cause.summary),
            };
            lines.extend(labelled(state, "  cause", Tone::Strong, &text));
        }
        lines.extend(labelled(state, "  remedy", Tone::Strong, &finding.remedy));
    }
    if state.focus == Pane::Verdicts
        && let Some(mark) = lines.first_mut().and_then(|line| line.spans.first_mut())
    {
        *mark = Span::raw("> ");
    }
    lines
}

/// Lines that are no verdict.
fn text(state: &State, label: &str, tone: Tone, text: &str) -> Lines {
    Lines {
        lines: labelled(state, label, tone, text),
        chosen: 0..0,
    }
}

/// Room for a mark, a label, and text beside it.
fn labelled(state: &State, label: &str, tone: Tone, text: &str) -> Vec<Line<'static>> {
    let width = usize::from(state.size.0).saturating_sub(LABEL).max(20);
    let lines = wrap(text, Some(width)).into_iter().enumerate();
    let line = |(index, text): (usize, String)| {
        let label = if index == 0 { label } else { "" };
        Line::from(vec![
            Span::raw("  "),
            Span::styled(
                format!("{label:<width$}", width = LABEL - 2),
                state.theme.style(tone),
            ),
            Span::raw(text),
        ])
    };
    lines.map(line).collect()
}
