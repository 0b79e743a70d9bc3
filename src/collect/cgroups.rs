//! Finds the cgroups in which sockets were opened, by their ids: where no holder could be seen, that
//! still names the service.
//!
//! The id of a cgroup is the inode of its directory in the unified hierarchy (`kernfs_ino`,
//! `include/linux/kernfs.h`, on 64-bit kernels since 5.5; seen on Linux 6.18, kept by a kernel
//! test). So the names of the directories are enough, and no right is needed;
//! `open_by_handle_at(2)` would want CAP_DAC_READ_SEARCH.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, FileType, RawDir, fstat};

use super::descriptors::open_directory;
use super::proc_root;
use crate::kernel::mountinfo;
use crate::model::{
    Fact, HeldDescriptor, Inode, Netns, Queues, SocketCgroup, SocketEntry, TcpState, Unknown,
};

/// A node with a hundred containers has about a thousand; a directory costs a few microseconds.
const DIRECTORIES_AT_MOST: usize = 10_000;
/// The root of the whole hierarchy; that of a cgroup namespace has another number.
const ROOT_ID: u64 = 1;

/// The cgroups of those `rows` whose holders were `wanted` and not found. A connection that nobody
/// has accepted has none, and the cgroup of its listener (facts Q12): it counts if no listener has
/// its port.
pub(super) fn of_unheld<'a>(
    proc_root: &Path,
    rows: impl Iterator<Item = &'a SocketEntry> + Clone,
    wanted: &HashSet<Inode>,
    held: &[HeldDescriptor],
) -> Option<Vec<SocketCgroup>> {
    let held: HashSet<Inode> = held.iter().map(|held| held.inode).collect();
    let is_listener = |row: &&SocketEntry| matches!(row.queues, Queues::Listen { .. });
    let port = |row: &SocketEntry| (row.netns, row.local.port());
    let ports: HashSet<(Netns, u16)> = rows.clone().filter(is_listener).map(port).collect();
    let is_unheld = |row: &&SocketEntry| match row.inode {
        Some(inode) => wanted.contains(&inode) && !held.contains(&inode),
        None => row.is_unaccepted() && !ports.contains(&port(row)),
    };
    let ids: BTreeSet<u64> = rows
        .filter(|row| row.state != TcpState::TimeWait)
        .filter(is_unheld)
        .filter_map(|row| row.cgroup_id)
        .collect();
    (!ids.is_empty()).then(|| look_up(proc_root, ids))
}

fn look_up(proc_root: &Path, ids: BTreeSet<u64>) -> Vec<SocketCgroup> {
    let mountinfo = std::fs::read(proc_root::own(proc_root).join("mountinfo"));
    let mounts = mountinfo::cgroup2_mounts(&mountinfo.unwrap_or_default());
    let found = hierarchy(&mounts).map(|(root, is_whole)| walk(&root, is_whole, &ids));
    let missing = match &found {
        None => Unknown::Unsupported,
        Some(found) if found.everything => Unknown::Vanished,
        Some(_) => Unknown::NotCollected,
    };
    let mut paths = found.map_or_else(BTreeMap::new, |found| found.paths);
    ids.into_iter()
        .map(|id| SocketCgroup {
            id,
            path: paths
                .remove(&id)
                .map_or(Fact::Unknown(missing), Fact::Known),
        })
        .collect()
}

/// The root directory of the hierarchy, and whether that is all of it; otherwise the largest part
/// that can be seen.
fn hierarchy(mounts: &[PathBuf]) -> Option<(OwnedFd, bool)> {
    let open = |point: &PathBuf| {
        let directory = open_directory(CWD, point.as_path()).ok()?;
        let is_whole = fstat(&directory).ok()?.st_ino == ROOT_ID;
        Some((directory, is_whole))
    };
    let mut roots: Vec<(OwnedFd, bool)> = mounts.iter().filter_map(open).collect();
    let whole = roots.iter().position(|(_, is_whole)| *is_whole);
    (!roots.is_empty()).then(|| roots.swap_remove(whole.unwrap_or(0)))
}

