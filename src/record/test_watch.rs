//! Watches in a file: what is read is what was written, up to where the file is cut.

use std::time::Duration;

use super::{Entry, RecordError, RecordedLook, Recording, WatchWriter, sample, write};

const SECOND: Duration = Duration::from_secs(1);
const TOOK: Duration = Duration::new(0, 1_500_000);

/// Three looks, of which the second failed.
fn looks() -> [RecordedLook; 3] {
    let look = |at, taken| RecordedLook {
        at,
        took: TOOK,
        taken,
    };
    [
        look(Duration::new(0, 1), Ok(Box::new(sample::small()))),
        look(SECOND, Err("no memory\u{1b}[2J".to_owned())),
        look(SECOND * 2, Ok(Box::new(sample::small()))),
    ]
}

fn written(looks: &[RecordedLook], end: Option<Duration>) -> Vec<u8> {
    let mut file = Vec::new();
    let mut writer = WatchWriter::begin(&mut file, SECOND).unwrap();
    for look in looks {
        let taken = look.taken.as_deref().map_err(String::as_str);
        writer.look(look.at, look.took, taken).unwrap();
    }
    if let Some(end) = end {
        writer.end(end).unwrap();
    }
    file
}

fn whole() -> Vec<u8> {
    written(&looks(), Some(SECOND * 3))
}

/// The looks, and what came after them.
fn read(file: &[u8]) -> Result<(Vec<RecordedLook>, Entry), RecordError> {
    let mut recording = Recording::open(file)?;
    let mut looks = Vec::new();
    loop {
        match recording.entry()? {
            Entry::Look(look) => looks.push(look),
            end => {
                assert_eq!(recording.entry()?, end);
                return Ok((looks, end));
            }
        }
    }
}

fn error_of(file: &[u8]) -> String {
    read(file).unwrap_err().to_string()
}

#[test]
fn every_look_and_the_end_are_as_they_were() {
    let (looks_read, end) = read(&whole()).unwrap();
    assert_eq!(looks_read, looks());
    assert_eq!(end, Entry::End(SECOND * 3));
    let interval = Recording::open(&whole()[..]).unwrap().interval();
    assert_eq!(interval, Some(SECOND));
    assert_eq!(written(&looks_read, Some(SECOND * 3)), whole());
    // As soon as it stands there, without a look at what follows.
    let open = written(&looks()[..1], None);
    let mut recording = Recording::open(&open[..]).unwrap();
    assert!(matches!(recording.entry().unwrap(), Entry::Look(_)));
}

#[test]
fn a_snapshot_is_a_watch_of_one_look() {
    let mut file = Vec::new();
    write(&sample::full(), &mut file).unwrap();
    let (looks, end) = read(&file).unwrap();
    let took = sample::full().duration;
    assert_eq!(end, Entry::End(took));
    let taken = Ok(Box::new(sample::full()));
    let at = Duration::ZERO;
    assert_eq!(looks, [RecordedLook { at, took, taken }]);
    assert_eq!(Recording::open(&file[..]).unwrap().interval(), None);
    // Cut, it is no watch that was killed.
    let error = read(&file[..file.len() - 9]).unwrap_err();
    assert!(matches!(error, RecordError::Truncated { .. }), "{error}");
    assert!(super::read(&whole()[..]).is_err());
}

#[test]
fn every_cut_leaves_the_looks_before_it() {
    let file = whole();
    // Where each look ends: without its newline it is whole.
    let ends = [1, 2, 3].map(|count| written(&looks()[..count], None).len() - 1);
    let header = written(&[], None).len() - 1;
    for length in 0..file.len() - 1 {
        if length < header {
            assert!(read(&file[..length]).is_err(), "cut at {length}");
            continue;
        }
        let (left, end) = read(&file[..length]).unwrap();
        let expect = ends.iter().filter(|end| **end <= length).count();
        assert_eq!(left, looks()[..expect], "cut at {length}");
        let newlines = file[..length].iter().filter(|byte| **byte == b'\n');
        let (before, whole) = (newlines.count() as u64, u64::from(file[length] == b'\n'));
        let line = before + 1 + whole;
        assert_eq!(end, Entry::Cut { line }, "cut at {length}");
    }
    assert_eq!(
        read(&file[..file.len() - 1]).unwrap().1,
        Entry::End(SECOND * 3)
    );
}

