//! One mix: cases and churn in network namespaces of their own, looked at, and the report held
//! against what is true.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::Pid;
use tcpleak::collect::{Entries, Request, SourceChoice, collect};
use tcpleak::diagnose::Thresholds;
use tcpleak::join::{Filter, Holder};
use tcpleak::model::{Finding, Inode, Severity, Snapshot, SocketEntry, Subject};
use tcpleak::report::Report;
use tcpleak::scenario::{self, Running};

use crate::churn;
use crate::states::{STATES, State, is_harmless, verdict};
use crate::support::clock::Moment;
use crate::support::in_own_namespace;
use crate::support::random::Random;
use crate::support::scan;
use crate::support::sockets::connect;
use crate::tally::{NOTHING, Tally};
use crate::variants;

/// Both ages of the scans. The least at which a correct server, on a machine that others keep
/// busy, has never been seen to look like a stuck one: it has to be late by as much.
const OLD: Duration = Duration::from_secs(1);
/// Between the two looks at queues: the default of the command.
const SETTLE: Duration = Duration::from_millis(250);

/// The row of the programs beside the cases.
const CHURN: &str = "churn beside them";

/// A case that stands.
struct Case {
    state: &'static State,
    netns: u64,
    address: SocketAddr,
    pids: Vec<u32>,
    /// From before its first client to after its last.
    stood_up: Moment,
}

/// Runs the mix of that seed. In this pid namespace must be nobody else.
pub(crate) fn run(seed: u64) -> Tally {
    let mut random = Random::new(seed);
    let mut tally = Tally {
        mixes: 1,
        ..Tally::default()
    };
    let mut places = chosen(&mut random);
    let churn = places.iter().map(|place| place.churn.len()).sum();
    thread::scope(|scope| {
        let (stands, standing) = mpsc::channel();
        // A sender for each place: that it goes tells the place to end.
        let mut ends = Vec::new();
        for place in places.drain(..) {
            let (end, ended) = mpsc::channel::<()>();
            ends.push(end);
            let stands = stands.clone();
            scope.spawn(move || stands.send(place.stand(&ended, &stands)));
        }
        drop(stands);
        let mut cases = Vec::new();
        for _ in 0..ends.len() {
            match standing.recv().unwrap() {
                Standing::Stands(stood, failed) => {
                    cases.extend(stood);
                    tally.not_set_up += failed;
                }
                Standing::Ended => unreachable!("nobody was told to end"),
            }
        }
        judge(&cases, churn, &mut random, &mut tally);
        drop(ends);
    });
    for said in &mut tally.disagreements {
        *said = format!("seed {seed}: {said}");
    }
    tally
}

