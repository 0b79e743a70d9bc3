//! The inodes of all sockets in a namespace's table, and of nothing else: to tell which sockets
//! are in none.

use std::io;
use std::path::{Path, PathBuf};

use super::netlink::{Dumped, NetlinkError, SockDiag};
use super::places::{Closed, Place, visit};
use super::proc_tables::ProcTables;
use super::{SourceChoice, proc_root};
use crate::kernel::sock_diag::{DumpRequest, RowHead};
use crate::model::{Inode, Netns, TcpState};

/// Which sockets are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// TCP sockets, the listeners and subflows of MPTCP among them.
    Tcp,
    /// MPTCP connections, which outlive their subflows.
    Mptcp,
}

/// How far a table could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// Every socket that has an address.
    Everything,
    /// Not the sockets that are bound and neither connected nor listening.
    NotTheBound,
}

/// A table could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum TableError {
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    #[error("{0}: {1}")]
    File(PathBuf, #[source] io::Error),
    #[error("the table changed during every attempt to read it")]
    Interrupted,
    #[error("{0}")]
    Closed(Closed),
    #[error("MPTCP connections are in no file")]
    NoFile,
}

/// Sockets that are bound and no more are in sock_diag from this release on, and before in nothing
/// (`inet_diag`, "Add support for listing bound-only sockets").
const LISTS_BOUND_SOCKETS: (u64, u64) = (6, 8);
/// Their bit in the request's mask (`TCPF_BOUND_INACTIVE`, `include/net/tcp_states.h`).
const BOUND_INACTIVE: TcpState = TcpState::Unknown(13);

/// Reads the tables of one run.
pub(super) struct Tables<'a> {
    pub(super) proc_root: &'a Path,
    pub(super) source: SourceChoice,
}

impl Tables<'_> {
    /// Gives the inode of every socket in the table at `place`, some more than once.
    pub(super) fn read(
        &self,
        place: &Place,
        protocol: Protocol,
        on_inode: &mut (dyn FnMut(Inode) + Send),
    ) -> Result<Seen, TableError> {
        if place.own {
            return self.read_here(protocol, on_inode);
        }
        let mut inside = visit(self.proc_root, &[place], |_| {
            self.read_here(protocol, &mut *on_inode)
        });
        let closed = match inside.pop() {
            Some(Ok(seen)) => return seen,
            Some(Err(closed)) => closed,
            None => Closed::Vanished,
        };
        match place.directory(self.proc_root) {
            Some(directory) => read_files(&directory, protocol, on_inode),
            None => Err(TableError::Closed(closed)),
        }
    }

    fn read_here(
        &self,
        protocol: Protocol,
        on_inode: &mut (dyn FnMut(Inode) + Send),
    ) -> Result<Seen, TableError> {
        let sock_diag = match self.source {
            SourceChoice::Proc => None,
            SourceChoice::Auto | SourceChoice::SockDiag => SockDiag::open().ok(),
        };
        let files = proc_root::own(self.proc_root).join("net");
        match sock_diag.map(|sock_diag| dump(sock_diag, protocol, on_inode)) {
            Some(Ok(seen)) => Ok(seen),
            // A kernel without sock_diag, or a filter against it.
            Some(Err(TableError::Netlink(_))) | None => read_files(&files, protocol, on_inode),
            Some(Err(error)) => Err(error),
        }
    }
}

fn dump(
    mut sock_diag: SockDiag,
    protocol: Protocol,
    on_inode: &mut (dyn FnMut(Inode) + Send),
) -> Result<Seen, TableError> {
    let request = DumpRequest {
        states: TcpState::all().chain([BOUND_INACTIVE]).collect(),
        filter: None,
        details: false,
    };
    let mut on_row = |row: &[u8]| {
        if let Some(inode) = RowHead::new(row).ok().and_then(|head| head.inode()) {
            on_inode(inode);
        }
    };
    let dumped = match protocol {
        Protocol::Tcp => sock_diag.dump(&request, &mut on_row)?,
        Protocol::Mptcp => sock_diag.dump_mptcp(&request, &mut on_row)?,
    };
    match dumped {
        Dumped::Interrupted => Err(TableError::Interrupted),
        Dumped::Whole if lists_bound_sockets() => Ok(Seen::Everything),
        Dumped::Whole => Ok(Seen::NotTheBound),
    }
}

fn read_files(
    directory: &Path,
    protocol: Protocol,
    on_inode: &mut (dyn FnMut(Inode) + Send),
) -> Result<Seen, TableError> {
    if protocol == Protocol::Mptcp {
        return Err(TableError::NoFile);
    }
    let error = |(path, error)| TableError::File(path, error);
    let mut files = ProcTables::open(directory).map_err(error)?;
    let read = files.each_row(Netns(0), &mut |_, row| {
        // A row that is not understood could be any socket: none may be accused.
        let row = row.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if let Some(inode) = row.inode {
            on_inode(inode);
        }
        Ok(())
    });
    read.map_err(error)?;
    Ok(Seen::NotTheBound)
}

fn lists_bound_sockets() -> bool {
    let names = rustix::system::uname();
    release(&names.release().to_string_lossy()) >= Some(LISTS_BOUND_SOCKETS)
}

/// The first two numbers of `uname -r`.
fn release(text: &str) -> Option<(u64, u64)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_as_numbers() {
        assert_eq!(release("6.18.44-generic"), Some((6, 18)));
        assert!(release("6.18.44") >= Some(LISTS_BOUND_SOCKETS));
        assert!(release("5.15.0-91-generic") < Some(LISTS_BOUND_SOCKETS));
        assert!(release("linux") < Some(LISTS_BOUND_SOCKETS));
    }
}
