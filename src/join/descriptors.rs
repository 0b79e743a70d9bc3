//! Processes whose descriptors are the problem: most of them are used, or they keep sockets that
//! are in no table.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::{Filter, Holder, SocketTable};
use crate::model::{
    CrowdedProcess, DescriptorUse, Fact, Holdings, Inode, Process, ProcessId, Queues, Snapshot,
    TcpState,
};

/// A process with descriptors of TCP sockets that are in no table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadSockets<'a> {
    /// The process, with all of those descriptors.
    pub holder: Holder<'a>,
    /// The sockets; a socket may have several descriptors.
    pub sockets: BTreeSet<Inode>,
}

/// A process that has used most of its descriptors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crowded<'a> {
    /// Which process.
    pub id: ProcessId,
    /// What is known of it.
    pub process: Option<&'a Process>,
    /// Its soft limit.
    pub soft_limit: u64,
    /// Descriptors with a number below the limit: those that count against it.
    pub used: u64,
    /// All of its descriptors.
    pub open: u64,
    /// What they are, where that was looked at.
    pub holds: Option<&'a Holdings>,
    /// Listeners among them, of those that were looked for.
    pub listeners: HashSet<Inode>,
    /// Sockets in CLOSE_WAIT among them, of those that were looked for.
    pub close_wait: u64,
}

impl Crowded<'_> {
    /// Share of the limit that is used, in percent, rounded down.
    pub fn percent(&self) -> u64 {
        percent(self.used, self.soft_limit)
    }
}

fn percent(used: u64, soft_limit: u64) -> u64 {
    let descriptors = DescriptorUse {
        open: used,
        soft_limit: Some(soft_limit),
        exhausted: false,
    };
    descriptors.percent()
}

pub(super) fn dead_sockets<'a>(
    snapshot: &'a Snapshot,
    processes: &BTreeMap<ProcessId, &'a Process>,
) -> Vec<DeadSockets<'a>> {
    let mut dead: BTreeMap<ProcessId, DeadSockets<'a>> = BTreeMap::new();
    for held in &snapshot.dead_sockets {
        let of_process = dead.entry(held.process).or_insert_with(|| DeadSockets {
            holder: Holder {
                id: held.process,
                process: processes.get(&held.process).copied(),
                fds: Vec::new(),
            },
            sockets: BTreeSet::new(),
        });
        of_process.holder.fds.push(held.fd);
        of_process.sockets.insert(held.inode);
    }
    dead.into_values().collect()
}

/// Those that were looked at closely, and those that were read because they hold something and
/// turned out to be crowded (a kernel before 6.2 does not tell without reading).
pub(super) fn crowded<'a>(
    table: &SocketTable<'a>,
    processes: &BTreeMap<ProcessId, &'a Process>,
) -> Vec<Crowded<'a>> {
    let mut all: BTreeMap<ProcessId, Crowded<'a>> = BTreeMap::new();
    for crowded in &table.snapshot.crowded {
        // Without its descriptors it is not known what they are, nor how many count.
        let Fact::Known(holds) = &crowded.holds else {
            continue;
        };
        all.insert(
            crowded.process,
            Crowded {
                id: crowded.process,
                process: processes.get(&crowded.process).copied(),
                soft_limit: crowded.soft_limit,
                used: holds.below_limit,
                open: holds.open,
                holds: Some(holds),
                listeners: holds.listeners.iter().copied().collect(),
                close_wait: holds.close_wait,
            },
        );
    }
    for process in processes.values() {
        let Fact::Known(descriptors) = process.descriptors else {
            continue;
        };
        let Some(soft_limit) = descriptors.soft_limit else {
            continue;
        };
        let used = match descriptors {
            DescriptorUse {
                exhausted: true, ..
            } => soft_limit,
            DescriptorUse { open, .. } if open < soft_limit => open,
            // Some lie above the limit; how many below it cannot be told from a count.
            _ => continue,
        };
        if percent(used, soft_limit) < CrowdedProcess::PERCENT {
            continue;
        }
        all.entry(process.id).or_insert_with(|| Crowded {
            id: process.id,
            process: Some(process),
            soft_limit,
            used,
            open: descriptors.open,
            holds: None,
            listeners: HashSet::new(),
            close_wait: 0,
        });
    }
    let not_looked_at = all.values().any(|crowded| crowded.holds.is_none());
    let rows = table.rows.iter().filter(|_| not_looked_at);
    for row in rows {
        for holder in table.holders_of(row) {
            let crowded = all.get_mut(&holder.id);
            let Some(crowded) = crowded.filter(|crowded| crowded.holds.is_none()) else {
                continue;
            };
            match row.queues {
                Queues::Listen { .. } => crowded.listeners.extend(row.inode),
                Queues::Stream { .. } if row.state == TcpState::CloseWait => {
                    crowded.close_wait += holder.fds.len() as u64;
                }
                Queues::Stream { .. } => {}
            }
        }
    }
    all.into_values().collect()
}

/// Keeps the processes that `filter` lets through; `table` has only such rows left.
pub(super) fn retain(table: &mut SocketTable<'_>, filter: &Filter) {
    if table.crowded.is_empty() && table.dead_sockets.is_empty() {
        return;
    }
    let rows: HashSet<Inode> = table.rows.iter().filter_map(|row| row.inode).collect();
    let mut holders: HashSet<ProcessId> = table
        .rows
        .iter()
        .flat_map(|row| table.holders_of(row))
        .map(|holder| holder.id)
        .collect();
    let with_listener = table
        .crowded
        .iter()
        .filter(|crowded| crowded.listeners.iter().any(|inode| rows.contains(inode)));
    holders.extend(with_listener.map(|crowded| crowded.id));
    table.crowded.retain(|crowded| {
        filter.takes_process(crowded.id, crowded.process, holders.contains(&crowded.id))
    });
    table.dead_sockets.retain(|dead| {
        let Holder { id, process, .. } = dead.holder;
        filter.takes_process(id, process, holders.contains(&id))
    });
}
