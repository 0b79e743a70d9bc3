//! The reference pages of the findings and causes, compiled in from `docs/findings`.
//!
//! A page is Markdown: its identifier as the title, a one-line summary, a `Kind:` line, and six
//! sections. `tests/docs.rs` holds the pages to that form.

/// The page of one finding or cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// The permanent identifier.
    pub id: &'static str,
    /// The whole page as it is in the file.
    pub text: &'static str,
}

macro_rules! pages {
    ($($id:literal)+) => {
        &[$(Page { id: $id, text: include_str!(concat!("../docs/findings/", $id, ".md")) },)+]
    };
}

/// Every page: findings first, then causes, each in the order of its identifiers in `model`.
pub const ALL: &[Page] = pages! {
    "accept-queue-leak"
    "accept-queue-backlog"
    "accept-queue-overflow"
    "close-wait-leak"
    "close-wait-half-closed"
    "dead-socket-leak"
    "descriptor-exhaustion"
    "process-stopped"
    "fd-limit-reached"
    "oneshot-not-rearmed"
    "edge-triggered-missed-wakeup"
    "listener-not-polled"
    "acceptor-blocked"
    "acceptor-busy"
    "no-holder"
    "unknown"
    "held-by-another-process"
    "idle-pool-connection"
    "eof-not-read"
    "data-not-read"
    "read-not-closed"
};

/// How many identifiers a misspelt one is answered with.
const SUGGESTIONS: usize = 3;

impl Page {
    /// One sentence: what it is.
    pub fn summary(&self) -> &'static str {
        self.text.lines().nth(2).unwrap_or_default()
    }

    /// The finding that this is a cause of; `None` for the page of a finding.
    pub fn cause_of(&self) -> Option<&'static str> {
        let kind = self.text.lines().nth(4)?.strip_prefix("Kind: cause of ")?;
        kind.split(" · ").next()
    }
}

/// The page of `id`.
pub fn find(id: &str) -> Option<&'static Page> {
    ALL.iter().find(|page| page.id == id)
}

/// The identifiers that are most like `typed`, the closest first; none if nothing is like it.
pub fn closest(typed: &str) -> Vec<&'static str> {
    let typed = typed.to_lowercase().replace(['_', ' '], "-");
    // A third of what was typed may be wrong.
    let tolerated = (typed.chars().count() / 3).max(1);
    let mut candidates: Vec<(usize, &str)> = ALL
        .iter()
        .filter_map(|page| {
            // A part of an identifier is as good as the identifier.
            let part = typed.len() > 2 && page.id.contains(&typed);
            let distance = if part { 0 } else { distance(&typed, page.id) };
            (distance <= tolerated).then_some((distance, page.id))
        })
        .collect();
    candidates.sort_by_key(|(distance, _)| *distance);
    candidates.truncate(SUGGESTIONS);
    candidates.into_iter().map(|(_, id)| id).collect()
}

/// Levenshtein's distance: how many characters to insert, delete or replace.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (above, a) in from.chars().enumerate() {
        let mut diagonal = above;
        row[0] = above + 1;
        for (left, b) in to.chars().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[left + 1];
            row[left + 1] = replaced.min(diagonal + 1).min(row[left] + 1);
        }
    }
    row[to.chars().count()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CauseId, FindingId};

    #[test]
    fn every_identifier_has_its_page_and_every_page_its_identifier() {
        let findings = FindingId::ALL.iter().map(|id| id.as_str());
        let causes = CauseId::ALL.iter().map(|id| id.as_str());
        let ids: Vec<&str> = findings.chain(causes).collect();
        let pages: Vec<&str> = ALL.iter().map(|page| page.id).collect();
        assert_eq!(pages, ids);
    }

    #[test]
    fn every_page_says_which_kind_it_is() {
        let findings: Vec<&str> = FindingId::ALL.iter().map(|id| id.as_str()).collect();
        for page in ALL {
            let kind = page.text.lines().nth(4).unwrap();
            if findings.contains(&page.id) {
                assert!(
                    kind.starts_with("Kind: finding · Severity: "),
                    "{}",
                    page.id
                );
                assert_eq!(page.cause_of(), None, "{}", page.id);
            } else {
                let finding = page.cause_of().unwrap_or_else(|| panic!("{}", page.id));
                assert!(findings.contains(&finding), "{}: {kind}", page.id);
                assert!(kind.contains(" · Confidence: "), "{}: {kind}", page.id);
            }
        }
    }

    #[test]
    fn a_misspelt_identifier_is_answered_with_the_closest() {
        let check = |typed: &str, expect: &[&str]| assert_eq!(closest(typed), expect, "{typed}");
        check("eof-not-raed", &["eof-not-read"]);
        check("Close_Wait_Leak", &["close-wait-leak"]);
        check("oneshot", &["oneshot-not-rearmed"]);
        check("close-wait", &["close-wait-leak", "close-wait-half-closed"]);
        check(
            "leak",
            &["accept-queue-leak", "close-wait-leak", "dead-socket-leak"],
        );
        check("zebra", &[]);
        check("", &[]);
    }

    #[test]
    fn distances() {
        let check = |from, to, expect| assert_eq!(distance(from, to), expect, "{from} {to}");
        check("kitten", "sitting", 3);
        check("", "abc", 3);
        check("abc", "", 3);
        check("same", "same", 0);
        check("ab", "ba", 2);
    }
}
