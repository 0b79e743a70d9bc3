//! What the descriptors of crowded processes are.
//!
//! Only of those few that have used most of their limit: whether they hold listeners or sockets in
//! CLOSE_WAIT, and what takes up most of the room. They are counted in the walk that finds holders;
//! where none are looked for, these processes are walked alone.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use rustix::io::Errno;

use super::descriptors::{Ended, SocketDescriptor};
use super::{rights, why};
use crate::kernel::fd_link;
use crate::model::{
    Coverage, CrowdedProcess, DescriptorKind, Fact, Gap, GapKind, Holdings, Inode, ProcessId,
    Queues, SocketEntry, TcpState, count_of,
};
use crate::sight;

/// Processes that are looked at closely in one run.
const PROCESSES_AT_MOST: usize = 64;
/// Different links that are counted; the most frequent are among the first of these.
const KINDS_AT_MOST: usize = 1_000;
/// Kinds that are kept.
const KINDS_KEPT: usize = 4;

/// The crowded processes that are looked at, and the sockets that make their limit matter.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    /// With their soft limits.
    pub(super) limits: HashMap<u32, u64>,
    /// How many are not looked at.
    left_out: u64,
    listeners: HashSet<Inode>,
    close_wait: HashSet<Inode>,
}

impl Crowd {
    /// Of `crowded` processes, given with their soft limits, those that are looked at; `rows` are
    /// the sockets that were read.
    pub(super) fn new<'a>(
        crowded: &[(u32, u64)],
        rows: impl Iterator<Item = &'a SocketEntry>,
    ) -> Crowd {
        let looked_at = &crowded[..crowded.len().min(PROCESSES_AT_MOST)];
        let mut crowd = Crowd {
            limits: looked_at.iter().copied().collect(),
            left_out: (crowded.len() - looked_at.len()) as u64,
            ..Crowd::default()
        };
        if crowd.limits.is_empty() {
            return crowd;
        }
        for row in rows {
            match row.queues {
                Queues::Listen { .. } => crowd.listeners.extend(row.inode),
                Queues::Stream { .. } if row.state == TcpState::CloseWait => {
                    crowd.close_wait.extend(row.inode);
                }
                Queues::Stream { .. } => {}
            }
        }
        crowd
    }

    /// The sockets whose descriptors have to be noted.
    pub(super) fn sockets(&self) -> impl Iterator<Item = Inode> {
        self.listeners.union(&self.close_wait).copied()
    }

    /// What is said of a process that was walked, with these descriptors of sockets.
    pub(super) fn member(
        &self,
        process: ProcessId,
        ended: Ended,
        tally: &Tally,
        sockets: impl Iterator<Item = SocketDescriptor>,
    ) -> CrowdedProcess {
        let holds = match ended {
            Ended::Read | Ended::Vanished => Fact::Known(self.holdings(tally, sockets)),
            Ended::Denied => Fact::Unknown(why(&Errno::ACCESS.into())),
            Ended::Failed(error) => Fact::Unknown(why(&error.into())),
        };
        CrowdedProcess {
            process,
            soft_limit: tally.soft_limit,
            holds,
        }
    }

    fn holdings(&self, tally: &Tally, sockets: impl Iterator<Item = SocketDescriptor>) -> Holdings {
        let mut listeners = Vec::new();
        let mut close_wait = 0;
        for socket in sockets {
            close_wait += u64::from(self.close_wait.contains(&socket.inode));
            listeners.extend(self.listeners.get(&socket.inode).copied());
        }
        listeners.sort_unstable();
        listeners.dedup();
        Holdings {
            open: tally.open,
            below_limit: tally.below_limit,
            looked_at: tally.looked_at,
            sockets: tally.sockets,
            listeners,
            close_wait,
            kinds: tally.most_frequent(),
        }
    }

    /// Says of which crowded processes it is not known what they hold.
    pub(super) fn report(
        &self,
        read: &[CrowdedProcess],
        proc_root: &Path,
        coverage: &mut Coverage,
    ) {
        let mut gap = |count: u64, why: String, needs: Option<String>| {
            if count > 0 {
                coverage.gaps.push(Gap {
                    kind: GapKind::Details,
                    what: format!(
                        "what {} close to the descriptor limit hold{}",
                        count_of(count, "process"),
                        if count == 1 { "s" } else { "" }
                    ),
                    why,
                    needs,
                    count,
                });
            }
        };
        let unread = read
            .iter()
            .filter(|process| process.holds.known().is_none());
        gap(
            unread.count() as u64,
            "permission denied".into(),
            sight::needs_to_read_descriptors(&rights::own(proc_root)),
        );
        gap(
            self.left_out,
            format!("only {PROCESSES_AT_MOST} are looked at so closely"),
            None,
        );
    }
}

