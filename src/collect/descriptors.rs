//! Walks `/proc/PID/fd` for the holders of sockets: all of them, with all of their descriptors.
//!
//! The links are read relative to the open directory and compared as numbers; nothing is allocated
//! for a descriptor, and none is opened or followed.

use std::collections::{HashMap, HashSet};
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, RawDir, openat, readlinkat_raw};
use rustix::io::Errno;

use super::details::WaitingDescriptors;
use crate::kernel::{decimal, fd_link, stat};
use crate::model::{Coverage, Gap, GapKind, HeldDescriptor, Inode, ProcessId, count_of};

/// What a walk found.
#[derive(Default)]
pub(super) struct Walk {
    /// The descriptors that refer to wanted sockets, sorted by process and descriptor.
    pub(super) held: Vec<HeldDescriptor>,
    /// The epoll and io_uring descriptors of the processes that hold one of those.
    pub(super) waiting: HashMap<ProcessId, WaitingDescriptors>,
    /// Every descriptor of every socket, if that was asked for.
    pub(super) sockets: Vec<SocketDescriptor>,
}

/// A descriptor of some socket, of whatever protocol; there may be millions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SocketDescriptor {
    pub(super) inode: Inode,
    pub(super) pid: u32,
    pub(super) fd: i32,
}

/// Finds the descriptors that refer to `wanted` sockets, and with `every_socket` those of all
/// others too; reads nothing if none are wanted.
///
/// What could not be read is counted in `coverage`.
pub(super) fn walk(
    proc_root: &Path,
    wanted: &HashSet<Inode>,
    every_socket: bool,
    coverage: &mut Coverage,
) -> Walk {
    if wanted.is_empty() && !every_socket {
        return Walk::default();
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
            return Walk::default();
        }
    };
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut walker = Walker::new(root.as_fd(), wanted, every_socket);
        while let Some(pid) = pids.get(next.fetch_add(1, Ordering::Relaxed)) {
            walker.process(*pid);
        }
        walker.outcome
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
        outcome.found.held.extend(part.found.held);
        outcome.found.waiting.extend(part.found.waiting);
        outcome.found.sockets.extend(part.found.sockets);
        outcome.read += part.read;
        outcome.vanished += part.vanished;
        outcome.denied += part.denied;
        outcome.extend(part.failed);
    }
    outcome.found.held.sort_unstable();
    // Where nobody's holders were wanted, no statement about holders is weakened.
    let kind = if wanted.is_empty() {
        GapKind::Details
    } else {
        GapKind::Owners
    };
    outcome.report(pids.len() as u64, kind, coverage);
    outcome.found
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

pub(super) fn open_directory(
    at: impl AsFd,
    path: impl rustix::path::Arg,
) -> Result<OwnedFd, Errno> {
    openat(
        at,
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

#[derive(Default)]
struct Outcome {
    found: Walk,
    read: u64,
    vanished: u64,
    denied: u64,
    /// The first other error, and how many.
    failed: Option<(u64, Errno)>,
}

impl Outcome {
    fn report(&self, total: u64, kind: GapKind, coverage: &mut Coverage) {
        coverage.processes_total = total;
        coverage.processes_read = self.read;
        coverage.processes_vanished = self.vanished;
        if self.denied > 0 {
            coverage.gaps.push(Gap {
                kind,
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
                kind,
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

/// What one process has.
#[derive(Default)]
struct Found {
    held: Vec<(i32, Inode)>,
    waiting: WaitingDescriptors,
}

struct Walker<'a> {
    root: BorrowedFd<'a>,
    wanted: &'a HashSet<Inode>,
    every_socket: bool,
    entries: Box<[MaybeUninit<u8>]>,
    outcome: Outcome,
}

impl<'a> Walker<'a> {
    fn new(root: BorrowedFd<'a>, wanted: &'a HashSet<Inode>, every_socket: bool) -> Walker<'a> {
        let entries = vec![MaybeUninit::uninit(); 32 * 1024].into_boxed_slice();
        Walker {
            root,
            wanted,
            every_socket,
            entries,
            outcome: Outcome::default(),
        }
    }

    fn process(&mut self, pid: u32) {
        let mut found = Found::default();
        match self.read(pid, &mut found) {
            Ok(()) => self.outcome.read += 1,
            Err(Errno::NOENT | Errno::SRCH) => self.outcome.vanished += 1,
            Err(Errno::ACCESS | Errno::PERM) if self.is_kernel_thread(pid) => {
                self.outcome.read += 1;
            }
            Err(Errno::ACCESS | Errno::PERM) => self.outcome.denied += 1,
            Err(other) => self.outcome.extend([(1, other)]),
        }
        if found.held.is_empty() {
            return;
        }
        // The start time makes the pid an identity; read only where there is something to hold.
        // Half a process's descriptors are still true.
        let Some(stat) = stat(self.root, pid) else {
            return;
        };
        let process = ProcessId {
            pid,
            start_time: stat.start_time,
        };
        let held = found
            .held
            .into_iter()
            .map(|(fd, inode)| HeldDescriptor { process, fd, inode });
        self.outcome.found.held.extend(held);
        self.outcome.found.waiting.insert(process, found.waiting);
    }

    fn read(&mut self, pid: u32, found: &mut Found) -> Result<(), Errno> {
        let directory = open_directory(self.root, format!("{pid}/fd"))?;
        let mut entries = RawDir::new(directory.as_fd(), &mut self.entries);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let number = decimal(entry.file_name().to_bytes());
            let Some(fd) = number.and_then(|fd| i32::try_from(fd).ok()) else {
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
            let inode = fd_link::socket_inode(target);
            if let Some(inode) = inode.filter(|_| self.every_socket) {
                let socket = SocketDescriptor { inode, pid, fd };
                self.outcome.found.sockets.push(socket);
            }
            match inode {
                Some(inode) if self.wanted.contains(&inode) => found.held.push((fd, inode)),
                Some(_) => {}
                None if target == fd_link::EPOLL => found.waiting.epoll.push(fd),
                None if target == fd_link::IO_URING => found.waiting.io_uring.push(fd),
                None => {}
            }
        }
        Ok(())
    }

    /// A kernel thread has no descriptors, whoever may not read that it has none.
    fn is_kernel_thread(&self, pid: u32) -> bool {
        stat(self.root, pid).is_some_and(|stat| stat.kernel_thread)
    }
}

/// Field 22 of `/proc/PID/stat`, which makes the pid an identity; `None` if the process has ended.
pub(super) fn start_time(root: BorrowedFd<'_>, pid: u32) -> Option<u64> {
    stat(root, pid).map(|stat| stat.start_time)
}

fn stat(root: BorrowedFd<'_>, pid: u32) -> Option<stat::Stat> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = openat(root, format!("{pid}/stat"), flags, Mode::empty()).ok()?;
    let mut line = Vec::with_capacity(1024);
    rustix::io::read(&file, rustix::buffer::spare_capacity(&mut line)).ok()?;
    stat::parse_stat(&line).ok()
}
