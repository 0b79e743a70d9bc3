//! What a scan costs beside the tools that are used instead of it.

use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use crate::bare;
use crate::holder::Role;
use crate::measure::{Turn, cpu_ms, fastest_ms, in_turns, wall_ms};
use crate::page::{Page, number};
use crate::population::Population;

/// So many that none comes close to a limit of 20,000 descriptors: those that do are looked at once
/// more, for `descriptor-exhaustion`.
const PROCESSES: u8 = 12;
const CONNECTIONS: usize = 4_200;
const WAITING: usize = 5;
const CLOSE_WAIT: usize = 23;
const ROUNDS: usize = 5;

/// Compares complete answers: who has which socket.
pub(crate) fn measure(page: &mut Page) {
    let connections = |index| Role::Connections {
        address: Ipv4Addr::new(127, 0, 1, index),
        count: CONNECTIONS,
    };
    let leaks = Role::Leaks {
        waiting: WAITING,
        close_wait: CLOSE_WAIT,
    };
    let roles: Vec<Role> = (1..=PROCESSES).map(connections).chain([leaks]).collect();
    let population = Population::start(&roles);
    let tcpleak = env!("CARGO_BIN_EXE_tcpleak");
    // What was made a moment ago counts as old, so that the scan says all that there is to say.
    let young = ["--accept-age", "0s", "--close-wait-age", "0s"];
    let scan = || run(tcpleak, &[&["scan", "--settle", "0"], &young[..]].concat());
    assert_eq!(scan(), Some(1), "the scan finds the leaks");
    let [tcpleak, walk, ss, lsof] = in_turns(
        ROUNDS,
        [
            &mut || assert_eq!(scan(), Some(1)),
            &mut bare::walk_descriptors,
            &mut || assert_eq!(run("ss", &["-tanp"]), Some(0)),
            // Exits with 1 if it could not read something, somewhere.
            &mut || assert!(run("lsof", &["-nP", "-iTCP"]).is_some()),
        ],
    );
    drop(population);
    page.heading("A whole scan");
    let ends = 2 * CONNECTIONS * usize::from(PROCESSES);
    page.text(&format!(
        "{} TCP sockets in as many descriptors of {PROCESSES} processes: both ends of connections \
         to {PROCESSES} addresses of 127.0.0.0/8. Another process has a listener with {WAITING} \
         connections that it does not accept, and {CLOSE_WAIT} in CLOSE_WAIT. Each command writes \
         to `/dev/null` and is measured from its start to its end; `tcpleak` is built as for a \
         release. The bare walk reads all links in `/proc/PID/fd` on as many threads as there are \
         processors, and does nothing with them. {ROUNDS} rounds.",
        number(ends)
    ));
    let costs = |turns: &[Turn]| [wall_ms(turns), fastest_ms(turns), cpu_ms(turns)];
    let whole = costs(&tcpleak);
    let row = |what: &str, turns: &[Turn]| {
        let costs = costs(turns);
        let ms = costs.map(|cost| format!("{cost:.0}"));
        let ratios = [0, 1, 2].map(|index| format!("{:.2}", whole[index] / costs[index]));
        [&[what.to_owned()], &ms[..], &ratios[..]].concat()
    };
    page.table(
        &[
            "what",
            "median ms",
            "fastest ms",
            "ms on processors",
            "scan to it, median",
            "fastest",
            "on processors",
        ],
        &[
            row("`tcpleak scan --settle 0`", &tcpleak),
            row("the bare walk of descriptors", &walk),
            row("`ss -tanp`", &ss),
            row("`lsof -nP -iTCP`", &lsof),
        ],
    );
    let to = |turns: &[Turn]| whole[0] / wall_ms(turns);
    page.goals(&[
        ("the scan to `ss -tanp`, median", to(&ss), 0.125),
        ("the scan to `lsof`, median", to(&lsof), 0.125),
    ]);
}

/// The exit status.
fn run(program: &str, arguments: &[&str]) -> Option<i32> {
    let status = Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status
        .unwrap_or_else(|error| panic!("{program}: {error}"))
        .code()
}
