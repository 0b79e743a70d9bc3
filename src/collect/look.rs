//! The look at socket tables: which rows are read, and which of them matter for what follows.
//!
//! The rules here are simple ones on single rows (a listener with a queue, a socket in
//! CLOSE_WAIT); what rows mean together is not collect's business.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::focus::Focused;
use super::sockets::{Sockets, Want};
use super::{CollectError, Entries, Request, closed, proc_root, queues};
use crate::model::{
    Coverage, HeldDescriptor, Inode, Peer, PeerAnswer, QueueRead, Queues, SocketEntry, TcpState,
};

/// Rows as they were read.
pub(super) struct Look {
    /// The first look at the tables.
    pub(super) first: Vec<SocketEntry>,
    /// Repeated reads of the ports whose listeners had a queue.
    pub(super) queue_reads: Vec<QueueRead>,
    started: Instant,
}

impl Look {
    /// Reads what `request` asks for, and the queues until two reads agree.
    pub(super) fn take(
        sockets: &mut Sockets,
        request: &Request,
        started: Instant,
        coverage: &mut Coverage,
    ) -> Result<Look, CollectError> {
        let (states, focused) = match &request.entries {
            Entries::Suspects | Entries::SuspectsAndAllListeners => (
                vec![TcpState::Listen, TcpState::CloseWait, TcpState::SynRecv],
                None,
            ),
            Entries::InStates(states) => (states.clone(), None),
            Entries::Focus(focus) => (
                TcpState::all().collect(),
                Some(Focused::find(*focus, &request.proc_root)?),
            ),
        };
        let mut first = sockets.read(
            &Want {
                states,
                ports: None,
                accepted: true,
            },
            coverage,
        )?;
        if let Some(focused) = focused {
            focused.retain(&mut first);
        }
        // A list is of one moment and of these states: further reads would add rows of others.
        let queue_reads = match request.entries {
            Entries::InStates(_) => Vec::new(),
            // That two reads of a copy agree says nothing.
            _ if !proc_root::is_mounted(&request.proc_root) => {
                let read = queues::read_once(sockets, &first, started, coverage)?;
                read.into_iter().collect()
            }
            _ => queues::read_until_they_agree(sockets, &first, started, coverage)?,
        };
        Ok(Look {
            first,
            queue_reads,
            started,
        })
    }

    /// The first look's rows and those of the last read of the queues.
    pub(super) fn newest_rows(&self) -> impl Iterator<Item = &SocketEntry> + Clone {
        let last = self.queue_reads.last();
        self.first
            .iter()
            .chain(last.into_iter().flat_map(|read| &read.sockets))
    }

    /// The sockets whose holders are looked for; none means that no descriptor need be read.
    ///
    /// Listeners that dropped connections in the past are looked up along with others, but are no
    /// reason to walk all descriptors: on most machines some listener once did.
    pub(super) fn wanted(&self, request: &Request, peers: &[Peer]) -> HashSet<Inode> {
        let (mut wanted, mut along) = (HashSet::new(), HashSet::new());
        for row in self.newest_rows() {
            let Some(inode) = row.inode else { continue };
            let only_along = match (&request.entries, row.queues) {
                (Entries::Suspects, Queues::Listen { accept_queue, .. }) => accept_queue == 0,
                _ => false,
            };
            if only_along { &mut along } else { &mut wanted }.insert(inode);
        }
        wanted.extend(peers.iter().filter_map(|peer| match &peer.answer {
            PeerAnswer::Found(entry) => entry.inode,
            PeerAnswer::Gone => None,
        }));
        if !wanted.is_empty() {
            wanted.extend(along);
        }
        wanted
    }

    /// The sockets whose holders are looked at closely: those that a finding may be about
    /// (listeners with a queue, and sockets left in CLOSE_WAIT for long, or for nobody knows how
    /// long), or those that were asked about.
    pub(super) fn suspect(&self, request: &Request) -> HashSet<Inode> {
        let is_suspect = |row: &&SocketEntry| match (&request.entries, row.queues) {
            (Entries::Focus(_), _) => true,
            (_, Queues::Listen { accept_queue, .. }) => accept_queue > 0,
            (_, Queues::Stream { .. }) => {
                row.state == TcpState::CloseWait
                    && row.may_be_in_close_wait_for(request.close_wait_age)
            }
        };
        self.newest_rows()
            .filter(is_suspect)
            .filter_map(|row| row.inode)
            .collect()
    }

    /// Takes out what was closed before its holder could be found.
    pub(super) fn take_out_closed(&mut self, sockets: &mut Sockets, held: &[HeldDescriptor]) {
        closed::take_out(sockets, &mut self.first, held);
        if let Some(last) = self.queue_reads.last_mut() {
            closed::take_out(sockets, &mut last.sockets, held);
        }
    }

    /// Waits until `watch` has passed since the queues were first read, and reads them once more.
    ///
    /// Only holders of `wanted` sockets were looked for: a connection that was accepted since, or a
    /// listener that was opened, would pass for one that nobody holds, and is left out.
    pub(super) fn look_again(
        &mut self,
        watch: Duration,
        wanted: &HashSet<Inode>,
        sockets: &mut Sockets,
        coverage: &mut Coverage,
    ) -> Result<(), CollectError> {
        let first_read = self
            .queue_reads
            .first()
            .map_or(Duration::ZERO, |read| read.after);
        let mut lengths = queues::Lengths::default();
        for read in &self.queue_reads {
            lengths.note(&read.sockets);
        }
        lengths.watch(sockets, &self.first, self.started, first_read + watch);
        let mut read = queues::read_once(sockets, &self.first, self.started, coverage)?;
        if let Some(read) = &mut read {
            let known = |row: &SocketEntry| row.inode.is_none_or(|inode| wanted.contains(&inode));
            read.sockets.retain(known);
            lengths.note(&read.sockets);
            read.freed = Some(lengths.freed());
        }
        self.queue_reads.extend(read);
        Ok(())
    }
}
