//! Walks `/proc/PID/fd`: all descriptors of a process, one process after the other.
//!
//! The links are read relative to the open directory and compared as numbers; nothing is allocated
//! for a descriptor that nobody wants to know of, and none is opened or followed. What is found
//! stays with its process: `owners` puts it together.
//!
//! A process whose first thread has ended shows its descriptors at its other threads only.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawDir, openat, readlinkat_raw, statat};
use rustix::io::Errno;

use super::crowded::Tally;
use super::details::WaitingDescriptors;
use crate::kernel::{decimal, fd_link, stat};
use crate::model::Inode;

/// A descriptor of some socket, of whatever protocol; there may be millions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SocketDescriptor {
    pub(super) inode: Inode,
    pub(super) pid: u32,
    pub(super) fd: i32,
}

/// What to note of a process's descriptors, beside those that say what it waits for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Noted<'a> {
    /// The descriptors of these sockets.
    pub(super) sockets: &'a HashSet<Inode>,
    /// Those of all other sockets too.
    pub(super) every_socket: bool,
    /// Processes of which is counted what their descriptors are, with their soft limits.
    pub(super) crowded: &'a HashMap<u32, u64>,
    /// Only that is wanted: so many links are enough for it.
    pub(super) only_crowded: bool,
}

/// What the walk of one process found.
#[derive(Debug)]
pub(super) struct ProcessWalk {
    pub(super) pid: u32,
    pub(super) ended: Ended,
    /// Field 22 of `/proc/PID/stat`, which makes the pid an identity: read behind the descriptors,
    /// and only where there is something to hold. `None` if the process has ended since.
    pub(super) start_time: Option<u64>,
    pub(super) sockets: Vec<SocketDescriptor>,
    pub(super) waiting: WaitingDescriptors,
    /// What its descriptors are, of a process that is crowded.
    pub(super) tally: Option<Tally>,
    /// How long that took.
    pub(super) took: Duration,
    /// A descriptor that was listed was closed before it was read; what it referred to may have
    /// another one by now, which had not been listed.
    pub(super) moved: bool,
}

/// How the walk of a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// All was read, or it is a kernel thread and has nothing.
    Read,
    /// The process ended meanwhile.
    Vanished,
    /// It may not be read.
    Denied,
    /// Something else.
    Failed(Errno),
}

/// Walks the descriptors of `pids`, with several threads.
pub(super) fn walk(root: &OwnedFd, pids: &[u32], noted: Noted<'_>) -> Vec<ProcessWalk> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut walker = Walker::new(root.as_fd(), noted);
        let mut walks = Vec::new();
        while let Some(pid) = pids.get(next.fetch_add(1, Ordering::Relaxed)) {
            walks.push(walker.process(*pid));
        }
        walks
    };
    const PROCESSES_WORTH_A_THREAD: usize = 16;
    let threads = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(4)
        .min(pids.len() / PROCESSES_WORTH_A_THREAD + 1);
    std::thread::scope(|scope| {
        // Where no further thread may be had (pids.max of a cgroup), those that there are do it.
        let start = |_| std::thread::Builder::new().spawn_scoped(scope, worker).ok();
        let others: Vec<_> = (1..threads).map_while(start).collect();
        let own = worker();
        // A worker does not panic; if one did, its share of the processes was not read.
        others
            .into_iter()
            .filter_map(|other| other.join().ok())
            .chain([own])
            .flatten()
            .collect()
    })
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

pub(super) fn read_file(root: BorrowedFd<'_>, path: String) -> std::io::Result<Vec<u8>> {
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

struct Walker<'a> {
    root: BorrowedFd<'a>,
    noted: Noted<'a>,
    entries: Box<[MaybeUninit<u8>]>,
}

