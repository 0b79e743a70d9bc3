//! Words for people: durations, counts, and text that a process chose, made safe to show.

use std::fmt::Write;
use std::time::Duration;

/// `bytes` as text in which nothing can move the cursor, change colours or reorder the line.
///
/// Control characters, bytes that are not UTF-8, bidirectional and zero-width marks come out as
/// `\x1b`, `\xff`, `\u{202e}`; a backslash as `\\`.
pub fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                '\0'..='\x1f' | '\x7f' => {
                    push_escape(&mut text, format_args!("\\x{:02x}", character as u32))
                }
                _ if is_invisible(character) => {
                    push_escape(&mut text, format_args!("\\u{{{:x}}}", character as u32));
                }
                _ => text.push(character),
            }
        }
        for byte in chunk.invalid() {
            push_escape(&mut text, format_args!("\\x{byte:02x}"));
        }
    }
    text
}

/// A duration in at most two units: `85 ms`, `12.3 s`, `4 min 10 s`, `2 h 5 min`, `3 d 4 h`.
pub fn human_duration(duration: Duration) -> String {
    let (ms, seconds) = (duration.as_millis(), duration.as_secs());
    match seconds {
        0 => format!("{ms} ms"),
        1..=59 => format!("{}.{} s", seconds, duration.subsec_millis() / 100),
        60..=3599 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..=86_399 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// `1 connection`, `8 connections`.
pub fn count_of(count: u64, noun: &str) -> String {
    let plural = match noun {
        "process" => "processes",
        "entry" => "entries",
        _ if count != 1 => return format!("{count} {noun}s"),
        _ => noun,
    };
    format!("{count} {}", if count == 1 { noun } else { plural })
}

fn push_escape(text: &mut String, escape: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = text.write_fmt(escape);
}

/// Controls of the second block, line separators, bidirectional and zero-width marks, tags.
fn is_invisible(character: char) -> bool {
    matches!(character,
        '\u{80}'..='\u{9f}' | '\u{ad}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{180e}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_counts() {
        let check = |ms, expect: &str| {
            assert_eq!(human_duration(Duration::from_millis(ms)), expect);
        };
        check(85, "85 ms");
        check(12_345, "12.3 s");
        check(250_000, "4 min 10 s");
        check(7_500_000, "2 h 5 min");
        check(273_600_000, "3 d 4 h");
        assert_eq!(count_of(1, "socket"), "1 socket");
        assert_eq!(count_of(2, "socket"), "2 sockets");
        assert_eq!(
            (count_of(1, "process"), count_of(0, "process")),
            ("1 process".into(), "0 processes".into())
        );
    }

    #[test]
    fn nothing_reaches_the_terminal_that_is_not_text() {
        let check = |bytes: &[u8], expect: &str| assert_eq!(printable(bytes), expect);
        check(b"nginx", "nginx");
        check("日本 ü".as_bytes(), "日本 ü");
        check(b"\x1b[2J\x07a\nb", "\\x1b[2J\\x07a\\x0ab");
        check(b"a\xff\xc3", "a\\xff\\xc3");
        check(
            "x\u{202e}y\u{200b}\u{9b}".as_bytes(),
            "x\\u{202e}y\\u{200b}\\u{9b}",
        );
        check(b"back\\slash", "back\\\\slash");
    }
}
