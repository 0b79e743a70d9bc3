//! Words of running text, code among them.

use unicode_width::UnicodeWidthStr;

use crate::render::style::{Style, paint};
use crate::render::wrap::Span;

/// The words of `text`. What stands between backticks is code: one word, whatever its spaces, and
/// set off by style, or by its backticks where there is none.
pub(super) fn words(text: &str, color: bool) -> Vec<Span> {
    let mut words = Vec::new();
    let mut word = Span::default();
    // Every second part is code, if the backticks come in pairs, which a test of the pages holds.
    for (index, part) in text.split('`').enumerate() {
        if index % 2 == 1 {
            push(&mut word, &code(part, color));
            continue;
        }
        for (index, piece) in part.split(' ').enumerate() {
            if index > 0 {
                words.push(std::mem::take(&mut word));
            }
            push(
                &mut word,
                &Span {
                    text: piece.to_owned(),
                    width: piece.width(),
                },
            );
        }
    }
    words.push(word);
    words.retain(|word| word.width > 0);
    words
}

fn code(text: &str, color: bool) -> Span {
    if color {
        Span {
            text: paint(text, Style::Code, color),
            width: text.width(),
        }
    } else {
        Span {
            text: format!("`{text}`"),
            width: text.width() + 2,
        }
    }
}

fn push(word: &mut Span, piece: &Span) {
    word.text.push_str(&piece.text);
    word.width += piece.width;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_one_word_with_what_touches_it() {
        let check = |text: &str, expect: &[(&str, usize)]| {
            let words = words(text, false);
            let seen: Vec<(&str, usize)> = words.iter().map(|w| (&w.text[..], w.width)).collect();
            assert_eq!(seen, expect, "{text}");
        };
        check("one  two", &[("one", 3), ("two", 3)]);
        check("(`ss -K`), then", &[("(`ss -K`),", 10), ("then", 4)]);
        check("`a` `b`s", &[("`a`", 3), ("`b`s", 4)]);
        check("", &[]);
    }

    #[test]
    fn colour_takes_no_column() {
        let words = words("(`ss -K`)", true);
        assert_eq!(words.len(), 1);
        assert_eq!(words[0].text, "(\x1b[36mss -K\x1b[0m)");
        assert_eq!(words[0].width, 7);
    }
}
