//! Code, pages and demos, held together: an identifier that is reported is explained in
//! `docs/findings` and shown by a demo, and nothing is explained that cannot be reported.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tcpleak::model::{CauseId, FindingId};
use tcpleak::scenario;

/// What a page has, in this order.
const SECTIONS: [&str; 6] = [
    "What it detects",
    "Why it matters",
    "Evidence needed",
    "When it is wrong",
    "Confirm by hand",
    "Remedy",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn findings() -> BTreeSet<&'static str> {
    FindingId::ALL.iter().map(|id| id.as_str()).collect()
}

fn causes() -> BTreeSet<&'static str> {
    CauseId::ALL.iter().map(|id| id.as_str()).collect()
}

/// A page of `docs/findings`.
struct Page {
    id: String,
    title: String,
    /// What it is, in one sentence.
    summary: String,
    /// The line that says `Kind: …`.
    kind: String,
    /// Headings with the text below them.
    sections: Vec<(String, String)>,
}

impl Page {
    fn read(path: &Path) -> Page {
        let text = read(path);
        let mut parts = text.split("\n## ");
        let head = parts.next().unwrap_or_default();
        let mut paragraphs = head.split("\n\n").map(str::trim);
        let mut paragraph = || paragraphs.next().unwrap_or_default().to_owned();
        let (title, summary, kind) = (paragraph(), paragraph(), paragraph());
        let section = |part: &str| {
            let (heading, body) = part.split_once('\n').unwrap_or((part, ""));
            (heading.to_owned(), body.trim().to_owned())
        };
        Page {
            id: path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            title,
            summary,
            kind,
            sections: parts.map(section).collect(),
        }
    }

    /// Every page but the folder's own.
    fn all() -> Vec<Page> {
        let folder = root().join("docs/findings");
        let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.file_name().is_some_and(|name| name != "README.md"))
            .collect();
        paths.sort();
        paths.iter().map(|path| Page::read(path)).collect()
    }

    /// The finding that it is a cause of; `None` for a finding's page.
    fn cause_of(&self) -> Option<&str> {
        let kind = self.kind.strip_prefix("Kind: cause of ")?;
        kind.split_once(" · ").map(|(finding, _)| finding)
    }
}

#[test]
fn every_identifier_has_a_page_and_every_page_one() {
    let pages: BTreeSet<String> = Page::all().into_iter().map(|page| page.id).collect();
    let ids: BTreeSet<String> = findings()
        .union(&causes())
        .map(|id| (*id).to_owned())
        .collect();
    let missing: Vec<_> = ids.difference(&pages).collect();
    let orphans: Vec<_> = pages.difference(&ids).collect();
    assert!(
        missing.is_empty(),
        "without a page in docs/findings: {missing:?}"
    );
    assert!(
        orphans.is_empty(),
        "explained and never reported: {orphans:?}"
    );
    assert_eq!(
        ids.len(),
        FindingId::ALL.len() + CauseId::ALL.len(),
        "a name is used twice"
    );
}

#[test]
fn pages_have_one_form() {
    for page in Page::all() {
        let id = &page.id;
        assert_eq!(page.title, format!("# {id}"));
        assert!(
            page.summary.ends_with('.') && !page.summary.contains('\n'),
            "{id}: summary"
        );
        let headings: Vec<&str> = page
            .sections
            .iter()
            .map(|(heading, _)| &**heading)
            .collect();
        assert_eq!(headings, SECTIONS, "{id}");
        for (heading, body) in &page.sections {
            assert!(!body.is_empty(), "{id}: nothing below '{heading}'");
            assert_eq!(
                body.matches("```").count() % 2,
                0,
                "{id}: '{heading}': an open block"
            );
        }
        let by_hand = &page.sections[4].1;
        assert!(
            by_hand.contains("```sh\n"),
            "{id}: no command to confirm it with"
        );
        let is_finding = findings().contains(&**id);
        match page.cause_of() {
            Some(finding) => {
                assert!(
                    !is_finding,
                    "{id} is a finding, and its page calls it a cause"
                );
                assert!(
                    findings().contains(finding),
                    "{id}: '{finding}' is no finding"
                );
                assert!(page.kind.contains(" · Confidence: "), "{id}: {}", page.kind);
            }
            None => {
                assert!(
                    is_finding,
                    "{id} is a cause, and its page does not say of what"
                );
                assert!(page.kind.starts_with("Kind: finding · Severity: "), "{id}");
            }
        }
    }
}

