//! Tables that leave columns out instead of cutting what is in them.

use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr;

use super::theme::{Theme, Tone};
use crate::render::wrap;

/// Columns between two cells.
const GAP: usize = 2;

/// A column: its title, its side, and how soon it is left out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    title: &'static str,
    right: bool,
    /// Those with a higher rank are left out first.
    rank: u8,
}

impl Column {
    pub(super) const fn left(title: &'static str, rank: u8) -> Column {
        Column {
            title,
            right: false,
            rank,
        }
    }

    pub(super) const fn right(title: &'static str, rank: u8) -> Column {
        Column {
            title,
            right: true,
            rank,
        }
    }
}

/// A piece of a row.
#[derive(Debug, Clone, Default)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) tone: Tone,
}

impl Cell {
    pub(super) fn new(text: impl Into<String>, tone: Tone) -> Cell {
        Cell {
            text: text.into(),
            tone,
        }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Cell {
        Cell::new(text, Tone::Plain)
    }
}

/// A row, one cell a column.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// Who is who from one look to the next.
    pub(super) key: String,
    pub(super) cells: Vec<Cell>,
    /// A sentence behind the cells, which ends between two words where there is no room for all.
    pub(super) sentence: String,
    /// What a filter looks at beside the cells.
    pub(super) more: String,
}

impl Row {
    /// Whether `text` is somewhere in it, in whatever case.
    pub(super) fn has(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        let cells = self.cells.iter().map(|cell| &cell.text);
        let mut all = cells.chain([&self.sentence, &self.more]);
        all.any(|part| part.to_lowercase().contains(&text))
    }
}

/// Rows below each other.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Row>,
    /// How many there are without a filter.
    pub(super) of: usize,
}

/// The columns for which there is room, by index, and how wide they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fitting(Vec<(usize, usize)>);

impl Table {
    /// Keeps the rows that have `text` somewhere.
    pub(super) fn filter(&mut self, text: &str) {
        if !text.is_empty() {
            self.rows.retain(|row| row.has(text));
        }
    }

    /// Chooses the columns that fit into `width`; the first one is always among them.
    pub(super) fn fit(&self, width: usize, with_titles: bool) -> Fitting {
        let wide = |index: usize| {
            let cells = self.rows.iter().filter_map(|row| row.cells.get(index));
            let widest = cells.map(|cell| cell.text.width()).max().unwrap_or(0);
            let title = self.columns[index].title.width();
            if with_titles && widest > 0 {
                widest.max(title)
            } else {
                widest
            }
        };
        let mut by_rank: Vec<usize> = (0..self.columns.len()).collect();
        by_rank.sort_by_key(|index| self.columns[*index].rank);
        let mut kept = Vec::new();
        let mut used = 0;
        for index in by_rank {
            let width_of = wide(index);
            if width_of == 0 {
                continue;
            }
            let needed = used + width_of + if kept.is_empty() { 0 } else { GAP };
            if needed <= width || kept.is_empty() {
                used = needed;
                kept.push((index, width_of.min(width)));
            }
        }
        kept.sort_unstable();
        Fitting(kept)
    }

    pub(super) fn titles(&self, fitting: &Fitting, theme: Theme) -> Line<'static> {
        let cell = |index: usize| Cell::new(self.columns[index].title, Tone::Dim);
        self.line(fitting, theme, cell)
    }

    /// The cells of a row without its sentence.
    pub(super) fn cells(&self, row: &Row, fitting: &Fitting, theme: Theme) -> Line<'static> {
        let cell = |index: usize| row.cells.get(index).cloned().unwrap_or_default();
        self.line(fitting, theme, cell)
    }

    /// A row in `width`, of which the cells take what `fitting` says.
    pub(super) fn row(
        &self,
        row: &Row,
        fitting: &Fitting,
        width: usize,
        theme: Theme,
    ) -> Line<'static> {
        let mut line = self.cells(row, fitting, theme);
        if !row.sentence.is_empty() {
            let room = width.saturating_sub(line.width() + GAP);
            line.push_span(" ".repeat(GAP));
            line.push_span(begin_of(&row.sentence, room, theme));
        }
        line
    }

    fn line(&self, fitting: &Fitting, theme: Theme, cell: impl Fn(usize) -> Cell) -> Line<'static> {
        let mut spans = Vec::new();
        for (place, (index, width)) in fitting.0.iter().enumerate() {
            let mut cell = cell(*index);
            if cell.text.width() > *width {
                // Half an address is another address.
                cell.text = theme.ellipsis().into();
            }
            let missing = width.saturating_sub(cell.text.width());
            let right = self.columns[*index].right;
            let before = if right { missing } else { 0 } + if place > 0 { GAP } else { 0 };
            let after = if right { 0 } else { missing };
            spans.push(Span::raw(" ".repeat(before)));
            spans.push(Span::styled(cell.text, theme.style(cell.tone)));
            spans.push(Span::raw(" ".repeat(after)));
        }
        Line::from(spans)
    }
}

