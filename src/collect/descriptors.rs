//! Walks `/proc/PID/fd` for the holders of sockets: all of them, with all of their descriptors.
//!
//! The links are read relative to the open directory and compared as numbers; nothing is allocated
//! for a descriptor, and none is opened or followed.
//!
//! Two kinds of holders have no descriptor of the socket in `/proc/PID/fd`: a process whose first
//! thread has ended shows its descriptors at its other threads only, and an io_uring may have the
//! socket among its registered files (facts O9); its holder then is whoever has the ring.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawDir, openat, readlinkat_raw, statat};
use rustix::io::Errno;

use super::details::WaitingDescriptors;
use super::rights;
use crate::kernel::{decimal, fd_link, fdinfo, stat};
use crate::model::{Coverage, Gap, GapKind, HeldDescriptor, Inode, ProcessId, count_of};
use crate::sight;

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
    let mut outcome = walk_processes(&root, &pids, wanted, every_socket);
    let mut total = pids.len();
    let held: HashSet<Inode> = outcome.found.held.iter().map(|held| held.inode).collect();
    let unheld: HashSet<Inode> = wanted.difference(&held).copied().collect();
    if !unheld.is_empty() {
        outcome.look_into_rings(root.as_fd(), &unheld);
        // Handed on to a process that has been started since.
        let before: HashSet<u32> = pids.into_iter().collect();
        let mut born = process_ids(proc_root).unwrap_or_default();
        born.retain(|pid| !before.contains(pid));
        total += born.len();
        outcome.add(walk_processes(&root, &born, wanted, every_socket));
    }
    outcome.found.held.sort_unstable();
    // Where nobody's holders were wanted, no statement about holders is weakened.
    let kind = if wanted.is_empty() {
        GapKind::Details
    } else {
        GapKind::Owners
    };
    outcome.report(total as u64, kind, proc_root, coverage);
    outcome.found
}

/// Walks the descriptors of `pids`, with several threads.
fn walk_processes(
    root: &OwnedFd,
    pids: &[u32],
    wanted: &HashSet<Inode>,
    every_socket: bool,
) -> Outcome {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut walker = Walker::new(root.as_fd(), wanted, every_socket);
        while let Some(pid) = pids.get(next.fetch_add(1, Ordering::Relaxed)) {
            walker.process(*pid);
        }
        walker.outcome
    };
    const PROCESSES_WORTH_A_THREAD: usize = 16;
    let threads = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(4)
        .min(pids.len() / PROCESSES_WORTH_A_THREAD + 1);
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
        outcome.add(part);
    }
    outcome
}

/// The pids in `proc_root`.
pub(super) fn process_ids(proc_root: &Path) -> Result<Vec<u32>, Errno> {
    numbers_in(open_directory(CWD, proc_root)?)
}

fn numbers_in(directory: OwnedFd) -> Result<Vec<u32>, Errno> {
    let mut buffer = [MaybeUninit::uninit(); 8192];
    let mut entries = RawDir::new(directory, &mut buffer);
    let mut numbers = Vec::new();
    while let Some(entry) = entries.next() {
        let number = decimal(entry?.file_name().to_bytes());
        numbers.extend(number.and_then(|number| u32::try_from(number).ok()));
    }
    Ok(numbers)
}

fn read_file(root: BorrowedFd<'_>, path: String) -> std::io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let mut text = Vec::new();
    File::from(openat(root, path, flags, Mode::empty())?).read_to_end(&mut text)?;
    Ok(text)
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
    /// Every io_uring: whose, and the path of what it says about itself.
    rings: Vec<(u32, i32, String)>,
}

impl Outcome {
    fn add(&mut self, part: Outcome) {
        self.found.held.extend(part.found.held);
        self.found.waiting.extend(part.found.waiting);
        self.found.sockets.extend(part.found.sockets);
        self.read += part.read;
        self.vanished += part.vanished;
        self.denied += part.denied;
        self.extend(part.failed);
        self.rings.extend(part.rings);
    }

