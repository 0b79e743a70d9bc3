//! What it costs to look closely at a process that a finding is about.

use std::path::PathBuf;
use std::time::Duration;

use tcpleak::collect::{Entries, Request, SourceChoice, collect};
use tcpleak::model::{Fact, NetnsChoice, Snapshot};

use crate::bare;
use crate::holder::Role;
use crate::measure::{Turn, cpu_ms, fastest_ms, in_turns, median, ms, wall_ms};
use crate::page::{Page, number};
use crate::population::Population;

const THREADS: usize = 1_000;
const DESCRIPTORS: usize = 10_000;
const EPOLL_SETS: usize = 8;
const ROUNDS: usize = 31;

/// Compares a collection in which the process is suspect with one in which it is not, and their
/// difference with the bare calls.
pub(crate) fn measure(page: &mut Page) {
    let population = Population::start(&[Role::Sleeper {
        threads: THREADS,
        descriptors: DESCRIPTORS,
        epoll_sets: EPOLL_SETS,
    }]);
    let pid = population.pid(0);
    // The same connection in CLOSE_WAIT is wanted in both, and old enough in one.
    let (suspect, not_suspect) = (request(Duration::ZERO), request(Duration::MAX));
    assert_eq!(threads_seen(&collected(&suspect), pid), Some(THREADS + 1));
    assert_eq!(threads_seen(&collected(&not_suspect), pid), None);
    let sets = bare::epoll_sets(pid);
    assert_eq!(sets.len(), EPOLL_SETS);
    let [with, without, bare] = in_turns(
        ROUNDS,
        [
            &mut || drop(collected(&suspect)),
            &mut || drop(collected(&not_suspect)),
            &mut || bare::read_details(pid, &sets),
        ],
    );
    let pairs = || with.iter().zip(&without);
    let extra_wall = median(pairs().map(|(a, b)| ms(a.wall) - ms(b.wall)));
    let extra_cpu = median(pairs().map(|(a, b)| ms(a.cpu) - ms(b.cpu)));
    page.heading("Looking closely at one process");
    page.text(&format!(
        "A process with {} threads that sleep and {} descriptors, each registered in one of \
         {EPOLL_SETS} epoll sets, has one connection in CLOSE_WAIT. With and without its details: \
         the same collection, in which the connection is old enough to be suspect or is not. Extra: \
         the median of the differences, round by round. Bare: open, read and close of `stat` and \
         `syscall` of each thread and of `fdinfo` of each set, on one thread; the program reads \
         threads and sets at the same time, where there is a processor for each. {ROUNDS} rounds.",
        number(THREADS),
        number(DESCRIPTORS),
    ));
    let costs = |turns: &[Turn]| [wall_ms(turns), fastest_ms(turns), cpu_ms(turns)];
    let extra_fastest = fastest_ms(&with) - fastest_ms(&without);
    let bare = costs(&bare);
    let row = |what: &str, costs: [f64; 3]| {
        let ms = costs.map(|cost| format!("{cost:.1}"));
        let ratios = [0, 1, 2].map(|index| format!("{:.2}", costs[index] / bare[index]));
        [&[what.to_owned()], &ms[..], &ratios[..]].concat()
    };
    page.table(
        &[
            "what",
            "median ms",
            "fastest ms",
            "ms on a processor",
            "median to bare",
            "fastest",
            "on a processor",
        ],
        &[
            row("extra", [extra_wall, extra_fastest, extra_cpu]),
            row("bare calls", bare),
            row("whole collection, with it", costs(&with)),
            row("without it", costs(&without)),
        ],
    );
    page.goals(&[
        ("extra, median ms", extra_wall, 20.0),
        (
            "extra to bare calls, on a processor",
            extra_cpu / bare[2],
            1.3,
        ),
    ]);
}

fn request(close_wait_age: Duration) -> Request {
    Request {
        source: SourceChoice::Auto,
        netns: vec![NetnsChoice::Own],
        entries: Entries::Suspects,
        accept_age: Duration::ZERO,
        close_wait_age,
        settle: Duration::ZERO,
        proc_root: PathBuf::from("/proc"),
    }
}

fn collected(request: &Request) -> Snapshot {
    collect(request).expect("a socket table")
}

fn threads_seen(snapshot: &Snapshot, pid: u32) -> Option<usize> {
    let process = snapshot.processes.iter().find(|one| one.id.pid == pid)?;
    let Fact::Known(threads) = &process.detail.known()?.threads else {
        return None;
    };
    Some(threads.len())
}
