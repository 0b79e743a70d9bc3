//! One look at every process, and none at any descriptor: in which network namespaces processes
//! live, and which of them have used most of their descriptors.
//!
//! Two system calls a process, three where many descriptors are open. Neither needs a right, the
//! link to the namespace aside.

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

/// Fewer descriptors are no crowd, whatever the limit: no limit so low is in use, and the limits
/// of most processes need not be read.
const FEWEST_DESCRIPTORS: u64 = 16;

/// What is known of all processes.
#[derive(Debug, Default)]
pub(super) struct Census {
    /// The network namespaces in which processes live.
    pub(super) namespaces: Namespaces,
    /// Processes that have used most of their descriptors, with their soft limit.
    pub(super) crowded: Vec<(u32, u64)>,
}

/// Network namespaces, by the inodes of their files.
#[derive(Debug, Default)]
pub(super) struct Namespaces {
    /// This thread's.
    pub(super) own: Option<u64>,
    /// The others, each with a process that lives there.
    pub(super) others: BTreeMap<u64, u32>,
    /// Processes of which it is not known.
    pub(super) unreadable: u64,
}

/// Looks at every process in `proc_root`.
pub(super) fn take(proc_root: &Path) -> Census {
    let mut census = Census::default();
    let (Ok(root), Ok(pids)) = (open_directory(CWD, proc_root), process_ids(proc_root)) else {
        return census;
    };
    census.namespaces.own = namespace(root.as_fd(), "thread-self").ok().flatten();
    for pid in pids {
        match namespace(root.as_fd(), &pid.to_string()) {
            Ok(Some(inode)) if Some(inode) == census.namespaces.own => {}
            Ok(Some(inode)) => {
                census.namespaces.others.entry(inode).or_insert(pid);
            }
            Err(Errno::NOENT | Errno::SRCH) => continue,
            Ok(None) | Err(_) => census.namespaces.unreadable += 1,
        }
        census.crowded.extend(crowded(root.as_fd(), pid));
    }
    census
}

/// The namespace of a process; the kernel gives a zombie's no name.
pub(super) fn namespace(root: BorrowedFd<'_>, process: &str) -> Result<Option<u64>, Errno> {
    let mut target = [MaybeUninit::uninit(); 32];
    let (target, _) = readlinkat_raw(root, format!("{process}/ns/net"), &mut target)?;
    Ok(fd_link::netns_inode(target))
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
