//! Narrows a full look at the tables to what was asked about, with what belongs to it.

use std::collections::HashSet;
use std::io;
use std::path::Path;

use super::CollectError;
use crate::kernel::fd_link;
use crate::model::{Focus, Inode, Netns, SocketEntry, TcpState};

/// A subject, and the sockets of a process where it is one.
pub(super) struct Focused {
    focus: Focus,
    inodes: HashSet<Inode>,
}

impl Focused {
    /// Fails if the process or descriptor that is asked about cannot be read.
    pub(super) fn find(focus: Focus, proc_root: &Path) -> Result<Focused, CollectError> {
        let inodes = match focus {
            Focus::Process(pid) => {
                let directory = proc_root.join(pid.to_string()).join("fd");
                let entries = std::fs::read_dir(&directory);
                let inodes = entries.map(|entries| {
                    entries
                        .filter_map(|entry| socket_inode(&entry.ok()?.path()).ok()?)
                        .collect()
                });
                inodes.map_err(|error| unreadable(focus, &directory, error))?
            }
            Focus::Descriptor { pid, fd } => {
                let link = proc_root.join(format!("{pid}/fd/{fd}"));
                let inode = socket_inode(&link).map_err(|error| unreadable(focus, &link, error))?;
                inode.into_iter().collect()
            }
            _ => HashSet::new(),
        };
        Ok(Focused { focus, inodes })
    }

    /// Keeps the rows that were asked about; the listeners on their ports, since a connection is
    /// told to be inbound by its listener; and what waits in the queues of kept listeners.
    pub(super) fn retain(&self, rows: &mut Vec<SocketEntry>) {
        let asked = |row: &SocketEntry| {
            self.focus.takes(row) || row.inode.is_some_and(|inode| self.inodes.contains(&inode))
        };
        let port = |row: &SocketEntry| (row.netns, row.local.port());
        let ports: HashSet<(Netns, u16)> = rows.iter().filter(|row| asked(row)).map(port).collect();
        let queues: HashSet<(Netns, u16)> = rows
            .iter()
            .filter(|row| row.state == TcpState::Listen && asked(row))
            .map(port)
            .collect();
        rows.retain(|row| {
            asked(row)
                || row.state == TcpState::Listen && ports.contains(&port(row))
                || row.is_unaccepted() && queues.contains(&port(row))
        });
    }
}

fn socket_inode(link: &Path) -> io::Result<Option<Inode>> {
    let target = std::fs::read_link(link)?;
    Ok(fd_link::socket_inode(target.as_os_str().as_encoded_bytes()))
}

fn unreadable(focus: Focus, path: &Path, error: io::Error) -> CollectError {
    CollectError::Focus {
        focus,
        path: path.to_owned(),
        error,
    }
}
