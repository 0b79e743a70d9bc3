//! One look at the queue that a connection would join.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use crate::join::Listeners;
use crate::model::{Cookie, Inode, Netns, QueueRead, Queues, SocketEntry, TcpState};

/// Which listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerSeen {
    /// Its namespace.
    pub netns: Netns,
    /// Its cookie.
    pub cookie: Option<Cookie>,
    /// Its inode.
    pub inode: Option<Inode>,
    /// Its address.
    pub local: SocketAddr,
}

/// The queue at one time; of all together where several listeners share the address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSeen {
    /// Since the experiment began.
    pub at: Duration,
    /// Slots that are taken, ours included.
    pub length: u32,
    /// The limit, where the source tells.
    pub backlog: Option<u32>,
    /// There is no slot left (facts Q2).
    pub full: bool,
    /// The connections in it, without ours, the oldest first.
    pub waiting: Vec<Waiting>,
    /// Connections that were accepted, without ours.
    pub accepted: HashSet<Cookie>,
    /// Where the server's end of ours is; `None` if it is in no table.
    pub ours: Option<Place>,
}

/// A connection in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Which.
    pub cookie: Cookie,
    /// For how long (facts Q5).
    pub waited: Option<Duration>,
}

/// Where the server's end of our connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the SYN queue.
    Handshake,
    /// In the accept queue.
    Queued,
    /// A program has it, or had it and has closed it.
    Accepted,
}

impl QueueSeen {
    /// What `read` shows of the listeners that take a connection to `target`, of which ours is the
    /// one from `ours`; with the listener, and how many share its address. `None` if there is none.
    pub fn of(
        read: &QueueRead,
        netns: Netns,
        target: SocketAddr,
        ours: Option<SocketAddr>,
    ) -> Option<(ListenerSeen, usize, QueueSeen)> {
        let listeners = Listeners::of(read.sockets.iter());
        let members = listeners.that_take(netns, target);
        let entries = || members.iter().map(|index| listeners.entries()[*index]);
        let first = entries().next()?;
        let mut seen = QueueSeen {
            at: read.after,
            length: entries().map(|entry| queue_of(entry).0).sum(),
            backlog: entries().map(|entry| queue_of(entry).1).sum(),
            full: entries().all(|entry| {
                let (length, backlog) = queue_of(entry);
                backlog.is_some_and(|backlog| length > backlog)
            }),
            waiting: Vec::new(),
            accepted: HashSet::new(),
            ours: None,
        };
        for row in &read.sockets {
            let is_here = || {
                let takers = listeners.of_connection(row);
                takers.iter().any(|index| members.contains(index))
            };
            if row.state == TcpState::Listen || !is_here() {
                continue;
            }
            if ours.is_some_and(|ours| is_at(row.remote, ours) && is_at(row.local, target)) {
                seen.ours = Some(place(row));
            } else if let Some(cookie) = row.cookie {
                if row.is_unaccepted() {
                    let waited = row.wait();
                    seen.waiting.push(Waiting { cookie, waited });
                } else if row.inode.is_some() {
                    seen.accepted.insert(cookie);
                }
            }
        }
        seen.waiting
            .sort_by_key(|one| (Reverse(one.waited), one.cookie));
        let listener = ListenerSeen {
            netns,
            cookie: first.cookie,
            inode: first.inode,
            local: first.local,
        };
        Some((listener, members.len(), seen))
    }

    /// The longest wait.
    pub fn oldest_wait(&self) -> Option<Duration> {
        self.waiting.first()?.waited
    }

    /// Connections of `later` that were not there, wherever they are now.
    pub(super) fn newcomers<'a>(
        &'a self,
        later: &'a QueueSeen,
    ) -> impl Iterator<Item = Cookie> + 'a {
        let waited: HashSet<Cookie> = self.waiting.iter().map(|one| one.cookie).collect();
        let queued = later.waiting.iter().map(|one| one.cookie);
        queued
            .chain(later.accepted.iter().copied())
            .filter(move |cookie| !waited.contains(cookie) && !self.accepted.contains(cookie))
    }

    /// Slots freed until `later`, if so many came in between.
    pub(super) fn taken(&self, later: &QueueSeen, came: usize) -> u32 {
        let came = u32::try_from(came).unwrap_or(u32::MAX);
        self.length
            .saturating_add(came)
            .saturating_sub(later.length)
    }

    /// The same connections are in the same places.
    pub(super) fn is_as(&self, other: &QueueSeen) -> bool {
        let cookies = |seen: &QueueSeen| -> HashSet<Cookie> {
            seen.waiting.iter().map(|one| one.cookie).collect()
        };
        (self.length, self.ours) == (other.length, other.ours) && cookies(self) == cookies(other)
    }
}

fn queue_of(listener: &SocketEntry) -> (u32, Option<u32>) {
    match listener.queues {
        Queues::Listen {
            accept_queue,
            backlog,
        } => (accept_queue, backlog),
        Queues::Stream { .. } => (0, None),
    }
}

/// The address of a row, which is v4-mapped under an IPv6 listener.
fn is_at(end: SocketAddr, address: SocketAddr) -> bool {
    end.port() == address.port() && end.ip().to_canonical() == address.ip().to_canonical()
}

fn place(row: &SocketEntry) -> Place {
    match row.state {
        _ if row.is_unaccepted() => Place::Queued,
        TcpState::SynRecv => Place::Handshake,
        // FIN_WAIT1 and the like have no inode any more: somebody has closed them (facts Q4).
        _ => Place::Accepted,
    }
}
