//! Reads who the holders are: only the few processes that the report names.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::Path;

use procfs::FromBufRead;
use procfs::process::{LimitValue, Limits};

use super::details::Details;
use super::owners::Found;
use super::{proc_root, read_fact, why};
use crate::kernel::{decimal, lines, passwd, stat, words};
use crate::model::{
    Coverage, DescriptorUse, Fact, Gap, GapKind, Inode, Process, ProcessId, Unknown, count_of,
};

/// Processes of which more than the name is read, in one run.
const DETAILED_AT_MOST: usize = 256;

/// Reads each process that holds something, once, and what it waits for if it holds something
/// `suspect`. A process that is gone, or whose pid is another process by now, is left out of the
/// list; its descriptors say that it was there.
pub(super) fn read(
    proc_root: &Path,
    found: &Found,
    suspect: &HashSet<Inode>,
    coverage: &mut Coverage,
) -> Vec<Process> {
    let passwd = proc_root::passwd(proc_root);
    let holds_suspect: BTreeSet<ProcessId> = found
        .held
        .iter()
        .filter(|held| suspect.contains(&held.inode))
        .map(|held| held.process)
        .collect();
    let detailed: BTreeSet<&ProcessId> = holds_suspect.iter().take(DETAILED_AT_MOST).collect();
    let left_out = (holds_suspect.len() - detailed.len()) as u64;
    if left_out > 0 {
        coverage.gaps.push(Gap {
            kind: GapKind::Details,
            what: format!("what {} wait for", count_of(left_out, "holder")),
            why: format!("only {DETAILED_AT_MOST} are looked at so closely"),
            needs: None,
            count: left_out,
        });
    }
    let details = Details::new(proc_root);
    let mut ids: Vec<ProcessId> = found.held.iter().map(|held| held.process).collect();
    ids.dedup();
    let (mut processes, mut unread) = (Vec::new(), None);
    for id in ids {
        match read_one(proc_root, id, &passwd) {
            Ok(Some(mut process)) => {
                if detailed.contains(&id) {
                    let waiting = found.waiting.get(&id).cloned().unwrap_or_default();
                    process.detail = Fact::Known(details.read(&process, &waiting));
                }
                processes.push(process);
            }
            Ok(None) => {}
            Err(error) => unread.get_or_insert((0, error)).0 += 1,
        }
    }
    if let Some((count, error)) = unread {
        coverage.gaps.push(Gap {
            // What only such a one holds passes for what is being closed.
            kind: GapKind::Sockets,
            what: format!("who {} are", count_of(count, "holder")),
            why: error.to_string(),
            needs: None,
            count,
        });
    }
    processes
}

/// Reads those of `ids` that `processes` does not have yet.
pub(super) fn read_further(
    proc_root: &Path,
    ids: impl Iterator<Item = ProcessId>,
    processes: &mut Vec<Process>,
) {
    let known: BTreeSet<ProcessId> = processes.iter().map(|process| process.id).collect();
    let missing: BTreeSet<ProcessId> = ids.filter(|id| !known.contains(id)).collect();
    if missing.is_empty() {
        return;
    }
    let passwd = proc_root::passwd(proc_root);
    let read = missing
        .into_iter()
        .filter_map(|id| read_one(proc_root, id, &passwd).ok().flatten());
    processes.extend(read);
    processes.sort_by_key(|process| process.id);
}

/// `None` if the process is gone, or its pid is another one's by now.
fn read_one(proc_root: &Path, id: ProcessId, passwd: &[u8]) -> io::Result<Option<Process>> {
    let directory = proc_root.join(id.pid.to_string());
    let read = |file: &str| std::fs::read(directory.join(file));
    let stat = match read("stat") {
        Ok(line) => stat::parse_stat(&line)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?,
        Err(error) if why(&error) == Unknown::Vanished => return Ok(None),
        Err(error) => return Err(error),
    };
    if stat.start_time != id.start_time {
        return Ok(None);
    }
    let uid = read_fact(read("status"), effective_uid);
    Ok(Some(Process {
        id,
        comm: stat.comm,
        parent: stat.parent,
        state: stat.state,
        command_line: read_fact(read("cmdline"), |bytes| Some(command_line(bytes))),
        exe: link(&directory.join("exe")),
        user: uid.known().and_then(|uid| passwd::user_name(passwd, *uid)),
        uid,
        cgroup: read_fact(read("cgroup"), |bytes| Some(bytes.to_vec())),
        descriptors: descriptor_use(&directory, read("limits")),
        detail: Fact::Unknown(Unknown::NotCollected),
    }))
}

/// The words of `/proc/PID/cmdline`: each ends in a zero byte.
fn command_line(bytes: &[u8]) -> Vec<Vec<u8>> {
    let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect()
}

/// The second number of the line `Uid:` of `/proc/PID/status`.
fn effective_uid(status: &[u8]) -> Option<u32> {
    let numbers = lines(status).find_map(|line| line.strip_prefix(b"Uid:"))?;
    u32::try_from(decimal(words(numbers).nth(1)?)?).ok()
}

fn link(path: &Path) -> Fact<Vec<u8>> {
    match std::fs::read_link(path) {
        Ok(target) => Fact::Known(target.into_os_string().into_encoded_bytes()),
        Err(error) => Fact::Unknown(why(&error)),
    }
}

fn descriptor_use(directory: &Path, limits: io::Result<Vec<u8>>) -> Fact<DescriptorUse> {
    let open = match count_descriptors(&directory.join("fd")) {
        Ok(open) => open,
        Err(error) => return Fact::Unknown(why(&error)),
    };
    read_fact(limits, |bytes| {
        let soft_limit = soft_descriptor_limit(bytes)?;
        // With fewer descriptors than numbers below the limit, one of those is free.
        let exhausted = soft_limit.is_some_and(|limit| {
            open >= limit && numbers_below(&directory.join("fd"), limit) == Some(limit)
        });
        Some(DescriptorUse {
            open,
            soft_limit,
            exhausted,
        })
    })
}

/// The soft limit of `Max open files` in `/proc/PID/limits`; the inner `None` is unlimited.
pub(super) fn soft_descriptor_limit(limits: &[u8]) -> Option<Option<u64>> {
    match Limits::from_buf_read(limits)
        .ok()?
        .max_open_files
        .soft_limit
    {
        LimitValue::Unlimited => Some(None),
        LimitValue::Value(limit) => Some(Some(limit)),
    }
}

/// Since Linux 6.2 the size of `/proc/PID/fd` is the number of descriptors; before, it is zero.
fn count_descriptors(directory: &Path) -> io::Result<u64> {
    // In a copy the size is that of a directory.
    let is_number = proc_root::is_mounted(directory);
    match std::fs::metadata(directory)?.len() {
        open if open == 0 || !is_number => Ok(std::fs::read_dir(directory)?.count() as u64),
        open => Ok(open),
    }
}

/// How many descriptors have a number below `limit`.
fn numbers_below(directory: &Path, limit: u64) -> Option<u64> {
    let entries = std::fs::read_dir(directory).ok()?;
    let number =
        |entry: io::Result<std::fs::DirEntry>| decimal(entry.ok()?.file_name().as_encoded_bytes());
    Some(entries.filter_map(number).filter(|fd| *fd < limit).count() as u64)
}
