//! One look at every process, and none at any descriptor: in which network namespaces processes
//! live (and which are mounted), and which of them have used most of their descriptors.
//!
//! Two system calls a process, more where many descriptors are open. Only the link to the namespace
//! needs a right, and something else stands in for it.

use std::collections::BTreeMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, readlinkat_raw, statat};
use rustix::io::Errno;

use super::descriptors::{open_directory, process_ids};
use super::places::{Mount, Place};
use super::processes::soft_descriptor_limit;
use super::{proc_root, rights};
use crate::kernel::{fd_link, mountinfo};
use crate::model::{Coverage, CrowdedProcess, Gap, GapKind, Netns, NetnsChoice, count_of};
use crate::sight;

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
    /// Of how many that could not be told, and why of the first it could not.
    uncounted: Option<(u64, Errno)>,
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
    /// Processes of which it may not be known where they live.
    pub(super) unreadable: u64,
    /// How many others are missing for another reason, and the first of those.
    failed: Option<(u64, Errno)>,
    /// Why the processes, or the mounts, could not be listed.
    unlisted: Option<(&'static str, io::Error)>,
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
    let listed = open_directory(CWD, proc_root)
        .and_then(|root| process_ids(proc_root).map(|pids| (root, pids)));
    let (root, pids) = match listed {
        Ok(listed) => listed,
        Err(error) => {
            namespaces.unlisted = Some(("those in which processes live", error.into()));
            return census;
        }
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
                Err(Errno::ACCESS | Errno::PERM) => namespaces.unreadable += 1,
                Err(error) => namespaces.failed.get_or_insert((0, error)).0 += 1,
            },
        }
        if is_mounted {
            match crowded(root.as_fd(), pid) {
                Ok(limit) => census.crowded.extend(limit.map(|limit| (pid, limit))),
                // It has ended, or may not be looked at: so it is with its namespace.
                Err(Errno::NOENT | Errno::SRCH | Errno::ACCESS | Errno::PERM) => {}
                Err(error) => census.uncounted.get_or_insert((0, error)).0 += 1,
            }
        }
    }
    namespaces.add_unnamed(root.as_fd(), unnamed);
    if is_mounted {
        namespaces.add_mounted(proc_root);
    }
    census
}

impl Census {
    /// Says what is missing from it, as far as `choices` are weakened by that.
    pub(super) fn report(
        &self,
        choices: &[NetnsChoice],
        proc_root: &Path,
        coverage: &mut Coverage,
    ) {
        let mut gap = |kind, what: String, why: String, count| {
            coverage.gaps.push(Gap {
                kind,
                what,
                why,
                needs: None,
                count,
            });
        };
        if let Some((count, error)) = self.uncounted {
            let what = format!("open descriptors of {}", count_of(count, "process"));
            gap(GapKind::Details, what, error.to_string(), count);
        }
        if !choices.is_empty() && !choices.contains(&NetnsChoice::All) {
            return;
        }
        let namespaces = &self.namespaces;
        if let Some((which, error)) = &namespaces.unlisted {
            let what = format!("network namespaces: {which}");
            gap(GapKind::Sockets, what, error.to_string(), 1);
        }
        if let Some((count, error)) = namespaces.failed {
            let what = format!("network namespaces of {}", count_of(count, "process"));
            gap(GapKind::Sockets, what, error.to_string(), count);
        }
        if namespaces.unreadable > 0 {
            let rights = rights::own(proc_root);
            let gap = sight::unknown_namespaces(namespaces.unreadable, &rights);
            coverage.gaps.push(gap);
        }
    }
}

impl Namespaces {
    /// Every process is in one that is known.
    pub(super) fn are_those_of_all(&self) -> bool {
        self.unreadable == 0 && self.failed.is_none() && self.unlisted.is_none()
    }

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
        let table = match std::fs::read(process.join("mountinfo")) {
            Ok(table) if !table.is_empty() => table,
            Ok(_) => {
                return self.unlist(
                    "those that are mounted",
                    io::ErrorKind::UnexpectedEof.into(),
                );
            }
            // Those of the first process need a right, and `network-namespaces` of the doctor is it.
            Err(_) if way.is_some() => return,
            Err(error) => return self.unlist("those that are mounted", error),
        };
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

impl Namespaces {
    fn unlist(&mut self, which: &'static str, error: io::Error) {
        self.unlisted.get_or_insert((which, error));
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
    let path = proc_root::own(proc_root).join("ns/net");
    let link = std::fs::read_link(&path);
    let inode = match link {
        Ok(link) => fd_link::netns_inode(link.as_os_str().as_encoded_bytes()),
        // In a copy the link leads to nothing.
        Err(_) => std::fs::metadata(&path).ok().map(|file| file.ino()),
    };
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
///
/// The soft limit of a process that is; nothing of one that is not, or that has none.
fn crowded(root: BorrowedFd<'_>, pid: u32) -> Result<Option<u64>, Errno> {
    let stat = statat(root, format!("{pid}/fd"), AtFlags::empty())?;
    let open = u64::try_from(stat.st_size).unwrap_or(0);
    if open < FEWEST_DESCRIPTORS {
        return Ok(None);
    }
    let limit = soft_descriptor_limit(&limits(root, pid)?).ok_or(Errno::BADMSG)?;
    let is_crowd =
        |limit: &u64| open.saturating_mul(100) >= limit.saturating_mul(CrowdedProcess::PERCENT);
    Ok(limit.filter(is_crowd))
}

fn limits(root: BorrowedFd<'_>, pid: u32) -> Result<Vec<u8>, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file: OwnedFd = openat(root, format!("{pid}/limits"), flags, Mode::empty())?;
    // Sixteen lines of at most eighty bytes; a seq_file gives them in one read.
    let mut text = Vec::with_capacity(4096);
    rustix::io::read(&file, rustix::buffer::spare_capacity(&mut text))?;
    Ok(text)
}
