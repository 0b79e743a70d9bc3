//! A snapshot in a file, and back without loss: every later stage runs on a recording unchanged
//! and says byte for byte the same. And a watch, which is one snapshot after the other.
//!
//! The file is a line of JSON a record, described in `docs/snapshot-format.md`: a header, the
//! records, and an end line by which truncation is known. `value` says how a value is written,
//! `standard` how numbers, text, bytes and times are; `shapes` lists the model's types;
//! `namespaces` keeps files of one namespace readable; `lines` reads and writes lines; `watch` puts
//! snapshots one behind the other; `file` puts both on disk. Which process names and paths are fit for a
//! terminal is left to `render`; whether the facts make sense is left to `join`.

mod file;
mod lines;
mod namespaces;
#[cfg(test)]
mod sample;
mod shapes;
mod standard;
#[cfg(test)]
mod test_watch;
mod value;
mod watch;

use std::io::{self, BufRead, Write};

use lines::{LONGEST_LINE, LineReader, LineWriter};
use value::{FieldError, ObjectReader, Record, excerpt};

use crate::model::Snapshot;

pub use file::{WatchFile, save, save_new};
pub use watch::{Entry, RecordedLook, Recording, WatchWriter};

/// The version of the format that is written and read.
///
/// It grows when an older reader would misunderstand a file: a kind of record, a word or a key
/// that is not optional was added, or one changed its meaning. A new key that may be absent is no
/// new version: readers ignore keys that they do not know.
pub const VERSION: u64 = 1;

