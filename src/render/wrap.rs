//! Breaks text between words, never inside one.

use unicode_width::UnicodeWidthStr;

/// The lines of `text` in `width` columns; a word that is wider gets a line of its own.
pub(super) fn wrap(text: &str, width: Option<usize>) -> Vec<String> {
    let Some(width) = width else {
        return vec![text.to_owned()];
    };
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        if !line.is_empty() && line.width() + 1 + word.width() > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
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
