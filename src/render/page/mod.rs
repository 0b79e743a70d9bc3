//! A reference page, laid out for a terminal, and the list of all pages.
//!
//! Prose is filled to the width, code is never wrapped. Sections are set off by indentation, so
//! that they can be told apart without colour too.

mod block;
mod inline;
mod table;

use std::io::{self, Write};

use self::block::{Block, blocks};
use self::inline::words;
use super::Layout;
use super::style::{Style, paint};
use super::wrap::{fill, wrap};
use crate::pages::Page;

/// Longer lines of prose are hard to read, however wide the terminal is.
const WIDEST: usize = 100;
/// Text below a heading.
const INDENT: usize = 2;
/// Code below text.
const CODE_INDENT: usize = 4;

/// Writes a page.
pub fn write_page(to: &mut dyn Write, page: &Page, layout: Layout) -> io::Result<()> {
    let width = layout.width.unwrap_or(WIDEST).min(WIDEST);
    let room = width.saturating_sub(INDENT);
    let color = layout.color;
    let mut after_heading = true;
    for block in blocks(page.text) {
        if !after_heading {
            writeln!(to)?;
        }
        after_heading = matches!(block, Block::Heading(_));
        match block {
            Block::Title(text) | Block::Heading(text) => {
                writeln!(to, "{}", paint(text, Style::Strong, color))?;
            }
            Block::Paragraph(text) => {
                for line in fill(words(&text, color), room) {
                    writeln!(to, "{:INDENT$}{}", "", line.text)?;
                }
            }
            Block::List(items) => {
                for item in items {
                    write_item(to, &item, room, color)?;
                }
            }
            Block::Code(lines) => {
                for line in lines {
                    write_code(to, line, color)?;
                }
            }
            Block::Table(rows) => {
                for line in table::lines(&rows, room, color) {
                    writeln!(to, "{:INDENT$}{line}", "")?;
                }
            }
        }
    }
    Ok(())
}

fn write_item(to: &mut dyn Write, item: &str, room: usize, color: bool) -> io::Result<()> {
    let mut mark = "- ";
    for line in fill(words(item, color), room.saturating_sub(mark.len())) {
        writeln!(to, "{:INDENT$}{mark}{}", "", line.text)?;
        mark = "  ";
    }
    Ok(())
}

fn write_code(to: &mut dyn Write, line: &str, color: bool) -> io::Result<()> {
    if line.is_empty() {
        return writeln!(to);
    }
    writeln!(to, "{:CODE_INDENT$}{}", "", paint(line, Style::Code, color))
}

/// Writes the identifier and the summary of every page: findings, then the causes of each.
pub fn write_index(to: &mut dyn Write, pages: &[Page], layout: Layout) -> io::Result<()> {
    let findings = pages.iter().filter(|page| page.cause_of().is_none());
    write_group(to, "Findings", findings.clone(), pages, layout)?;
    for finding in findings {
        let causes = pages
            .iter()
            .filter(|page| page.cause_of() == Some(finding.id));
        if causes.clone().next().is_some() {
            let title = format!("Causes of {}", finding.id);
            writeln!(to)?;
            write_group(to, &title, causes, pages, layout)?;
        }
    }
    Ok(())
}