/// Why a file could not be read as a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file could not be read on.
    #[error("line {line}: {error}")]
    Io {
        /// Line, counted from 1.
        line: u64,
        /// What the operating system said.
        error: io::Error,
    },
    /// Something else, or nothing at all.
    #[error("line 1: not a tcpleak snapshot")]
    Foreign,
    /// A version that this program does not know.
    #[error("line {line}: snapshot version {found}; this tcpleak reads version {VERSION}")]
    Version {
        /// Line, counted from 1.
        line: u64,
        /// The version of the file.
        found: u64,
    },
    /// It ends before its end line.
    #[error("line {line}: the file ends here without its end line: it is truncated")]
    Truncated {
        /// The line that is missing or incomplete.
        line: u64,
    },
    /// A line is not a record.
    #[error("line {line}: {reason}")]
    Line {
        /// Line, counted from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A field is not what it should be.
    #[error("line {line}: {field}: {reason}")]
    Field {
        /// Line, counted from 1.
        line: u64,
        /// The way to the field from the beginning of the line: `socket.queues.listen.backlog`.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl RecordError {
    fn field(line: u64, error: FieldError) -> RecordError {
        let FieldError { path, reason } = error;
        if path.is_empty() {
            RecordError::Line { line, reason }
        } else {
            RecordError::Field {
                line,
                field: path,
                reason,
            }
        }
    }
}

/// The fields of a snapshot: keys of the header, and lists with a line for each of their items.
macro_rules! snapshot {
    (
        header { $($scalar:ident),+ $(,)? }
        lines { $($list:ident = $kind:literal),+ $(,)? }
    ) => {
        /// Writes a snapshot. Nothing is buffered beyond a line.
        pub fn write(snapshot: &Snapshot, to: &mut dyn Write) -> io::Result<()> {
            let Snapshot { namespaces, $($scalar,)+ $($list,)+ } = snapshot;
            let mut lines = LineWriter::new(to);
            lines.header(|object| {
                object.field("tcpleak_snapshot", &VERSION);
                object.field("tcpleak_version", &env!("CARGO_PKG_VERSION").to_owned());
                $(object.field(stringify!($scalar), $scalar);)+
                namespaces::write(namespaces, object);
            })?;
            $(for record in $list {
                lines.record($kind, record)?;
            })+
            lines.end()
        }

        /// The rest of a snapshot whose header is `header`, up to its end line.
        fn read_lines(
            mut header: ObjectReader,
            lines: &mut LineReader<impl BufRead>,
        ) -> Result<Snapshot, RecordError> {
            let at = |line| move |error| RecordError::field(line, error);
            let first = lines.number();
            let found = header.field::<u64>("tcpleak_snapshot").map_err(at(first))?;
            if found != VERSION {
                return Err(RecordError::Version { line: first, found });
            }
            $(let $scalar = header.field(stringify!($scalar)).map_err(at(first))?;)+
            let recorded = namespaces::read(&mut header).map_err(at(first))?;
            $(let mut $list = Vec::new();)+
            loop {
                let (kind, content) = lines.record()?;
                let line = lines.number();
                match kind.as_str() {
                    $($kind => {
                        let record = Record::read(content);
                        $list.push(record.map_err(|error| at(line)(error.within($kind)))?);
                    })+
                    "end" => {
                        lines.end(content)?;
                        let namespaces = Vec::new();
                        let snapshot = Snapshot { namespaces, $($scalar,)+ $($list,)+ };
                        return Ok(recorded.complete(snapshot));
                    }
                    _ => {
                        let reason = format!("unknown kind of record: '{}'", excerpt(&kind));
                        return Err(RecordError::Line { line, reason });
                    }
                }
            }
        }
    };
}

snapshot! {
    header {
        taken_at,
        duration,
        host,
        owner_source,
        file_table,
        dead_socket_search,
        cgroups,
        coverage,
    }
    lines {
        sockets = "socket",
        queue_reads = "queue_read",
        peers = "peer",
        descriptors = "held_descriptor",
        processes = "process",
        crowded = "crowded_process",
        dead_sockets = "dead_socket",
    }
}

/// Reads a snapshot up to its end line, behind which nothing may follow.
///
/// A file of another kind is given up at its first bad line, whatever its size.
pub fn read(from: impl BufRead) -> Result<Snapshot, RecordError> {
    read_alone(LineReader::new(from, LONGEST_LINE))
}

fn read_alone(mut lines: LineReader<impl BufRead>) -> Result<Snapshot, RecordError> {
    let header = lines.header()?;
    let snapshot = read_lines(header, &mut lines)?;
    lines.nothing_follows()?;
    Ok(snapshot)
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Read};

    use serde_json::Value;

    use super::*;

    fn written(snapshot: &Snapshot) -> Vec<u8> {
        let mut file = Vec::new();
        write(snapshot, &mut file).unwrap();
        file
    }

    fn error_of(file: &[u8]) -> String {
        read(file).unwrap_err().to_string()
    }

    #[test]
    fn nothing_is_lost() {
        for snapshot in [sample::full(), sample::empty()] {
            let file = written(&snapshot);
            let again = read(file.as_slice()).unwrap();
            assert_eq!(again, snapshot);
            assert_eq!(written(&again), file);
        }
    }

    #[test]
    fn every_cut_is_noticed() {
        let file = written(&sample::small());
        let end_of_last_line = file.len() - 1;
        for length in 0..end_of_last_line {
            let error = read(&file[..length]).unwrap_err();
            match error {
                RecordError::Foreign => assert_eq!(length, 0),
                RecordError::Truncated { line } => {
                    let newlines = file[..length].iter().filter(|byte| **byte == b'\n');
                    let before = newlines.count() as u64;
                    // A cut just before a newline leaves a whole line, and the next one missing.
                    let whole = u64::from(file[length] == b'\n');
                    assert_eq!(line, before + 1 + whole, "cut at {length}");
                }
                other => panic!("cut at {length}: {other}"),
            }
        }
        assert!(read(&file[..end_of_last_line]).is_ok());
    }

    #[test]
    fn a_lost_line_is_noticed() {
        let file = written(&sample::small());
        let lines: Vec<&[u8]> = file.split_inclusive(|byte| *byte == b'\n').collect();
        for lost in 1..lines.len() - 1 {
            let rest = [&lines[..lost], &lines[lost + 1..]].concat().concat();
            assert!(error_of(&rest).contains("lines stand before the end line"));
        }
    }

    #[test]
    fn garbage_never_panics() {
        let file = written(&sample::full());
        // A multiplicative generator: any full-period constant will do.
        let mut state = 1_usize;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state >> 33
        };
        let text = b"\"{}[],:0-9e.\\u\x00\x80\xff n";
        for at in (0..file.len()).step_by(11) {
            let mut damaged = file.clone();
            damaged[at] = text[next() % text.len()];
            let _ = read(damaged.as_slice());
            damaged.drain(at..damaged.len().min(at + next() % 50));
            let _ = read(damaged.as_slice());
        }
        // Other values in the places of the right ones.
        let text = String::from_utf8(file).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            let value: Value = serde_json::from_str(line).unwrap();
            for other in replaced(&value) {
                let damaged = match index {
                    0 => format!("{other}\n"),
                    _ => format!("{}\n{other}\n", lines[0]),
                };
                assert!(read(damaged.as_bytes()).is_err(), "it has no end line");
            }
        }
    }

    /// `value` with one of its parts replaced, for each part and several replacements.
    fn replaced(value: &Value) -> Vec<Value> {
        let mut all: Vec<Value> = [
            "null",
            "-1",
            "1e99",
            "18446744073709551615",
            "\"é\"",
            "[]",
            "{}",
        ]
        .iter()
        .map(|text| serde_json::from_str(text).unwrap())
        .collect();
        match value {
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    for other in replaced(item) {
                        let mut items = items.clone();
                        items[index] = other;
                        all.push(Value::Array(items));
                    }
                }
            }
            Value::Object(map) => {
                for (key, item) in map {
                    for other in replaced(item) {
                        let mut map = map.clone();
                        map[key] = other;
                        all.push(Value::Object(map));
                    }
                }
            }
            _ => {}
        }
        all
    }

    #[test]
    fn foreign_files_are_named_as_such() {
        let check = |file: &[u8]| assert_eq!(error_of(file), "line 1: not a tcpleak snapshot");
        check(b"");
        check(b"\n");
        check(b"\0\0\0\0");
        check(b"[]");
        check(b"[{\"tcpleak_snapshot\":1}]\n");
        check(b"{}\n");
        check(b"{\"schema\":\"tcpleak.report/1\"}\n");
        check(b"{\"tcpleak_snap\n");
        check(b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt\n");
        check(b"\x1f\x8b\x08\x00");
        let endless = BufReader::new(io::repeat(0));
        assert!(matches!(read(endless), Err(RecordError::Foreign)));
    }

    #[test]
    fn endless_files_are_given_up() {
        let header = written(&sample::empty());
        let header = header
            .split_inclusive(|byte| *byte == b'\n')
            .next()
            .unwrap();
        let with = |byte| {
            let from = BufReader::new(header.chain(io::repeat(byte)));
            let lines = LineReader::new(from, 4096);
            read_alone(lines).unwrap_err().to_string()
        };
        assert_eq!(with(0), "line 2: not JSON: it holds a control character");
        assert_eq!(with(b'['), "line 2: longer than 4096 bytes");
        assert!(with(b'\n').starts_with("line 2: not JSON: "));
    }

    #[test]
    fn errors_name_place_and_reason() {
        let file = String::from_utf8(written(&sample::small())).unwrap();
        let check = |from: &str, to: &str, expect: &str| {
            assert!(file.contains(from), "{from} in {file}");
            assert_eq!(error_of(file.replacen(from, to, 1).as_bytes()), expect);
        };
        check(
            "snapshot\":1",
            "snapshot\":2",
            "line 1: snapshot version 2; this tcpleak reads version 1",
        );
        check(
            "snapshot\":1",
            "snapshot\":\"x\"",
            "line 1: tcpleak_snapshot: not a whole number of 64 bits: 'x'",
        );
        check("\"hostname\"", "\"x\"", "line 1: host.hostname: missing");
        check(
            "\"local\":\"[::]:8080\"",
            "\"local\":\"8080\\u001b\"",
            "line 2: socket.local: not an address and port: '8080\\x1b'",
        );
        check(
            "\"uid\":1000",
            "\"uid\":4294967296",
            "line 2: socket.uid: not a whole number from 0 to 4294967295: 4294967296",
        );
        check(
            "\"state\":\"LISTEN\"",
            "\"state\":\"LISTENING\"",
            "line 2: socket.state: 'LISTENING' is none of ESTABLISHED, SYN_SENT, SYN_RECV, \
             FIN_WAIT1, FIN_WAIT2, TIME_WAIT, CLOSE, CLOSE_WAIT, LAST_ACK, LISTEN, CLOSING, UNKNOWN",
        );
        check(
            "\"accept_queue\":8",
            "\"accept_queue\":8.5",
            "line 2: socket.queues.listen.accept_queue: \
             not a whole number from 0 to 4294967295: 8.5",
        );
        check(
            "{\"socket\":",
            "{\"sockets\":",
            "line 2: unknown kind of record: 'sockets'",
        );
        check(
            "{\"socket\":{",
            "{\"socket\":{,",
            "line 2: not JSON: key must be a string at column 12",
        );
        check(
            "{\"socket\":{",
            "{\"x\":1,\"socket\":{",
            "line 2: not an object with exactly one key",
        );
        check(
            "{\"lines\":2}",
            "{\"lines\":3}",
            "line 3: 2 lines stand before the end line, which counts 3",
        );
        check(
            "{\"lines\":2}}\n",
            "{\"lines\":2}}\n\n",
            "line 4: something follows the end line",
        );
        check(
            "{\"lines\":2}}\n",
            "{\"lines\":2}}\nx",
            "line 4: something follows the end line",
        );
    }

    #[test]
    fn reading_errors_are_passed_on() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::from(io::ErrorKind::IsADirectory))
            }
        }
        let error = read(BufReader::new(Broken)).unwrap_err();
        assert_eq!(error.to_string(), "line 1: is a directory");
    }

    #[test]
    fn keys_of_a_later_program_are_ignored() {
        let snapshot = sample::small();
        let file = String::from_utf8(written(&snapshot)).unwrap();
        let newer = file
            .replace("\"host\":{", "\"host\":{\"boot\":[1,{}],")
            .replace("{\"socket\":{", "{\"socket\":{\"colour\":null,")
            .replace('\n', "\r\n");
        assert_eq!(read(newer.as_bytes()).unwrap(), snapshot);
    }

    #[test]
    fn a_recording_is_harmless_on_a_terminal() {
        let file = String::from_utf8(written(&sample::full())).unwrap();
        let harmful = |char: char| {
            char != '\n' && (char.is_control() || matches!(char, '\u{202a}'..='\u{202e}'))
        };
        assert!(!file.contains(harmful));
    }

    #[test]
    fn every_key_is_documented() {
        fn keys(value: &Value, check: &dyn Fn(&str)) {
            match value {
                Value::Array(items) => items.iter().for_each(|item| keys(item, check)),
                Value::Object(map) => map.iter().for_each(|(key, value)| {
                    check(key);
                    keys(value, check);
                }),
                _ => {}
            }
        }
        let page = include_str!("../../docs/snapshot-format.md");
        let file = String::from_utf8(written(&sample::full())).unwrap();
        for line in file.lines() {
            keys(&serde_json::from_str(line).unwrap(), &|key| {
                assert!(page.contains(&format!("`{key}`")), "{key} is in no table");
            });
        }
    }
}
