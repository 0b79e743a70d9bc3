//! Snapshots for the tests of the rules, built from a few words.

use std::time::{Duration, SystemTime};

use crate::join::test_rows::{connection, listener};
use crate::model::{
    Cookie, Coverage, DescriptorUse, Fact, FileTable, Gap, GapKind, HeldDescriptor, Host, Inode,
    OwnerSource, Process, ProcessId, ProcessState, QueueRead, Queues, Snapshot, SocketEntry,
    SocketSource, TcpInfo, TcpState, Unknown,
};

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) const HOLDER: ProcessId = ProcessId {
    pid: 4866,
    start_time: 77,
};
const PORT: &str = "127.0.0.1:8080";

/// A listener and its queue.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    queue: u32,
    backlog: Option<u32>,
    drops: u32,
    waits: Vec<Option<Duration>>,
    looks: Option<(u32, u32, Duration)>,
    group_member: Option<u32>,
    holder: Option<Process>,
}

impl Case {
    pub(crate) fn queue(queue: u32) -> Case {
        Case {
            queue,
            backlog: Some(511),
            drops: 0,
            waits: Vec::new(),
            looks: None,
            group_member: None,
            holder: None,
        }
    }

    pub(crate) fn backlog(self, backlog: u32) -> Case {
        Case {
            backlog: Some(backlog),
            ..self
        }
    }

    pub(crate) fn drops(self, drops: u32) -> Case {
        Case { drops, ..self }
    }

    /// One visible connection a wait.
    pub(crate) fn waiting(self, waits: &[Duration]) -> Case {
        Case {
            waits: waits.iter().copied().map(Some).collect(),
            ..self
        }
    }

    /// As `/proc/net/tcp` tells it: visible connections without ages, a queue without a limit.
    pub(crate) fn without_info(self, visible: usize) -> Case {
        Case {
            waits: vec![None; visible],
            backlog: None,
            ..self
        }
    }

    /// A first look 250 ms before, in which `left` others waited and `came` did not yet.
    pub(crate) fn looked_twice(self, left: u32, came: u32) -> Case {
        Case {
            looks: Some((left, came, Duration::from_millis(250))),
            ..self
        }
    }

    pub(crate) fn over(self, over: Duration) -> Case {
        let looks = self.looks.map(|(left, came, _)| (left, came, over));
        Case { looks, ..self }
    }

    /// A second listener with the same address and this queue.
    pub(crate) fn with_group_member(self, queue: u32) -> Case {
        Case {
            group_member: Some(queue),
            ..self
        }
    }

    pub(crate) fn held_by(self, name: &str) -> Case {
        self.with_holder(process(name))
    }

    pub(crate) fn with_holder(self, process: Process) -> Case {
        Case {
            holder: Some(process),
            ..self
        }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut listen = listener(PORT, self.queue);
        listen.queues = Queues::Listen {
            accept_queue: self.queue,
            backlog: self.backlog,
        };
        listen.drops = Some(self.drops);
        let inode = listen.inode.unwrap();
        let mut now: Vec<SocketEntry> = vec![listen.clone()];
        if let Some(queue) = self.group_member {
            let mut member = listener(PORT, queue);
            member.cookie = Some(Cookie(9_999));
            member.inode = Some(Inode(9_999));
            now.push(member);
        }
        now.extend(
            self.waits
                .iter()
                .enumerate()
                .map(|(index, wait)| queued(index as u64, *wait)),
        );
        let mut queue_reads = Vec::new();
        if let Some((left, came, over)) = self.looks {
            let mut before: Vec<SocketEntry> = now.clone();
            before.truncate(now.len() - came as usize);
            before.extend((0..left).map(|index| queued(1_000 + u64::from(index), None)));
            let queue = self.queue + left - came;
            before[0].queues = Queues::Listen {
                accept_queue: queue,
                backlog: self.backlog,
            };
            queue_reads.push(QueueRead {
                after: Duration::ZERO,
                sockets: before,
            });
            queue_reads.push(QueueRead {
                after: over,
                sockets: now.clone(),
            });
        } else if self.queue > 0 {
            queue_reads.push(QueueRead {
                after: Duration::ZERO,
                sockets: now.clone(),
            });
        }
        let descriptors = self
            .holder
            .iter()
            .map(|process| held(process.id, 3, inode))
            .collect();
        Snapshot {
            queue_reads,
            descriptors,
            processes: self.holder.iter().cloned().collect(),
            ..snapshot(now)
        }
    }
}

fn queued(index: u64, wait: Option<Duration>) -> SocketEntry {
    let mut row = connection(PORT, TcpState::Established);
    row.cookie = Some(Cookie(100 + index));
    row.remote.set_port(40_000 + u16::try_from(index).unwrap());
    row.info = wait.map(|wait| TcpInfo {
        since_data_sent: wait,
        ..TcpInfo::default()
    });
    row
}

pub(crate) fn held(process: ProcessId, fd: i32, inode: Inode) -> HeldDescriptor {
    HeldDescriptor { process, fd, inode }
}