/// What a network namespace is to hold.
struct Place {
    cases: Vec<&'static State>,
    churn: Vec<(&'static str, u64)>,
}

enum Standing {
    Stands(Vec<Case>, u64),
    Ended,
}

fn chosen(random: &mut Random) -> Vec<Place> {
    let mut places: Vec<Place> = (0..random.between(1, 3))
        .map(|_| Place {
            cases: Vec::new(),
            churn: Vec::new(),
        })
        .collect();
    let mut busy = false;
    for _ in 0..random.between(4, 10) {
        let state = random.choose(STATES);
        if state.is_busy && std::mem::replace(&mut busy, true) {
            continue;
        }
        let place = random.below(places.len());
        places[place].cases.push(state);
    }
    for _ in 0..random.between(2, 4) {
        let (name, _) = random.choose(churn::PROGRAMS);
        let place = random.below(places.len());
        let seed = random.next();
        places[place].churn.push((name, seed));
    }
    places
}

impl Place {
    /// Makes it so in a namespace of this thread's own, says so, and keeps it until it is to end.
    fn stand(self, ended: &mpsc::Receiver<()>, stands: &mpsc::Sender<Standing>) -> Standing {
        let _namespace = in_own_namespace().expect("this process may do anything");
        let netns = std::fs::metadata("/proc/thread-self/ns/net").unwrap().ino();
        let program = Path::new(env!("CARGO_BIN_EXE_tcpleak"));
        let (mut running, mut variants) = (Vec::new(), Vec::new());
        let (mut cases, mut failed) = (Vec::new(), 0);
        let (early, late) = self.churn.split_at(self.churn.len() / 2);
        let churn = |programs: &[(&str, u64)]| -> Vec<_> {
            let programs = programs.iter();
            programs
                .map(|(name, seed)| churn::start(name, *seed))
                .collect()
        };
        let _early = churn(early);
        for state in self.cases {
            if let Some(variant) = variants::find(state.id) {
                let (stands, stood_up) = Moment::of(|| variant.start());
                cases.push(Case {
                    state,
                    netns,
                    address: stands.address,
                    pids: vec![stands.pid],
                    stood_up,
                });
                variants.push(stands);
                continue;
            }
            let scenario = scenario::find(state.id).unwrap();
            let (started, stood_up) = Moment::of(|| Running::start(program, scenario));
            let Ok(started) = started else {
                failed += 1;
                continue;
            };
            if state.is_busy {
                // It stays runnable, and lets everybody else run.
                let pid = i32::try_from(started.server_pid()).unwrap();
                rustix::process::setpriority_process(Pid::from_raw(pid), 19).unwrap();
            }
            cases.push(Case {
                state,
                netns,
                address: started.address(),
                pids: started.pids(),
                stood_up,
            });
            running.push(started);
        }
        let _late = churn(late);
        let healthy: Vec<SocketAddr> = cases
            .iter()
            .filter(|case| case.state.id == "healthy")
            .map(|case| case.address)
            .collect();
        let _ = stands.send(Standing::Stands(cases, failed));
        // Until the end, clients of the correct servers.
        while let Err(mpsc::TryRecvError::Empty) = ended.try_recv() {
            for address in &healthy {
                drop(connect(*address));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Standing::Ended
    }
}

/// Scans when everything is old, and compares.
fn judge(cases: &[Case], churn: usize, random: &mut Random, tally: &mut Tally) {
    for case in cases {
        // A little more than that, for the jiffies in which the kernel counts.
        case.stood_up
            .wait_until_aged(OLD + Duration::from_millis(60));
    }
    let request = Request {
        source: SourceChoice::Auto,
        entries: if random.one_in(2) {
            Entries::Suspects
        } else {
            Entries::SuspectsAndAllListeners
        },
        netns: Vec::new(),
        accept_age: OLD,
        close_wait_age: OLD,
        settle: SETTLE,
        ..scan::request()
    };
    let before = holders();
    let (snapshot, read) = Moment::of(|| collect(&request).unwrap());
    let after = holders();
    let mut look = Look {
        cases,
        churn,
        read,
        before,
        after,
        tally,
    };
    let mut complete = snapshot.clone();
    // Who made this pid namespace knows that nobody outside of it has to do with these sockets.
    let outside = "processes outside this pid namespace";
    complete.coverage.gaps.retain(|gap| gap.what != outside);
    look.compare(&complete);
    look.compare(&snapshot);
}

/// A look at the mix.
struct Look<'a> {
    cases: &'a [Case],
    /// So many programs beside them.
    churn: usize,
    read: Moment,
    before: Holders,
    after: Holders,
    tally: &'a mut Tally,
}

impl Look<'_> {
    fn compare(&mut self, snapshot: &Snapshot) {
        let thresholds = Thresholds {
            accept_age: OLD,
            close_wait_age: OLD,
        };
        let report = Report::new(snapshot, &thresholds, &Filter::default());
        let complete = snapshot.coverage.owners_complete();
        self.tally.reports += 1;
        let mut of_case: BTreeMap<usize, Vec<&Finding>> = BTreeMap::new();
        let mut accused = 0;
        for finding in &report.findings {
            match self.case_of(finding) {
                Some(case) => of_case.entry(case).or_default().push(finding),
                None if is_harmless(finding) => {}
                None => {
                    self.tally.false_accusations += 1;
                    accused += 1;
                    self.tally.reported(CHURN, &verdict(finding));
                    self.disagree(format!("of nobody's: {finding:#?}"));
                }
            }
        }
        for _ in accused..self.churn {
            self.tally.reported(CHURN, NOTHING);
        }
        for (index, case) in self.cases.iter().enumerate() {
            let found = of_case.remove(&index).unwrap_or_default();
            self.compare_case(case, &found, complete);
        }
        self.compare_holders(&report);
    }

    /// Whom a finding is about.
    fn case_of(&self, finding: &Finding) -> Option<usize> {
        let holds = |case: &Case, pid: u32| case.pids.contains(&pid);
        self.cases.iter().position(|case| match &finding.subject {
            Subject::Listener { netns, local, .. } => {
                netns.0 == case.netns && local.port() == case.address.port()
            }
            Subject::Connections {
                holder: Some(holder),
                ..
            } => holds(case, holder.pid),
            Subject::Connections {
                netns, endpoint, ..
            } => {
                let port = format!(":{}", case.address.port());
                netns.0 == case.netns && endpoint.ends_with(&port)
            }
            Subject::Process(id) => holds(case, id.pid),
        })
    }

