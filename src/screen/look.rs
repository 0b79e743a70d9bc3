//! What one look shows, owned: it stays on the screen while the next one is taken.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::history::{History, OpenFinding};
use crate::join::Listener;
use crate::model::{
    Cookie, DescriptorUse, Fact, Finding, Inode, Namespace, Netns, Process, ProcessId, Snapshot,
    Subject, printable,
};
use crate::render::{self, Layout};
use crate::report::Report;

/// So many looks are shown of a number over time.
const LOOKS_AT_MOST: usize = 40;
/// Columns that a name may take: what a process calls itself can be escaped to six times that.
const NAME_AT_MOST: usize = 24;

/// Everything that is shown of one look.
#[derive(Debug)]
pub struct Look {
    /// What was read: this is what a saved look holds.
    pub snapshot: Arc<Snapshot>,
    /// When the look began, since the watch did.
    pub at: Duration,
    /// From one look to the next; nothing if that is not known.
    pub(super) interval: Option<Duration>,
    /// Which look it is, from 1.
    pub number: u64,
    /// When the watch began.
    pub(super) began: Option<SystemTime>,
    /// Looks that took longer than the interval.
    pub(super) late: u64,
    /// What is said where nothing is open.
    pub(super) calm: String,
    /// What is open, the worst first.
    pub(super) verdicts: Vec<Verdict>,
    pub(super) queues: Vec<Queue>,
    pub(super) holders: Vec<Holding>,
}

/// A finding that is open.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) key: String,
    pub(super) finding: Finding,
    /// Since the watch began.
    pub(super) since: Duration,
    /// By the clock on the wall.
    pub(super) since_time: Option<SystemTime>,
    /// What it is about: an address, a port, a process.
    pub(super) place: String,
    pub(super) holder: String,
}

/// A listener and its queue.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) key: String,
    pub(super) local: String,
    /// Where that is not the own one.
    pub(super) netns: String,
    pub(super) length: u32,
    pub(super) backlog: Option<u32>,
    pub(super) oldest: Option<Duration>,
    /// Lengths in the last looks, the oldest first.
    pub(super) lengths: Vec<u64>,
    pub(super) peak: u32,
    pub(super) moved: Option<(u64, u64)>,
    pub(super) dropped: Option<u64>,
    /// The worst that is open about it, by its place among the verdicts.
    pub(super) verdict: Option<usize>,
    pub(super) holder: String,
}

/// Sockets in CLOSE_WAIT of one holder and place, or a holder whose descriptors are the problem.
#[derive(Debug)]
pub(super) struct Holding {
    pub(super) key: String,
    pub(super) holder: String,
    pub(super) place: String,
    pub(super) count: u64,
    pub(super) counts: Vec<u64>,
    pub(super) oldest: Option<Duration>,
    pub(super) rate: Option<f64>,
    pub(super) descriptors: Option<DescriptorUse>,
    pub(super) time_left: Option<Duration>,
    /// The worst that is open about it, by its place among the verdicts.
    pub(super) verdict: Option<usize>,
}

impl Look {
    /// What `report`, made from `snapshot` at `at` since the watch began, and everything before it
    /// show. An `interval` without end is not known.
    pub fn new(
        at: Duration,
        interval: Duration,
        report: &Report<'_>,
        history: &History,
        snapshot: Arc<Snapshot>,
    ) -> Look {
        let mut open: Vec<OpenFinding<'_>> = history.open_since().collect();
        // Among equals what is there longest.
        open.sort_by_key(|open| (std::cmp::Reverse(open.finding.severity), open.since));
        let names = Names::of(report);
        let mut worst = Worst::new();
        for (index, open) in open.iter().enumerate() {
            worst
                .entry(subject_key(&open.finding.subject))
                .or_insert(index);
        }
        let verdicts = open.iter().map(|open| Verdict {
            key: format!("{} {}", open.finding.id, subject_key(&open.finding.subject)),
            finding: open.finding.clone(),
            since: open.since,
            since_time: history.wall_clock(open.since),
            place: names.place(&open.finding.subject),
            holder: names.holder(&open.finding.subject),
        });
        Look {
            at,
            interval: Some(interval).filter(|interval| *interval < Duration::MAX),
            number: history.totals().looks,
            began: history.wall_clock(Duration::ZERO),
            late: history.totals().late,
            calm: render::calm(report),
            verdicts: verdicts.collect(),
            queues: queues(report, history, &worst),
            holders: holders(report, history, &names, &worst),
            snapshot,
        }
    }
}