#[test]
fn a_lost_line_is_noticed() {
    let file = whole();
    let lines: Vec<&[u8]> = file.split_inclusive(|byte| *byte == b'\n').collect();
    for lost in 0..lines.len() - 1 {
        let rest = [&lines[..lost], &lines[lost + 1..]].concat().concat();
        assert!(read(&rest).is_err(), "line {} is lost", lost + 1);
    }
    // A whole look.
    let begins = |word: &str| {
        lines
            .iter()
            .position(|line| line.starts_with(word.as_bytes()))
    };
    let (first, end) = (begins("{\"look\"").unwrap(), begins("{\"end\"").unwrap());
    let rest = [&lines[..first], &lines[end + 1..]].concat().concat();
    assert_eq!(error_of(&rest), "line 2: look 2 behind look 0");
}

#[test]
fn errors_name_place_and_reason() {
    let file = String::from_utf8(whole()).unwrap();
    let check = |from: &str, to: &str, expect: &str| {
        assert!(file.contains(from), "{from} in {file}");
        assert_eq!(error_of(file.replacen(from, to, 1).as_bytes()), expect);
    };
    check(
        "watch\":1",
        "watch\":2",
        "line 1: snapshot version 2; this tcpleak reads version 1",
    );
    check(
        "snapshot\":1",
        "snapshot\":2",
        "line 3: snapshot version 2; this tcpleak reads version 1",
    );
    check("\"interval\"", "\"x\"", "line 1: interval: missing");
    check("\"took\"", "\"x\"", "line 2: look.took: missing");
    check(
        "\"at\":\"1\"",
        "\"at\":\"0.001\"",
        "line 6: a look at an impossible time",
    );
    check(
        "\"at\":\"2\"",
        "\"at\":\"18446744073709551615.999\"",
        "line 7: a look at an impossible time",
    );
    check(
        "\"at\":\"3\"",
        "\"at\":\"2\"",
        "line 11: it ends before its last look does",
    );
    check(
        "\"looks\":3",
        "\"looks\":4",
        "line 11: 3 looks stand before the end line, which counts 4",
    );
    check(
        "{\"look\"",
        "{\"glance\"",
        "line 2: unknown kind of record: 'glance'",
    );
    check(
        "{\"tcpleak_snapshot\":1",
        "{\"number\":1",
        "line 3: tcpleak_snapshot: missing",
    );
    check(
        "\"looks\":3}}\n",
        "\"looks\":3}}\nx",
        "line 12: something follows the end line",
    );
    assert_eq!(error_of(b""), "line 1: not a tcpleak snapshot");
    assert_eq!(
        error_of(b"{\"tcpleak_watches\":1}\n"),
        "line 1: not a tcpleak snapshot"
    );
}

#[test]
fn a_recording_is_harmless_on_a_terminal() {
    let file = String::from_utf8(whole()).unwrap();
    assert!(!file.contains(|char: char| char != '\n' && char.is_control()));
}

#[test]
fn every_key_is_documented() {
    let page = include_str!("../../docs/snapshot-format.md");
    let file = String::from_utf8(whole()).unwrap();
    let heads = file.lines().filter(|line| {
        ["{\"tcpleak_watch\"", "{\"look\"", "{\"end_of_watch\""]
            .iter()
            .any(|word| line.starts_with(word))
    });
    let mut keys = 0;
    for word in heads.flat_map(|line| line.split('"')) {
        let is_key = word.starts_with(|char: char| char.is_ascii_lowercase());
        if is_key && !word.contains(' ') {
            keys += 1;
            assert!(page.contains(&format!("`{word}`")), "{word} is in no table");
        }
    }
    assert!(keys > 10, "{keys}");
}
