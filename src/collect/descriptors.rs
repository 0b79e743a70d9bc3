//! Walks `/proc/PID/fd` for the holders of sockets: all of them, with all of their descriptors.
//!
//! The links are read relative to the open directory and compared as numbers; nothing is allocated
//! for a descriptor, and none is opened or followed.

use std::collections::HashSet;
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, RawDir, openat, readlinkat_raw};
use rustix::io::Errno;

use crate::kernel::{decimal, fd_link, stat};
use crate::model::{Coverage, Gap, GapKind, HeldDescriptor, Inode, ProcessId, count_of};

/// Finds the descriptors that refer to `wanted` sockets; reads nothing if none are wanted.
///
/// Sorted by process and descriptor. What could not be read is counted in `coverage`.
pub(super) fn walk(
    proc_root: &Path,
    wanted: &HashSet<Inode>,
    coverage: &mut Coverage,
) -> Vec<HeldDescriptor> {
    if wanted.is_empty() {
        return Vec::new();
    }
    let (root, pids) = match (open_directory(CWD, proc_root), process_ids(proc_root)) {
        (Ok(root), Ok(pids)) => (root, pids),
        (Err(error), _) | (_, Err(error)) => {
            coverage.gaps.push(Gap {
                kind: GapKind::Owners,
                what: "holders of all sockets".into(),
                why: format!("{}: {error}", proc_root.display()),
                needs: Some("a mounted /proc".into()),
                count: 1,
            });
            return Vec::new();
        }
    };
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut walk = Walk::new(root.as_fd(), wanted);
        while let Some(pid) = pids.get(next.fetch_add(1, Ordering::Relaxed)) {
            walk.process(*pid);
        }
        walk.outcome
    };
    let threads = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(4);
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(worker)).collect();
        let own = worker();
        // A worker does not panic; if one did, its share of the processes was not read.
        others
            .into_iter()
            .filter_map(|other| other.join().ok())
            .chain([own])
            .collect()
    });
    let mut outcome = Outcome::default();
    for part in outcomes {
        outcome.held.extend(part.held);
        outcome.read += part.read;
        outcome.vanished += part.vanished;
        outcome.denied += part.denied;
        outcome.extend(part.failed);
    }
    outcome.held.sort_unstable();
    outcome.report(pids.len() as u64, coverage);
    outcome.held
}

/// The pids in `proc_root`.
pub(super) fn process_ids(proc_root: &Path) -> Result<Vec<u32>, Errno> {
    let directory = open_directory(CWD, proc_root)?;
    let mut buffer = [MaybeUninit::uninit(); 8192];
    let mut entries = RawDir::new(directory, &mut buffer);
    let mut pids = Vec::new();
    while let Some(entry) = entries.next() {
        let number = decimal(entry?.file_name().to_bytes());
        pids.extend(number.and_then(|pid| u32::try_from(pid).ok()));
    }
    Ok(pids)
}

fn open_directory(at: impl AsFd, path: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    openat(
        at,
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

#[derive(Default)]
struct Outcome {
    held: Vec<HeldDescriptor>,
    read: u64,
    vanished: u64,
    denied: u64,
    /// The first other error, and how many.
    failed: Option<(u64, Errno)>,
}

impl Outcome {
    fn report(&self, total: u64, coverage: &mut Coverage) {
        coverage.processes_total = total;
        coverage.processes_read = self.read;
        coverage.processes_vanished = self.vanished;
        if self.denied > 0 {
            coverage.gaps.push(Gap {
                kind: GapKind::Owners,
                what: format!("descriptors of {}", count_of(self.denied, "process")),
                why: "permission denied".into(),
                needs: Some(if rustix::process::geteuid().is_root() {
                    "the capabilities that those processes have and this one lacks".into()
                } else {
                    "root, or CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH".into()
                }),
                count: self.denied,
            });
        }
        let lost = total.saturating_sub(self.read + self.vanished + self.denied);
        if lost > 0 {
            coverage.gaps.push(Gap {
                kind: GapKind::Owners,
                what: format!("descriptors of {}", count_of(lost, "process")),
                why: self
                    .failed
                    .map_or("not read".into(), |(_, errno)| errno.to_string()),
                needs: None,
                count: lost,
            });
        }
    }
}

impl Extend<(u64, Errno)> for Outcome {
    fn extend<I: IntoIterator<Item = (u64, Errno)>>(&mut self, errors: I) {
        for (count, errno) in errors {
            self.failed.get_or_insert((0, errno)).0 += count;
        }
    }
}

struct Walk<'a> {
    root: rustix::fd::BorrowedFd<'a>,
    wanted: &'a HashSet<Inode>,
    entries: Box<[MaybeUninit<u8>]>,
    outcome: Outcome,
}

impl<'a> Walk<'a> {
    fn new(root: rustix::fd::BorrowedFd<'a>, wanted: &'a HashSet<Inode>) -> Walk<'a> {
        let entries = vec![MaybeUninit::uninit(); 32 * 1024].into_boxed_slice();
        Walk {
            root,
            wanted,
            entries,
            outcome: Outcome::default(),
        }
    }

    fn process(&mut self, pid: u32) {
        let found = self.outcome.held.len();
        match self.read(pid) {
            Ok(()) => self.outcome.read += 1,
            Err(error) => {
                // Half a process's descriptors are still true.
                match error {
                    Errno::NOENT | Errno::SRCH => self.outcome.vanished += 1,
                    Errno::ACCESS | Errno::PERM if self.is_kernel_thread(pid) => {
                        self.outcome.read += 1;
                    }
                    Errno::ACCESS | Errno::PERM => self.outcome.denied += 1,
                    other => self.outcome.extend([(1, other)]),
                }
            }
        }
        // The start time makes the pid an identity; read only where there is something to hold.
        if self.outcome.held.len() > found {
            match self.stat(pid) {
                Some(stat) => {
                    for held in &mut self.outcome.held[found..] {
                        held.process.start_time = stat.start_time;
                    }
                }
                None => self.outcome.held.truncate(found),
            }
        }
    }

    fn read(&mut self, pid: u32) -> Result<(), Errno> {
        let directory = open_directory(self.root, format!("{pid}/fd"))?;
        let mut entries = RawDir::new(directory.as_fd(), &mut self.entries);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let Some(fd) = decimal(entry.file_name().to_bytes()) else {
                continue;
            };
            // "socket:[" and twenty digits fit; a longer target is cut, and is no socket.
            let mut target = [MaybeUninit::uninit(); 32];
            let target = match readlinkat_raw(&directory, entry.file_name(), &mut target) {
                Ok((target, _)) => &*target,
                // Closed since the directory was read.
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error),
            };
            if let Some(inode) = fd_link::socket_inode(target).filter(|i| self.wanted.contains(i)) {
                let process = ProcessId { pid, start_time: 0 };
                let fd = i32::try_from(fd).unwrap_or(i32::MAX);
                self.outcome
                    .held
                    .push(HeldDescriptor { process, fd, inode });
            }
        }
        Ok(())
    }

    /// A kernel thread has no descriptors, whoever may not read that it has none.
    fn is_kernel_thread(&self, pid: u32) -> bool {
        self.stat(pid).is_some_and(|stat| stat.kernel_thread)
    }

    fn stat(&self, pid: u32) -> Option<stat::Stat> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = openat(self.root, format!("{pid}/stat"), flags, Mode::empty()).ok()?;
        let mut line = Vec::with_capacity(1024);
        rustix::io::read(&file, rustix::buffer::spare_capacity(&mut line)).ok()?;
        stat::parse_stat(&line).ok()
    }
}
