//! The live screen of `watch`: what one look shows, which of it is chosen, and how it is drawn.
//!
//! Pure: [`Look`] is made from a report and the history, [`State`] takes looks and key presses,
//! [`draw`] puts it on a frame of whatever size. `panes` makes rows, `verdicts` and `lines` lines of
//! them, `table` leaves columns out instead of cutting an address, `layout` divides the height,
//! `frame` has what is around the panes and `overlay` what covers them. The terminal itself, and who presses keys,
//! is the command's business.

mod frame;
mod layout;
mod lines;
mod log;
mod look;
mod overlay;
mod panes;
mod state;
mod table;
#[cfg(test)]
mod test_machine;
#[cfg(test)]
mod test_screen;
mod theme;
mod verdicts;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

use layout::Plan;
use lines::Lines;
pub use log::Entry;
pub use look::Look;
use overlay::Overlay;
use panes::Pane;
pub use state::{Action, Key, State};
use table::{Fitting, Table};
pub use theme::Theme;
use theme::Tone;

/// Draws the screen, in the size that the state was told last.
pub fn draw(frame: &mut Frame<'_>, state: &State) {
    let (columns, rows) = state.size;
    let mut canvas = Canvas { frame };
    let plan = layout::plan(state);
    if plan == Plan::TooSmall {
        canvas.line(0, &Line::from(frame::too_small(state.size)));
        return;
    }
    let strong = state.theme.style(Tone::Strong);
    canvas.line(0, &Line::styled(frame::header(state), strong));
    match (&state.overlay, plan) {
        (Some(overlay), _) => draw_overlay(&mut canvas, state, overlay),
        (None, Plan::Panes(areas)) => {
            for (pane, area) in areas {
                draw_pane(&mut canvas, state, pane, area);
            }
        }
        (None, Plan::TooSmall) => {}
    }
    let reversed = Style::new().add_modifier(Modifier::REVERSED);
    let footer = lines::padded(&frame::footer(state), columns.into());
    canvas.line(rows - 1, &Line::styled(footer, reversed));
}

/// Lines on a frame; what is outside of it is not drawn.
struct Canvas<'a, 'b> {
    frame: &'a mut Frame<'b>,
}

impl Canvas<'_, '_> {
    fn line(&mut self, row: u16, line: &Line<'_>) {
        let area = self.frame.area();
        if row < area.height {
            self.frame.buffer_mut().set_line(0, row, line, area.width);
        }
    }
}

fn draw_pane(canvas: &mut Canvas<'_, '_>, state: &State, pane: Pane, area: Rect) {
    let table = state.table(pane);
    let title = frame::title(state, pane, table.rows.len(), table.of);
    let tone = if state.focus == pane {
        Tone::Strong
    } else {
        Tone::Plain
    };
    canvas.line(area.y, &Line::styled(title, state.theme.style(tone)));
    let (mut top, bottom) = (area.y + 1, area.bottom());
    let lines = match pane {
        Pane::Verdicts => verdicts::lines(state),
        Pane::Events => lines::events(state),
        Pane::Listeners | Pane::Holders => {
            // Room for the mark of the chosen row.
            let width = usize::from(area.width).saturating_sub(2);
            let fitting = table.fit(width, true);
            if !table.rows.is_empty() {
                let mut titles = table.titles(&fitting, state.theme);
                titles.spans.insert(0, Span::raw("  "));
                canvas.line(top, &titles);
                top += 1;
            }
            rows(state, pane, &table, &fitting)
        }
    };
    let height = usize::from(bottom.saturating_sub(top));
    let skipped = lines::skipped(&lines.chosen, lines.len(), height);
    for (row, line) in (top..bottom).zip(lines.lines.iter().skip(skipped)) {
        canvas.line(row, line);
    }
}

/// A line a row.
fn rows(state: &State, pane: Pane, table: &Table, fitting: &Fitting) -> Lines {
    let chosen = state.chosen(pane, table);
    let line = |(index, row)| {
        let is_chosen = index == chosen && state.focus == pane;
        let mut line = table.cells(row, fitting, state.theme);
        let mark = if is_chosen { "> " } else { "  " };
        line.spans.insert(0, Span::raw(mark));
        if is_chosen {
            line = line.style(Style::new().add_modifier(Modifier::REVERSED));
        }
        line
    };
    Lines {
        lines: table.rows.iter().enumerate().map(line).collect(),
        chosen: chosen..chosen + 1,
    }
}

fn draw_overlay(canvas: &mut Canvas<'_, '_>, state: &State, overlay: &Overlay) {
    let (width, height) = layout::overlay(state.size);
    let lines = overlay.lines(width);
    let scroll = overlay.scroll.min(lines.len().saturating_sub(height));
    let end = (scroll + height).min(lines.len());
    let place = if lines.len() > height {
        format!(", {}-{end} of {}", scroll + 1, lines.len())
    } else {
        String::new()
    };
    let title = frame::ruled(state, &format!(">{}{place} ", overlay.title));
    let strong = state.theme.style(Tone::Strong);
    canvas.line(1, &Line::styled(title, strong));
    for (row, line) in (2..).zip(&lines[scroll..end]) {
        canvas.line(row, &Line::raw(&line[..]));
    }
}
