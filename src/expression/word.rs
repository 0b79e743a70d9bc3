//! The text in words, each with its place.

use std::ops::Range;

/// Operators that need no space around them; of two that fit the longer one comes first.
const OPERATORS: [&str; 12] = [
    "==", "!=", ">=", "<=", "&&", "||", "=", "!", ">", "<", "&", "|",
];

/// A word, without the backslashes that may quote its characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) at: Range<usize>,
}

impl Word {
    /// The place of a part of the word; of the whole word if backslashes have moved things.
    pub(super) fn part(&self, part: Range<usize>) -> Range<usize> {
        if self.text.len() == self.at.len() {
            self.at.start + part.start..self.at.start + part.end
        } else {
            self.at.clone()
        }
    }
}

/// The words of `text`.
pub(super) fn words(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut word: Option<Word> = None;
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let at = text.len() - rest.len();
        let operator = OPERATORS
            .iter()
            .find(|operator| rest.starts_with(**operator));
        let alone = match (character, operator) {
            ('(' | ')', _) => 1,
            (_, Some(operator)) => operator.len(),
            _ => 0,
        };
        if alone > 0 {
            words.extend(word.take());
            words.push(Word {
                text: rest[..alone].to_owned(),
                at: at..at + alone,
            });
            rest = &rest[alone..];
            continue;
        }
        rest = &rest[character.len_utf8()..];
        if character.is_whitespace() {
            words.extend(word.take());
        } else if character != '\\' {
            let word = word.get_or_insert(Word {
                text: String::new(),
                at: at..at,
            });
            word.text.push(character);
            word.at.end = text.len() - rest.len();
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_need_spaces_and_operators_none() {
        let check = |text: &str, expect: &[&str]| {
            let words = words(text);
            let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
            assert_eq!(texts, expect, "{text}");
            for word in words.iter().filter(|_| !text.contains('\\')) {
                assert_eq!(text[word.at.clone()], word.text, "{text}");
            }
        };
        check("", &[]);
        check("  ", &[]);
        check("sport = :80", &["sport", "=", ":80"]);
        check("sport=:80", &["sport", "=", ":80"]);
        check("(sport>=80)", &["(", "sport", ">=", "80", ")"]);
        check(
            "!(a||b)&&!c",
            &["!", "(", "a", "||", "b", ")", "&&", "!", "c"],
        );
        check("\\( sport \\)", &["(", "sport", ")"]);
        check("a!==b", &["a", "!=", "=", "b"]);
        check("dst\t[::1]:80\n", &["dst", "[::1]:80"]);
        check("ä=ö", &["ä", "=", "ö"]);
    }
}