struct Found {
    paths: BTreeMap<u64, Vec<u8>>,
    /// What is not in `paths` is not there.
    everything: bool,
}

/// Looks through the directories, those further out first, until all `ids` are found.
fn walk(root: &OwnedFd, is_whole: bool, ids: &BTreeSet<u64>) -> Found {
    let mut found = Found {
        paths: BTreeMap::new(),
        everything: is_whole,
    };
    if is_whole && ids.contains(&ROOT_ID) {
        found.paths.insert(ROOT_ID, b"/".to_vec());
    }
    let mut directories = VecDeque::from([Vec::new()]);
    let mut buffer = vec![MaybeUninit::uninit(); 32 * 1024];
    let mut seen = 0;
    while let Some(path) = directories.pop_front()
        && found.paths.len() < ids.len()
    {
        seen += 1;
        if seen > DIRECTORIES_AT_MOST {
            found.everything = false;
            break;
        }
        let relative: &[u8] = if path.is_empty() { b"." } else { &path[1..] };
        // One that was removed meanwhile has nobody in it.
        let Ok(directory) = open_directory(root.as_fd(), relative) else {
            continue;
        };
        let mut entries = RawDir::new(directory, &mut buffer);
        while let Some(entry) = entries.next() {
            let Ok(entry) = entry else {
                found.everything = false;
                break;
            };
            let name = entry.file_name().to_bytes();
            if entry.file_type() != FileType::Directory || matches!(name, b"." | b"..") {
                continue;
            }
            let path = [&path[..], b"/", name].concat();
            if ids.contains(&entry.ino()) {
                found.paths.insert(entry.ino(), path.clone());
            }
            directories.push_back(path);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::os::unix::fs::MetadataExt;

    /// A directory tree stands in for the hierarchy: inodes are inodes.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str, directories: &[&str]) -> Tree {
            let name = format!("tcpleak-cgroups-{name}-{}", std::process::id());
            let tree = Tree(std::env::temp_dir().join(name));
            for directory in directories {
                std::fs::create_dir_all(tree.0.join(directory)).unwrap();
            }
            std::fs::write(tree.0.join("cgroup.procs"), "").unwrap();
            tree
        }

        fn id(&self, directory: &str) -> u64 {
            std::fs::metadata(self.0.join(directory)).unwrap().ino()
        }

        fn walk(&self, is_whole: bool, ids: &[u64]) -> Found {
            let root = open_directory(CWD, self.0.as_path()).unwrap();
            walk(&root, is_whole, &ids.iter().copied().collect())
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            // A test has failed already if this does.
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn directories_are_found_by_their_numbers() {
        let tree = Tree::new("found", &["system.slice/nginx.service", "user.slice"]);
        let (nginx, user) = (tree.id("system.slice/nginx.service"), tree.id("user.slice"));
        let found = tree.walk(true, &[nginx, user, ROOT_ID]);
        let expect = [
            (ROOT_ID, &b"/"[..]),
            (nginx, b"/system.slice/nginx.service"),
            (user, b"/user.slice"),
        ];
        let expect = expect.map(|(id, path)| (id, path.to_vec()));
        assert_eq!(found.paths, BTreeMap::from(expect));
        // A file's number is no cgroup's.
        let file = tree.id("cgroup.procs");
        assert!(tree.walk(true, &[file]).paths.is_empty());
    }

    #[test]
    fn missing_is_gone_only_where_everything_was_seen() {
        let tree = Tree::new("missing", &["system.slice"]);
        assert!(tree.walk(true, &[u64::MAX]).everything);
        assert!(!tree.walk(false, &[u64::MAX]).everything);
        assert!(!tree.walk(false, &[ROOT_ID]).paths.contains_key(&ROOT_ID));
    }
}
