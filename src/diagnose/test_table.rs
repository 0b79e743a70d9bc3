//! Snapshots for the tests of the rules, built from a few words.

use std::time::{Duration, SystemTime};

use crate::join::test_rows::{connection, listener};
use crate::model::{
    Cookie, Coverage, DescriptorUse, Fact, FileTable, FreedSlots, HeldDescriptor, Host, Inode,
    Namespace, Netns, OwnerSource, Process, ProcessId, ProcessState, QueueRead, Queues, Snapshot,
    SocketEntry, SocketSource, TcpInfo, TcpState, Unknown,
};

pub(super) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) const HOLDER: ProcessId = ProcessId {
    pid: 4866,
    start_time: 77,
};
pub(super) const PORT: &str = "127.0.0.1:8080";

/// A listener and its queue.
#[derive(Debug, Clone)]
pub(super) struct Case {
    queue: u32,
    backlog: Option<u32>,
    drops: u32,
    waits: Vec<Option<Duration>>,
    looks: Option<(u32, u32, Duration)>,
    resets: u32,
    freed: u32,
    came_while_read: u32,
    group_member: Option<u32>,
    holder: Option<Process>,
}

impl Case {
    pub(super) fn queue(queue: u32) -> Case {
        Case {
            queue,
            backlog: Some(511),
            drops: 0,
            waits: Vec::new(),
            looks: None,
            resets: 0,
            freed: 0,
            came_while_read: 0,
            group_member: None,
            holder: None,
        }
    }

    pub(super) fn backlog(self, backlog: u32) -> Case {
        Case {
            backlog: Some(backlog),
            ..self
        }
    }

    pub(super) fn drops(self, drops: u32) -> Case {
        Case { drops, ..self }
    }

    /// One visible connection a wait.
    pub(super) fn waiting(self, waits: &[Duration]) -> Case {
        Case {
            waits: waits.iter().copied().map(Some).collect(),
            ..self
        }
    }

    /// As `/proc/net/tcp` tells it: visible connections without ages, a queue without a limit.
    pub(super) fn without_info(self, visible: usize) -> Case {
        Case {
            waits: vec![None; visible],
            backlog: None,
            ..self
        }
    }

    /// A first look 250 ms before, in which `left` others waited and `came` did not yet.
    pub(super) fn looked_twice(self, left: u32, came: u32) -> Case {
        Case {
            looks: Some((left, came, Duration::from_millis(250))),
            ..self
        }
    }

    /// Besides those that left, so many were reset: their slots are still taken.
    pub(super) fn resets(self, resets: u32) -> Case {
        Case { resets, ..self }
    }

    /// Between the looks its length was seen to fall by so many in all.
    pub(super) fn freed(self, freed: u32) -> Case {
        Case { freed, ..self }
    }

    /// So many of the first look came between its reading of the length and of the connections.
    pub(super) fn came_while_read(self, came_while_read: u32) -> Case {
        Case {
            came_while_read,
            ..self
        }
    }

    pub(super) fn over(self, over: Duration) -> Case {
        let looks = self.looks.map(|(left, came, _)| (left, came, over));
        Case { looks, ..self }
    }

    /// A second listener with the same address and this queue.
    pub(super) fn with_group_member(self, queue: u32) -> Case {
        Case {
            group_member: Some(queue),
            ..self
        }
    }

    pub(super) fn held_by(self, name: &str) -> Case {
        self.with_holder(process(name))
    }

    pub(super) fn with_holder(self, process: Process) -> Case {
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
            before.extend(
                (0..left + self.resets).map(|index| queued(1_000 + u64::from(index), None)),
            );
            let queue = self.queue + left - came - self.came_while_read;
            before[0].queues = Queues::Listen {
                accept_queue: queue,
                backlog: self.backlog,
            };
            queue_reads.push(QueueRead {
                after: Duration::ZERO,
                sockets: before,
                accepted: None,
                freed: None,
            });
            queue_reads.push(QueueRead {
                after: over,
                sockets: now.clone(),
                accepted: None,
                freed: Some(vec![FreedSlots {
                    netns: listen.netns,
                    cookie: listen.cookie,
                    local: listen.local,
                    slots: self.freed,
                }]),
            });
        } else if self.queue > 0 {
            queue_reads.push(QueueRead {
                after: Duration::ZERO,
                sockets: now.clone(),
                accepted: None,
                freed: None,
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

pub(crate) fn namespace(id: Netns, own: bool) -> Namespace {
    Namespace {
        id,
        own,
        mounts: Vec::new(),
        process: None,
        source: Fact::Known(SocketSource::SockDiag),
        sockets_in_use: Fact::Known(10),
        listen_counters: Fact::Unknown(Unknown::NotCollected),
        ephemeral_ports: Fact::Known((32_768, 60_999)),
        syn_settings: None,
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
        namespaces: vec![namespace(Netns(1), true)],
        owner_source: OwnerSource::Procfs,
        sockets,
        queue_reads: Vec::new(),
        peers: Vec::new(),
        descriptors: Vec::new(),
        processes: Vec::new(),
        crowded: Vec::new(),
        dead_sockets: Vec::new(),
        dead_socket_search: Fact::Unknown(Unknown::NotCollected),
        cgroups: None,
        file_table: Fact::Known(FileTable {
            allocated: 1_000,
            limit: 100_000,
        }),
        coverage: Coverage::default(),
    }
}
