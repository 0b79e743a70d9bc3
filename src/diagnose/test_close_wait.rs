//! Leaks of CLOSE_WAIT sockets for the tests of the rules and causes, built from a few words.

use std::time::Duration;

use super::close_wait_cause::Leaked;
use super::judgement::Judgement;
use super::test_stuck;
use super::test_table::{PORT, held, process, seconds, snapshot};
use crate::join::test_rows::{connection, listener};
use crate::join::{CloseWait, SocketTable};
use crate::model::{
    Confidence, Cookie, Coverage, DescriptorUse, EpollRegistration, EpollSet, Fact, Gap, GapKind,
    Inode, Process, ProcessDetail, ProcessId, Queues, Runtime, Snapshot, SocketEntry, TcpInfo,
    TcpState, Thread, Timer, Unknown,
};

/// Sorts behind the holder.
const OTHER: ProcessId = ProcessId {
    pid: 5000,
    start_time: 78,
};

/// Sockets in CLOSE_WAIT on one port.
#[derive(Debug, Clone)]
pub(super) struct CloseWaitCase {
    rows: Vec<SocketEntry>,
    holder: Option<Process>,
    threads: Vec<Thread>,
    threads_read: bool,
    registered: Option<Option<u32>>,
    other: Option<Other>,
    coverage: Coverage,
    runtime: Runtime,
}

/// A second process, and what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Other {
    Listener,
    ListenerAndIsParent,
    SameSockets,
}

impl CloseWaitCase {
    /// Accepted, a minute old, held by one process.
    pub(super) fn sockets(count: u16) -> CloseWaitCase {
        let row = |index: u16| {
            let mut row = connection(PORT, TcpState::CloseWait);
            row.cookie = Some(Cookie(index.into()));
            row.inode = Some(Inode(500 + u64::from(index)));
            row.remote.set_port(40_000 + index);
            row.info = Some(TcpInfo {
                since_data_sent: seconds(61),
                since_data_received: seconds(61),
                since_ack_received: seconds(60),
                bytes_acked: Some(0),
                bytes_sent: Some(0),
                bytes_retransmitted: Some(0),
                ..TcpInfo::default()
            });
            row
        };
        CloseWaitCase {
            rows: (0..count).map(row).collect(),
            holder: Some(process("server")),
            threads: Vec::new(),
            threads_read: false,
            registered: None,
            other: None,
            coverage: Coverage::default(),
            runtime: Runtime::Native,
        }
    }

    /// A thread of the holder; with the first one, its details count as read.
    pub(super) fn thread(mut self, state: char, call: &str, first: u64) -> CloseWaitCase {
        self.threads.push(test_stuck::thread(
            "worker",
            state,
            test_stuck::known(call, first),
        ));
        CloseWaitCase {
            threads_read: true,
            ..self
        }
    }

    pub(super) fn thread_unread(mut self) -> CloseWaitCase {
        let unknown = Fact::Unknown(Unknown::Permission);
        self.threads
            .push(test_stuck::thread("worker", 'S', unknown));
        CloseWaitCase {
            threads_read: true,
            ..self
        }
    }

    /// Every socket is registered in epoll fd 9 with this mask.
    pub(super) fn registered(self, events: u32) -> CloseWaitCase {
        CloseWaitCase {
            registered: Some(Some(events)),
            ..self
        }
    }

    /// The holder has an epoll set, and they are not in it.
    pub(super) fn unregistered(self) -> CloseWaitCase {
        CloseWaitCase {
            registered: Some(None),
            ..self
        }
    }

    pub(super) fn listener_held_by_another(self) -> CloseWaitCase {
        CloseWaitCase {
            other: Some(Other::Listener),
            ..self
        }
    }

    pub(super) fn child_of_the_other(self) -> CloseWaitCase {
        CloseWaitCase {
            other: Some(Other::ListenerAndIsParent),
            ..self
        }
    }

    pub(super) fn also_held_by_another(self) -> CloseWaitCase {
        CloseWaitCase {
            other: Some(Other::SameSockets),
            ..self
        }
    }

    pub(super) fn keepalive(self) -> CloseWaitCase {
        self.each(|row| row.timer = Timer::Keepalive)
    }

    pub(super) fn runtime(self, runtime: Runtime) -> CloseWaitCase {
        CloseWaitCase { runtime, ..self }
    }

    /// Opened by the holder: one byte more acknowledged than sent.
    pub(super) fn outbound(self) -> CloseWaitCase {
        self.each(|row| {
            if let Some(info) = &mut row.info {
                info.bytes_acked = Some(1);
            }
        })
    }

    fn each(mut self, change: impl Fn(&mut SocketEntry)) -> CloseWaitCase {
        self.rows.iter_mut().for_each(change);
        self
    }

    pub(super) fn recv_q(self, recv_q: u32) -> CloseWaitCase {
        self.each(|row| row.queues = Queues::Stream { recv_q, send_q: 0 })
    }

