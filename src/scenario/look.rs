//! One look at what the kernel says of a case: its rows of `/proc/thread-self/net/tcp` and `tcp6`
//! and the state of its server.
//!
//! Independent of `collect`, so that what a scan reports can be checked against it.

use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;

use crate::kernel::{proc_net_tcp, stat};
use crate::model::{Netns, Queues, SocketEntry, TcpState};

use super::Expected;

/// What was seen of a case.
pub(super) struct Look {
    /// Every row with the case's address on either side.
    pub(super) sockets: Vec<SocketEntry>,
    /// State letter of the server's main thread; `Z` if there is no such process any more.
    pub(super) state: char,
    address: SocketAddr,
}

impl Look {
    pub(super) fn take(address: SocketAddr, server: u32) -> io::Result<Look> {
        let mut sockets = tcp_table()?;
        sockets.retain(|entry| is_at(address, entry.local) || is_at(address, entry.remote));
        Ok(Look {
            sockets,
            state: process_state(server)?,
            address,
        })
    }

    /// Connections that wait at each of the case's listeners.
    pub(super) fn accept_queues(&self) -> Vec<u32> {
        self.sockets
            .iter()
            .filter(|entry| is_at(self.address, entry.local))
            .filter_map(|entry| match entry.queues {
                Queues::Listen { accept_queue, .. } => Some(accept_queue),
                Queues::Stream { .. } => None,
            })
            .collect()
    }

    /// Connections that wait, at whichever listener.
    pub(super) fn accept_queue(&self) -> u32 {
        self.accept_queues().iter().sum()
    }

    /// Connections that the server has accepted and not closed.
    pub(super) fn accepted(&self) -> usize {
        self.sockets
            .iter()
            .filter(|entry| is_at(self.address, entry.local))
            .filter(|entry| matches!(entry.queues, Queues::Stream { .. }))
            .filter(|entry| entry.inode.is_some())
            .count()
    }

    /// Sockets in that state, on either side.
    pub(super) fn in_state(&self, state: TcpState) -> usize {
        self.sockets
            .iter()
            .filter(|entry| entry.state == state)
            .count()
    }

    pub(super) fn shows(&self, expected: &Expected) -> bool {
        let mut close_wait = self
            .sockets
            .iter()
            .filter(|entry| entry.state == TcpState::CloseWait);
        expected.accept_queue.contains(&self.accept_queue())
            && self.in_state(TcpState::CloseWait) == expected.close_wait
            && close_wait.all(|entry| {
                entry
                    .stream_queues()
                    .is_some_and(|(recv_q, _)| recv_q == expected.recv_q)
            })
            && self.state == expected.state
    }
}

/// How many rows an error shows.
const SHOWN: usize = 24;

/// For errors: enough to see what a case is stuck at.
impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "server in state {}", self.state)?;
        for entry in self.sockets.iter().take(SHOWN) {
            let (recv_q, send_q) = match entry.queues {
                Queues::Listen { accept_queue, .. } => (accept_queue, 0),
                Queues::Stream { recv_q, send_q } => (recv_q, send_q),
            };
            let inode = entry.inode.map_or(0, |inode| inode.0);
            write!(
                f,
                "; {} {recv_q} {send_q} {} {} inode {inode}",
                entry.state, entry.local, entry.remote
            )?;
        }
        match self.sockets.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            rest => write!(f, "; and {rest} more"),
        }
    }
}

/// A wildcard takes every address; an IPv4 connection to an IPv6 socket has v4-mapped ones.
fn is_at(address: SocketAddr, end: SocketAddr) -> bool {
    end.port() == address.port()
        && (address.ip().is_unspecified() || end.ip().to_canonical() == address.ip())
}

/// Both tables of this thread's namespace. `/proc/net` would be the main thread's.
fn tcp_table() -> io::Result<Vec<SocketEntry>> {
    let netns = Netns(fs::metadata("/proc/thread-self/ns/net")?.ino());
    let mut table = fs::read("/proc/thread-self/net/tcp")?;
    // Absent from a kernel without IPv6.
    table.extend(fs::read("/proc/thread-self/net/tcp6").unwrap_or_default());
    table
        .split(|byte| *byte == b'\n')
        .enumerate()
        .filter(|(_, row)| !row.is_empty() && !is_heading(row))
        .map(|(line, row)| proc_net_tcp::parse_row(row, line + 1, netns).map_err(io::Error::other))
        .collect()
}

fn is_heading(row: &[u8]) -> bool {
    row.trim_ascii_start().starts_with(b"sl")
}

fn process_state(pid: u32) -> io::Result<char> {
    match fs::read(format!("/proc/{pid}/stat")) {
        Ok(line) => Ok(stat::parse_stat(&line).map_err(io::Error::other)?.state.0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok('Z'),
        Err(error) => Err(error),
    }
}

/// Numbers of the descriptors that a process has open.
pub(super) fn descriptors(pid: u32) -> io::Result<Vec<u64>> {
    fs::read_dir(format!("/proc/{pid}/fd"))?
        .map(|entry| {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.parse().ok());
            number.ok_or_else(|| io::ErrorKind::InvalidData.into())
        })
        .collect()
}
