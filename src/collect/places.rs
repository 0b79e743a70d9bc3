//! Where network namespaces can be found, and the one thread that goes there.
//!
//! A netlink socket and an open file of `/proc/net` stay in the namespace in which they were made:
//! so one thread goes from place to place, makes them there, and ends. No other thread ever leaves
//! the namespace that the program was started in.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fd::AsFd;
use rustix::fs::{CWD, FsWord, fstatfs};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::census::{namespace, table_file};
use super::descriptors::open_directory;
use super::privileges;
use crate::model::{Netns, Unknown};

/// The file system of namespaces' files (`NSFS_MAGIC`, `include/uapi/linux/magic.h`).
const NSFS_MAGIC: FsWord = 0x6e73_6673;

/// A namespace that is known to exist, and the ways to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Which one: the inode of its file, or of its `net/tcp` where only that can be seen.
    pub(super) netns: Netns,
    /// It is this thread's.
    pub(super) own: bool,
    /// Some processes or threads that live there: `PID` or `PID/task/TID`.
    pub(super) processes: Vec<String>,
    /// Where it is mounted, and how that is reached from here.
    pub(super) mounts: Vec<Mount>,
}

/// A mount of a namespace's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// As the mount table names it.
    pub(super) name: PathBuf,
    /// As this process reaches it.
    pub(super) path: PathBuf,
}

/// A namespace was not entered.
#[derive(Debug)]
pub(super) enum Closed {
    /// No way led there any more: it has ended, or whoever was seen in it has.
    Vanished,
    /// Not permitted.
    Denied(io::Error),
}

impl Closed {
    pub(super) fn reason(&self) -> Unknown {
        match self {
            Closed::Vanished => Unknown::Vanished,
            Closed::Denied(_) => Unknown::Permission,
        }
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Closed::Vanished => f.write_str("whoever lived there is gone"),
            Closed::Denied(error) => error.fmt(f),
        }
    }
}

impl Place {
    pub(super) fn new(netns: Netns) -> Place {
        Place {
            netns,
            own: false,
            processes: Vec::new(),
            mounts: Vec::new(),
        }
    }

    /// A process that lives there.
    pub(super) fn pid(&self) -> Option<u32> {
        self.processes.first()?.parse().ok()
    }

    /// The directory `net` of a process that lives there still.
    pub(super) fn directory(&self, proc_root: &Path) -> Option<PathBuf> {
        let root = open_directory(CWD, proc_root).ok()?;
        let lives_there = |process: &&String| match namespace(root.as_fd(), process) {
            Ok(inode) => inode == self.netns.0,
            Err(_) => table_file(root.as_fd(), process) == Ok(self.netns.0),
        };
        let process = self.processes.iter().find(lives_there)?;
        Some(proc_root.join(process).join("net"))
    }

    /// Moves this thread there.
    fn enter(&self, proc_root: &Path) -> Result<(), Closed> {
        let mounts = self.mounts.iter().map(|mount| mount.path.clone());
        let processes = self.processes.iter();
        let processes = processes.map(|process| proc_root.join(process).join("ns/net"));
        let mut denied = None;
        for path in mounts.chain(processes) {
            let entered = File::open(path).and_then(|file| {
                // A pid may be another process by now, and a mount another namespace.
                if file.metadata()?.ino() != self.netns.0 {
                    return Err(io::ErrorKind::NotFound.into());
                }
                let kind = Some(LinkNameSpaceType::Network);
                Ok(move_into_link_name_space(file.as_fd(), kind)?)
            });
            match entered {
                Ok(()) => return Ok(()),
                Err(error) if is_gone(&error) => {}
                Err(error) => denied = Some(error),
            }
        }
        Err(denied.map_or(Closed::Vanished, Closed::Denied))
    }
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(Errno::SRCH.raw_os_error())
}

/// The inode of the network namespace that `file` stands for; `None` if it is something else.
///
/// A namespace's file does not tell of what kind it is. The link of its descriptor does where it
/// was opened through `/proc/PID/ns`; where it is mounted, that shows the path of the mount
/// (`d_path`, `fs/d_path.c`). Then `setns` is asked, which refuses the wrong kind with EINVAL
/// before it looks at rights (`man 2 setns`), in a thread that ends with the answer.
pub(super) fn network_namespace(file: &File) -> io::Result<Option<u64>> {
    if fstatfs(file)?.f_type != NSFS_MAGIC {
        return Ok(None);
    }
    let kind = Some(LinkNameSpaceType::Network);
    let answer = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("namespaces".into());
        let thread =
            thread.spawn_scoped(scope, || move_into_link_name_space(file.as_fd(), kind))?;
        // It does not panic.
        thread
            .join()
            .map_err(|_panic| io::Error::other("the thread has ended"))
    })?;
    match answer {
        Err(Errno::INVAL) => Ok(None),
        // Whether this process may go there is found when it goes.
        Ok(()) | Err(_) => Ok(Some(file.metadata()?.ino())),
    }
}

/// Does `inside` at each of `places` in turn, in a thread that goes there and ends afterwards.
///
/// Inside, `/proc/thread-self/net` shows the place's namespace; `/proc/net` does not.
pub(super) fn visit<T: Send>(
    proc_root: &Path,
    places: &[&Place],
    mut inside: impl FnMut(&Place) -> T + Send,
) -> Vec<Result<T, Closed>> {
    if places.is_empty() {
        return Vec::new();
    }
    let tour = || -> Vec<Result<T, Closed>> {
        let enter = |place: &Place| privileges::entering(|| place.enter(proc_root));
        let visit = |place: &&Place| enter(place).map(|()| inside(place));
        places.iter().map(visit).collect()
    };
    let outcome = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("namespaces".into());
        let thread = thread.spawn_scoped(scope, tour)?;
        // It does not panic.
        thread
            .join()
            .map_err(|_panic| io::Error::other("the thread has ended"))
    });
    outcome.unwrap_or_else(|error| {
        let denied = || Closed::Denied(io::Error::new(error.kind(), error.to_string()));
        places.iter().map(|_| Err(denied())).collect()
    })
}