    /// Finds those of `unheld` that are among the registered files of a ring.
    fn look_into_rings(&mut self, root: BorrowedFd<'_>, unheld: &HashSet<Inode>) {
        for (pid, fd, path) in std::mem::take(&mut self.rings) {
            let mut registered = read_file(root, path)
                .map(|text| fdinfo::io_uring(&text).0)
                .unwrap_or_default();
            registered.retain(|inode| unheld.contains(inode));
            let Some(start_time) = start_time(root, pid).filter(|_| !registered.is_empty()) else {
                continue;
            };
            let process = ProcessId { pid, start_time };
            let held = registered
                .into_iter()
                .map(|inode| HeldDescriptor { process, fd, inode });
            self.found.held.extend(held);
            let waiting = self.found.waiting.entry(process).or_default();
            if !waiting.io_uring.contains(&fd) {
                waiting.io_uring.push(fd);
            }
        }
    }

    fn report(&self, total: u64, kind: GapKind, proc_root: &Path, coverage: &mut Coverage) {
        coverage.processes_total = total;
        coverage.processes_read = self.read;
        coverage.processes_vanished = self.vanished;
        if self.denied > 0 {
            let rights = rights::own(proc_root);
            let gap = sight::unread_descriptors(self.denied, kind, &rights);
            coverage.gaps.push(gap);
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
        let outcome =
            self.read(&format!("{pid}/fd"), pid, &mut found)
                .and_then(|seen| match seen {
                    0 if self.has_other_threads(pid) => self.read_threads(pid, &mut found),
                    _ => Ok(()),
                });
        match outcome {
            Ok(()) => self.outcome.read += 1,
            Err(Errno::NOENT | Errno::SRCH) => self.outcome.vanished += 1,
            Err(Errno::ACCESS | Errno::PERM) if is_kernel_thread(self.root, pid) => {
                self.outcome.read += 1;
            }
            Err(Errno::ACCESS | Errno::PERM) => self.outcome.denied += 1,
            Err(other) => self.outcome.extend([(1, other)]),
        }
        let directory = match found.waiting.thread {
            Some(tid) => format!("{pid}/task/{tid}/fdinfo"),
            None => format!("{pid}/fdinfo"),
        };
        let rings = found.waiting.io_uring.iter();
        self.outcome
            .rings
            .extend(rings.map(|fd| (pid, *fd, format!("{directory}/{fd}"))));
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

    /// The link count of the directory says how many threads there are (`proc_task_getattr`).
    fn has_other_threads(&self, pid: u32) -> bool {
        // Two, and one for each thread. The field's type is the architecture's.
        statat(self.root, format!("{pid}/task"), AtFlags::empty())
            .is_ok_and(|stat| stat.st_nlink > 3)
    }

    /// Through the first thread that has descriptors.
    fn read_threads(&mut self, pid: u32, found: &mut Found) -> Result<(), Errno> {
        let tasks = open_directory(self.root, format!("{pid}/task"))?;
        for tid in numbers_in(tasks)? {
            let directory = format!("{pid}/task/{tid}/fd");
            match self.read(&directory, pid, found) {
                Ok(0) | Err(Errno::NOENT | Errno::SRCH) => {}
                Ok(_) => {
                    found.waiting.thread = Some(tid);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Returns how many descriptors there are.
    fn read(&mut self, directory: &str, pid: u32, found: &mut Found) -> Result<usize, Errno> {
        let mut seen = 0;
        let directory = open_directory(self.root, directory)?;
        let mut entries = RawDir::new(directory.as_fd(), &mut self.entries);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let number = decimal(entry.file_name().to_bytes());
            let Some(fd) = number.and_then(|fd| i32::try_from(fd).ok()) else {
                continue;
            };
            seen += 1;
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
        Ok(seen)
    }
}

/// A kernel thread has no descriptors, whoever may not read that it has none.
pub(super) fn is_kernel_thread(root: BorrowedFd<'_>, pid: u32) -> bool {
    stat(root, pid).is_some_and(|stat| stat.kernel_thread)
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
