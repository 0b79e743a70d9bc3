//! Reads of the listeners that have a queue, with the connections on their ports.
//!
//! A queue moves while it is read. One read is enough when every connection in it is visible;
//! otherwise the read is repeated until two in a row agree, so that what is missing can be told
//! from what was on its way (facts Q6).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::CollectError;
use super::sockets::{Ports, Sockets, Want};
use crate::model::{Cookie, Coverage, Netns, QueueRead, Queues, SocketEntry, TcpState};

const READS_AT_MOST: usize = 4;

/// Reads until the totals add up or two reads in a row agree; nothing if no listener of `first`
/// has a queue.
pub(super) fn read_until_they_agree(
    sockets: &mut Sockets,
    first: &[SocketEntry],
    started: Instant,
    coverage: &mut Coverage,
) -> Result<Vec<QueueRead>, CollectError> {
    let mut reads: Vec<QueueRead> = Vec::new();
    while let Some(read) = read_once(sockets, first, started, coverage)? {
        let ports = ports(&read.sockets);
        let adds_up = ports.values().all(PortQueue::adds_up);
        let agrees = reads
            .last()
            .is_some_and(|last| self::ports(&last.sockets) == ports);
        reads.push(read);
        if adds_up || agrees || reads.len() == READS_AT_MOST {
            break;
        }
    }
    Ok(reads)
}

/// Reads once the ports of those listeners of `first` that have a queue; `None` if none has.
pub(super) fn read_once(
    sockets: &mut Sockets,
    first: &[SocketEntry],
    started: Instant,
    coverage: &mut Coverage,
) -> Result<Option<QueueRead>, CollectError> {
    let mut ports = Ports::new();
    for row in first {
        if let Queues::Listen {
            accept_queue: 1.., ..
        } = row.queues
        {
            let of_namespace = ports.entry(row.netns).or_default();
            of_namespace.insert(row.local.port());
        }
    }
    if ports.is_empty() {
        return Ok(None);
    }
    let states = vec![
        TcpState::Listen,
        TcpState::CloseWait,
        TcpState::SynRecv,
        TcpState::Established,
    ];
    let after = started.elapsed();
    let (sockets, accepted) = sockets.read_with_accepted(
        &Want {
            states,
            condition: None,
            ports: Some(ports),
            accepted: false,
        },
        coverage,
    )?;
    Ok(Some(QueueRead {
        after,
        sockets,
        accepted,
    }))
}

/// How long suspect queues are to be watched; zero if none is suspect.
///
/// A queue is suspect if a connection has waited for `accept_age`, if it is not known how long, or
/// if some of its connections are not visible. Where the kernel does not tell ages (`/proc/net/tcp`,
/// slots of reset connections), only watching for `accept_age` itself shows that something waited
/// so long; that is done up to a limit.
pub(super) fn time_to_watch(
    reads: &[QueueRead],
    accept_age: Duration,
    settle: Duration,
) -> Duration {
    const WATCHED_AT_MOST: Duration = Duration::from_secs(2);
    let Some(last) = reads.last() else {
        return Duration::ZERO;
    };
    let mut waiting = last.sockets.iter().filter(|row| row.is_unaccepted());
    let queues = ports(&last.sockets);
    let seen_twice = matches!(reads, [.., before, _] if ports(&before.sockets) == queues);
    let is_old = |row: &SocketEntry| row.wait().is_some_and(|wait| wait >= accept_age);
    // Slots that stay hidden may be old, whatever is visible beside them.
    let hides_some =
        seen_twice && !waiting.clone().any(is_old) && !queues.values().all(PortQueue::shows_all);
    let ages_unknown = waiting.clone().any(|row| row.wait().is_none())
        || hides_some
        || queues.values().any(PortQueue::hides_all);
    if settle.is_zero() {
        Duration::ZERO
    } else if ages_unknown && accept_age <= WATCHED_AT_MOST {
        settle.max(accept_age)
    } else if ages_unknown || waiting.any(is_old) || !queues.values().all(PortQueue::adds_up) {
        settle
    } else {
        Duration::ZERO
    }
}

/// What the listeners on a port say is queued, and the connections that can be seen.
#[derive(Debug, Default, PartialEq, Eq)]
struct PortQueue {
    queued: u64,
    visible: BTreeSet<(Option<Cookie>, SocketAddr, SocketAddr)>,
}

impl PortQueue {
    fn adds_up(&self) -> bool {
        self.queued == self.visible.len() as u64
    }

    /// Everything that is queued can be seen.
    fn shows_all(&self) -> bool {
        self.queued <= self.visible.len() as u64
    }

    /// Something is queued, and nothing of it can be seen.
    fn hides_all(&self) -> bool {
        self.queued > 0 && self.visible.is_empty()
    }
}

fn ports(rows: &[SocketEntry]) -> BTreeMap<(Netns, u16), PortQueue> {
    let mut ports: BTreeMap<(Netns, u16), PortQueue> = BTreeMap::new();
    for row in rows {
        let port = ports.entry((row.netns, row.local.port())).or_default();
        if let Queues::Listen { accept_queue, .. } = row.queues {
            port.queued += u64::from(accept_queue);
        } else if row.is_unaccepted() {
            port.visible.insert((row.cookie, row.local, row.remote));
        }
    }
    ports
}
