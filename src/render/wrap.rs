//! Breaks text between words, never inside one.

use unicode_width::UnicodeWidthStr;

/// Text with the columns that it takes: fewer than its characters where it has escape sequences.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) text: String,
    pub(super) width: usize,
}

/// The lines of `text` in `width` columns; a word that is wider gets a line of its own.
pub(crate) fn wrap(text: &str, width: Option<usize>) -> Vec<String> {
    let Some(width) = width else {
        return vec![text.to_owned()];
    };
    let words = text.split(' ').map(|word| Span {
        text: word.to_owned(),
        width: word.width(),
    });
    fill(words, width)
        .into_iter()
        .map(|line| line.text)
        .collect()
}

/// The same for words that know their width. There is always one line, if only an empty one.
pub(super) fn fill(words: impl IntoIterator<Item = Span>, width: usize) -> Vec<Span> {
    let mut lines = Vec::new();
    let mut line = Span::default();
    for word in words {
        if line.width > 0 && line.width + 1 + word.width > width {
            lines.push(std::mem::take(&mut line));
        }
        if line.width > 0 {
            line.text.push(' ');
            line.width += 1;
        }
        line.text.push_str(&word.text);
        line.width += word.width;
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn breaks_between_words_only() {
        let check = |text: &str, width, expect: &[&str]| assert_eq!(wrap(text, width), expect);
        check("one two three", Some(7), &["one two", "three"]);
        check(
            "[2001:db8::1]:443 is full",
            Some(5),
            &["[2001:db8::1]:443", "is", "full"],
        );
        check("日本 日本", Some(5), &["日本", "日本"]);
        check("any length", None, &["any length"]);
        check("", Some(5), &[""]);
    }
}