/// The tables of `docs/findings/README.md`: each identifier once, below the heading of its kind,
/// with the sentence of its page; causes that have a rank in that order.
#[test]
fn the_index_says_what_the_pages_say() {
    let index = read(&root().join("docs/findings/README.md"));
    let mut heading = "";
    let mut rows = Vec::new();
    for line in index.lines() {
        if let Some(text) = line.strip_prefix("## ") {
            heading = text;
        } else if line.starts_with("| [") {
            rows.push((heading.replace('`', ""), line.to_owned()));
        }
    }
    let mut expect: Vec<(String, String)> = Page::all()
        .iter()
        .map(|page| {
            let heading = match page.cause_of() {
                Some(finding) => format!("Causes of {finding}"),
                None => "Findings".to_owned(),
            };
            let Page { id, summary, .. } = page;
            (heading, format!("| [`{id}`]({id}.md) | {summary} |"))
        })
        .collect();
    let ranked: Vec<String> = rows
        .iter()
        .filter(|(heading, _)| heading == "Causes of accept-queue-leak")
        .filter_map(|(_, row)| row.split('`').nth(1).map(str::to_owned))
        .collect();
    rows.sort();
    expect.sort();
    for (row, expect) in rows.iter().zip(&expect) {
        assert_eq!(row, expect);
    }
    assert_eq!(rows.len(), expect.len());
    let in_code = CauseId::ALL.iter().map(|id| id.as_str());
    let in_code: Vec<&str> = in_code
        .filter(|id| ranked.iter().any(|it| it == id))
        .collect();
    assert_eq!(ranked, in_code, "the causes' order of rank");
}

/// Each cause, and each finding that is not asked why, has a case that shows it; `unknown` is what
/// is left where no case fits.
#[test]
fn every_identifier_has_a_demo() {
    let mut shown = BTreeSet::new();
    let mut with_cause = BTreeSet::new();
    for case in scenario::ALL {
        if let Some(id) = case.finding {
            assert!(findings().contains(id), "{}: '{id}' is no finding", case.id);
        }
        if let Some(id) = case.cause {
            assert!(causes().contains(id), "{}: '{id}' is no cause", case.id);
            with_cause.extend(case.finding);
        }
        if case.demo {
            assert_eq!(
                case.cause.or(case.finding),
                Some(case.id),
                "named for what it shows"
            );
            shown.insert(case.id);
        }
    }
    let findings = findings();
    let wanted: BTreeSet<&str> = findings
        .difference(&with_cause)
        .chain(&causes())
        .copied()
        .filter(|id| *id != CauseId::Unknown.as_str())
        .collect();
    assert_eq!(shown, wanted);
}

/// Links between the project's own pages lead somewhere.
#[test]
fn links_lead_to_files() {
    let mut pages = vec![root().to_path_buf()];
    let mut links = 0;
    while let Some(path) = pages.pop() {
        if path.is_dir() {
            let hidden = |path: &Path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                name.starts_with('.') || name == "target"
            };
            let entries = std::fs::read_dir(&path).expect("a folder");
            let entries = entries.map(|entry| entry.expect("an entry").path());
            pages.extend(entries.filter(|path| !hidden(path)));
        } else if path.extension().is_some_and(|extension| extension == "md") {
            let text = read(&path);
            for link in text
                .split("](")
                .skip(1)
                .filter_map(|rest| rest.split(')').next())
            {
                let file = link.split('#').next().unwrap_or_default();
                if file.is_empty() || file.contains("://") || file.starts_with("mailto:") {
                    continue;
                }
                let target = path.parent().unwrap_or(root()).join(file);
                assert!(
                    target.exists(),
                    "{}: '{link}' leads nowhere",
                    path.display()
                );
                links += 1;
            }
        }
    }
    assert!(links > 20, "only {links} links were found");
}

/// ARCHITECTURE.md stays short, and each of its invariants names the tests that hold it. A sentence
/// that begins with "Held by" has the file in front of what is in it.
#[test]
fn invariants_are_held_by_tests_that_exist() {
    let page = read(&root().join("ARCHITECTURE.md"));
    assert!(page.lines().count() < 200, "it has become too long");
    let (_, invariants) = page.split_once("\n## Invariants\n").expect("invariants");
    let (invariants, _) = invariants.split_once("\n## ").expect("what follows");
    let mut seen = 0;
    for invariant in invariants
        .split("\n\n")
        .filter(|text| text.starts_with("**"))
    {
        let (_, held) = invariant
            .split_once("\nHeld by ")
            .unwrap_or_else(|| panic!("held by nothing: {invariant}"));
        let mut file = None;
        for name in held.split('`').skip(1).step_by(2) {
            if name.contains('.') {
                file = Some(read(&root().join(name)));
            } else {
                let text = file.as_ref().unwrap_or_else(|| panic!("no file: {held}"));
                assert!(text.contains(name), "there is no {name}: {held}");
                seen += 1;
            }
        }
    }
    assert!(seen > 20, "only {seen} were found");
}

/// Every direct dependency is in ARCHITECTURE.md with the reason for it, and no other is.
#[test]
fn every_dependency_has_its_reason() {
    let manifest = read(&root().join("Cargo.toml"));
    let page = read(&root().join("ARCHITECTURE.md"));
    let (_, reasons) = page
        .split_once("\n## Direct dependencies\n")
        .expect("reasons");
    let mut dependencies = Vec::new();
    let mut section = "";
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if section.ends_with("dependencies]")
            && let Some((name, _)) = line.split_once(" = ")
        {
            dependencies.push(name);
        }
    }
    let mut explained: Vec<&str> = reasons
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    dependencies.sort_unstable();
    explained.sort_unstable();
    assert_eq!(explained, dependencies);
}
