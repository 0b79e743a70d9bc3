//! A machine and a watch of it, for the tests of the screen, built from a few words.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::{Action, Entry, Key, Look, State, Theme, draw};
use crate::diagnose::Thresholds;
use crate::diagnose::test_stuck::StuckCase;
use crate::diagnose::test_table::{held, namespace, process, snapshot};
use crate::history::{History, SOCKETS_AT_MOST};
use crate::join::Filter;
use crate::join::test_rows::{connection, listener};
use crate::model::{
    AcceptedOnPort, Cookie, CookieSet, Coverage, DescriptorUse, Fact, Gap, GapKind, Inode,
    Namespace, Netns, Process, ProcessId, QueueRead, Queues, Snapshot, SocketEntry, TcpInfo,
    TcpState,
};
use crate::report::Report;

const SECOND: Duration = Duration::from_secs(1);
/// 2026-11-22T14:02:11Z
const BEGIN: Duration = Duration::from_secs(1_795_356_131);

/// A machine at one moment.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    pub(super) taken: Snapshot,
    accepted: Vec<AcceptedOnPort>,
}

impl Machine {
    /// A machine with nothing on it.
    pub(super) fn new() -> Machine {
        let mut taken = snapshot(Vec::new());
        taken.host.hostname = "db 1;rm\u{1b}".into();
        taken.namespaces[0].sockets_in_use = Fact::Known(41);
        taken.coverage = Coverage {
            processes_total: 96,
            processes_read: 96,
            netns_total: 1,
            netns_read: 1,
            ..Coverage::default()
        };
        Machine {
            taken,
            accepted: Vec::new(),
        }
    }

    /// A listener without a queue.
    pub(super) fn listens(mut self, address: &str) -> Machine {
        self.taken.sockets.push(listener(address, 0));
        self
    }

    /// A listener in whose queue connections wait: which they are, and for how many seconds.
    pub(super) fn queue(mut self, address: &str, backlog: u32, waits: &[(u16, u64)]) -> Machine {
        let mut rows = vec![listener(address, 0)];
        rows[0].queues = Queues::Listen {
            accept_queue: u32::try_from(waits.len()).unwrap(),
            backlog: Some(backlog),
        };
        for (number, wait) in waits {
            let mut row = connection(address, TcpState::Established);
            row.cookie = Some(cookie_of(*number));
            row.remote.set_port(40_000 + number);
            row.info = Some(TcpInfo {
                since_data_sent: SECOND * u32::try_from(*wait).unwrap(),
                ..TcpInfo::default()
            });
            rows.push(row);
        }
        self.taken.sockets.extend(rows);
        self
    }

    /// What had been in that queue and was accepted.
    pub(super) fn accepted(mut self, address: &str, numbers: &[u16]) -> Machine {
        let local: std::net::SocketAddr = address.parse().unwrap();
        let numbers = numbers.iter();
        self.accepted.push(AcceptedOnPort {
            netns: Netns(1),
            port: local.port(),
            set: numbers.fold(CookieSet::default(), |set, number| {
                set.with(cookie_of(*number))
            }),
        });
        self
    }

    /// The listeners on that port are in another namespace.
    pub(super) fn elsewhere(mut self, port: u16, name: &str) -> Machine {
        let there = Netns(2);
        self.taken.namespaces.push(Namespace {
            mounts: vec![format!("/run/netns/{name}").into_bytes()],
            ..namespace(there, false)
        });
        let rows = self.taken.sockets.iter_mut();
        for row in rows.filter(|row| row.local.port() == port) {
            row.netns = there;
        }
        self
    }

    /// `who` holds the listener at `address`.
    pub(super) fn held_by(mut self, address: &str, who: &Process) -> Machine {
        let local: std::net::SocketAddr = address.parse().unwrap();
        let mut listeners = self.taken.sockets.iter();
        let entry = listeners.find(|row| row.local == local).unwrap();
        let descriptor = held(who.id, 3, entry.inode.unwrap());
        self.taken.descriptors.push(descriptor);
        self.process(who)
    }

    /// `who` keeps so many sockets in CLOSE_WAIT that came in on port 8443.
    pub(super) fn leaks(mut self, who: &Process, count: u64) -> Machine {
        for number in 0..count {
            let mut row = connection("10.0.0.5:8443", TcpState::CloseWait);
            row.cookie = Some(Cookie(50_000 + number));
            row.inode = Some(Inode(50_000 + number));
            row.remote = "10.0.9.9:1".parse().unwrap();
            row.remote.set_port(u16::try_from(number).unwrap() + 1);
            row.info = Some(TcpInfo {
                since_ack_received: SECOND * 90,
                since_data_received: SECOND * 90,
                since_data_sent: SECOND * 91,
                ..TcpInfo::default()
            });
            let fd = i32::try_from(number).unwrap() + 5;
            self.taken
                .descriptors
                .push(held(who.id, fd, row.inode.unwrap()));
            self.taken.sockets.push(row);
        }
        self.process(who)
    }

