//! Reads of the listeners that have a queue, with the connections on their ports.
//!
//! A queue moves while it is read. One read is enough when every connection in it is visible;
//! otherwise the read is repeated until two in a row agree, so that what is missing can be told
//! from what was on its way (facts Q6).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::CollectError;
use super::sockets::{Sockets, Want};
use crate::model::{Cookie, Coverage, QueueRead, Queues, SocketEntry, TcpState};

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
    let ports: BTreeSet<u16> = first
        .iter()
        .filter(|row| {
            matches!(
                row.queues,
                Queues::Listen {
                    accept_queue: 1..,
                    ..
                }
            )
        })
        .map(|row| row.local.port())
        .collect();
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
    let sockets = sockets.read(
        &Want {
            states,
            ports: Some(ports),
        },
        coverage,
    )?;
    Ok(Some(QueueRead { after, sockets }))
}

/// Some queue may be stuck: a connection has waited for `accept_age`, or it is not known how
/// long, or some of the queue's connections are not visible.
pub(super) fn is_suspect(reads: &[QueueRead], accept_age: Duration) -> bool {
    let Some(last) = reads.last() else {
        return false;
    };
    let waited_long = |row: &SocketEntry| row.wait().is_none_or(|wait| wait >= accept_age);
    last.sockets
        .iter()
        .any(|row| row.is_unaccepted() && waited_long(row))
        || !ports(&last.sockets).values().all(PortQueue::adds_up)
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
}

fn ports(rows: &[SocketEntry]) -> BTreeMap<u16, PortQueue> {
    let mut ports: BTreeMap<u16, PortQueue> = BTreeMap::new();
    for row in rows {
        let port = ports.entry(row.local.port()).or_default();
        if let Queues::Listen { accept_queue, .. } = row.queues {
            port.queued += u64::from(accept_queue);
        } else if row.is_unaccepted() {
            port.visible.insert((row.cookie, row.local, row.remote));
        }
    }
    ports
}