    pub(super) fn send_q(self, send_q: u32) -> CloseWaitCase {
        self.each(|row| row.queues = Queues::Stream { recv_q: 0, send_q })
    }

    pub(super) fn unaccepted(self) -> CloseWaitCase {
        self.each(|row| row.inode = None)
    }

    pub(super) fn subflows(self) -> CloseWaitCase {
        self.each(|row| row.ulp = Some("mptcp".into()))
    }

    pub(super) fn without_info(self) -> CloseWaitCase {
        self.each(|row| row.info = None)
    }

    pub(super) fn age(self, age: Duration) -> CloseWaitCase {
        self.each(|row| {
            if let Some(info) = &mut row.info {
                info.since_ack_received = age;
            }
        })
    }

    pub(super) fn sent_and_received(self, sent: Duration, received: Duration) -> CloseWaitCase {
        self.each(|row| {
            if let Some(info) = &mut row.info {
                (info.since_data_sent, info.since_data_received) = (sent, received);
            }
        })
    }

    pub(super) fn descriptors(mut self, open: u64, limit: u64) -> CloseWaitCase {
        if let Some(holder) = &mut self.holder {
            holder.descriptors = Fact::Known(DescriptorUse {
                open,
                soft_limit: Some(limit),
                exhausted: open >= limit,
            });
        }
        self
    }

    pub(super) fn without_holder(self) -> CloseWaitCase {
        CloseWaitCase {
            holder: None,
            ..self
        }
    }

    pub(super) fn unreadable_processes(mut self, count: u64) -> CloseWaitCase {
        self.coverage.gaps.push(Gap {
            kind: GapKind::Owners,
            what: format!("descriptors of {count} processes"),
            why: "permission denied".into(),
            needs: None,
            count,
        });
        self
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let mut rows = self.rows.clone();
        let mut descriptors = Vec::new();
        let mut processes: Vec<Process> = self.holder.iter().cloned().collect();
        if let Some(holder) = processes.first_mut() {
            for (row, fd) in self.rows.iter().zip(4..) {
                descriptors.extend(row.inode.map(|inode| held(holder.id, fd, inode)));
            }
            if self.threads_read {
                holder.detail = Fact::Known(self.detail());
            }
            if self.other == Some(Other::ListenerAndIsParent) {
                holder.parent = OTHER.pid;
            }
        }
        if let Some(other) = self.other {
            processes.push(Process {
                id: OTHER,
                ..process("server")
            });
            let listen = listener(PORT, 0);
            if other == Other::SameSockets {
                for (row, fd) in self.rows.iter().zip(4..) {
                    descriptors.extend(row.inode.map(|inode| held(OTHER, fd, inode)));
                }
            } else {
                descriptors.extend(listen.inode.map(|inode| held(OTHER, 3, inode)));
            }
            rows.push(listen);
        }
        let coverage = self.coverage.clone();
        Snapshot {
            descriptors,
            processes,
            coverage,
            ..snapshot(rows)
        }
    }

    fn detail(&self) -> ProcessDetail {
        let registration = |row: &SocketEntry| {
            let events = self.registered??;
            Some(EpollRegistration {
                fd: 0,
                events,
                inode: row.inode?.0,
            })
        };
        let registrations = self.rows.iter().filter_map(registration).collect();
        let sets = self.registered.map(|_| EpollSet {
            inode: Some(26),
            fd: 9,
            registrations,
        });
        ProcessDetail {
            threads: Fact::Known(self.threads.clone()),
            epoll_sets: Fact::Known(sets.into_iter().collect()),
            io_urings: Fact::Known(Vec::new()),
            frozen: Fact::Known(false),
            runtime: Fact::Known(self.runtime),
        }
    }

    /// Calls `check` with the sockets of the case as one leak.
    pub(super) fn with_leaked(&self, check: impl Fn(&Leaked<'_, '_>)) {
        let snapshot = self.snapshot();
        let table = SocketTable::new(&snapshot);
        let sockets: Vec<&CloseWait<'_>> = table.close_wait.iter().collect();
        check(&Leaked::new(&sockets, &table));
    }
}

/// The cause holds with this confidence and says `words`, or does not hold.
pub(super) fn expect_cause(
    case: &CloseWaitCase,
    judge: fn(&Leaked<'_, '_>) -> Judgement,
    confidence: Option<Confidence>,
    words: &str,
) {
    case.with_leaked(|leaked| match (judge(leaked), confidence) {
        (Judgement::Holds(reason), Some(confidence)) => {
            assert_eq!(reason.confidence, confidence, "{}", reason.summary);
            assert!(reason.summary.contains(words), "{}", reason.summary);
        }
        (Judgement::DoesNotHold, None) => {}
        (other, _) => panic!("{other:?} for {case:?}"),
    });
}
