//! One look at every process, and none at any descriptor: in which network namespaces processes
//! live (and which are mounted), and which of them have used most of their descriptors.
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
use super::places::{Mount, Place};
use super::proc_root;
use super::processes::soft_descriptor_limit;
use crate::kernel::{fd_link, mountinfo};
use crate::model::{CrowdedProcess, Netns};

/// Fewer descriptors are no crowd: 80 % of 60, and nobody runs a server with a limit below that.
/// Reading the limits costs four times as much as all the rest that is done for a process here;
/// most processes have fewer descriptors.
const FEWEST_DESCRIPTORS: u64 = 48;

/// What is known of all processes.
#[derive(Debug, Default)]
pub(super) struct Census {
    /// The network namespaces in which processes live or which are mounted.
    pub(super) namespaces: Namespaces,
    /// Processes that have used most of their descriptors, with their soft limit.
    pub(super) crowded: Vec<(u32, u64)>,
}

/// The network namespaces of the machine, as far as they can be seen.
///
/// They go by the inodes of their files. One that no readable process lives in goes by the inode of
/// its `net/tcp`; both come from one range (`proc_alloc_inum`, `fs/proc/generic.c`). If that one is
/// mounted too, it cannot be told, and counts twice.
#[derive(Debug, Default)]
pub(super) struct Namespaces {
    /// All of them.
    pub(super) places: BTreeMap<u64, Place>,
    /// Processes of which it cannot be told where they live.
    pub(super) unreadable: u64,
}

/// So many processes are remembered for each namespace: the one that was seen first may end before
/// it is needed.
const WITNESSES: usize = 4;

/// Looks at every process in `proc_root`, and at the mount table.
pub(super) fn take(proc_root: &Path) -> Census {
    let mut census = Census::default();
    let namespaces = &mut census.namespaces;
    let own = own(proc_root);
    let own_inode = own.netns.0;
    namespaces.places.insert(own_inode, own);
    let (Ok(root), Ok(pids)) = (open_directory(CWD, proc_root), process_ids(proc_root)) else {
        return census;
    };
    // The size of a directory in a copy is no number of descriptors.
    let is_mounted = proc_root::is_mounted(proc_root);
    let mut unnamed = BTreeMap::new();
    for pid in pids {
        let process = pid.to_string();
        match namespace(root.as_fd(), &process) {
            Ok(inode) if inode == own_inode => {}
            Ok(inode) => namespaces.place(inode).remember(process),
            // It has ended, or is a zombie and lives nowhere.
            Err(Errno::NOENT | Errno::SRCH) => continue,
            Err(_) => match table_file(root.as_fd(), &process) {
                Ok(inode) => unnamed
                    .entry(inode)
                    .or_insert_with(|| Place::new(Netns(inode)))
                    .remember(process),
                Err(Errno::NOENT | Errno::SRCH) => continue,
                Err(_) => namespaces.unreadable += 1,
            },
        }
        if is_mounted {
            census.crowded.extend(crowded(root.as_fd(), pid));
        }
    }
    namespaces.add_unnamed(root.as_fd(), unnamed);
    if is_mounted {
        namespaces.add_mounted(proc_root);
    }
    census
}

impl Namespaces {
    fn place(&mut self, inode: u64) -> &mut Place {
        let new = || Place::new(Netns(inode));
        self.places.entry(inode).or_insert_with(new)
    }

    /// Adds those namespaces that are not known under their own inodes.
    fn add_unnamed(&mut self, root: BorrowedFd<'_>, mut unnamed: BTreeMap<u64, Place>) {
        if unnamed.is_empty() {
            return;
        }
        for place in self.places.values() {
            let process = if place.own {
                Some("thread-self")
            } else {
                place.processes.first().map(String::as_str)
            };
            if let Some(Ok(inode)) = process.map(|process| table_file(root, process)) {
                unnamed.remove(&inode);
            }
        }
        self.places.append(&mut unnamed);
    }

    /// Adds those that are mounted somewhere, in which perhaps nobody lives: by this process, and by
    /// the first one where that has mounts of its own, as seen from a container.
    fn add_mounted(&mut self, proc_root: &Path) {
        let own = proc_root::own(proc_root);
        self.add_mounts_of(&own, None);
        let first = proc_root.join("1");
        let mounts = |process: &Path| std::fs::read_link(process.join("ns/mnt"));
        if let (Ok(here), Ok(there)) = (mounts(&own), mounts(&first))
            && here != there
        {
            self.add_mounts_of(&first, Some(&first.join("root")));
        }
    }

    /// Adds the mounts of a process, which are reached by `way`.
    fn add_mounts_of(&mut self, process: &Path, way: Option<&Path>) {
        let table = std::fs::read(process.join("mountinfo")).unwrap_or_default();
        for (inode, name) in mountinfo::network_namespaces(&table) {
            let path = match (way, name.strip_prefix("/")) {
                (Some(way), Ok(below)) => way.join(below),
                _ => name.clone(),
            };
            let place = self.place(inode);
            if place.mounts.iter().all(|mount| mount.name != name) {
                place.mounts.push(Mount { name, path });
            }
        }
    }
}

impl Place {
    fn remember(&mut self, process: String) {
        if self.processes.len() < WITNESSES {
            self.processes.push(process);
        }
    }
}

/// This thread's namespace; where there is nothing to tell it by, it goes by no number.
pub(super) fn own(proc_root: &Path) -> Place {
    let link = std::fs::read_link(proc_root::own(proc_root).join("ns/net"));
    let inode = link
        .ok()
        .and_then(|link| fd_link::netns_inode(link.as_os_str().as_encoded_bytes()));
    Place {
        own: true,
        ..Place::new(Netns(inode.unwrap_or(0)))
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
pub(super) fn table_file(root: BorrowedFd<'_>, process: &str) -> Result<u64, Errno> {
    let stat = statat(root, format!("{process}/net/tcp"), AtFlags::empty())?;
    Ok(stat.st_ino)
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