impl<'a> Walker<'a> {
    fn new(root: BorrowedFd<'a>, noted: Noted<'a>) -> Walker<'a> {
        let entries = vec![MaybeUninit::uninit(); 32 * 1024].into_boxed_slice();
        Walker {
            root,
            noted,
            entries,
        }
    }

    fn process(&mut self, pid: u32) -> ProcessWalk {
        let started = Instant::now();
        let mut found = ProcessWalk {
            pid,
            ended: Ended::Read,
            start_time: None,
            sockets: Vec::new(),
            waiting: WaitingDescriptors::default(),
            tally: self.noted.crowded.get(&pid).map(|limit| Tally::new(*limit)),
            took: Duration::ZERO,
            moved: false,
        };
        let outcome = self
            .read(&format!("{pid}/fd"), &mut found)
            .and_then(|seen| match seen {
                0 if self.has_other_threads(pid)? => self.read_threads(pid, &mut found),
                _ => Ok(()),
            });
        found.ended = match outcome {
            Ok(()) => Ended::Read,
            Err(Errno::NOENT | Errno::SRCH) => Ended::Vanished,
            Err(Errno::ACCESS | Errno::PERM) if is_kernel_thread(self.root, pid) => Ended::Read,
            Err(Errno::ACCESS | Errno::PERM) => Ended::Denied,
            Err(other) => Ended::Failed(other),
        };
        if let Some(tally) = &mut found.tally {
            tally.finish();
        }
        // Half a process's descriptors are still true.
        if !found.sockets.is_empty() || found.tally.is_some() {
            match start_time(self.root, pid) {
                Ok(time) => found.start_time = Some(time),
                Err(Errno::NOENT | Errno::SRCH) => found.ended = Ended::Vanished,
                // They are somebody's, and it cannot be said whose.
                Err(error) => found.ended = Ended::Failed(error),
            }
        }
        found.took = started.elapsed();
        found
    }

    /// The link count of the directory says how many threads there are (`proc_task_getattr`).
    fn has_other_threads(&self, pid: u32) -> Result<bool, Errno> {
        // Two, and one for each thread. The field's type is the architecture's.
        let tasks = statat(self.root, format!("{pid}/task"), AtFlags::empty())?;
        Ok(tasks.st_nlink > 3)
    }

    /// Through the first thread that has descriptors.
    fn read_threads(&mut self, pid: u32, found: &mut ProcessWalk) -> Result<(), Errno> {
        let tasks = open_directory(self.root, format!("{pid}/task"))?;
        for tid in numbers_in(tasks)? {
            let directory = format!("{pid}/task/{tid}/fd");
            match self.read(&directory, found) {
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
    fn read(&mut self, directory: &str, found: &mut ProcessWalk) -> Result<usize, Errno> {
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
            if let Some(tally) = &mut found.tally {
                tally.descriptor(fd);
                if self.noted.only_crowded && tally.is_full() {
                    continue;
                }
            }
            // "socket:[" and twenty digits fit; what is longer is no socket, and only counted.
            let mut target = [MaybeUninit::uninit(); 256];
            let target = match readlinkat_raw(&directory, entry.file_name(), &mut target) {
                Ok((target, _)) => &*target,
                // Closed since the directory was read.
                Err(Errno::NOENT) => {
                    found.moved = true;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if let Some(tally) = &mut found.tally {
                tally.link(target);
            }
            match fd_link::socket_inode(target) {
                Some(inode) if self.noted.every_socket || self.noted.sockets.contains(&inode) => {
                    let pid = found.pid;
                    found.sockets.push(SocketDescriptor { inode, pid, fd });
                }
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
    stat(root, pid).is_ok_and(|stat| stat.kernel_thread)
}

/// Field 22 of `/proc/PID/stat`, which makes the pid an identity; `NOENT` or `SRCH` if the process
/// has ended.
pub(super) fn start_time(root: BorrowedFd<'_>, pid: u32) -> Result<u64, Errno> {
    stat(root, pid).map(|stat| stat.start_time)
}

fn stat(root: BorrowedFd<'_>, pid: u32) -> Result<stat::Stat, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = openat(root, format!("{pid}/stat"), flags, Mode::empty())?;
    let mut line = Vec::with_capacity(1024);
    rustix::io::read(&file, rustix::buffer::spare_capacity(&mut line))?;
    stat::parse_stat(&line).map_err(|_malformed| Errno::BADMSG)
}
