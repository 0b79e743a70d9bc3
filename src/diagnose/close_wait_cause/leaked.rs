//! Sockets left in CLOSE_WAIT, with what their holders do: what the causes are judged on.

use std::collections::HashSet;

use crate::diagnose::wait::{Wait, is_of_the_program, wait_of};
use crate::join::{CloseWait, SocketTable};
use crate::model::{EpollRegistration, Fact, Process, ProcessDetail};

/// Sockets with the same holders, direction and far endpoint.
pub(in crate::diagnose) struct Leaked<'t, 'a> {
    /// At least one.
    pub(super) sockets: &'t [&'t CloseWait<'a>],
    pub(super) table: &'t SocketTable<'a>,
    watched: Option<Watched<'t>>,
}

/// A holder of which was read what it waits for.
pub(super) struct Watched<'t> {
    pub(super) process: &'t Process,
    pub(super) detail: &'t ProcessDetail,
    /// Registrations of the leaked sockets in its epoll sets.
    pub(super) registrations: Vec<EpollRegistration>,
    /// What its threads wait for.
    pub(super) waits: Vec<Wait>,
    /// Its descriptors for the leaked sockets.
    pub(super) fds: HashSet<i32>,
}

impl<'t, 'a> Leaked<'t, 'a> {
    pub(in crate::diagnose) fn new(
        sockets: &'t [&'t CloseWait<'a>],
        table: &'t SocketTable<'a>,
    ) -> Leaked<'t, 'a> {
        Leaked {
            sockets,
            table,
            watched: Watched::of(sockets, table),
        }
    }

    /// The first holder, if what it waits for was read.
    pub(super) fn watched(&self) -> Option<&Watched<'t>> {
        self.watched.as_ref()
    }

    pub(super) fn count(&self, is_so: impl Fn(&CloseWait<'_>) -> bool) -> usize {
        self.sockets.iter().filter(|socket| is_so(socket)).count()
    }
}

impl<'t> Watched<'t> {
    fn of(sockets: &[&'t CloseWait<'_>], table: &'t SocketTable<'_>) -> Option<Watched<'t>> {
        let process = sockets[0].holders.first()?.process?;
        let Fact::Known(detail) = &process.detail else {
            return None;
        };
        let registrations = sockets
            .iter()
            .filter_map(|socket| socket.entry.inode)
            .flat_map(|inode| table.registrations_of(inode))
            .filter(|(holder, _)| *holder == process.id)
            .map(|(_, registration)| *registration)
            .collect();
        let threads = detail.threads.known().map_or(&[][..], Vec::as_slice);
        let waits = threads
            .iter()
            .filter(|thread| is_of_the_program(thread, detail.runtime.known().copied()))
            .map(wait_of)
            .collect();
        let holders = sockets.iter().filter_map(|socket| socket.holders.first());
        let fds = holders
            .flat_map(|holder| holder.fds.iter().copied())
            .collect();
        Some(Watched {
            process,
            detail,
            registrations,
            waits,
            fds,
        })
    }

    /// Some thread is in a call on one of the leaked descriptors.
    pub(super) fn in_call_on_them(&self) -> bool {
        self.waits
            .iter()
            .any(|wait| matches!(wait, Wait::Blocked { fd: Some(fd), .. } if self.fds.contains(fd)))
    }
}
