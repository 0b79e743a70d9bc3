//! A watch that was recorded gives the events that it gave: of the real kernel, through a pipe,
//! after a kill, and of what was left on a full disk.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use serde_json::Value;

use support::clock::{Moment, eventually};
use support::command::{Ended, Outcome, at_port, run, tcpleak, wait};
use support::in_own_namespace;
use support::scan::{Directory, start};
use support::sockets::{LOOPBACK, connection, listen_at};

/// `tcpleak watch ARGUMENTS`, beside the test, with both its streams in files of `directory`.
fn watch(directory: &Directory, name: &str, arguments: &str) -> Ended {
    let file = |stream: &str| fs::File::create(path(directory, name, stream)).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_tcpleak"))
        .args(["watch", "--interval", "100ms", "--netns", "self"])
        .args(arguments.split_whitespace())
        .stdin(Stdio::null())
        .stdout(file("out"))
        .stderr(file("err"))
        .spawn();
    Ended(child.unwrap())
}

fn path(directory: &Directory, name: &str, stream: &str) -> String {
    let file = directory.0.join(format!("{name}.{stream}"));
    file.into_os_string().into_string().unwrap()
}

fn text(directory: &Directory, name: &str, stream: &str) -> String {
    fs::read_to_string(path(directory, name, stream)).unwrap()
}

fn end(child: &mut Child, signal: Signal) {
    send(child.id(), signal);
}