    /// Not every process can be read.
    pub(super) fn seen_by_a_plain_user(mut self) -> Machine {
        self.taken.coverage.processes_read = 12;
        self.taken.coverage.gaps.push(Gap {
            kind: GapKind::Owners,
            what: "descriptors of 84 processes".into(),
            why: "of other users".into(),
            needs: Some("CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH".into()),
            count: 84,
        });
        self
    }

    fn process(mut self, who: &Process) -> Machine {
        if !self.taken.processes.contains(who) {
            self.taken.processes.push(who.clone());
        }
        self.taken
            .descriptors
            .sort_by_key(|held| (held.process, held.fd));
        self
    }
}

fn cookie_of(number: u16) -> Cookie {
    Cookie(1_000_000 + u64::from(number))
}

/// A process of that name and pid, with so many descriptors of 1024 in use.
pub(super) fn server(name: &str, pid: u32, open: u64) -> Process {
    let id = ProcessId {
        pid,
        start_time: 77,
    };
    Process {
        id,
        descriptors: Fact::Known(DescriptorUse {
            open,
            soft_limit: Some(1024),
            exhausted: false,
        }),
        ..process(name)
    }
}

/// The process of `StuckCase`: edge-triggered on port 8080, and asleep.
pub(super) fn asleep() -> Process {
    let case = StuckCase::epoll(0x8000_0019).thread('S', "epoll_wait", 4);
    case.snapshot().processes[0].clone()
}

/// A watch, and its screen.
pub(super) struct Watched {
    pub(super) state: State,
    history: History,
    before: Option<Vec<SocketEntry>>,
    at: Duration,
}

impl Watched {
    pub(super) fn new(columns: u16, rows: u16) -> Watched {
        let theme = Theme {
            color: true,
            unicode: true,
        };
        let mut state = State::new(theme, false);
        state.resize(columns, rows);
        Watched {
            state,
            history: History::new(SECOND * 10, SOCKETS_AT_MOST),
            before: None,
            at: Duration::ZERO,
        }
    }

    /// A look at that machine, a second after the last one.
    pub(super) fn look(&mut self, machine: Machine) {
        let mut taken = machine.taken;
        taken.taken_at = SystemTime::UNIX_EPOCH + BEGIN + self.at;
        taken.duration = Duration::from_millis(12);
        let is_queue = |row: &SocketEntry| match row.queues {
            Queues::Listen { accept_queue, .. } => accept_queue > 0,
            Queues::Stream { .. } => row.is_unaccepted(),
        };
        let rows = taken.sockets.iter().filter(|row| is_queue(row));
        let now: Vec<SocketEntry> = rows.cloned().collect();
        let before = self.before.replace(now.clone());
        let accepted = machine.accepted;
        let read = |after, sockets| QueueRead {
            after,
            sockets,
            accepted: Some(accepted.clone()),
            freed: None,
        };
        taken
            .queue_reads
            .extend(before.map(|rows| read(Duration::ZERO, rows)));
        taken.queue_reads.push(read(SECOND, now));
        let taken = Arc::new(taken);
        let mut report = Report::new(&taken, &Thresholds::default(), &Filter::default());
        let events = self.history.look(self.at, &mut report);
        if self.at.is_zero() {
            let time = Some(taken.taken_at);
            for entry in Entry::gaps(&taken.coverage, time) {
                self.state.log(entry);
            }
        }
        for event in &events {
            let time = self.history.wall_clock(event.at);
            self.state.log(Entry::event(event, time));
        }
        let look = Look::new(self.at, SECOND, &report, &self.history, taken.clone());
        self.state.look(Arc::new(look));
        self.at += SECOND;
    }

    /// So many looks at machines.
    pub(super) fn looks(mut self, count: u64, machine: impl Fn(u64) -> Machine) -> Watched {
        for number in 0..count {
            self.look(machine(number));
        }
        self
    }

    /// What comes of keys; only the last may be an action.
    pub(super) fn press(&mut self, keys: &[Key]) -> Option<Action> {
        let mut actions = keys.iter().filter_map(|key| self.state.press(*key));
        let action = actions.next();
        assert_eq!(actions.next(), None);
        action
    }

    pub(super) fn type_text(&mut self, text: &str) {
        for character in text.chars() {
            assert_eq!(self.state.press(Key::Char(character)), None);
        }
    }

    /// What a terminal of the screen's size shows.
    pub(super) fn shown(&self) -> String {
        let (columns, rows) = self.state.size;
        let backend = TestBackend::new(columns, rows);
        let mut terminal = Terminal::new(backend).unwrap();
        terminal.draw(|frame| draw(frame, &self.state)).unwrap();
        let buffer = terminal.backend().buffer();
        let line = |row: u16| {
            let cells = (0..columns).map(|column| buffer[(column, row)].symbol());
            cells.collect::<String>().trim_end().to_owned()
        };
        let lines: Vec<String> = (0..rows).map(line).collect();
        lines.join("\n")
    }
}
