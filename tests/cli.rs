//! The program from outside: exit status, what goes to which stream, and how it says no. Nothing
//! here needs a right that a plain user lacks.

mod program;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use program::{Run, command, fixture, of, run};
use serde_json::{Value, json};

/// A file that a test makes and takes away again.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, content: &[u8]) -> Scratch {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let path = folder.join(format!("{name}-{}", std::process::id()));
        std::fs::write(&path, content).expect("a file");
        Scratch(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("a plain path")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Messages on standard error that are not about what was not seen.
fn notes_aside(stderr: &str) -> Vec<&str> {
    let is_note = |line: &&str| line.starts_with("tcpleak: not seen: ");
    stderr.lines().filter(|line| !is_note(line)).collect()
}

fn scan_of(name: &str, options: &[&str]) -> Run {
    let file = fixture(name);
    run(&[&["scan", "--from", &file], options].concat())
}

#[test]
fn help_and_version_are_no_error() {
    for (arguments, part) in [
        (&["--help"][..], "Exit status: 0"),
        (&["scan", "--help"], "--close-wait-age <DURATION>"),
        (&["list", "--help"], "--state <STATE>"),
        (&["help", "scan"], "--fail-on <SEVERITY>"),
        (&["--version"], env!("CARGO_PKG_VERSION")),
    ] {
        let run = run(arguments);
        assert_eq!((run.status, &*run.stderr), (Some(0), ""), "{arguments:?}");
        assert!(run.text().contains(part), "{arguments:?}: {}", run.text());
    }
}

#[test]
fn a_wrong_call_says_what_is_wrong() {
    let check = |arguments: &[&str], parts: &[&str]| {
        let run = run(arguments);
        assert_eq!((run.status, run.text()), (Some(2), ""), "{arguments:?}");
        for part in parts {
            assert!(run.stderr.contains(part), "{arguments:?}: {}", run.stderr);
        }
    };
    check(&[], &["Usage: tcpleak <COMMAND>"]);
    check(&["scna"], &["'scna'"]);
    check(&["scan", "--nope"], &["'--nope'"]);
    check(
        &["scan", "--accept-age", "10"],
        &["'10'", "--accept-age", "a unit is missing"],
    );
    check(
        &["scan", "--close-wait-age", "5x"],
        &["'5x'", "'x' is not a unit", "ms, s, m"],
    );
    check(
        &["scan", "--settle", "soon"],
        &["'soon'", "--settle", "500ms"],
    );
    check(
        &["scan", "--port", "70000"],
        &["'70000' is not a port", "65535"],
    );
    check(&["scan", "--port", "90-80"], &["'90-80'", "90 is above 80"]);
    check(&["scan", "--port", "http"], &["'http' is not a port"]);
    check(&["scan", "--pid", "init"], &["'init'", "--pid"]);
    check(
        &["scan", "--remote", "nowhere"],
        &["'nowhere'", "ADDR[/LEN][:PORT]"],
    );
    check(&["scan", "--remote", "10.0.0.0/33"], &["'10.0.0.0/33'"]);
    check(
        &["scan", "--fail-on", "bad"],
        &["'bad'", "info, warning, critical"],
    );
    check(
        &["scan", "--color", "red"],
        &["'red'", "auto, always, never"],
    );
    check(&["scan", "--source", "lsof"], &["'lsof'", "sock_diag"]);
    check(
        &["list", "--state", "OPEN"],
        &["'OPEN' is not a TCP state", "CLOSE_WAIT"],
    );
    check(
        &["list", "--listening", "--state", "LISTEN"],
        &["--listening", "--state"],
    );
    check(
        &["scan", "--from", "a", "--save", "b"],
        &["--from", "--save"],
    );
    for (option, value) in [
        ("--save", "b"),
        ("--source", "proc"),
        ("--interval", "1s"),
        ("--exec", "true"),
    ] {
        check(
            &["watch", "--from", "a", option, value],
            &["--from", option],
        );
    }
    check(
        &["demo", "no-such-case"],
        &["'no-such-case'", "demo --list"],
    );
}

#[test]
fn states_are_taken_as_people_type_them() {
    for state in [
        "LISTEN",
        "listening",
        "estab",
        "ESTABLISHED",
        "close-wait",
        "CLOSE_WAIT",
    ] {
        let run = run(&["list", "--state", state, "--port", "1"]);
        assert_eq!(run.status, Some(0), "{state}: {}", run.stderr);
    }
}

#[test]
fn a_file_that_is_no_recording_is_refused() {
    let whole = std::fs::read_to_string(fixture("stranded")).expect("a recording");
    let lines: Vec<&str> = whole.lines().collect();
    let check = |content: &str, part: &str| {
        let file = Scratch::new("refused", content.as_bytes());
        let run = run(&["scan", "--from", file.path()]);
        assert_eq!((run.status, run.text()), (Some(2), ""), "{part}");
        let expect = format!("tcpleak: cannot read {}: {part}", file.path());
        assert!(run.stderr.starts_with(&expect), "{}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    };
    let last = lines.len();
    check(
        &lines[..last - 1].join("\n"),
        &format!("line {last}: the file ends here"),
    );
    check(&lines[..3].join("\n"), "line 4: the file ends here");
    check(&whole[..whole.len() / 2], "line ");
    check(&whole[..lines[0].len() / 2], "line 1: ");
    check("", "line 1: not a tcpleak snapshot");
    check("root:x:0:0::/:/bin/sh\n", "line 1: not a tcpleak snapshot");
    check(&format!("{whole}more\n"), &format!("line {}: ", last + 1));
    let header = lines[0].replacen("\"tcpleak_snapshot\":1", "\"tcpleak_snapshot\":99", 1);
    check(&format!("{header}\n"), "line 1: snapshot version 99");
    let row = lines[1].replacen("\"state\":\"", "\"state\":\"\\u001b[2J", 1);
    assert_ne!(row, lines[1], "the second line is a socket");
    check(&[lines[0], &row].join("\n"), "line 2: socket.state: ");

    let missing = run(&["scan", "--from", "/no/such\x1b[2J/file"]);
    assert_eq!((missing.status, missing.text()), (Some(2), ""));
    let expect = "tcpleak: cannot read /no/such\\x1b[2J/file: No such file or directory";
    assert!(missing.stderr.starts_with(expect), "{}", missing.stderr);
    let folder = run(&["scan", "--from", env!("CARGO_MANIFEST_DIR")]);
    assert_eq!((folder.status, folder.text()), (Some(2), ""));
    assert!(folder.stderr.contains("directory"), "{}", folder.stderr);
}

#[test]
fn a_recording_comes_through_standard_input_too() {
    let mut program = command(&["scan", "--from", "-"]);
    let file = std::fs::File::open(fixture("stranded")).expect("a recording");
    let piped = of(program.stdin(file).output().expect("it starts"));
    let named = scan_of("stranded", &[]);
    assert_eq!((piped.status, piped.text()), (Some(1), named.text()));
}

#[test]
fn a_file_that_cannot_be_written_is_an_error() {
    let run = run(&["scan", "--save", "/no/such/folder/file"]);
    assert_eq!((run.status, run.text()), (Some(2), ""));
    assert!(
        run.stderr.contains("cannot write /no/such/folder/file: "),
        "{}",
        run.stderr
    );
    for arguments in [
        &["scan"][..],
        &["scan", "--json"],
        &["list"],
        &["scan", "--save", "-"],
    ] {
        let full = std::fs::File::create("/dev/full").expect("the device");
        let full = of(command(arguments).stdout(full).output().expect("it starts"));
        assert_eq!(full.status, Some(2), "{arguments:?}");
        assert!(
            full.stderr.contains("No space left"),
            "{arguments:?}: {}",
            full.stderr
        );
    }
}

#[test]
fn the_status_says_what_was_found() {
    let check = |name: &str, options: &[&str], status: i32| {
        let run = scan_of(name, options);
        assert_eq!(
            run.status,
            Some(status),
            "{name} {options:?}: {}",
            run.stderr
        );
        assert!(!run.stdout.is_empty(), "{name} {options:?}");
        let options = [options, &["--json"]].concat();
        assert_eq!(
            scan_of(name, &options).status,
            Some(status),
            "{name} {options:?}"
        );
    };
    check("stranded", &[], 1);
    check("stranded", &["--fail-on", "critical"], 1);
    check("stranded", &["--strict"], 1);
    check("stranded", &["--accept-age", "1h"], 0);
    check("stranded", &["--port", "9"], 0);
    // Warnings only.
    check("evil-name", &[], 1);
    check("evil-name", &["--fail-on", "critical"], 0);
    check("evil-name", &["--fail-on", "info"], 1);
    check("evil-name", &["--fail-on", "critical", "--strict"], 3);
    // One queue that is young: for information.
    check("queues", &["--port", "8084"], 0);
    check("queues", &["--port", "8084", "--fail-on", "info"], 1);
    // Nothing, and not everything was seen.
    check("healthy", &[], 0);
    check("healthy", &["--fail-on", "info"], 0);
    check("healthy", &["--strict"], 3);
}

#[test]
fn strict_is_content_when_everything_was_seen() {
    let text = std::fs::read_to_string(fixture("healthy")).expect("a recording");
    let (start, rest) = text.split_once("\"gaps\":[").expect("gaps in the header");
    let (_, rest) = rest.split_once("}]").expect("the end of the gaps");
    let file = Scratch::new("complete", format!("{start}\"gaps\":[]{rest}").as_bytes());
    let complete = run(&["scan", "--strict", "--from", file.path()]);
    assert_eq!((complete.status, &*complete.stderr), (Some(0), ""));
    assert!(complete.text().starts_with("OK "), "{}", complete.text());
}

#[test]
fn the_report_is_alone_on_standard_output() {
    let report = scan_of("healthy", &[]);
    assert!(
        report
            .text()
            .starts_with("OK         nothing leaks among what could be seen: ")
    );
    assert_eq!(report.text().lines().count(), 1, "{}", report.text());
    let notes: Vec<&str> = report.stderr.lines().collect();
    assert_eq!(notes.len(), 2, "{notes:?}");
    let report = scan_of("stranded", &[]);
    assert!(
        report.text().starts_with("CRITICAL   8 connections wait"),
        "{}",
        report.text()
    );
    for run in [
        report,
        scan_of("stranded", &["--json"]),
        run(&["list", "--netns", "self"]),
        run(&["scan", "--netns", "self"]),
    ] {
        assert!(!run.text().contains("not seen:"), "{}", run.text());
        assert_eq!(notes_aside(&run.stderr), [""; 0]);
    }
}

#[test]
fn a_closed_pipe_is_no_error() {
    let file = fixture("queues");
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["demo", "--list"],
        &["list"],
        &["list", "--json"],
        &["scan"],
        &["scan", "--save", "-"],
        &["scan", "--from", &file],
        &["scan", "--from", &file, "--sockets"],
        &["scan", "--from", &file, "--json"],
    ] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let run = of(command(arguments)
            .stdout(writer)
            .output()
            .expect("it starts"));
        assert!(
            matches!(run.status, Some(0 | 1)),
            "{arguments:?}: {:?}",
            run.status
        );
        assert_eq!(notes_aside(&run.stderr), [""; 0], "{arguments:?}");
    }
}

/// A recording with so many sockets in CLOSE_WAIT that no pipe holds the report.
fn long_recording() -> String {
    const SOCKETS: u64 = 2_000;
    let whole = std::fs::read_to_string(fixture("evil-name")).expect("a recording");
    let mut lines = whole.lines();
    let header = lines.next().expect("a header");
    let row = lines
        .find(|line| line.contains("\"CLOSE_WAIT\""))
        .expect("a leak");
    let mut row: Value = serde_json::from_str(row).expect("a record");
    let mut text = format!("{header}\n");
    for number in 0..SOCKETS {
        row["socket"]["cookie"] = json!(format!("{:x}", 0x10_0000 + number));
        row["socket"]["remote"] = json!(format!("127.0.0.1:{}", 10_000 + number));
        text.push_str(&format!("{row}\n"));
    }
    text + &format!("{}\n", json!({"end": {"lines": SOCKETS + 1}}))
}

#[test]
fn a_reader_that_has_enough_is_no_error() {
    let file = Scratch::new("long", long_recording().as_bytes());
    for options in [&["--json", "--all"][..], &["--sockets", "--all"]] {
        let arguments = [&["scan", "--from", file.path()], options].concat();
        let mut child = command(&arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut first = [0];
        let mut stdout = child.stdout.take().expect("a pipe");
        stdout.read_exact(&mut first).expect("a byte");
        drop(stdout);
        let run = of(child.wait_with_output().expect("it ends"));
        assert!(
            matches!(run.status, Some(0 | 1)),
            "{options:?}: {}",
            run.stderr
        );
        assert!(
            !run.stderr.contains("panicked"),
            "{options:?}: {}",
            run.stderr
        );
    }
}

/// Nobody reads the notes, and the status still tells.
#[test]
fn a_closed_standard_error_changes_no_status() {
    for (name, options, status) in [
        ("stranded", &[][..], 1),
        ("healthy", &["--strict"], 3),
        ("healthy", &["--port", "x"], 2),
    ] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let file = fixture(name);
        let arguments = [&["scan", "--from", &file], options].concat();
        let run = command(&arguments)
            .stdout(Stdio::null())
            .stderr(writer)
            .status();
        assert_eq!(
            run.expect("it starts").code(),
            Some(status),
            "{name} {options:?}"
        );
    }
}

#[test]
fn colour_is_for_those_who_want_it() {
    let check = |terminal: bool, environment: &[(&str, &str)], options: &[&str], expect: bool| {
        let file = fixture("stranded");
        let arguments = [&["scan", "--from", &file], options].concat();
        let mut program = if terminal {
            // `script` gives it a terminal.
            let mut script = Command::new("script");
            let line = [&[env!("CARGO_BIN_EXE_tcpleak")], &arguments[..]]
                .concat()
                .join(" ");
            script
                .args(["-qec", &line, "/dev/null"])
                .env_clear()
                .stdin(Stdio::null());
            script
        } else {
            command(&arguments)
        };
        let output = program.envs(environment.iter().copied()).output();
        let output = output.expect("`script` is in Debian's bsdutils");
        let seen = output.stdout.contains(&0x1b);
        assert!(output.stdout.starts_with(b"CRITICAL") || seen, "a report");
        assert_eq!(seen, expect, "{terminal} {environment:?} {options:?}");
    };
    check(false, &[], &[], false);
    check(false, &[], &["--color", "always"], true);
    check(false, &[("NO_COLOR", "1")], &["--color", "always"], true);
    check(true, &[], &[], true);
    check(true, &[("NO_COLOR", "")], &[], true);
    check(true, &[("NO_COLOR", "1")], &[], false);
    check(true, &[("TERM", "dumb")], &[], false);
    check(true, &[], &["--color", "never"], false);
}

/// Whatever a process calls itself, the terminal gets text: printable characters, line ends, and
/// with colour nothing but colour.
fn check_harmless(text: &str, what: &str) {
    let mut rest = text.to_owned();
    for code in ["0", "1", "1;31", "1;32", "1;33", "1;36"] {
        rest = rest.replace(&format!("\x1b[{code}m"), "");
    }
    let acts = rest.chars().find(|char| char.is_control() && *char != '\n');
    assert_eq!(acts, None, "{what}: {rest}");
}

#[test]
fn a_name_cannot_drive_the_terminal() {
    for options in [
        &[][..],
        &["--sockets"],
        &["--color", "always"],
        &["--all"],
        &["--json"],
        &["--json", "--all"],
    ] {
        let run = scan_of("evil-name", options);
        check_harmless(run.text(), &format!("{options:?}"));
        check_harmless(&run.stderr, &format!("{options:?}"));
        assert!(
            run.text().contains("[2Jevil"),
            "{options:?}: it is still named"
        );
    }
    let text = scan_of("evil-name", &[]);
    assert!(
        text.text().contains(r"\x1b[2Jevil\x0a\u{9b}\xff (pid "),
        "{}",
        text.text()
    );
    let found = scan_of("evil-name", &["--process", "\x1b[2Jevil\n\u{9b}\u{fffd}"]);
    check_harmless(found.text(), "--process");
}

/// The same, live: this test's own process has the name while it listens.
#[test]
fn nor_can_the_name_of_a_running_process() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener
        .local_addr()
        .expect("an address")
        .port()
        .to_string();
    let before = std::fs::read("/proc/self/comm").expect("a name");
    let rename = |name: &[u8]| {
        let mut comm = std::fs::File::options().write(true).open("/proc/self/comm");
        comm.as_mut()
            .expect("it is mine")
            .write_all(name)
            .expect("a name");
    };
    rename(b"\x1b[2Jevil\n\x07");
    let arguments = [["list", "--port", &port], ["list", "--json", "--port"]];
    let text = run(&arguments[0]);
    let json = run(&[&arguments[1][..], &[&port]].concat());
    rename(before.trim_ascii_end());
    check_harmless(text.text(), "list");
    check_harmless(json.text(), "list --json");
    assert!(
        text.text().contains(r#"("\x1b[2Jevil\x0a\x07",pid="#),
        "{}",
        text.text()
    );
    assert!(
        json.text().contains(r#""\u001b[2Jevil\n\u0007""#),
        "{}",
        json.text()
    );
}
