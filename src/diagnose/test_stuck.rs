//! Stuck queues for the tests of the causes, built from a few words.

use super::judgement::Judgement;
use super::queue_cause::Stuck;
use super::test_table::{Case, HOLDER, process, seconds};
use crate::join::SocketTable;
use crate::model::{
    Confidence, DescriptorUse, EpollRegistration, EpollSet, Fact, FileTable, Gap, GapKind, IoUring,
    Process, ProcessDetail, ProcessState, Runtime, SecondLook, Snapshot, SystemCall, Thread,
    Unknown,
};

/// Three connections that have waited for nine seconds, and one holder.
#[derive(Debug, Clone)]
pub(crate) struct StuckCase {
    case: Case,
    holder: Option<Process>,
    detail: ProcessDetail,
    files: FileTable,
    gap: bool,
}

/// Inode of the listener of `test_rows::listener` on port 8080.
const LISTENER_INODE: u64 = 18_080;

impl StuckCase {
    pub(super) fn unregistered() -> StuckCase {
        StuckCase {
            case: Case::queue(3).waiting(&[seconds(9); 3]).looked_twice(0, 0),
            holder: Some(process("server")),
            detail: ProcessDetail {
                threads: Fact::Known(Vec::new()),
                epoll_sets: Fact::Known(vec![set(4, &[])]),
                io_urings: Fact::Known(Vec::new()),
                frozen: Fact::Known(false),
                runtime: Fact::Known(Runtime::Native),
            },
            files: FileTable {
                allocated: 1,
                limit: 100,
            },
            gap: false,
        }
    }

    /// Registered in epoll fd 4 with this mask.
    pub(crate) fn epoll(events: u32) -> StuckCase {
        StuckCase::unregistered().with_sets(vec![set(4, &[(3, events, LISTENER_INODE)])])
    }

    pub(super) fn unheld() -> StuckCase {
        StuckCase {
            holder: None,
            ..StuckCase::unregistered()
        }
    }

    fn with_sets(mut self, sets: Vec<EpollSet>) -> StuckCase {
        self.detail.epoll_sets = Fact::Known(sets);
        self
    }

    fn sets(&mut self) -> &mut Vec<EpollSet> {
        match &mut self.detail.epoll_sets {
            Fact::Known(sets) => sets,
            Fact::Unknown(_) => panic!("the sets of this case are unknown"),
        }
    }

    pub(super) fn and_epoll(mut self, fd: i32, events: u32) -> StuckCase {
        self.sets().push(set(fd, &[(3, events, LISTENER_INODE)]));
        self
    }

    /// Set 4 is itself registered in this one.
    pub(super) fn nested_in(mut self, outer: i32) -> StuckCase {
        self.sets().push(set(outer, &[(4, 0x19, 26)]));
        self
    }

    /// Set 4's number was registered in this one when it was another file's.
    pub(super) fn number_registered_in(mut self, outer: i32) -> StuckCase {
        self.sets().push(set(outer, &[(4, 0x19, 777)]));
        self
    }

    fn push(mut self, thread: Thread) -> StuckCase {
        match &mut self.detail.threads {
            Fact::Known(threads) => threads.push(thread),
            Fact::Unknown(_) => panic!("the threads of this case are unknown"),
        }
        self
    }

    pub(crate) fn thread(self, state: char, call: &str, first: u64) -> StuckCase {
        self.push(thread("worker", state, known(call, first)))
    }

    /// Asleep in `poll` of so many descriptors.
    pub(super) fn polling(self, count: u64) -> StuckCase {
        let arguments = [0x7ffe_0000, count, u64::MAX, 0, 0, 0];
        let call = SystemCall::In {
            number: 7,
            name: Some("poll".into()),
            arguments,
        };
        self.push(thread("worker", 'S', Fact::Known(call)))
    }

    pub(super) fn named_thread(self, name: &str, state: char, call: &str) -> StuckCase {
        self.push(thread(name, state, known(call, 0)))
    }

    pub(super) fn thread_unread(self) -> StuckCase {
        self.push(thread("worker", 'S', Fact::Unknown(Unknown::Permission)))
    }

    /// A running thread; at the second look in this state, having used so many ticks.
    pub(super) fn running(self, second_look: Option<(char, u64)>) -> StuckCase {
        let running = thread("worker", 'R', Fact::Known(SystemCall::Running));
        let second_look = second_look.map(|(state, cpu_ticks)| SecondLook {
            state: ProcessState(state),
            cpu_ticks,
        });
        self.push(Thread {
            second_look,
            ..running
        })
    }