/// What the descriptors of one process are, as they are counted.
#[derive(Debug, Default)]
pub(super) struct Tally {
    soft_limit: u64,
    open: u64,
    below_limit: u64,
    looked_at: u64,
    sockets: u64,
    /// Links that are no sockets.
    kinds: HashMap<Vec<u8>, u64>,
}

impl Tally {
    /// Links that are read of a process that nobody wants the sockets of: of most, they tell what
    /// all are, and listeners are made early and have low numbers.
    pub(super) const LINKS_AT_MOST: u64 = 20_000;

    pub(super) fn new(soft_limit: u64) -> Tally {
        Tally {
            soft_limit,
            ..Tally::default()
        }
    }

    /// Counts a descriptor.
    pub(super) fn descriptor(&mut self, fd: i32) {
        self.open += 1;
        self.below_limit += u64::from(u64::try_from(fd).is_ok_and(|fd| fd < self.soft_limit));
    }

    /// As many links were read as are enough.
    pub(super) fn is_full(&self) -> bool {
        self.looked_at >= Self::LINKS_AT_MOST
    }

    /// Counts what a descriptor is.
    pub(super) fn link(&mut self, target: &[u8]) {
        self.looked_at += 1;
        if fd_link::socket_inode(target).is_some() {
            self.sockets += 1;
            return;
        }
        let kind = without_numbers(target);
        if self.kinds.len() < KINDS_AT_MOST || self.kinds.contains_key(&kind) {
            *self.kinds.entry(kind).or_default() += 1;
        }
    }

    /// All descriptors were counted: what is not told is forgotten.
    pub(super) fn finish(&mut self) {
        let kept = self.most_frequent();
        self.kinds
            .retain(|link, _| kept.iter().any(|kind| kind.link == *link));
    }

    fn most_frequent(&self) -> Vec<DescriptorKind> {
        let sockets = (self.sockets > 0).then(|| (b"socket:[N]".to_vec(), self.sockets));
        let others = self
            .kinds
            .iter()
            .map(|(link, count)| (link.clone(), *count));
        let mut kinds: Vec<DescriptorKind> = sockets
            .into_iter()
            .chain(others)
            .map(|(link, count)| DescriptorKind { link, count })
            .collect();
        let rank = |kind: &DescriptorKind| (std::cmp::Reverse(kind.count), kind.link.clone());
        kinds.sort_by_key(rank);
        kinds.truncate(KINDS_KEPT);
        kinds
    }
}

/// Each run of digits as one `N`: `socket:[N]`, `/var/log/app.log.N`.
fn without_numbers(link: &[u8]) -> Vec<u8> {
    let mut kind = Vec::with_capacity(link.len());
    for byte in link {
        match byte {
            b'0'..=b'9' if kind.last() == Some(&b'N') => {}
            b'0'..=b'9' => kind.push(b'N'),
            other => kind.push(*other),
        }
    }
    kind
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_differ_in_numbers_are_of_one_kind() {
        let check = |link: &str, expect: &str| {
            assert_eq!(without_numbers(link.as_bytes()), expect.as_bytes());
        };
        check("socket:[81234]", "socket:[N]");
        check("/var/log/app-2.log.17", "/var/log/app-N.log.N");
        check("/dev/null", "/dev/null");
        check("anon_inode:[eventpoll]", "anon_inode:[eventpoll]");
        check("", "");
    }

    #[test]
    fn the_most_frequent_kinds_come_first() {
        let mut tally = Tally::new(3);
        let links = ["socket:[1]", "/log.1", "/log.2", "/dev/null", "socket:[2]"];
        for (fd, link) in (0..).zip(links.iter().chain(&["socket:[3]"])) {
            tally.descriptor(fd);
            tally.link(link.as_bytes());
        }
        let kinds = tally.most_frequent();
        let named: Vec<(&[u8], u64)> = kinds.iter().map(|k| (&*k.link, k.count)).collect();
        let expect: [(&[u8], u64); 3] = [(b"socket:[N]", 3), (b"/log.N", 2), (b"/dev/null", 1)];
        assert_eq!(named, expect);
        assert_eq!((tally.open, tally.below_limit, tally.sockets), (6, 3, 3));
    }
}
