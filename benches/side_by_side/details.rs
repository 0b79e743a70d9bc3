//! What it costs to look closely at a process that a finding is about.

use std::path::PathBuf;
use std::time::Duration;

use tcpleak::collect::{Entries, Request, SourceChoice, collect};
use tcpleak::model::{Fact, Snapshot};

use crate::bare;
use crate::holder::Role;
use crate::measure::{cpu_ms, in_turns, median_ms, ms, wall_ms};
use crate::page::Page;
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
    let extra_wall = median_ms(pairs().map(|(a, b)| ms(a.wall) - ms(b.wall)));
    let extra_cpu = median_ms(pairs().map(|(a, b)| ms(a.cpu) - ms(b.cpu)));
    page.heading("Looking closely at one process");
    page.text(&format!(
        "A process with {} threads that sleep and {} descriptors, each registered in one of \
         {EPOLL_SETS} epoll sets, has one connection in CLOSE_WAIT. With and without its details: \
         the same collection, in which the connection is old enough to be suspect or is not. Extra: \
         the median of the differences, round by round. Bare: open, read and close of `stat` and \
         `syscall` of each thread and of `fdinfo` of each set, on one thread. Medians of {ROUNDS} \
         rounds. The goal is an extra of less than 20 ms.",
        page_number(THREADS),
        page_number(DESCRIPTORS),
    ));
    page.table(
        &["what", "ms", "of it on a processor", "against bare"],
        &[
            row(
                "collection with details",
                wall_ms(&with),
                cpu_ms(&with),
                None,
            ),
            row(
                "collection without",
                wall_ms(&without),
                cpu_ms(&without),
                None,
            ),
            row(
                "extra",
                extra_wall,
                extra_cpu,
                Some((extra_wall / wall_ms(&bare), extra_cpu / cpu_ms(&bare))),
            ),
            row("bare calls", wall_ms(&bare), cpu_ms(&bare), None),
        ],
    );
}

fn row(what: &str, wall: f64, cpu: f64, ratio: Option<(f64, f64)>) -> Vec<String> {
    let ratio = ratio.map_or(String::new(), |(wall, cpu)| {
        format!("{wall:.2} ({cpu:.2} on a processor)")
    });
    vec![
        what.into(),
        format!("{wall:.1}"),
        format!("{cpu:.1}"),
        ratio,
    ]
}

fn page_number(number: usize) -> String {
    crate::page::number(number)
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