fn write_group<'a>(
    to: &mut dyn Write,
    title: &str,
    group: impl Iterator<Item = &'a Page>,
    all: &[Page],
    layout: Layout,
) -> io::Result<()> {
    // One column for all groups.
    let widest = all.iter().map(|page| page.id.len()).max().unwrap_or(0);
    let beside = INDENT + widest + 2;
    writeln!(to, "{}", paint(title, Style::Strong, layout.color))?;
    for page in group {
        let width = layout
            .width
            .map(|width| width.saturating_sub(beside).max(20));
        let id = paint(page.id, Style::Code, layout.color);
        let padding = widest + 2 - page.id.len();
        let summary = wrap(page.summary(), width).join(&format!("\n{:beside$}", ""));
        writeln!(to, "{:INDENT$}{id}{:padding$}{summary}", "", "")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: Page = Page {
        id: "no-lunch",
        text: "# no-lunch\n\nNobody eats.\n\nKind: cause of no-meal · Confidence: likely\n\n\
               ## Evidence needed\n\nThe table is\nset, `cat lunch | wc -l` says 0, and\n\nso on.\n\n\
               - one item that goes\n  on\n- two\n\n| fact | where it is read |\n|---|---|\n\
               | the plates | `/proc/LUNCH/plates` |\n\nIn Go:\n\n```go\nif plates == nil { return errHungry } // before\n\n\
               \teat()\n```\n",
    };

    fn check(width: Option<usize>, color: bool, expect: &[&str]) {
        let layout = Layout {
            width,
            color,
            sockets: false,
            all_listeners: false,
        };
        let mut seen = Vec::new();
        write_page(&mut seen, &PAGE, layout).unwrap();
        let seen = String::from_utf8(seen).unwrap();
        assert_eq!(seen.lines().collect::<Vec<_>>(), expect, "{seen}");
    }

    #[test]
    fn prose_is_filled_and_code_is_kept() {
        check(
            Some(32),
            false,
            &[
                "no-lunch",
                "",
                "  Nobody eats.",
                "",
                "  Kind: cause of no-meal ·",
                "  Confidence: likely",
                "",
                "Evidence needed",
                "  The table is set,",
                "  `cat lunch | wc -l` says 0,",
                "  and",
                "",
                "  so on.",
                "",
                "  - one item that goes on",
                "  - two",
                "",
                "  fact      where it is read",
                "  the       `/proc/LUNCH/plates`",
                "  plates",
                "",
                "  In Go:",
                "",
                "    if plates == nil { return errHungry } // before",
                "",
                "    \teat()",
            ],
        );
    }

    #[test]
    fn what_is_not_prose_is_set_off_by_style() {
        check(
            Some(200),
            true,
            &[
                "\x1b[1mno-lunch\x1b[0m",
                "",
                "  Nobody eats.",
                "",
                "  Kind: cause of no-meal · Confidence: likely",
                "",
                "\x1b[1mEvidence needed\x1b[0m",
                "  The table is set, \x1b[36mcat lunch | wc -l\x1b[0m says 0, and",
                "",
                "  so on.",
                "",
                "  - one item that goes on",
                "  - two",
                "",
                "  \x1b[1mfact        where it is read\x1b[0m",
                "  the plates  \x1b[36m/proc/LUNCH/plates\x1b[0m",
                "",
                "  In Go:",
                "",
                "    \x1b[36mif plates == nil { return errHungry } // before\x1b[0m",
                "",
                "    \x1b[36m\teat()\x1b[0m",
            ],
        );
    }

    #[test]
    fn every_page_fits_the_width_but_for_its_code() {
        for page in crate::pages::ALL {
            for width in [80, 300] {
                let layout = Layout {
                    width: Some(width),
                    color: false,
                    sockets: false,
                    all_listeners: false,
                };
                let mut text = Vec::new();
                write_page(&mut text, page, layout).unwrap();
                for line in String::from_utf8(text).unwrap().lines() {
                    let code = line.starts_with("    ");
                    let fits = line.chars().count() <= width.min(WIDEST);
                    assert!(code || fits, "{}, {width}: {line}", page.id);
                }
            }
        }
    }

    #[test]
    fn the_index_is_aligned_and_grouped() {
        let pages = [
            Page {
                id: "no-meal",
                text: "# no-meal\n\nThere is no meal.\n\nKind: finding · Severity: info\n",
            },
            PAGE,
        ];
        let layout = Layout {
            width: Some(32),
            color: false,
            sockets: false,
            all_listeners: false,
        };
        let mut seen = Vec::new();
        write_index(&mut seen, &pages, layout).unwrap();
        assert_eq!(
            String::from_utf8(seen).unwrap(),
            "Findings\n  no-meal   There is no meal.\n\n\
             Causes of no-meal\n  no-lunch  Nobody eats.\n"
        );
    }
}
