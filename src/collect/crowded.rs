//! Reads what the descriptors of crowded processes are.
//!
//! Only of those few that have used most of their limit: whether they hold listeners or sockets in
//! CLOSE_WAIT, and what takes up most of the room.

use std::collections::{HashMap, HashSet};
use std::mem::MaybeUninit;
use std::path::Path;

use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{CWD, RawDir, readlinkat_raw};
use rustix::io::Errno;

use super::descriptors::{open_directory, start_time};
use super::why;
use crate::kernel::{decimal, fd_link};
use crate::model::{
    Coverage, CrowdedProcess, DescriptorKind, Fact, Gap, GapKind, Holdings, Inode, ProcessId,
    Queues, SocketEntry, TcpState, count_of,
};

/// Processes that are looked at closely in one run.
const PROCESSES_AT_MOST: usize = 64;
/// Links that are read of one process. Listeners are made early and have low numbers.
const LINKS_AT_MOST: u64 = 20_000;
/// Different links that are counted; the most frequent are among the first of these.
const KINDS_AT_MOST: usize = 1_000;
/// Kinds that are kept.
const KINDS_KEPT: usize = 4;

/// Looks closely at `crowded` processes, given with their soft limits.
pub(super) fn read<'a>(
    proc_root: &Path,
    crowded: &[(u32, u64)],
    rows: impl Iterator<Item = &'a SocketEntry>,
    coverage: &mut Coverage,
) -> Vec<CrowdedProcess> {
    let (mut listeners, mut close_wait) = (HashSet::new(), HashSet::new());
    for row in rows {
        match row.queues {
            Queues::Listen { .. } => listeners.extend(row.inode),
            Queues::Stream { .. } if row.state == TcpState::CloseWait => {
                close_wait.extend(row.inode);
            }
            Queues::Stream { .. } => {}
        }
    }
    let Ok(root) = open_directory(CWD, proc_root) else {
        return Vec::new();
    };
    let reader = Reader {
        root: root.as_fd(),
        listeners,
        close_wait,
    };
    let looked_at = &crowded[..crowded.len().min(PROCESSES_AT_MOST)];
    let read: Vec<CrowdedProcess> = looked_at
        .iter()
        .filter_map(|(pid, soft_limit)| reader.process(*pid, *soft_limit))
        .collect();
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
        Some("root, or CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH".into()),
    );
    gap(
        (crowded.len() - looked_at.len()) as u64,
        format!("only {PROCESSES_AT_MOST} are looked at so closely"),
        None,
    );
    read
}

struct Reader<'a> {
    root: BorrowedFd<'a>,
    listeners: HashSet<Inode>,
    close_wait: HashSet<Inode>,
}

impl Reader<'_> {
    /// `None` if the process has ended.
    fn process(&self, pid: u32, soft_limit: u64) -> Option<CrowdedProcess> {
        let start_time = start_time(self.root, pid)?;
        let holds = match self.holdings(pid, soft_limit) {
            Ok(holdings) => Fact::Known(holdings),
            Err(Errno::NOENT | Errno::SRCH) => return None,
            Err(error) => Fact::Unknown(why(&error.into())),
        };
        Some(CrowdedProcess {
            process: ProcessId { pid, start_time },
            soft_limit,
            holds,
        })
    }

    fn holdings(&self, pid: u32, soft_limit: u64) -> Result<Holdings, Errno> {
        let directory = open_directory(self.root, format!("{pid}/fd"))?;
        let mut holdings = Holdings {
            open: 0,
            below_limit: 0,
            looked_at: 0,
            sockets: 0,
            listeners: Vec::new(),
            close_wait: 0,
            kinds: Vec::new(),
        };
        let mut kinds: HashMap<Vec<u8>, u64> = HashMap::new();
        let mut buffer = [MaybeUninit::uninit(); 8192];
        let mut entries = RawDir::new(directory.as_fd(), &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let Some(fd) = decimal(entry.file_name().to_bytes()) else {
                continue;
            };
            holdings.open += 1;
            holdings.below_limit += u64::from(fd < soft_limit);
            if holdings.looked_at == LINKS_AT_MOST {
                continue;
            }
            let mut target = [MaybeUninit::uninit(); 256];
            let target = match readlinkat_raw(&directory, entry.file_name(), &mut target) {
                Ok((target, _)) => &*target,
                // Closed since the directory was read.
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error),
            };
            holdings.looked_at += 1;
            if let Some(inode) = fd_link::socket_inode(target) {
                holdings.sockets += 1;
                holdings.close_wait += u64::from(self.close_wait.contains(&inode));
                holdings
                    .listeners
                    .extend(self.listeners.get(&inode).copied());
            }
            let kind = without_numbers(target);
            if kinds.len() < KINDS_AT_MOST || kinds.contains_key(&kind) {
                *kinds.entry(kind).or_default() += 1;
            }
        }
        holdings.listeners.sort_unstable();
        holdings.listeners.dedup();
        holdings.kinds = kinds
            .into_iter()
            .map(|(link, count)| DescriptorKind { link, count })
            .collect();
        let rank = |kind: &DescriptorKind| (std::cmp::Reverse(kind.count), kind.link.clone());
        holdings.kinds.sort_by_key(rank);
        holdings.kinds.truncate(KINDS_KEPT);
        Ok(holdings)
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
}
