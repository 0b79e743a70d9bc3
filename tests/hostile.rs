//! A machine on which everything that a process can choose is chosen to do harm; and that a look at
//! it does none.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

mod support;

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;
use tcpleak::diagnose::Thresholds;
use tcpleak::join::Filter;
use tcpleak::model::{Fact, Focus, Snapshot};
use tcpleak::record;
use tcpleak::render::{self, Layout};
use tcpleak::report::Report;

use support::clock::eventually;
use support::command::{Ended, Outcome, run, words};
use support::scan::{Directory, start};
use support::{cannot_run, in_own_namespace};

/// Moves the cursor, rings, ends the line; turns the rest of the line around; is twice as wide; is
/// no text; has no end.
fn evil_names() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = vec![
        b"\x1b[2J\x1b]0;owned\x07\r\n\t\x00\x7f\x08".to_vec(),
        "\u{9b}2J\u{85}\u{2028}\u{2029}".into(),
        "a\u{202e}txt.exe\u{2066}\u{200f}\u{061c}\u{200b}\u{feff}".into(),
        "\u{e0041}\u{e007f}".into(),
        "漢字カタカナ\u{1f4a9}\u{0301}\u{0301}".into(),
        b"\xff\xfe\xc3\x28\xf0\x28\x8c\xbc\xed\xa0\x80".to_vec(),
        br#""}],"findings":[{"x":"\"#.to_vec(),
        b"$(reboot);`reboot`|reboot & 'reboot'".to_vec(),
    ];
    names.push(b"x".repeat(4096));
    names.push(b"\x1b".repeat(4096));
    names
}