/// By subject, the place of the worst verdict about it.
type Worst = HashMap<String, usize>;

fn queues(report: &Report<'_>, history: &History, worst: &Worst) -> Vec<Queue> {
    let queue = |listener: &Listener<'_>| {
        let entry = listener.entry;
        let key = listener_key(entry.netns, entry.cookie, entry.inode, &entry.local);
        let so_far = history.queue(listener, LOOKS_AT_MOST);
        let namespace = report.table.snapshot.namespace(entry.netns);
        let namespace = namespace.filter(|namespace| !namespace.own);
        let verdict = worst.get(&key).copied();
        // Holders are looked for where something is suspect: of a quiet listener that none was
        // found says nothing.
        let looked_for = listener.accept_queue > 0 || verdict.is_some();
        let holder = if looked_for || !listener.holders.is_empty() {
            render::holders(&listener.holders, entry, &report.table, NARROW)
        } else {
            "-".into()
        };
        Queue {
            local: entry.local.to_string(),
            netns: namespace.map_or_else(String::new, Namespace::short_title),
            length: listener.accept_queue,
            backlog: listener.backlog,
            oldest: listener.oldest_wait(),
            peak: so_far.as_ref().map_or(0, |so_far| so_far.peak),
            moved: so_far.as_ref().and_then(|so_far| so_far.moved),
            dropped: so_far.as_ref().and_then(|so_far| so_far.dropped),
            lengths: so_far.map(|so_far| so_far.lengths).unwrap_or_default(),
            verdict,
            holder,
            key,
        }
    };
    report.table.listeners.iter().map(queue).collect()
}

fn holders(
    report: &Report<'_>,
    history: &History,
    names: &Names<'_>,
    worst: &Worst,
) -> Vec<Holding> {
    let about_process = |id: ProcessId| worst.get(&process_key(id)).copied();
    let mut seen: HashSet<ProcessId> = HashSet::new();
    let mut holders: Vec<Holding> = Vec::new();
    for group in history.close_wait(LOOKS_AT_MOST) {
        let count = group.counts.last().copied().unwrap_or(0);
        if count == 0 {
            // All of them are being served.
            continue;
        }
        let id = group.holder;
        seen.extend(id);
        let key = subject_key(&group.subject);
        let verdicts = [worst.get(&key).copied(), id.and_then(about_process)];
        holders.push(Holding {
            holder: id.map_or_else(|| "not seen".into(), |id| names.process(id)),
            place: names.place(&group.subject),
            count,
            counts: group.counts,
            oldest: group.oldest,
            rate: group.rate,
            descriptors: id.and_then(|id| names.descriptors(id)),
            time_left: group.time_left,
            verdict: verdicts.into_iter().flatten().min(),
            key,
        });
    }
    let dead = report.table.dead_sockets.iter().map(|dead| {
        let place = format!("in no table ({})", dead.sockets.len());
        (dead.holder.id, place)
    });
    let crowded = report.table.crowded.iter();
    let crowded = crowded.map(|crowded| (crowded.id, "descriptors".to_owned()));
    for (id, place) in dead.chain(crowded) {
        if !seen.insert(id) {
            continue;
        }
        holders.push(Holding {
            key: process_key(id),
            holder: names.process(id),
            place,
            count: 0,
            counts: Vec::new(),
            oldest: None,
            rate: None,
            descriptors: names.descriptors(id),
            time_left: None,
            verdict: about_process(id),
        });
    }
    holders
}

