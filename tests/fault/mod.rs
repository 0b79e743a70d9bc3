//! A stand-in for the kernel that fails: every system call of a scan, one after the other, with
//! every error that it can end with. strace makes the call fail; the program cannot tell.
//!
//! The scan looks at a machine of its own (a pid and a network namespace) with one queue that nobody
//! takes from and one group of sockets left in CLOSE_WAIT. What is true of it is known from a scan
//! without a fault, and [`judge`] holds every other against that.

mod judge;
mod table;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs;
use std::path::Path;

use tcpleak::model::Snapshot;
use tcpleak::report::Report;
use tcpleak::scenario;

use crate::support::clock::eventually;
use crate::support::command::{self, Outcome};
use crate::support::house::{House, Room};
use crate::support::scan::{Directory, report};

pub(crate) use judge::{Ending, judge};
pub(crate) use table::faults_of;

/// The cases whose servers live in the scene.
const CASES: [&str; 2] = ["listener-not-polled", "eof-not-read"];

/// From which arguments on a scan is taken for one of the small machine.
const SCAN: &str = "scan --save - --accept-age 200ms --close-wait-age 200ms --settle 30ms";

/// Where the scan stands, seen from the leak, and what it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    /// In the namespace of the leak.
    Inside,
    /// In another one: the scan has to go there.
    Outside,
    /// In the namespace of the leak, from `/proc/net/tcp`.
    Files,
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            View::Inside => "from inside",
            View::Outside => "from another network namespace",
            View::Files => "from files",
        })
    }
}

/// A small machine, and what a scan of it says when nothing fails.
pub(crate) struct Scene {
    view: View,
    room: Room,
    directory: Directory,
    pub(crate) truth: Snapshot,
    /// Before the house, its servers and their clients: dropped last.
    _house: House,
}

/// One system call of a scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) name: String,
    /// Which call of that name in its thread it is, from one.
    pub(crate) position: usize,
    /// Its arguments, as strace shows them.
    pub(crate) arguments: String,
}

/// What became of the faults, by call and error.
#[derive(Debug, Default)]
pub(crate) struct Tally(BTreeMap<(String, String), BTreeMap<Ending, usize>>);

impl Tally {
    pub(crate) fn count(&mut self, call: &Call, fault: &str, ending: Ending) {
        let fault = fault.trim_start_matches("error=").to_owned();
        let row = self.0.entry((call.name.clone(), fault)).or_default();
        *row.entry(ending).or_default() += 1;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sum = [0; Ending::ALL.len()];
        for ((call, fault), row) in &self.0 {
            let of = |ending| row.get(&ending).copied().unwrap_or(0);
            let row @ [same, partial, error] = Ending::ALL.map(of);
            writeln!(f, "| `{call}` | {fault} | {same} | {partial} | {error} |")?;
            sum.iter_mut().zip(row).for_each(|(sum, row)| *sum += row);
        }
        let [same, partial, error] = sum;
        writeln!(f, "| all | | {same} | {partial} | {error} |")
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start: String = self.arguments.chars().take(120).collect();
        write!(f, "{} number {}, ({start}", self.name, self.position)
    }
}

impl Call {
    /// It reads `/proc/net/tcp`, and not from the beginning.
    fn is_read_of_rows(&self) -> bool {
        let text = self.arguments.split('"').nth(1).unwrap_or_default();
        let number = text.trim_start().split(':').next();
        let is_number = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
        self.name == "read" && text.starts_with(' ') && number.is_some_and(is_number)
    }
}

impl Scene {
    /// `None`, having said why, where that cannot be made.
    pub(crate) fn new(view: View) -> Option<Scene> {
        let name = format!("faults-{view:?}");
        let mut house = House::with_first_process_of(&name, 0)?;
        for case in CASES {
            house.start(case);
        }
        let directory = Directory::new(&format!("{name}-files"));
        let room = house.room();
        let mut scene = Scene {
            view,
            room,
            directory,
            truth: Snapshot::clone(&nothing()),
            _house: house,
        };
        scene.truth = eventually("two old leaks", || {
            let outcome = scene.run(&[]);
            let snapshot = tcpleak::record::read(outcome.stdout.as_bytes()).unwrap();
            is_all_of_it(&report(&snapshot), view).then_some(snapshot)
        });
        Some(scene)
    }

