//! Reads of the listeners that have a queue, with the connections on their ports.
//!
//! A queue moves while it is read. One read is enough when every connection in it is visible;
//! otherwise the read is repeated until two in a row agree, so that what is missing can be told
//! from what was on its way (facts Q6).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::CollectError;
use super::sockets::{Ports, Sockets, Want};
use crate::model::{Cookie, Coverage, FreedSlots, Netns, QueueRead, Queues, SocketEntry, TcpState};

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
    let ports = ports_with_a_queue(first);
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
            ports: Some(ports),
            accepted: false,
        },
        coverage,
    )?;
    Ok(Some(QueueRead {
        after,
        sockets,
        accepted,
        freed: None,
    }))
}

/// The lengths of queues, looked at again and again.
///
/// A slot is freed by `accept()` and by nothing else (facts Q8). Where the connections in it were
/// reset, as many may come as are taken, and two looks see the same number of slots: only that the
/// number fell in between tells that the queue moves. The kernel answers for listeners alone
/// without a walk through its connections.
#[derive(Default)]
pub(super) struct Lengths {
    last: HashMap<ListenerKey, u32>,
    freed: HashMap<ListenerKey, u32>,
}

type ListenerKey = (Netns, Option<Cookie>, SocketAddr);

impl Lengths {
    pub(super) fn note(&mut self, rows: &[SocketEntry]) {
        for row in rows {
            let Queues::Listen { accept_queue, .. } = row.queues else {
                continue;
            };
            let key = (row.netns, row.cookie, row.local);
            if let Some(before) = self.last.insert(key, accept_queue)
                && before > accept_queue
            {
                *self.freed.entry(key).or_default() += before - accept_queue;
            }
        }
    }

    /// Looks at the listeners of `first` that have a queue, until `end` after `started`.
    pub(super) fn watch(
        &mut self,
        sockets: &mut Sockets,
        first: &[SocketEntry],
        started: Instant,
        end: Duration,
    ) {
        /// Of different lengths, so that a server with a rhythm is not always met at the same beat.
        const PAUSES: [u64; 6] = [5, 13, 8, 17, 7, 11];
        /// At most a sixth of the time is spent on it.
        const PAUSES_A_LOOK: u32 = 5;
        let want = Want {
            states: vec![TcpState::Listen],
            ports: Some(ports_with_a_queue(first)),
            accepted: false,
        };
        let left = || end.saturating_sub(started.elapsed());
        let mut took = Duration::ZERO;
        for pause in PAUSES.iter().cycle() {
            let pause = Duration::from_millis(*pause).max(took * PAUSES_A_LOOK);
            if left() <= pause {
                break;
            }
            std::thread::sleep(pause);
            let began = started.elapsed();
            // What cannot be read is a gap already, by the reads before and behind.
            let Ok(rows) = sockets.read(&want, &mut Coverage::default()) else {
                break;
            };
            self.note(&rows);
            took = started.elapsed().saturating_sub(began);
        }
        std::thread::sleep(left());
    }

    /// What was freed since the first look, in a stable order.
    pub(super) fn freed(self) -> Vec<FreedSlots> {
        let freed = self.freed.into_iter();
        let mut freed: Vec<FreedSlots> = freed
            .map(|((netns, cookie, local), slots)| FreedSlots {
                netns,
                cookie,
                local,
                slots,
            })
            .collect();
        freed.sort_by_key(|one| (one.netns, one.local, one.cookie));
        freed
    }
}

/// Where listeners have a queue.
fn ports_with_a_queue(rows: &[SocketEntry]) -> Ports {
    let mut ports = Ports::new();
    for row in rows {
        if let Queues::Listen {
            accept_queue: 1.., ..
        } = row.queues
        {
            let of_namespace = ports.entry(row.netns).or_default();
            of_namespace.insert(row.local.port());
        }
    }
    ports
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
    let is_old = |row: &SocketEntry| row.wait().is_some_and(|wait| wait >= accept_age);
    let ages_unknown =
        waiting.clone().any(|row| row.wait().is_none()) || hides_ages(reads, accept_age);
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

/// The same where an earlier look tells what moves: only slots whose connections were reset have to
/// be watched, for their number alone changes.
pub(super) fn time_to_watch_lengths(
    reads: &[QueueRead],
    accept_age: Duration,
    settle: Duration,
) -> Duration {
    if hides_ages(reads, accept_age) {
        settle
    } else {
        Duration::ZERO
    }
}

/// Slots may be old in which nothing can be seen.
fn hides_ages(reads: &[QueueRead], accept_age: Duration) -> bool {
    let Some(last) = reads.last() else {
        return false;
    };
    let queues = ports(&last.sockets);
    let seen_twice = matches!(reads, [.., before, _] if ports(&before.sockets) == queues);
    let mut waiting = last.sockets.iter().filter(|row| row.is_unaccepted());
    let any_old = waiting.any(|row| row.wait().is_some_and(|wait| wait >= accept_age));
    // Slots that stay hidden may be old, whatever is visible beside them.
    seen_twice && !any_old && !queues.values().all(PortQueue::shows_all)
        || queues.values().any(PortQueue::hides_all)
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
