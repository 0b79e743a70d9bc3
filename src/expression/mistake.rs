//! What is said about a place in the text, with a mark under it.

use std::fmt;
use std::ops::Range;

use unicode_width::UnicodeWidthStr;

use crate::model::printable;

/// The text is no expression: something else was expected at some place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("filter: expected {expected}\n{marked}")]
pub struct Mistake {
    /// What would have been right there.
    pub expected: String,
    marked: Marked,
}

impl Mistake {
    pub(super) fn new(text: &str, at: Range<usize>, expected: impl Into<String>) -> Mistake {
        Mistake {
            expected: expected.into(),
            marked: Marked::new(text, at),
        }
    }
}

/// Parentheses would have made the meaning plain: `and` stands behind `or`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Regrouped(Marked);

impl Regrouped {
    pub(super) fn new(text: &str, at: Range<usize>) -> Regrouped {
        Regrouped(Marked::new(text, at))
    }
}

impl fmt::Display for Regrouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "filter: read from left to right, as ss reads it: all that stands before this place is \
             one group. Its manual page says otherwise; parentheses make it plain.\n{}",
            self.0
        )
    }
}

/// A text and a place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Marked {
    text: String,
    at: Range<usize>,
}

impl Marked {
    fn new(text: &str, at: Range<usize>) -> Marked {
        Marked {
            text: text.to_owned(),
            at,
        }
    }
}

impl fmt::Display for Marked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.text.as_bytes();
        let start = self.at.start.min(bytes.len());
        let end = self.at.end.clamp(start, bytes.len());
        // Each part by itself, so that what is escaped keeps its place.
        let before = printable(&bytes[..start]);
        let marked = printable(&bytes[start..end]);
        let after = printable(&bytes[end..]);
        let (indent, carets) = (before.width(), "^".repeat(marked.width().max(1)));
        write!(f, "  {before}{marked}{after}\n  {:indent$}{carets}", "")
    }
}