    pub(super) fn looked_once(mut self) -> StuckCase {
        self.case = Case::queue(3).waiting(&[seconds(9); 3]);
        self
    }

    pub(super) fn frozen(mut self) -> StuckCase {
        self.detail.frozen = Fact::Known(true);
        self
    }

    pub(super) fn io_uring(mut self) -> StuckCase {
        let ring = IoUring {
            fd: 6,
            registered_sockets: Vec::new(),
            pending_accepts: 1,
        };
        self.detail.io_urings = Fact::Known(vec![ring]);
        self
    }

    pub(super) fn runtime(mut self, runtime: Runtime) -> StuckCase {
        self.detail.runtime = Fact::Known(runtime);
        self
    }

    pub(super) fn descriptors(mut self, open: u64, limit: u64, exhausted: bool) -> StuckCase {
        if let Some(holder) = &mut self.holder {
            let used = DescriptorUse {
                open,
                soft_limit: Some(limit),
                exhausted,
            };
            holder.descriptors = Fact::Known(used);
        }
        self
    }

    pub(super) fn descriptors_unread(mut self) -> StuckCase {
        if let Some(holder) = &mut self.holder {
            holder.descriptors = Fact::Unknown(Unknown::Permission);
        }
        self
    }

    pub(super) fn files(mut self, allocated: u64, limit: u64) -> StuckCase {
        self.files = FileTable { allocated, limit };
        self
    }

    /// The holder could not be seen.
    pub(super) fn unseen(self) -> StuckCase {
        StuckCase {
            holder: None,
            gap: true,
            ..self
        }
    }

    pub(super) fn unreadable_processes(self) -> StuckCase {
        StuckCase { gap: true, ..self }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut snapshot = match &self.holder {
            Some(holder) => {
                let mut holder = holder.clone();
                holder.detail = Fact::Known(self.detail.clone());
                self.case.clone().with_holder(holder).snapshot()
            }
            None => self.case.snapshot(),
        };
        snapshot.file_table = Fact::Known(self.files);
        if self.gap {
            snapshot.coverage.gaps.push(Gap {
                kind: GapKind::Owners,
                what: "descriptors of 3 processes".into(),
                why: "permission denied".into(),
                needs: None,
                count: 3,
            });
        }
        snapshot
    }

    pub(super) fn judge(&self, judge: fn(&Stuck<'_, '_>) -> Judgement) -> Judgement {
        let snapshot = self.snapshot();
        let table = SocketTable::new(&snapshot);
        judge(&Stuck::new(&table.listeners[0], &table))
    }
}

/// The cause holds with this confidence and says `words`, or does not hold.
pub(super) fn expect(
    case: &StuckCase,
    judge: fn(&Stuck<'_, '_>) -> Judgement,
    confidence: Option<Confidence>,
    words: &str,
) {
    match (case.judge(judge), confidence) {
        (Judgement::Holds(reason), Some(confidence)) => {
            assert_eq!(reason.confidence, confidence, "{}", reason.summary);
            assert!(reason.summary.contains(words), "{}", reason.summary);
        }
        (Judgement::DoesNotHold, None) => {}
        (other, _) => panic!("{other:?} for {case:?}"),
    }
}

fn set(fd: i32, registrations: &[(i32, u32, u64)]) -> EpollSet {
    let registration =
        |&(fd, events, inode): &(i32, u32, u64)| EpollRegistration { fd, events, inode };
    EpollSet {
        inode: Some(26),
        fd,
        registrations: registrations.iter().map(registration).collect(),
    }
}

pub(super) fn known(call: &str, first: u64) -> Fact<SystemCall> {
    if call == "running" {
        return Fact::Known(SystemCall::Running);
    }
    // The second is the number of descriptors that poll waits for.
    let arguments = [first, 2, 0, 0, 0, 0];
    Fact::Known(SystemCall::In {
        number: 1,
        name: Some(call.into()),
        arguments,
    })
}

pub(super) fn thread(name: &str, state: char, system_call: Fact<SystemCall>) -> Thread {
    Thread {
        tid: HOLDER.pid,
        comm: name.as_bytes().to_vec(),
        state: ProcessState(state),
        cpu_ticks: 0,
        second_look: None,
        system_call,
        wait_channel: Fact::Unknown(Unknown::NotCollected),
    }
}
