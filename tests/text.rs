//! The report as text, of recordings, at the widths of real terminals: what an engineer sees.
//! A change shows as a difference in `tests/snapshots`; `cargo insta review` or
//! `INSTA_UPDATE=always cargo test --test text` takes it over.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use tcpleak::diagnose::Thresholds;
use tcpleak::join::Filter;
use tcpleak::record;
use tcpleak::render::{Layout, write_report};
use tcpleak::report::Report;

fn text(fixture: &str, width: Option<usize>, color: bool) -> String {
    let path = format!("tests/fixtures/{fixture}.tcpleak");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let snapshot = record::read(BufReader::new(File::open(path).unwrap())).unwrap();
    let report = Report::new(&snapshot, &Thresholds::default(), &Filter::default());
    let layout = Layout {
        width,
        color,
        sockets: false,
        all_listeners: false,
    };
    let mut text = Vec::new();
    write_report(&mut text, &report, layout).unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
fn stranded_connections_at_80_columns() {
    insta::assert_snapshot!(text("stranded", Some(80), false));
}

#[test]
fn stranded_connections_at_200_columns() {
    insta::assert_snapshot!(text("stranded", Some(200), false));
}

#[test]
fn sockets_in_close_wait_at_80_columns() {
    insta::assert_snapshot!(text("close-wait", Some(80), false));
}

#[test]
fn what_a_plain_user_sees() {
    insta::assert_snapshot!(text("close-wait-plain-user", None, false));
}

#[test]
fn a_healthy_machine_gets_one_calm_line() {
    let calm = text("healthy", Some(200), false);
    assert!(
        calm.starts_with("OK ") && calm.contains("nothing leaks"),
        "{calm}"
    );
    assert_eq!(calm.lines().count(), 1, "{calm}");
}

#[test]
fn a_line_is_longer_than_the_terminal_only_for_what_is_never_broken() {
    for fixture in ["stranded", "close-wait", "queues", "descriptors"] {
        for line in text(fixture, Some(80), false).lines() {
            // Commands are there to be copied.
            let command = ["ss ", "cat ", "grep ", "ls ", "lsof ", "nstat "];
            let is_command = command.iter().any(|name| line.contains(name));
            assert!(
                is_command || line.chars().count() <= 80,
                "{fixture}: {line}"
            );
        }
    }
}

#[test]
fn colour_changes_nothing_but_colour() {
    let (plain, painted) = (
        text("stranded", Some(80), false),
        text("stranded", Some(80), true),
    );
    let mut stripped = String::new();
    let mut rest = painted.as_str();
    while let Some((before, after)) = rest.split_once("\x1b[") {
        stripped.push_str(before);
        rest = after.split_once('m').unwrap().1;
    }
    stripped.push_str(rest);
    assert!(painted.contains("\x1b[1;31mCRITICAL"));
    assert_eq!(stripped, plain);
}