fn send(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

fn until_said(directory: &Directory, name: &str, what: &str) {
    eventually(what, || {
        text(directory, name, "out").contains(what).then_some(())
    });
}

fn events(lines: &str) -> Vec<Value> {
    let lines = lines.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_watch_replays_to_the_same_events() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let directory = Directory::new("replay");
    let saved = |name| path(&directory, name, "tcpleak");
    let ages = "--accept-age 300ms --close-wait-age 300ms";
    // A leak that grows, and a stall that recovers.
    let listener = listen_at(LOOPBACK).open().unwrap();
    let stalled = start("process-stopped");
    let ports = format!(
        "{} {}",
        at_port(listener.local_addr().unwrap()),
        at_port(stalled.address())
    );
    let forms = [
        ("json", format!("--json --report-every 3 {ages} {ports}")),
        ("plain", format!("{ages} {ports}")),
    ];
    let mut running: Vec<Ended> = forms
        .iter()
        .map(|(name, options)| {
            let options = format!("{options} --save {}", saved(name));
            watch(&directory, name, &options)
        })
        .collect();
    let mut kept = Vec::new();
    for (name, _) in &forms {
        until_said(&directory, name, "process-stopped");
        until_said(&directory, name, "not-moving");
    }
    let every = Duration::from_millis(50);
    while forms
        .iter()
        .any(|(name, _)| !text(&directory, name, "out").contains("growing"))
    {
        assert!(kept.len() < 400, "no growth is told");
        let ((), leaked) = Moment::of(|| kept.push(connection(&listener).1));
        leaked.wait_until_aged(every);
    }
    send(stalled.server_pid(), Signal::CONT);
    for (name, _) in &forms {
        until_said(&directory, name, "recovered");
    }
    // Less than the machine has seen is a watch too, by the time of then.
    let shorter = [
        "--count 7",
        "--for 700ms",
        "--until finding",
        "--fail-on critical",
    ];
    for (child, (name, options)) in running.iter_mut().zip(&forms) {
        end(&mut child.0, Signal::INT);
        let status = wait(&mut child.0);
        assert_eq!(status, 1, "{name}");
        let from = format!("watch --from {}", saved(name));
        let again = tcpleak(&format!("{from} {options}"));
        assert_eq!(again.stdout, text(&directory, name, "out"), "{name}");
        assert_eq!(again.stderr, text(&directory, name, "err"), "{name}");
        assert_eq!(again.status, status, "{name}");
        for option in shorter {
            let part = tcpleak(&format!("{from} {options} {option}"));
            let same = |(a, b): &(&str, &str)| a == b;
            let lines = part.stdout.lines().zip(again.stdout.lines());
            let common = lines.take_while(same).count();
            let of = part.stdout.lines().count();
            // The summary is the last line, and another.
            let whole = option == "--fail-on critical";
            assert_eq!(
                common,
                if whole { of } else { of - 1 },
                "{option}: {part:?}"
            );
        }
        let mode = fs::metadata(saved(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
    }
    // And of the whole, other ports.
    let elsewhere = tcpleak(&format!("watch --json --from {} --port 1", saved("json")));
    assert_eq!(elsewhere.status, 0);
    // On a busy machine looks were late, whatever they were about.
    let mut told = events(&elsewhere.stdout);
    told.retain(|event| event["kind"] != "late");
    assert!(
        matches!(&told[..], [last] if last["kind"] == "summary"),
        "{elsewhere:?}"
    );
    let last = tcpleak(&format!(
        "scan --json --from {} {ages} {ports}",
        saved("json")
    ));
    assert_eq!(last.status, 1);
    assert_eq!(last.json()["findings"][0]["id"], "close-wait-leak");
    assert!(
        last.stderr
            .contains("is the recording of a watch: this is look "),
        "{last:?}"
    );
}

#[test]
fn the_same_end_for_every_reason_to_end() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let directory = Directory::new("ends");
    let _stuck = start("edge-triggered-missed-wakeup");
    let file = path(&directory, "watch", "tcpleak");
    for options in [
        "--json --count 3",
        "--json --for 1ms",
        "--json --for 450ms",
        "--json --until finding",
        "--json --until clear --for 300ms --fail-on critical",
        "--plain --for 300ms --accept-age 1h",
    ] {
        let live = tcpleak(&format!("watch --interval 50ms {options} --save {file}"));
        let again = tcpleak(&format!("watch {options} --from {file}"));
        let left = |run: &Outcome| (run.stdout.clone(), run.stderr.clone(), run.status);
        assert_eq!(left(&live), left(&again), "{options}");
        assert!(live.stdout.lines().count() > 0, "{options}: {live:?}");
        // Nothing but the time, the number or the state is asked for, and it is in the file.
        let whole = tcpleak(&format!("watch --json --from {file}"));
        let looks = |text: &str| events(text).pop().unwrap()["totals"]["looks"].clone();
        if options.contains("--json") && !options.contains("--fail-on") {
            assert_eq!(whole.stdout, live.stdout, "{options}");
            assert!(looks(&whole.stdout).as_u64() > Some(0));
        }
    }
    assert_eq!(fs::read_dir(&directory.0).unwrap().count(), 1);
}

#[test]
fn a_watch_that_was_killed_leaves_what_it_saw() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let directory = Directory::new("killed");
    let stuck = start("edge-triggered-missed-wakeup");
    let port = at_port(stuck.address());
    let file = path(&directory, "watch", "tcpleak");
    fs::write(&file, "what stood there").unwrap();
    let mut live = watch(&directory, "live", &format!("--json {port} --save {file}"));
    until_said(&directory, "live", "not-moving");
    end(&mut live.0, Signal::KILL);
    live.0.wait().unwrap();
    let again = tcpleak(&format!("watch --json {port} --from {file}"));
    assert_eq!(again.status, 1, "{again:?}");
    let (mut seen, mut again_seen) = (
        events(&text(&directory, "live", "out")),
        events(&again.stdout),
    );
    let summary = again_seen.pop().unwrap();
    assert_eq!(summary["kind"], "summary");
    // A look is recorded before anything is said of it, so there may be one more.
    let said_last = seen.len();
    again_seen.truncate(said_last.max(1));
    seen.truncate(again_seen.len());
    assert_eq!(seen, again_seen);
    assert!(
        again
            .stderr
            .contains("without its end line: its watch was killed"),
        "{again:?}"
    );

    // Whatever the moment was.
    let whole = fs::read(&file).unwrap();
    for part in 1..=24 {
        fs::write(&file, &whole[..whole.len() * part / 25]).unwrap();
        let cut = tcpleak(&format!("watch --json {port} --from {file}"));
        if cut.status == 2 {
            assert!(
                cut.stdout.is_empty() && cut.stderr.contains(&file),
                "{cut:?}"
            );
            continue;
        }
        let mut left = events(&cut.stdout);
        assert_eq!(left.pop().unwrap()["kind"], "summary");
        assert_eq!(left, again_seen[..left.len()], "{part}");
        assert!(cut.stderr.contains("without its end line"), "{cut:?}");
    }
    let left: Vec<_> = fs::read_dir(&directory.0)
        .unwrap()
        .map(|it| it.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

#[test]
fn a_damaged_watch_is_refused_where_the_damage_is() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let directory = Directory::new("damaged");
    let file = path(&directory, "watch", "tcpleak");
    tcpleak(&format!(
        "watch --interval 20ms --count 3 --netns self --save {file}"
    ));
    let whole = fs::read_to_string(&file).unwrap();
    let second = whole.match_indices("{\"look\"").nth(1).unwrap().0;
    let lines = whole[..second].lines().count();
    fs::write(
        &file,
        whole.replacen("{\"look\":{\"number\":2,", "{\"look\":{\"number\":3,", 1),
    )
    .unwrap();
    let damaged = tcpleak(&format!("watch --json --from {file}"));
    assert_eq!(damaged.status, 2, "{damaged:?}");
    let kinds = events(&damaged.stdout);
    assert!(
        kinds.iter().all(|event| event["kind"] == "late"),
        "{damaged:?}"
    );
    let expect = format!(
        "cannot read {file}: line {}: look 3 behind look 1",
        lines + 1
    );
    assert!(damaged.stderr.contains(&expect), "{damaged:?}");
    assert_eq!(tcpleak(&format!("scan --from {file}")).status, 2);
    // Of a snapshot that is cut nothing is used.
    let saved = tcpleak("scan --save -").stdout;
    fs::write(&file, &saved[..saved.len() - 9]).unwrap();
    let cut = tcpleak(&format!("watch --json --from {file}"));
    assert_eq!((cut.status, cut.stdout.as_str()), (2, ""), "{cut:?}");
}

#[test]
fn looks_go_through_a_pipe_one_by_one() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let stuck = start("edge-triggered-missed-wakeup");
    let port = at_port(stuck.address());
    let spawn = |arguments: &[&str], stdin: Stdio| {
        let child = Command::new(env!("CARGO_BIN_EXE_tcpleak"))
            .arg("watch")
            .args(arguments)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        Ended(child.unwrap())
    };
    let mut there = spawn(&["--interval", "100ms", "--save", "-"], Stdio::null());
    let looks = Stdio::from(there.0.stdout.take().unwrap());
    let options: Vec<&str> = port.split(' ').chain(["--json", "--from", "-"]).collect();
    let mut here = spawn(&options, looks);
    let mut lines = BufReader::new(here.0.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    while next()["kind"] != "not-moving" {}
    assert!(there.0.try_wait().unwrap().is_none(), "it goes on");
    end(&mut there.0, Signal::INT);
    while next()["kind"] != "summary" {}
    assert_eq!((wait(&mut there.0), wait(&mut here.0)), (1, 1));

    // A snapshot is a watch of one look.
    let directory = Directory::new("one");
    let file = path(&directory, "one", "tcpleak");
    assert_eq!(tcpleak(&format!("scan --save {file}")).status, 1);
    let one = tcpleak(&format!("watch --json --from {file} {port}"));
    let seen = events(&one.stdout);
    let kinds: Vec<&str> = seen
        .iter()
        .map(|event| event["kind"].as_str().unwrap())
        .collect();
    assert_eq!((one.status, &kinds[..]), (1, &["appeared", "summary"][..]));
}

/// In a file system of 200 kB, which is gone with the process that mounted it.
#[test]
fn a_full_disk_is_an_error_and_leaves_what_fitted() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let _stuck = start("edge-triggered-missed-wakeup");
    let directory = Directory::new("full");
    let script = r#"
        mount -t tmpfs -o size=200k none "$1" || exit 9
        cd "$1"
        "$0" watch --interval 5ms --for 10s --accept-age 0 --save watch > live 2> said
        echo "status $?"; cat said; ls
        rm live
        "$0" watch --json --accept-age 0 --from watch
        echo "status $?"
    "#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_tcpleak")]);
    let outcome = run(command.arg(&directory.0));
    let (live, again) = outcome.stdout.split_once("{\"schema\"").unwrap();
    assert!(live.starts_with("status 2\n"), "{outcome:?}");
    assert!(
        live.contains("tcpleak: cannot write watch: No space left on device"),
        "{outcome:?}"
    );
    assert!(live.ends_with("live\nsaid\nwatch\n"), "{outcome:?}");
    assert!(
        again.contains("\"kind\":\"summary\"") && again.ends_with("status 1\n"),
        "{outcome:?}"
    );
    assert!(
        outcome.stderr.contains("watch ends at line "),
        "{outcome:?}"
    );

    let nowhere = tcpleak("watch --count 1 --save /dev/full");
    assert_eq!((nowhere.status, nowhere.stdout.as_str()), (2, ""));
    assert!(
        nowhere
            .stderr
            .contains("cannot write /dev/full: No space left"),
        "{nowhere:?}"
    );
    let nowhere = tcpleak("watch --count 1 --save /no/such/folder/file");
    assert_eq!((nowhere.status, nowhere.stdout.as_str()), (2, ""));
}
