//! What it costs to look closely at a process that a finding is about.

use std::path::PathBuf;
use std::time::Duration;

use tcpleak::collect::{Entries, Request, SourceChoice, collect};
use tcpleak::model::{Fact, Snapshot};

use crate::bare;
use crate::holder::Role;
use crate::measure::{cpu_ms, in_turns, median, ms, wall_ms};
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
         `syscall` of each thread and of `fdinfo` of each set, on one thread. Medians of {ROUNDS} \
         rounds. The goal is an extra of less than 20 ms.",
        number(THREADS),
        number(DESCRIPTORS),
    ));
    let bare = (wall_ms(&bare), cpu_ms(&bare));
    let row = |what: &str, (wall, cpu): (f64, f64)| {
        vec![
            what.to_owned(),
            format!("{wall:.1}"),
            format!("{cpu:.1}"),
            format!("{:.2}", wall / bare.0),
            format!("{:.2}", cpu / bare.1),
        ]
    };
    page.table(
        &[
            "what",
            "ms",
            "on a processor",
            "ms against bare",
            "on a processor",
        ],
        &[
            row("extra", (extra_wall, extra_cpu)),
            row("bare calls", bare),
            row("whole collection, with it", (wall_ms(&with), cpu_ms(&with))),
            row("without it", (wall_ms(&without), cpu_ms(&without))),
        ],
    );
}

fn request(close_wait_age: Duration) -> Request {
    Request {
        source: SourceChoice::Auto,
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
