//! One look at every process, and none at any descriptor: in which network namespaces processes
//! live, and which of them have used most of their descriptors.
//!
//! Two system calls a process, more where many descriptors are open. Only the link to the namespace
//! needs a right, and something else stands in for it.

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::path::Path;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, readlinkat_raw, statat};
use rustix::io::Errno;

use super::descriptors::{open_directory, process_ids};
use super::processes::soft_descriptor_limit;
use crate::kernel::fd_link;
use crate::model::CrowdedProcess;

/// Fewer descriptors are no crowd: 80 % of 60, and nobody runs a server with a limit below that.
/// Reading the limits costs four times as much as all the rest that is done for a process here;
/// most processes have fewer descriptors.
const FEWEST_DESCRIPTORS: u64 = 48;

/// What is known of all processes.
#[derive(Debug, Default)]
pub(super) struct Census {
    /// The network namespaces in which processes live.
    pub(super) namespaces: Namespaces,
    /// Processes that have used most of their descriptors, with their soft limit.
    pub(super) crowded: Vec<(u32, u64)>,
}

/// Network namespaces, by the inodes of their files. One that no readable process lives in goes by
/// the inode of its `net/tcp`; both come from one range (`proc_alloc_inum`, `fs/proc/generic.c`).
#[derive(Debug, Default)]
pub(super) struct Namespaces {
    /// This thread's.
    pub(super) own: Option<u64>,
    /// The others, each with a process that lives there.
    pub(super) others: BTreeMap<u64, u32>,
    /// Processes of which it cannot be told.
    pub(super) unreadable: u64,
}

/// Looks at every process in `proc_root`.
pub(super) fn take(proc_root: &Path) -> Census {
    let mut census = Census::default();
    let (Ok(root), Ok(pids)) = (open_directory(CWD, proc_root), process_ids(proc_root)) else {
        return census;
    };
    census.namespaces.own = namespace(root.as_fd(), "thread-self").ok();
    let mut unnamed = BTreeMap::new();
    for pid in pids {
        match namespace(root.as_fd(), &pid.to_string()) {
            Ok(inode) if Some(inode) == census.namespaces.own => {}
            Ok(inode) => {
                census.namespaces.others.entry(inode).or_insert(pid);
            }
            // It has ended, or is a zombie and lives nowhere.
            Err(Errno::NOENT | Errno::SRCH) => continue,
            Err(_) => match table_file(root.as_fd(), &pid.to_string()) {
                Some(inode) => {
                    unnamed.entry(inode).or_insert(pid);
                }
                None => census.namespaces.unreadable += 1,
            },
        }
        census.crowded.extend(crowded(root.as_fd(), pid));
    }
    census.namespaces.add_unnamed(root.as_fd(), unnamed);
    census
}

impl Namespaces {
    /// Adds those namespaces that are not known under their own inodes.
    fn add_unnamed(&mut self, root: BorrowedFd<'_>, mut unnamed: BTreeMap<u64, u32>) {
        if unnamed.is_empty() {
            return;
        }
        let named = self.others.values().map(u32::to_string);
        for process in named.chain(["thread-self".into()]) {
            if let Some(inode) = table_file(root, &process) {
                unnamed.remove(&inode);
            }
        }
        self.others.append(&mut unnamed);
    }
}

/// The namespace of a process.
pub(super) fn namespace(root: BorrowedFd<'_>, process: &str) -> Result<u64, Errno> {
    let mut target = [MaybeUninit::uninit(); 32];
    let (target, _) = readlinkat_raw(root, format!("{process}/ns/net"), &mut target)?;
    fd_link::netns_inode(target).ok_or(Errno::INVAL)
}

/// The inode of a process's `net/tcp`. Each namespace has such a file of its own, which all of its
/// processes show, and anybody may look at it (seen on Linux 6.18).
pub(super) fn table_file(root: BorrowedFd<'_>, process: &str) -> Option<u64> {
    let stat = statat(root, format!("{process}/net/tcp"), AtFlags::empty()).ok()?;
    Some(stat.st_ino)
}

/// Since Linux 6.2 the size of `/proc/PID/fd` is the number of open descriptors
/// (`proc_fd_getattr`, `fs/proc/fd.c`), and anybody may ask for it. Before, it is zero: then only
/// those processes are judged that are read for another reason.
fn crowded(root: BorrowedFd<'_>, pid: u32) -> Option<(u32, u64)> {
    let stat = statat(root, format!("{pid}/fd"), AtFlags::empty()).ok()?;
    let open = u64::try_from(stat.st_size).ok()?;
    if open < FEWEST_DESCRIPTORS {
        return None;
    }
    let limit = soft_descriptor_limit(&limits(root, pid).ok()?)??;
    let is_crowd = open.saturating_mul(100) >= limit.saturating_mul(CrowdedProcess::PERCENT);
    is_crowd.then_some((pid, limit))
}

fn limits(root: BorrowedFd<'_>, pid: u32) -> Result<Vec<u8>, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file: OwnedFd = openat(root, format!("{pid}/limits"), flags, Mode::empty())?;
    // Sixteen lines of at most eighty bytes; a seq_file gives them in one read.
    let mut text = Vec::with_capacity(4096);
    rustix::io::read(&file, rustix::buffer::spare_capacity(&mut text))?;
    Ok(text)
}