/// Nothing in `text` acts on a terminal, and every line is one that the program has ended.
fn check_harmless(text: &str, what: &str) {
    let is_harmful = |c: &char| {
        c.is_control() && *c != '\n'
            || matches!(*c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
            || matches!(*c, '\u{061c}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
    };
    if let Some(harmful) = text.chars().find(is_harmful) {
        panic!("{what}: U+{:04X} in {text:?}", u32::from(harmful));
    }
}

/// A recording in which `name` stands wherever a process or its keeper can put something.
fn recording(name: &[u8]) -> Snapshot {
    let text = include_bytes!("fixtures/evil-name.tcpleak");
    let mut snapshot = record::read(&text[..]).unwrap();
    for process in &mut snapshot.processes {
        process.comm = name.to_vec();
        process.command_line = Fact::Known(vec![name.to_vec(), name.to_vec()]);
        process.exe = Fact::Known([b"/opt/", name].concat());
        process.user = Some(String::from_utf8_lossy(name).into_owned());
        let unit = [
            b"0::/system.slice/",
            name,
            b".service/docker-",
            name,
            b".scope\n",
        ]
        .concat();
        process.cgroup = Fact::Known(unit);
    }
    snapshot.host.hostname = String::from_utf8_lossy(name).into_owned();
    snapshot
}

#[test]
fn no_name_gets_out_of_its_place() {
    for name in evil_names() {
        let snapshot = recording(&name);
        let report = Report::new(&snapshot, &Thresholds::default(), &Filter::default());
        assert!(!report.findings.is_empty());
        let layout = |width| Layout {
            width,
            color: false,
            sockets: true,
            all_listeners: true,
        };
        let subject = Focus::Process(snapshot.processes[0].id.pid);
        type Form<'a> = &'a dyn Fn(&mut Vec<u8>) -> std::io::Result<()>;
        let forms: [(&str, Form<'_>); 6] = [
            ("text", &|to| {
                render::write_report(to, &report, layout(None))
            }),
            ("narrow", &|to| {
                render::write_report(to, &report, layout(Some(40)))
            }),
            ("JSON", &|to| render::write_report_json(to, &report, true)),
            ("list", &|to| render::write_list(to, &report.table)),
            ("list as JSON", &|to| {
                render::write_list_json(to, &report.table)
            }),
            ("page", &|to| {
                render::write_inspection(to, &report, subject, layout(Some(80)))
            }),
        ];
        for (what, form) in forms {
            let mut text = Vec::new();
            form(&mut text).unwrap();
            let text = String::from_utf8(text).unwrap();
            check_harmless(&text, what);
            if what.contains("JSON") {
                let _: serde_json::Value = serde_json::from_str(&text).unwrap();
            }
        }
        // And back from a file.
        let mut file = Vec::new();
        record::write(&snapshot, &mut file).unwrap();
        assert_eq!(record::read(&file[..]).unwrap(), snapshot);
    }
}

/// A `/proc` in plain files: processes from pid 1 on, of which the last has a socket in CLOSE_WAIT.
fn copy_of_proc(root: &Path, processes: u32) {
    let write = |path: String, text: &[u8]| fs::write(root.join(path), text).unwrap();
    for pid in 1..=processes {
        let names = evil_names();
        let name = &names[pid as usize % names.len()];
        let directory = root.join(pid.to_string());
        fs::create_dir_all(directory.join("fd")).unwrap();
        // The kernel keeps 15 bytes of a name, and no line end is safe in it.
        let comm = &name[..name.len().min(15)];
        let head = format!("{pid} (");
        let tail = ") S 1 1 1 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 500 0 0\n";
        write(
            format!("{pid}/stat"),
            &[head.as_bytes(), comm, tail.as_bytes()].concat(),
        );
        write(format!("{pid}/status"), b"Uid:\t0\t0\t0\t0\n");
        write(format!("{pid}/cmdline"), name);
        symlink("/dev/null", directory.join("fd/0")).unwrap();
    }
    let last = processes.to_string();
    symlink("socket:[4711]", root.join(&last).join("fd/3")).unwrap();
    fs::create_dir(root.join("1/net")).unwrap();
    symlink("1", root.join("self")).unwrap();
    write("1/net/tcp".into(), ONE_CLOSE_WAIT);
}

const ONE_CLOSE_WAIT: &[u8] =
    b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when \
retrnsmt   uid  timeout inode
   0: 0100007F:1F90 0100007F:9C40 08 00000000:00000001 00:00000000 00000000     0        0 4711 1 \
0000000000000000 20 4 30 10 -1
";

/// 2,000 here; `TCPLEAK_PROCESSES=100000` for as many as a large machine has.
#[test]
fn as_many_processes_as_there_are() {
    let processes = std::env::var("TCPLEAK_PROCESSES").map_or(2_000, |n| n.parse().unwrap());
    let directory = Directory::new("many-processes");
    copy_of_proc(&directory.0, processes);
    let program = env!("CARGO_BIN_EXE_tcpleak");
    let root = directory.0.to_str().unwrap();
    // Address space, of which two threads' stacks and heaps take most.
    let mut bounded = Command::new("prlimit");
    bounded.args([
        "--as=268435456",
        "--",
        program,
        "scan",
        "--json",
        "--proc",
        root,
    ]);
    let outcome = run(&mut bounded);
    let document = outcome.json();
    let coverage = &document["coverage"];
    assert_eq!(
        coverage["processes_total"],
        json!(processes),
        "{}",
        outcome.stderr
    );
    assert_eq!(coverage["processes_read"], json!(processes));
    let holder = &document["close_wait"][0]["holders"][0];
    assert_eq!(holder["pid"], json!(processes), "{holder}");
    check_harmless(&outcome.stdout, "JSON");
    check_harmless(&outcome.stderr, "notes");
}

/// A pid that is another process by the time its name is read: `stat` is a pipe here, and says
/// something else the second time.
#[test]
fn a_pid_that_is_used_again_lends_nobody_its_name() {
    let directory = Directory::new("pid-reuse");
    copy_of_proc(&directory.0, 3);
    let stat = directory.0.join("3/stat");
    let line = |comm: &str, start: u32| {
        format!("3 ({comm}) S 1 1 1 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 {start} 0 0\n")
    };
    fs::remove_file(&stat).unwrap();
    let made = Command::new("mkfifo").arg(&stat).status().unwrap();
    assert!(made.success());
    // Who reads the first of it once takes none of what comes behind it.
    let first = line("holder", 500).replace('\n', &" 0".repeat(1024));
    let then = line("successor", 900);
    let feeder = format!(
        "printf '%s' '{first}' >{0}; while :; do printf '%s' '{then}' >{0}; done",
        stat.display()
    );
    let feeder = Command::new("sh")
        .args(["-c", &feeder])
        .stderr(Stdio::null())
        .spawn();
    let _feeder = Ended(feeder.unwrap());
    let program = env!("CARGO_BIN_EXE_tcpleak");
    let root = directory.0.to_str().unwrap();
    let outcome = run(Command::new(program).args(["scan", "--json", "--all", "--proc", root]));
    assert!(!outcome.stdout.contains("successor"), "{outcome:?}");
    assert!(matches!(outcome.status, 0 | 1), "{outcome:?}");
}

/// The system calls of `tcpleak ARGUMENTS`, one a line, and what it printed.
fn traced(directory: &Directory, arguments: &str) -> Option<(Vec<String>, Outcome)> {
    let trace = directory.0.join("trace");
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-s", "4096", "-o"]).arg(&trace);
    command
        .arg(env!("CARGO_BIN_EXE_tcpleak"))
        .args(words(arguments));
    if Command::new("strace").arg("-V").output().is_err() {
        cannot_run("needs strace");
        return None;
    }
    let outcome = run(&mut command);
    let text = fs::read(&trace).unwrap();
    let text = String::from_utf8_lossy(&text);
    let calls = whole_calls(&text);
    assert!(calls.len() > 100, "{outcome:?}");
    Some((calls, outcome))
}

/// Calls that another thread interrupted come in two lines.
fn whole_calls(trace: &str) -> Vec<String> {
    let (mut begun, mut calls) = (HashMap::new(), Vec::new());
    for (thread, line) in trace.lines().filter_map(|line| line.split_once(' ')) {
        let line = line.trim_start();
        if let Some(start) = line.strip_suffix(" <unfinished ...>") {
            begun.insert(thread, start);
        } else if line.starts_with("<... ") {
            let (_, rest) = line.split_once(" resumed>").unwrap();
            calls.push(format!(
                "{}{rest}",
                begun.remove(thread).unwrap_or_default()
            ));
        } else {
            calls.push(line.to_owned());
        }
    }
    calls.extend(begun.into_values().map(str::to_owned));
    calls
}

/// What a look must never do, by the name of the call.
const HARMFUL: &[&str] = &[
    "execve",
    "execveat",
    "fork",
    "vfork",
    "kill",
    "tkill",
    "tgkill",
    "rt_sigqueueinfo",
    "pidfd_send_signal",
    "pidfd_getfd",
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "setpriority",
    "ioprio_set",
    "sched_setaffinity",
    "unlink",
    "unlinkat",
    "rename",
    "renameat",
    "renameat2",
    "mkdir",
    "mkdirat",
    "mount",
    "umount2",
    "chmod",
    "fchmod",
    "fchmodat",
    "truncate",
    "ftruncate",
    "bpf",
    "perf_event_open",
    "bind",
    "listen",
    "accept4",
    "syslog",
];

/// The program itself is started.
fn is_start(call: &str) -> bool {
    call.starts_with("execve(") && call.contains(env!("CARGO_BIN_EXE_tcpleak"))
}

fn name_of(call: &str) -> &str {
    call.split('(').next().unwrap_or_default()
}

/// Neither a program nor a signal, no process attached to or stopped, nothing opened for writing, no
/// connection; a descriptor of another process is read as a link, and not followed.
#[test]
fn a_look_only_looks() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let _leaks = [start("listener-not-polled"), start("eof-not-read")];
    let directory = Directory::new("only-looks");
    let fifo = directory.0.join("fifo");
    let made = Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    // Whoever opens it waits.
    let keeper = format!("exec 7<>{}; exec sleep 600", fifo.display());
    let keeper = Ended(Command::new("sh").args(["-c", &keeper]).spawn().unwrap());
    let kept = format!("/proc/{}/fd/7", keeper.0.id());
    eventually("an open pipe", || fs::read_link(&kept).ok());

    let lowered = "--accept-age 200ms --close-wait-age 200ms";
    for arguments in [
        &*format!("scan {lowered}"),
        &format!("scan {lowered} --json --all --source proc"),
        &format!("watch {lowered} --plain --count 2 --interval 200ms"),
        "list",
        "doctor",
    ] {
        let Some((calls, outcome)) = traced(&directory, arguments) else {
            return;
        };
        assert!(matches!(outcome.status, 0 | 1 | 3), "{outcome:?}");
        for call in calls.iter().filter(|call| !is_start(call)) {
            let name = name_of(call);
            assert!(!HARMFUL.contains(&name), "{arguments}: {call}");
            if name.starts_with("open") {
                let writes = ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_APPEND"];
                assert!(
                    !writes.iter().any(|flag| call.contains(flag)),
                    "{arguments}: {call}"
                );
            }
            if matches!(name, "socket" | "connect") {
                assert!(call.contains("AF_NETLINK"), "{arguments}: {call}");
            }
            let path = call.split('"').nth(1).unwrap_or_default();
            let is_kept = path.contains(&*fifo.to_string_lossy());
            assert!(!is_kept || name == "write", "{arguments}: {call}");
            if is_descriptor(path) {
                let looks = matches!(name, "readlink" | "readlinkat" | "getxattr");
                assert!(looks, "{arguments}: {call}");
                // Of a socket's own file system, and only of what is a socket.
                assert!(name != "getxattr" || call.contains("system.sockprotoname"));
            }
        }
        let walked = calls
            .iter()
            .any(|call| call.contains(&*fifo.to_string_lossy()));
        assert!(
            walked || !arguments.starts_with("scan"),
            "{arguments}: nobody looked"
        );
    }
}

/// `/proc/PID/fd/N`, from wherever it is named.
fn is_descriptor(path: &str) -> bool {
    let mut parts = path.rsplit('/');
    let is_number = |part: Option<&str>| {
        part.is_some_and(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
    };
    is_number(parts.next()) && parts.next() == Some("fd")
}

/// Beside its name and nowhere else, and for nobody else to read.
#[test]
fn only_the_named_file_is_written() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let directory = Directory::new("named-file");
    let saved = directory.0.join("saved");
    for arguments in ["scan", "watch --count 1 --plain"] {
        let arguments = format!("{arguments} --save {}", saved.display());
        let Some((calls, outcome)) = traced(&directory, &arguments) else {
            return;
        };
        assert_eq!(outcome.status, 0, "{outcome:?}");
        let folder = directory.0.to_str().unwrap();
        let mut changes = Vec::new();
        for call in calls.iter().filter(|call| !is_start(call)) {
            let (name, path) = (name_of(call), call.split('"').nth(1).unwrap_or_default());
            let changes_files = name.starts_with("rename") || name.starts_with("unlink");
            if changes_files || call.contains("O_CREAT") || call.contains("O_WRONLY") {
                assert!(path.starts_with(folder), "{call}");
                assert!(
                    changes_files || call.contains("O_EXCL") && call.contains("0600"),
                    "{call}"
                );
                changes.push(name.to_owned());
            }
        }
        assert_eq!(changes, ["openat", "rename"]);
    }
}