/// The words of `text` for which there is room.
pub(super) fn begin_of(text: &str, width: usize, theme: Theme) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let ellipsis = theme.ellipsis();
    let room = width.saturating_sub(ellipsis.width() + 1);
    match wrap(text, Some(room)).into_iter().next() {
        Some(line) if line.width() <= room && !line.is_empty() => format!("{line} {ellipsis}"),
        _ => ellipsis.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THEME: Theme = Theme {
        color: false,
        unicode: true,
    };

    fn table() -> Table {
        let row = |cells: [&str; 3]| Row {
            key: cells[0].into(),
            cells: cells.iter().map(|text| Cell::from(*text)).collect(),
            sentence: String::new(),
            more: String::new(),
        };
        Table {
            columns: vec![
                Column::left("LISTENER", 0),
                Column::right("QUEUE", 2),
                Column::left("HOLDER", 1),
            ],
            rows: vec![
                row(["127.0.0.1:8080", "8/511", "server(4866)"]),
                row(["[::]:80", "0/4096", "-"]),
            ],
            of: 2,
        }
    }

    fn lines(width: usize) -> Vec<String> {
        let table = table();
        let fitting = table.fit(width, true);
        let rows = table
            .rows
            .iter()
            .map(|row| table.row(row, &fitting, width, THEME).to_string());
        let titles = table.titles(&fitting, THEME).to_string();
        [titles].into_iter().chain(rows).collect()
    }

    #[test]
    fn columns_are_left_out_by_rank_and_nothing_is_cut() {
        let check = |width, expect: [&str; 3]| assert_eq!(lines(width), expect);
        check(
            36,
            [
                "LISTENER         QUEUE  HOLDER      ",
                "127.0.0.1:8080   8/511  server(4866)",
                "[::]:80         0/4096  -           ",
            ],
        );
        check(
            35,
            [
                "LISTENER        HOLDER      ",
                "127.0.0.1:8080  server(4866)",
                "[::]:80         -           ",
            ],
        );
        // The holder does not fit, and the queue behind it does.
        check(
            27,
            [
                "LISTENER         QUEUE",
                "127.0.0.1:8080   8/511",
                "[::]:80         0/4096",
            ],
        );
        check(14, ["LISTENER      ", "127.0.0.1:8080", "[::]:80       "]);
        check(13, ["LISTENER     ", "…            ", "[::]:80      "]);
        check(0, ["…", "…", "…"]);
    }

    #[test]
    fn a_sentence_ends_between_two_words() {
        let text = "8 wait at 127.0.0.1:8080 now";
        let check = |width, expect: &str| assert_eq!(begin_of(text, width, THEME), expect);
        check(28, text);
        check(27, "8 wait at 127.0.0.1:8080 …");
        check(25, "8 wait at …");
        check(2, "…");
        check(0, "…");
    }

    #[test]
    fn a_filter_looks_everywhere() {
        let check = |text: &str, expect: usize| {
            let mut table = table();
            table.rows[1].more = "closed Twice".into();
            table.filter(text);
            assert_eq!(table.rows.len(), expect, "{text}");
        };
        check("", 2);
        check("SERVER", 1);
        check(":80", 2);
        check("4096", 1);
        check("twice", 1);
        check("nginx", 0);
    }
}