pub(crate) fn process(name: &str) -> Process {
    Process {
        id: HOLDER,
        comm: name.as_bytes().to_vec(),
        parent: 1,
        state: ProcessState('S'),
        command_line: Fact::Known(vec![name.as_bytes().to_vec()]),
        exe: Fact::Known(format!("/usr/bin/{name}").into_bytes()),
        uid: Fact::Known(0),
        user: Some("root".into()),
        cgroup: Fact::Known(Vec::new()),
        descriptors: Fact::Known(DescriptorUse {
            open: 10,
            soft_limit: Some(1024),
            exhausted: false,
        }),
        detail: Fact::Unknown(Unknown::NotCollected),
    }
}

pub(crate) fn snapshot(sockets: Vec<SocketEntry>) -> Snapshot {
    Snapshot {
        taken_at: SystemTime::UNIX_EPOCH,
        duration: Duration::from_millis(5),
        host: Host {
            hostname: "test".into(),
            kernel: "6.18".into(),
        },
        socket_source: SocketSource::SockDiag,
        owner_source: OwnerSource::Procfs,
        sockets,
        queue_reads: Vec::new(),
        peers: Vec::new(),
        descriptors: Vec::new(),
        processes: Vec::new(),
        listen_counters: Fact::Unknown(Unknown::NotCollected),
        ephemeral_ports: Fact::Known((32_768, 60_999)),
        sockets_in_use: Fact::Known(10),
        file_table: Fact::Known(FileTable {
            allocated: 1_000,
            limit: 100_000,
        }),
        coverage: Coverage::default(),
    }
}

/// Sockets in CLOSE_WAIT on one port.
#[derive(Debug, Clone)]
pub(crate) struct CloseWaitCase {
    rows: Vec<SocketEntry>,
    holder: Option<Process>,
    coverage: Coverage,
}

impl CloseWaitCase {
    /// Accepted, a minute old, held by one process.
    pub(crate) fn sockets(count: u16) -> CloseWaitCase {
        let row = |index: u16| {
            let mut row = connection(PORT, TcpState::CloseWait);
            row.cookie = Some(Cookie(index.into()));
            row.inode = Some(Inode(500 + u64::from(index)));
            row.remote.set_port(40_000 + index);
            row.info = Some(TcpInfo {
                since_data_sent: seconds(61),
                since_data_received: seconds(61),
                since_ack_received: seconds(60),
                ..TcpInfo::default()
            });
            row
        };
        CloseWaitCase {
            rows: (0..count).map(row).collect(),
            holder: Some(process("server")),
            coverage: Coverage::default(),
        }
    }

    fn each(mut self, change: impl Fn(&mut SocketEntry)) -> CloseWaitCase {
        self.rows.iter_mut().for_each(change);
        self
    }

    pub(crate) fn recv_q(self, recv_q: u32) -> CloseWaitCase {
        self.each(|row| row.queues = Queues::Stream { recv_q, send_q: 0 })
    }

    pub(crate) fn send_q(self, send_q: u32) -> CloseWaitCase {
        self.each(|row| row.queues = Queues::Stream { recv_q: 0, send_q })
    }

    pub(crate) fn unaccepted(self) -> CloseWaitCase {
        self.each(|row| row.inode = None)
    }

    pub(crate) fn without_info(self) -> CloseWaitCase {
        self.each(|row| row.info = None)
    }

    pub(crate) fn age(self, age: Duration) -> CloseWaitCase {
        self.each(|row| {
            if let Some(info) = &mut row.info {
                info.since_ack_received = age;
            }
        })
    }

    pub(crate) fn sent_and_received(self, sent: Duration, received: Duration) -> CloseWaitCase {
        self.each(|row| {
            if let Some(info) = &mut row.info {
                (info.since_data_sent, info.since_data_received) = (sent, received);
            }
        })
    }

    pub(crate) fn descriptors(mut self, open: u64, limit: u64) -> CloseWaitCase {
        if let Some(holder) = &mut self.holder {
            holder.descriptors = Fact::Known(DescriptorUse {
                open,
                soft_limit: Some(limit),
                exhausted: open >= limit,
            });
        }
        self
    }

    pub(crate) fn without_holder(self) -> CloseWaitCase {
        CloseWaitCase {
            holder: None,
            ..self
        }
    }

    pub(crate) fn unreadable_processes(mut self, count: u64) -> CloseWaitCase {
        self.coverage.gaps.push(Gap {
            kind: GapKind::Owners,
            what: format!("descriptors of {count} processes"),
            why: "permission denied".into(),
            needs: None,
            count,
        });
        self
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let descriptors = self
            .rows
            .iter()
            .zip(4..)
            .filter_map(|(row, fd)| Some(held(self.holder.as_ref()?.id, fd, row.inode?)))
            .collect();
        Snapshot {
            descriptors,
            processes: self.holder.iter().cloned().collect(),
            coverage: self.coverage.clone(),
            ..snapshot(self.rows.clone())
        }
    }
}
