//! Output that cannot be written: a reader that leaves, a disk that is full, at every byte.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

mod support;

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use rustix::io::Errno;
use tcpleak::diagnose::Thresholds;
use tcpleak::join::Filter;
use tcpleak::model::Snapshot;
use tcpleak::record;
use tcpleak::render::{self, Layout};
use tcpleak::report::Report;

use support::command::{Outcome, run, words};
use support::scan::Directory;

/// Takes so many bytes and then fails.
struct Full {
    taken: Vec<u8>,
    room: usize,
    error: Errno,
}

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let fits = bytes.len().min(self.room - self.taken.len());
        self.taken.extend(&bytes[..fits]);
        match (fits, bytes.len()) {
            (0, 1..) => Err(self.error.into()),
            _ => Ok(fits),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Cuts what `write` writes at every byte: it has to come back with the very error, and what was
/// written has to be the beginning of the whole.
fn cut_everywhere(what: &str, write: &dyn Fn(&mut dyn Write) -> io::Result<()>) {
    let mut whole = Vec::new();
    write(&mut whole).unwrap();
    assert!(whole.len() > 100, "{what} is short");
    for room in 0..whole.len() {
        for error in [Errno::PIPE, Errno::NOSPC] {
            let taken = Vec::new();
            let mut full = Full { taken, room, error };
            let outcome = write(&mut full).unwrap_err();
            assert_eq!(
                outcome.raw_os_error(),
                Some(error.raw_os_error()),
                "{what} at {room}"
            );
            assert!(whole.starts_with(&full.taken), "{what} at {room}");
        }
    }
}

fn fixture(text: &[u8]) -> Snapshot {
    record::read(text).unwrap()
}

#[test]
fn every_form_can_be_cut_at_every_byte() {
    let snapshot = fixture(include_bytes!("fixtures/evil-name.tcpleak"));
    let thresholds = Thresholds::default();
    let report = Report::new(&snapshot, &thresholds, &Filter::default());
    let layout = Layout {
        width: Some(80),
        color: true,
        sockets: true,
        all_listeners: true,
    };
    cut_everywhere("text", &|to| render::write_report(to, &report, layout));
    cut_everywhere("JSON", &|to| render::write_report_json(to, &report, true));
    cut_everywhere("list", &|to| render::write_list(to, &report.table));
    cut_everywhere("list as JSON", &|to| {
        render::write_list_json(to, &report.table)
    });
    cut_everywhere("recording", &|to| record::write(&snapshot, to));
}

fn tcpleak(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcpleak"));
    command.args(words(arguments));
    command
}

fn file(name: &str) -> String {
    format!(
        "{}/tests/fixtures/{name}.tcpleak",
        env!("CARGO_MANIFEST_DIR")
    )
}

/// It ends with one line, of what it was about and why; only what was not seen may be said before.
fn check_refusal(outcome: &Outcome, says: &str) {
    assert_eq!(outcome.status, 2, "{outcome:?}");
    let lines: Vec<&str> = outcome.stderr.lines().collect();
    let (last, before) = lines.split_last().unwrap();
    assert!(
        last.starts_with("tcpleak: ") && last.contains(says),
        "{outcome:?}"
    );
    let is_gap = |line: &&str| line.starts_with("tcpleak: not seen: ") || line.starts_with("  ");
    assert!(before.iter().all(is_gap), "{outcome:?}");
}

/// `/dev/full` answers every write with ENOSPC.
#[test]
fn a_full_disk_behind_standard_output_is_an_error() {
    let file = file("stranded");
    for arguments in [
        &*format!("scan --from {file}"),
        &format!("scan --from {file} --json"),
        &format!("watch --from {file} --plain"),
        "scan --save -",
        "watch --count 1 --save -",
        "list",
        "doctor",
        "explain",
        "demo --list",
    ] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = tcpleak(arguments).stdout(full).output().unwrap();
        let outcome = Outcome {
            status: output.status.code().unwrap(),
            stdout: String::new(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        check_refusal(
            &outcome,
            "cannot write to standard output: No space left on device",
        );
    }
}

/// What `--save` names is no standard output: who reads it counts on all of it.
#[test]
fn a_reader_of_a_recording_that_leaves_is_an_error() {
    let directory = Directory::new("fifo");
    let fifo = directory.0.join("fifo").display().to_string();
    let program = env!("CARGO_BIN_EXE_tcpleak");
    let script = format!(
        "mkfifo {fifo}; dd if={fifo} of=/dev/null bs=1 count=1 2>/dev/null & \
         exec {program} watch --netns self --interval 100ms --count 90 --save {fifo} >/dev/null"
    );
    let outcome = run(Command::new("sh").args(["-c", &script]));
    check_refusal(&outcome, &format!("cannot write {fifo}: Broken pipe"));
}

#[test]
fn a_full_disk_leaves_what_was_there() {
    let directory = Directory::new("full-disk");
    let place = directory.0.display();
    for arguments in ["scan", "watch --count 1"] {
        // One page, of which the old recording has taken all.
        let script = format!(
            "set -e; mount -t tmpfs -o size=4k tmpfs {place}; cd {place}; echo old >file; \
             set +e; {} {arguments} --netns self --save file >/dev/null; \
             echo status $?; ls -A; cat file",
            env!("CARGO_BIN_EXE_tcpleak"),
        );
        let outcome = run(Command::new("unshare").args(["--mount", "sh", "-c", &script]));
        if outcome.stdout.is_empty() {
            support::cannot_run(&format!("needs a tmpfs: {}", outcome.stderr));
            return;
        }
        assert_eq!(outcome.stdout, "status 2\nfile\nold\n", "{outcome:?}");
        let says = "tcpleak: cannot write file: No space left on device";
        assert!(outcome.stderr.starts_with(says), "{outcome:?}");
    }
}

/// For the owner's eyes only, whatever the umask, and nothing else is touched.
#[test]
fn a_saved_file_is_its_owners_and_a_link_is_replaced() {
    let directory = Directory::new("saved");
    for (name, arguments) in [("scan", "scan"), ("watch", "watch --count 1")] {
        let (target, link) = (directory.0.join("target"), directory.0.join(name));
        fs::write(&target, "not to be touched").unwrap();
        symlink(&target, &link).unwrap();
        let script = format!(
            "umask 0; exec {} {arguments} --netns self --save {}",
            env!("CARGO_BIN_EXE_tcpleak"),
            link.display()
        );
        let outcome = run(Command::new("sh").args(["-c", &script]));
        assert_eq!(outcome.status, 0, "{outcome:?}");
        let saved = fs::symlink_metadata(&link).unwrap();
        assert!(saved.is_file());
        assert_eq!(saved.permissions().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_to_string(&target).unwrap(), "not to be touched");
    }
    assert_eq!(fs::read_dir(&directory.0).unwrap().count(), 3);
}

#[test]
fn few_descriptors_make_an_error_or_a_partial_report() {
    // From "none left to open anything" to "enough".
    for limit in 3..20 {
        let command = format!("--nofile={limit}");
        let program = env!("CARGO_BIN_EXE_tcpleak");
        let mut few = Command::new("prlimit");
        few.args([&command, "--", program, "scan", "--netns", "self", "--json"]);
        let outcome = run(&mut few);
        // The loader of the program itself needs one.
        if outcome.status == 127 {
            continue;
        }
        match outcome.status {
            2 => check_refusal(&outcome, "Too many open files"),
            status => {
                let document = outcome.json();
                let complete = document["coverage"]["complete"].as_bool().unwrap();
                let short = outcome.stderr.contains("Too many open files");
                assert!(
                    matches!(status, 0 | 1) && !(complete && short),
                    "{outcome:?}"
                );
            }
        }
    }
}
