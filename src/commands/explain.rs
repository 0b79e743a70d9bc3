//! `tcpleak explain`: the reference pages, laid out and paged on a terminal, as they are elsewhere.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::unix::process::CommandExt;
use std::process::{self, ExitCode};

use anyhow::bail;
use rustix::fs::MemfdFlags;
use unicode_width::UnicodeWidthStr;

use crate::cli;
use crate::model::printable;
use crate::options::Pager;
use crate::pages::{self, Page};
use crate::render;

pub(super) fn run(options: &cli::Explain) -> anyhow::Result<ExitCode> {
    let text = match &options.id {
        Some(id) => match pages::find(id) {
            Some(page) => page_text(page, options)?,
            None => bail!(no_page(id)),
        },
        None => {
            let mut text = Vec::new();
            render::write_index(&mut text, pages::ALL, options.layout())?;
            text
        }
    };
    if let Some(pager) = options.pager()
        && rows(&String::from_utf8_lossy(&text), pager.columns) >= pager.rows
    {
        // Returns only if there is no such pager; the terminal then scrolls.
        let _ = become_pager(&pager, &text);
    }
    super::print(|to| to.write_all(&text))?;
    Ok(ExitCode::SUCCESS)
}

fn page_text(page: &Page, options: &cli::Explain) -> io::Result<Vec<u8>> {
    let layout = options.layout();
    if layout.width.is_none() && !layout.color {
        return Ok(page.text.into());
    }
    let mut text = Vec::new();
    render::write_page(&mut text, page, layout)?;
    Ok(text)
}

fn no_page(id: &str) -> String {
    let question = match &pages::closest(id)[..] {
        [] => String::new(),
        ids => format!(": did you mean {}?", ids.join(" or ")),
    };
    let id = printable(id.as_bytes());
    format!("there is no page '{id}'{question} ('tcpleak explain' lists all)")
}

/// How many rows of a terminal it takes: long lines, which are code, take several.
fn rows(text: &str, columns: usize) -> usize {
    text.lines()
        .map(|line| shown_width(line).div_ceil(columns.max(1)).max(1))
        .sum()
}

/// Columns of a line without its escape sequences, all of which end in `m` here.
fn shown_width(line: &str) -> usize {
    let mut parts = line.split('\x1b');
    let before = parts.next().unwrap_or_default().width();
    let after = parts.map(|part| part.split_once('m').map_or(0, |(_, text)| text.width()));
    before + after.sum::<usize>()
}

/// Runs the pager in this process's place, so that nothing stands between it and the terminal:
/// Ctrl-C is the pager's, and so is the exit status. Returns only if that fails.
fn become_pager(pager: &Pager, text: &[u8]) -> io::Result<()> {
    // A file, not a pipe: all of it can be written before anybody reads.
    let mut file = File::from(rustix::fs::memfd_create("tcpleak", MemfdFlags::CLOEXEC)?);
    file.write_all(text)?;
    file.rewind()?;
    Err(process::Command::new(&pager.program)
        .args(&pager.arguments)
        .envs(pager.less.map(|flags| ("LESS", flags)))
        .stdin(file)
        .exec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_take_several_rows_and_escapes_none() {
        let check = |text: &str, expect| assert_eq!(rows(text, 10), expect, "{text:?}");
        check("", 0);
        check("a\n\nb\n", 3);
        check("0123456789\n", 1);
        check("0123456789a\n", 2);
        check("\x1b[36m0123456789\x1b[0m\n", 1);
        check("\x1b[1m0123456789a\x1b[0m\n", 2);
    }

    #[test]
    fn an_unknown_page_is_answered_with_the_closest() {
        let check = |id: &str, expect: &str| assert_eq!(no_page(id), expect);
        check(
            "eof-not-raed",
            "there is no page 'eof-not-raed': did you mean eof-not-read? ('tcpleak explain' lists all)",
        );
        check(
            "\x1b[2J",
            "there is no page '\\x1b[2J' ('tcpleak explain' lists all)",
        );
    }
}