/// As the tables of a report have it.
const NARROW: Layout = Layout {
    width: Some(80),
    color: false,
    sockets: false,
    all_listeners: false,
};

/// Who the processes and listeners of a look are.
struct Names<'a> {
    report: &'a Report<'a>,
    processes: HashMap<ProcessId, &'a Process>,
}

impl<'a> Names<'a> {
    fn of(report: &'a Report<'_>) -> Names<'a> {
        let processes = report.table.snapshot.processes.iter();
        Names {
            report,
            processes: processes.map(|process| (process.id, process)).collect(),
        }
    }

    /// `server(4866)`
    fn process(&self, id: ProcessId) -> String {
        let comm = self.processes.get(&id).map(|process| &process.comm[..]);
        format!("{}({})", short(&printable(comm.unwrap_or(b"?"))), id.pid)
    }

    fn descriptors(&self, id: ProcessId) -> Option<DescriptorUse> {
        match self.processes.get(&id)?.descriptors {
            Fact::Known(used) => Some(used),
            Fact::Unknown(_) => None,
        }
    }

    /// `127.0.0.1:80`, `:80 inbound`, `pid 4866`, and where that is not the own namespace, in which
    /// it is.
    fn place(&self, subject: &Subject) -> String {
        let there = |netns| self.report.table.snapshot.in_namespace(netns);
        match subject {
            Subject::Listener { netns, local, .. } => format!("{local}{}", there(*netns)),
            Subject::Connections {
                netns,
                endpoint,
                direction: Some(direction),
                ..
            } => format!("{endpoint} {direction}{}", there(*netns)),
            Subject::Connections {
                netns, endpoint, ..
            } => format!("{endpoint}{}", there(*netns)),
            Subject::Process(id) => format!("pid {}", id.pid),
        }
    }

    fn holder(&self, subject: &Subject) -> String {
        match subject {
            Subject::Listener {
                netns,
                cookie,
                inode,
                ..
            } => {
                let mut listeners = self.report.table.listeners.iter();
                let found = listeners.find(|listener| {
                    let entry = listener.entry;
                    (entry.netns, entry.cookie, entry.inode) == (*netns, *cookie, *inode)
                });
                found.map_or_else(String::new, |listener| {
                    let table = &self.report.table;
                    render::holders(&listener.holders, listener.entry, table, NARROW)
                })
            }
            Subject::Connections {
                holder: Some(id), ..
            }
            | Subject::Process(id) => self.process(*id),
            Subject::Connections { holder: None, .. } => "not seen".into(),
        }
    }
}

/// A name of bounded width.
fn short(name: &str) -> String {
    if name.chars().count() <= NAME_AT_MOST {
        return name.to_owned();
    }
    let begin: String = name.chars().take(NAME_AT_MOST - 3).collect();
    begin + "..."
}

fn subject_key(subject: &Subject) -> String {
    match subject {
        Subject::Listener {
            netns,
            cookie,
            inode,
            local,
        } => listener_key(*netns, *cookie, *inode, local),
        Subject::Connections {
            netns,
            holder,
            direction,
            endpoint,
        } => {
            let holder = holder.map_or_else(String::new, process_key);
            let direction = direction.map_or_else(String::new, |direction| direction.to_string());
            format!("{} {holder} {direction} {endpoint}", netns.0)
        }
        Subject::Process(id) => process_key(*id),
    }
}

fn listener_key(
    netns: Netns,
    cookie: Option<Cookie>,
    inode: Option<Inode>,
    local: &std::net::SocketAddr,
) -> String {
    let cookie = cookie.map_or(0, |cookie| cookie.0);
    let inode = inode.map_or(0, |inode| inode.0);
    format!("{} {cookie} {inode} {local}", netns.0)
}

fn process_key(id: ProcessId) -> String {
    format!("{}/{}", id.pid, id.start_time)
}
