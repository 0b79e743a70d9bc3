//! Who holds which socket: what the walks of single processes found, put together.
//!
//! A socket may be held without a descriptor of its own in `/proc/PID/fd`: an io_uring may have it
//! among its registered files (facts O9); its holder then is whoever has the ring.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::Path;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::CWD;
use rustix::io::Errno;

use super::crowded::Crowd;
use super::descriptors::{
    Ended, Noted, ProcessWalk, SocketDescriptor, open_directory, process_ids, read_file,
    start_time, walk,
};
use super::details::WaitingDescriptors;
use super::rights;
use crate::kernel::fdinfo;
use crate::model::{
    Coverage, CrowdedProcess, Gap, GapKind, HeldDescriptor, Inode, ProcessId, count_of,
};
use crate::sight;

/// What is to be found.
pub(super) struct Asked<'a> {
    /// All descriptors of these sockets.
    pub(super) wanted: &'a HashSet<Inode>,
    /// All descriptors of all other sockets too.
    pub(super) every_socket: bool,
    /// What these processes hold.
    pub(super) crowd: &'a Crowd,
}

/// What was found.
#[derive(Default)]
pub(super) struct Found {
    /// The descriptors that refer to wanted sockets, sorted by process and descriptor.
    pub(super) held: Vec<HeldDescriptor>,
    /// The epoll and io_uring descriptors of the processes that hold one of those.
    pub(super) waiting: HashMap<ProcessId, WaitingDescriptors>,
    /// Every descriptor of every socket, if that was asked for.
    pub(super) sockets: Vec<SocketDescriptor>,
    /// What the crowded processes hold.
    pub(super) crowded: Vec<CrowdedProcess>,
}

/// The processes that were walked, and what they hold.
#[derive(Default)]
pub(super) struct Owners {
    processes: BTreeMap<u32, ProcessWalk>,
}

impl Owners {
    /// Finds what is asked for, and walks no descriptor if that is nothing.
    ///
    /// What could not be read is counted in `coverage`.
    pub(super) fn find(
        &mut self,
        proc_root: &Path,
        asked: &Asked<'_>,
        coverage: &mut Coverage,
    ) -> Found {
        let only_crowded = asked.wanted.is_empty() && !asked.every_socket;
        if only_crowded && asked.crowd.limits.is_empty() {
            return Found::default();
        }
        let (root, pids) = match (open_directory(CWD, proc_root), process_ids(proc_root)) {
            (Ok(root), Ok(pids)) => (root, pids),
            (Err(error), _) | (_, Err(error)) => {
                coverage.gaps.push(no_proc(proc_root, error));
                return Found::default();
            }
        };
        let sockets: HashSet<Inode> = asked
            .wanted
            .iter()
            .copied()
            .chain(asked.crowd.sockets())
            .collect();
        let noted = Noted {
            sockets: &sockets,
            every_socket: asked.every_socket,
            crowded: &asked.crowd.limits,
            only_crowded,
        };
        if only_crowded {
            let crowded: Vec<u32> = asked.crowd.limits.keys().copied().collect();
            self.walk(&root, &crowded, noted);
        } else {
            let mut total = pids.len();
            self.walk(&root, &pids, noted);
            let unheld = self.unheld(asked.wanted);
            if !unheld.is_empty() {
                match process_ids(proc_root) {
                    Ok(mut again) => {
                        again.retain(|pid| self.is_to_be_walked_again(*pid));
                        let is_new = |pid: &&u32| !self.processes.contains_key(pid);
                        total += again.iter().filter(is_new).count();
                        self.walk(&root, &again, noted);
                    }
                    Err(error) => coverage.gaps.push(no_proc(proc_root, error)),
                }
                self.look_into_rings(&root, &self.unheld(asked.wanted));
            }
            // Where nobody's holders were wanted, no statement about holders is weakened.
            let kind = if asked.wanted.is_empty() {
                GapKind::Details
            } else {
                GapKind::Owners
            };
            self.report(total as u64, kind, proc_root, coverage);
        }
        self.found(proc_root, asked, coverage)
    }

    fn walk(&mut self, root: &OwnedFd, pids: &[u32], noted: Noted<'_>) {
        let walks = walk(root, pids, noted);
        self.processes
            .extend(walks.into_iter().map(|walk| (walk.pid, walk)));
    }

    /// What nobody was seen to hold may have been on its way: to a process that has been started
    /// since, one that has taken over a pid, or another descriptor.
    fn is_to_be_walked_again(&self, pid: u32) -> bool {
        let walk = self.processes.get(&pid);
        walk.is_none_or(|walk| walk.moved || walk.ended == Ended::Vanished)
    }