    /// The calls that the program itself makes, without those that start it and end it.
    pub(crate) fn calls(&self) -> Vec<Call> {
        let trace = self.directory.0.join("trace");
        self.run(&["-o", trace.to_str().unwrap()]);
        calls(&fs::read_to_string(&trace).unwrap())
    }

    /// A scan in which `call` ends with `fault`, as strace writes it.
    pub(crate) fn scan(&self, call: &Call, fault: &str) -> Outcome {
        let (name, position) = (&call.name, call.position);
        let trace = format!("trace={name}");
        let inject = format!("inject={name}:{fault}:when={position}");
        self.run(&[
            "--seccomp-bpf",
            "-o",
            "/dev/null",
            "-e",
            &trace,
            "-e",
            &inject,
        ])
    }

    fn run(&self, strace: &[&str]) -> Outcome {
        let mut command = self.room.command();
        if self.view == View::Outside {
            command.args(["unshare", "--net", "--"]);
        }
        if !strace.is_empty() {
            command
                .args(["strace", "-f", "-qq", "-s", "300"])
                .args(strace);
        }
        let program = Path::new(env!("CARGO_BIN_EXE_tcpleak"));
        command.arg(program).args(SCAN.split_whitespace());
        if self.view == View::Files {
            command.args(["--source", "proc"]);
        }
        command::run(&mut command)
    }
}

/// Both leaks are old, with everything that belongs to them.
fn is_all_of_it(report: &Report<'_>, view: View) -> bool {
    let mut counts: Vec<u64> = report
        .findings
        .iter()
        .map(|finding| finding.count)
        .collect();
    counts.sort_unstable();
    let cases = CASES.iter().filter_map(|id| scenario::find(id));
    let mut expected: Vec<u64> = cases
        .map(|case| match case.expected.close_wait {
            0 => u64::from(*case.expected.accept_queue.start()),
            sockets => sockets as u64,
        })
        .collect();
    expected.sort_unstable();
    // Files do not tell how long a socket has been in CLOSE_WAIT.
    let warnings = if view == View::Files { 0 } else { 1 };
    let summary = report.summary;
    counts == expected && (summary.critical, summary.warning) == (1, warnings)
}

/// A snapshot of nothing, for as long as there is none.
fn nothing() -> Snapshot {
    let text = include_bytes!("../fixtures/healthy.tcpleak");
    tcpleak::record::read(&text[..]).unwrap()
}

/// The calls between the start of the program's own code and its end, from the lines of a trace:
/// `PID NAME(ARGUMENTS) = RESULT`. A call that another thread has interrupted is shown in two lines,
/// of which the first has the name.
///
/// Calls are counted by thread, and strace fails the same call of every thread: one that has the
/// number of a call that starts the program cannot be told from that, and is left out.
fn calls(trace: &str) -> Vec<Call> {
    let mut counts = HashMap::new();
    let mut starting = HashMap::new();
    let mut calls = Vec::new();
    let mut began = false;
    for line in trace.lines() {
        let Some((pid, rest)) = line.split_once(' ') else {
            continue;
        };
        let Some((name, arguments)) = rest.trim_start().split_once('(') else {
            continue;
        };
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            continue;
        }
        let position: &mut usize = counts.entry((pid, name)).or_default();
        *position += 1;
        // The runtime sets up its stack for signals before `main`, and again where threads start.
        if !began {
            starting.insert(name, *position);
        } else if *position > starting.get(name).copied().unwrap_or(0) {
            calls.push(Call {
                name: name.to_owned(),
                position: *position,
                arguments: arguments.to_owned(),
            });
        }
        began |= name == "sigaltstack" && arguments.contains("ss_flags=0");
    }
    calls
}
