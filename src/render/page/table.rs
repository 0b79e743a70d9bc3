//! Tables of a page: aligned, and wrapped inside their columns where the terminal is narrow.

use super::inline::words;
use crate::render::style::{Style, paint};
use crate::render::wrap::{Span, fill};

/// Columns between two cells.
const GAP: usize = 2;

/// The lines of a table in `width` columns. The first row is the header.
pub(super) fn lines(rows: &[Vec<&str>], width: usize, color: bool) -> Vec<String> {
    let cells: Vec<Vec<Vec<Span>>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| words(cell, color)).collect())
        .collect();
    let widths = column_widths(&cells, width);
    let mut lines = Vec::new();
    for (index, row) in cells.into_iter().enumerate() {
        let cells: Vec<Vec<Span>> = row
            .into_iter()
            .zip(&widths)
            .map(|(words, width)| fill(words, *width))
            .collect();
        let height = cells.iter().map(Vec::len).max().unwrap_or(0);
        for line in 0..height {
            let mut text = String::new();
            let mut missing = 0;
            for (cell, width) in cells.iter().zip(&widths) {
                let span = cell.get(line).cloned().unwrap_or_default();
                // Padding is written when something follows it: no line ends in spaces.
                if !span.text.is_empty() {
                    text.push_str(&" ".repeat(missing));
                    missing = 0;
                }
                text.push_str(&span.text);
                missing += width.saturating_sub(span.width) + GAP;
            }
            if index == 0 {
                text = paint(&text, Style::Strong, color);
            }
            lines.push(text);
        }
    }
    lines
}

/// As wide as the widest cell, or less where that is too much: the widest column gives first, and
/// none gives so much that a word would not fit.
fn column_widths(rows: &[Vec<Vec<Span>>], width: usize) -> Vec<usize> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widest = |column: usize, of: fn(&[Span]) -> usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| of(cell)).max().unwrap_or(0)
    };
    let mut widths: Vec<usize> = (0..columns)
        .map(|column| widest(column, line_width))
        .collect();
    let least: Vec<usize> = (0..columns)
        .map(|column| widest(column, word_width))
        .collect();
    let room = width.saturating_sub(GAP * columns.saturating_sub(1));
    while widths.iter().sum::<usize>() > room {
        let gives = (0..columns)
            .filter(|column| widths[*column] > least[*column])
            .max_by_key(|column| widths[*column]);
        match gives {
            Some(column) => widths[column] -= 1,
            None => break,
        }
    }
    widths
}

fn line_width(words: &[Span]) -> usize {
    let gaps = words.len().saturating_sub(1);
    words.iter().map(|word| word.width).sum::<usize>() + gaps
}

fn word_width(words: &[Span]) -> usize {
    words.iter().map(|word| word.width).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: &[&[&str]] = &[
        &["fact", "where it is read"],
        &["state, inode", "sock_diag: `rqueue`, `wqueue`"],
        &["age", "`tcpi_last_data_sent`"],
    ];

    fn check(width: usize, expect: &[&str]) {
        let rows: Vec<Vec<&str>> = ROWS.iter().map(|row| row.to_vec()).collect();
        assert_eq!(lines(&rows, width, false), expect);
    }

    #[test]
    fn columns_are_aligned() {
        check(
            80,
            &[
                "fact          where it is read",
                "state, inode  sock_diag: `rqueue`, `wqueue`",
                "age           `tcpi_last_data_sent`",
            ],
        );
    }

    #[test]
    fn the_widest_column_is_wrapped_first() {
        check(
            38,
            &[
                "fact          where it is read",
                "state, inode  sock_diag: `rqueue`,",
                "              `wqueue`",
                "age           `tcpi_last_data_sent`",
            ],
        );
    }

    #[test]
    fn no_word_is_broken_where_nothing_fits() {
        check(
            5,
            &[
                "fact    where it is read",
                "state,  sock_diag: `rqueue`,",
                "inode   `wqueue`",
                "age     `tcpi_last_data_sent`",
            ],
        );
    }
}