    /// Those of `wanted` that no descriptor refers to.
    fn unheld(&self, wanted: &HashSet<Inode>) -> HashSet<Inode> {
        let mut unheld = wanted.clone();
        // What has no start time is nobody's.
        let known = self
            .processes
            .values()
            .filter(|walk| walk.start_time.is_some());
        for socket in known.flat_map(|walk| &walk.sockets) {
            unheld.remove(&socket.inode);
        }
        unheld
    }

    /// Finds those of `unheld` that are among the registered files of a ring.
    fn look_into_rings(&mut self, root: &OwnedFd, unheld: &HashSet<Inode>) {
        for (pid, walk) in &mut self.processes {
            let directory = match walk.waiting.thread {
                Some(tid) => format!("{pid}/task/{tid}/fdinfo"),
                None => format!("{pid}/fdinfo"),
            };
            for fd in walk.waiting.io_uring.clone() {
                let registered = read_file(root.as_fd(), format!("{directory}/{fd}"))
                    .map(|text| fdinfo::io_uring(&text).0);
                let mut registered = match registered {
                    Ok(registered) => registered,
                    Err(error) => {
                        walk.fail(&error);
                        continue;
                    }
                };
                registered.retain(|inode| unheld.contains(inode));
                if !registered.is_empty() && walk.start_time.is_none() {
                    match start_time(root.as_fd(), *pid) {
                        Ok(time) => walk.start_time = Some(time),
                        Err(error) => walk.fail(&error.into()),
                    }
                }
                let pid = *pid;
                let held = registered.into_iter();
                walk.sockets
                    .extend(held.map(|inode| SocketDescriptor { inode, pid, fd }));
            }
        }
    }

    /// Counts the processes, and notes those that could not be read.
    fn report(&self, total: u64, kind: GapKind, proc_root: &Path, coverage: &mut Coverage) {
        let (mut denied, mut failed) = (0, None);
        coverage.processes_total = total;
        for walk in self.processes.values() {
            match walk.ended {
                Ended::Read => coverage.processes_read += 1,
                Ended::Vanished => coverage.processes_vanished += 1,
                Ended::Denied => denied += 1,
                Ended::Failed(errno) => failed = failed.or(Some(errno)),
            }
        }
        if denied > 0 {
            let rights = rights::own(proc_root);
            let gap = sight::unread_descriptors(denied, kind, &rights);
            coverage.gaps.push(gap);
        }
        let seen = coverage.processes_read + coverage.processes_vanished + denied;
        let lost = total.saturating_sub(seen);
        if lost > 0 {
            coverage.gaps.push(Gap {
                kind,
                what: format!("descriptors of {}", count_of(lost, "process")),
                why: failed.map_or("not read".into(), |errno| errno.to_string()),
                needs: None,
                count: lost,
            });
        }
    }

    fn found(&self, proc_root: &Path, asked: &Asked<'_>, coverage: &mut Coverage) -> Found {
        let mut found = Found::default();
        for (pid, walk) in &self.processes {
            if asked.every_socket {
                found.sockets.extend(&walk.sockets);
            }
            let Some(start_time) = walk.start_time else {
                continue;
            };
            let process = ProcessId {
                pid: *pid,
                start_time,
            };
            let before = found.held.len();
            let wanted = walk
                .sockets
                .iter()
                .filter(|socket| asked.wanted.contains(&socket.inode));
            found.held.extend(wanted.map(|socket| HeldDescriptor {
                process,
                fd: socket.fd,
                inode: socket.inode,
            }));
            if found.held.len() > before {
                found.waiting.insert(process, walk.waiting.clone());
            }
            if let Some(tally) = &walk.tally
                && walk.ended != Ended::Vanished
            {
                let sockets = walk.sockets.iter().copied();
                found
                    .crowded
                    .push(asked.crowd.member(process, walk.ended, tally, sockets));
            }
        }
        found.held.sort_unstable();
        asked.crowd.report(&found.crowded, proc_root, coverage);
        found
    }
}

impl ProcessWalk {
    /// Something that a descriptor leads to could not be read.
    fn fail(&mut self, error: &io::Error) {
        match Errno::from_io_error(error) {
            // Closed since, or its process has ended.
            Some(Errno::NOENT | Errno::SRCH) => {}
            Some(Errno::ACCESS | Errno::PERM) => self.ended = Ended::Denied,
            other => self.ended = Ended::Failed(other.unwrap_or(Errno::IO)),
        }
    }
}

fn no_proc(proc_root: &Path, error: Errno) -> Gap {
    Gap {
        kind: GapKind::Owners,
        what: "holders of all sockets".into(),
        why: format!("{}: {error}", proc_root.display()),
        needs: Some("a mounted /proc".into()),
        count: 1,
    }
}
