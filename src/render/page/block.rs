//! What a page is made of: the small part of Markdown that the pages use.

/// A part of a page that stands by itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Block<'a> {
    /// The page's own name.
    Title(&'a str),
    /// The name of a section.
    Heading(&'a str),
    /// Running text, its lines joined.
    Paragraph(String),
    /// The items of a list, the lines of each joined.
    List(Vec<String>),
    /// Lines to be kept as they are.
    Code(Vec<&'a str>),
    /// Rows of cells, the header first.
    Table(Vec<Vec<&'a str>>),
}

const FENCE: &str = "```";

/// The blocks of a page, in order.
pub(super) fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        let mut following = |belongs: fn(&str) -> bool| {
            let mut more = Vec::new();
            while let Some(line) = lines.next_if(|line| belongs(line)) {
                more.push(line);
            }
            more
        };
        if line.is_empty() {
            continue;
        } else if line.starts_with(FENCE) {
            let code = following(|line| !line.starts_with(FENCE));
            lines.next(); // The closing fence.
            blocks.push(Block::Code(code));
        } else if let Some(title) = line.strip_prefix("# ") {
            blocks.push(Block::Title(title));
        } else if let Some(heading) = line.strip_prefix("## ") {
            blocks.push(Block::Heading(heading));
        } else if line.starts_with('|') {
            let rows = following(|line| line.starts_with('|'));
            let rows = std::iter::once(line).chain(rows);
            blocks.push(Block::Table(
                rows.filter(|row| !is_rule(row)).map(cells).collect(),
            ));
        } else if line.starts_with("- ") {
            let items = following(|line| line.starts_with("- ") || line.starts_with("  "));
            blocks.push(Block::List(join_items(line, &items)));
        } else {
            let more = following(is_text);
            blocks.push(Block::Paragraph(
                std::iter::once(line)
                    .chain(more)
                    .collect::<Vec<_>>()
                    .join(" "),
            ));
        }
    }
    blocks
}

fn is_text(line: &str) -> bool {
    !(line.is_empty()
        || line.starts_with(FENCE)
        || line.starts_with('#')
        || line.starts_with('|')
        || line.starts_with("- "))
}

/// `|---|---|`, the line between a table's header and its rows.
fn is_rule(row: &str) -> bool {
    row.chars().all(|c| matches!(c, '|' | '-' | ' ' | ':'))
}

fn cells(row: &str) -> Vec<&str> {
    let row = row.trim().trim_start_matches('|').trim_end_matches('|');
    row.split('|').map(str::trim).collect()
}

/// Items begin with `- `; lines that do not go on with the item before them.
fn join_items(first: &str, more: &[&str]) -> Vec<String> {
    let mut items: Vec<String> = Vec::new();
    for line in std::iter::once(&first).chain(more) {
        match (line.strip_prefix("- "), items.last_mut()) {
            (None, Some(item)) => {
                item.push(' ');
                item.push_str(line.trim_start());
            }
            (text, _) => items.push(text.unwrap_or(line).to_owned()),
        }
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_each_kind() {
        let page = "# name\n\nOne\ntwo.\n\n## Part\n\n- a\n  b\n- c\n\nThen:\n```sh\nss  -n\n\n# x\n```\n\
                    | h | i |\n|---|---|\n| `a` | b c |\n";
        assert_eq!(
            blocks(page),
            [
                Block::Title("name"),
                Block::Paragraph("One two.".into()),
                Block::Heading("Part"),
                Block::List(vec!["a b".into(), "c".into()]),
                Block::Paragraph("Then:".into()),
                Block::Code(vec!["ss  -n", "", "# x"]),
                Block::Table(vec![vec!["h", "i"], vec!["`a`", "b c"]]),
            ]
        );
    }

    #[test]
    fn a_page_may_end_anywhere() {
        assert_eq!(blocks(""), []);
        assert_eq!(blocks("```\nx"), [Block::Code(vec!["x"])]);
        assert_eq!(blocks("```"), [Block::Code(vec![])]);
        assert_eq!(blocks("- "), [Block::List(vec![String::new()])]);
    }

    /// What the parser does not know would come out as running text, marks and all.
    #[test]
    fn the_pages_use_nothing_else() {
        for page in crate::pages::ALL {
            for block in blocks(page.text) {
                let texts = match block {
                    Block::Paragraph(text) => vec![text],
                    Block::List(items) => items,
                    Block::Table(rows) => {
                        let columns = rows[0].len();
                        assert!(rows.iter().all(|row| row.len() == columns), "{}", page.id);
                        rows.concat().iter().map(|cell| cell.to_string()).collect()
                    }
                    Block::Title(_) | Block::Heading(_) | Block::Code(_) => continue,
                };
                for text in texts {
                    let prose: String = text.split('`').step_by(2).collect();
                    assert_eq!(text.matches('`').count() % 2, 0, "{}: {text}", page.id);
                    for mark in ["**", "](", "<!--"] {
                        assert!(!prose.contains(mark), "{}: {text}", page.id);
                    }
                    let first = prose.split(' ').next().unwrap_or_default();
                    let known = !matches!(first, "###" | ">" | "*" | "+" | "1." | "---");
                    assert!(known, "{}: {text}", page.id);
                }
            }
        }
    }
}