    fn compare_case(&mut self, case: &Case, found: &[&Finding], complete: bool) {
        let state = case.state;
        let must = state.must(complete);
        let verdicts: Vec<String> = found.iter().map(|finding| verdict(finding)).collect();
        // On what is healthy the harmless says nothing; on the rest it is said what it is.
        let counts = |finding: &&&Finding| !(state.is_healthy() && is_harmless(finding));
        let first = found.iter().find(counts);
        let first = first.map_or(NOTHING.to_owned(), |finding| verdict(finding));
        let name = match (complete, state.must_if_incomplete) {
            (false, Some(_)) => format!("{}, not everybody seen", state.id),
            _ => state.id.to_owned(),
        };
        self.tally.reported(&name, &first);
        let missed: Vec<_> = must
            .iter()
            .filter(|must| !verdicts.iter().any(|verdict| verdict == *must))
            .collect();
        let invented: Vec<_> = found
            .iter()
            .filter(|finding| !must.contains(&&verdict(finding)[..]) && !is_harmless(finding))
            .collect();
        self.tally.misses += missed.len() as u64;
        self.tally.false_accusations += invented.len() as u64;
        let comes_first = must.first().is_none_or(|must| *must == first);
        if !missed.is_empty() || !invented.is_empty() || !comes_first {
            self.disagree(format!(
                "{name} {:?}: missed {missed:?}, invented {} of {found:#?}",
                case.pids,
                invented.len()
            ));
        }
        for finding in found {
            if finding.severity > Severity::Info
                && let Some(oldest) = finding.oldest
            {
                self.tally.ages += 1;
                let truth = self.age(case);
                if !truth.contains(&oldest) {
                    self.tally.wrong_details += 1;
                    self.disagree(format!("{name}: not of {truth:?}: {finding:#?}"));
                }
            }
        }
    }

    /// How old anything can be that the case did before it stood.
    fn age(&self, case: &Case) -> RangeInclusive<Duration> {
        let ages = case.stood_up.age_at(self.read);
        // The queue that moves has only young ones.
        let least = match case.state.id {
            "accept-queue-backlog" => Duration::ZERO,
            _ => *ages.start(),
        };
        least..=*ages.end()
    }

    /// Every socket of which the report names holders, against the links in `/proc`: all of them
    /// for those of cases; for churn, which opens, forks and dies, those that were there all the time.
    fn compare_holders(&mut self, report: &Report<'_>) {
        let table = &report.table;
        let queues = table.listeners.iter().filter(|one| one.accept_queue > 0);
        let queues = queues.map(|one| (one.entry, &one.holders));
        let accepted = table.close_wait.iter().filter(|socket| socket.accepted);
        let accepted = accepted.map(|socket| (socket.entry, &socket.holders));
        for (row, holders) in queues.chain(accepted) {
            let Some(inode) = row.inode else { continue };
            let of = |links: &Holders| links.get(&inode).cloned().unwrap_or_default();
            let (before, after) = (of(&self.before), of(&self.after));
            let stayed: BTreeSet<_> = before.intersection(&after).copied().collect();
            let said = said(holders);
            let is_right = match self.is_of_a_case(row) {
                true => before == after && said == before,
                false => said.is_superset(&stayed),
            };
            self.tally.held += 1;
            if !is_right {
                self.tally.wrong_details += 1;
                self.disagree(format!("{row:?}: {said:?} and not {before:?}, {after:?}"));
            }
        }
    }

    fn is_of_a_case(&self, row: &SocketEntry) -> bool {
        let ports = [row.local.port(), row.remote.port()];
        self.cases
            .iter()
            .any(|case| case.netns == row.netns.0 && ports.contains(&case.address.port()))
    }

    fn disagree(&mut self, what: String) {
        self.tally.disagreements.push(what);
    }
}

/// Pids with their descriptors for a socket, for every socket.
type Holders = BTreeMap<Inode, BTreeSet<(u32, i32)>>;

fn said(holders: &[Holder<'_>]) -> BTreeSet<(u32, i32)> {
    let pairs = |holder: &Holder<'_>| {
        let pid = holder.id.pid;
        let fds = holder.fds.iter().map(move |fd| (pid, *fd));
        fds.collect::<Vec<_>>()
    };
    holders.iter().flat_map(pairs).collect()
}

/// Read without the library.
fn holders() -> Holders {
    let mut holders = Holders::new();
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    for pid in pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        let Ok(links) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
            continue;
        };
        for link in links.flatten() {
            let target = std::fs::read_link(link.path()).unwrap_or_default();
            let target = target.to_str().unwrap_or_default();
            let inode = target
                .strip_prefix("socket:[")
                .and_then(|rest| rest.strip_suffix(']'));
            let Some(Ok(inode)) = inode.map(str::parse) else {
                continue;
            };
            let fd = link.file_name().to_str().unwrap().parse().unwrap();
            holders.entry(Inode(inode)).or_default().insert((pid, fd));
        }
    }
    holders
}
