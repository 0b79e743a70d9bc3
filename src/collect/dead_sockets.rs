//! Searches for TCP sockets that have a descriptor and are in no table (facts W8).
//!
//! Two numbers tell whether there is anything to look for: the TCP sockets of the whole machine,
//! and those in the tables of all namespaces. Seen on Linux 6.18, kept by a kernel test: of
//! `alloc - inuse - inuse6`, a dead, a fresh (never connected) and a bound-only socket each make 1,
//! and so does an accept queue's slot whose connection is gone (facts Q6). Listeners, connections
//! whether queued or accepted, orphans, TIME_WAIT and SYN_RECV make 0; so does a fresh MPTCP
//! socket. v6 sockets with v4-mapped addresses are counted under TCP6.
//!
//! Only if there is: all descriptors, then all tables, then the protocol of what is in none; and a
//! while later the tables and the descriptors once more, since a socket may have been on its way
//! into a table or about to be closed.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::mem::MaybeUninit;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, getxattr, readlinkat_raw};
use rustix::io::Errno;

use super::census::{Namespaces, namespace};
use super::descriptors::{SocketDescriptor, open_directory, process_ids, start_time};
use super::places::Place;
use super::tables::{Protocol, Seen, TableError, Tables};
use super::{Request, SourceChoice, proc_root, rights};
use crate::kernel::{fd_link, netstat};
use crate::model::{
    Coverage, DeadSocketSearch, Fact, Gap, GapKind, HeldDescriptor, Inode, Netns, ProcessId,
    Unknown, count_of,
};
use crate::sight;

/// From how many sockets on the descriptors are walked. A healthy machine has a few fresh or bound
/// ones; the walk costs as much as all the rest of a scan.
const WORTH_A_WALK: u64 = 10;
/// The counters are not read in one instant: each further read may explain the difference away.
const READS_AT_MOST: usize = 3;

/// Stands for this thread, among processes.
const OWN: &str = "thread-self";

/// Machine-wide counts of TCP sockets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counts {
    allocated: u64,
    in_tables: u64,
}

impl Counts {
    /// Reads the counts in this namespace and in `namespaces`; `None` where they are not told.
    fn read(proc_root: &Path, namespaces: &Namespaces) -> Option<Counts> {
        let mut best: Option<Counts> = None;
        for _ in 0..READS_AT_MOST {
            let counts = Counts::read_once(proc_root, namespaces)?;
            if best.is_none_or(|best| counts.in_no_table() < best.in_no_table()) {
                best = Some(counts);
            }
            if counts.in_no_table() < WORTH_A_WALK {
                break;
            }
        }
        best
    }

    fn read_once(proc_root: &Path, namespaces: &Namespaces) -> Option<Counts> {
        let own = proc_root::own(proc_root);
        let read = |process: &str, file: &str| {
            let directory = match process {
                OWN => own.clone(),
                other => proc_root.join(other),
            };
            std::fs::read(directory.join("net").join(file))
        };
        // A kernel without IPv6 has no sockstat6.
        let v6 = |process: &str| {
            let text = read(process, "sockstat6").ok()?;
            netstat::sockets_in_use(&text, b"TCP6")
        };
        let sockstat = read(OWN, "sockstat").ok()?;
        let in_tables = netstat::sockets_in_use(&sockstat, b"TCP")?;
        let mut counts = Counts {
            allocated: netstat::sockets_allocated(&sockstat)?,
            in_tables: in_tables + v6(OWN).unwrap_or(0),
        };
        let others = namespaces.places.values().filter(|place| !place.own);
        for process in others.filter_map(|place| place.processes.first()) {
            let v4 = read(process, "sockstat").ok();
            let v4 = v4.and_then(|text| netstat::sockets_in_use(&text, b"TCP"));
            counts.in_tables += v4.unwrap_or(0) + v6(process).unwrap_or(0);
        }
        // Sockets that were made meanwhile are in some table, and must not make up for dead ones;
        // those that were closed are in none, and the next read does not have them any more.
        let allocated = netstat::sockets_allocated(&read(OWN, "sockstat").ok()?)?;
        counts.allocated = counts.allocated.max(allocated);
        Some(counts)
    }

    fn in_no_table(self) -> u64 {
        self.allocated.saturating_sub(self.in_tables)
    }

    /// There may be dead sockets; all descriptors have to be read.
    fn are_worth_a_walk(self) -> bool {
        self.in_no_table() >= WORTH_A_WALK
    }

    /// What a search says that was not needed.
    fn without_search(self) -> DeadSocketSearch {
        DeadSocketSearch {
            allocated: self.allocated,
            in_tables: self.in_tables,
            every_table: true,
            watched: None,
        }
    }
}

/// A search between its two looks.
pub(super) struct Search<'a> {
    tables: Tables<'a>,
    root: OwnedFd,
    /// The namespaces whose tables could be read.
    places: BTreeMap<u64, Place>,
    /// How many could not, and why the first could not.
    unread: Option<(u64, TableError)>,
    /// Sorted by inode.
    suspects: Vec<SocketDescriptor>,
    /// Those among them that say that they are MPTCP.
    mptcp: HashSet<Inode>,
    every_table: bool,
    counts: Counts,
    looked: Instant,
}

impl<'a> Search<'a> {
    /// The first look: which of `sockets` are TCP sockets in no table. `all_processes` says that no
    /// process is hidden from this one. `None` if there is no `/proc`.
    fn begin(
        proc_root: &'a Path,
        source: SourceChoice,
        namespaces: &Namespaces,
        all_processes: bool,
        sockets: Vec<SocketDescriptor>,
        counts: Counts,
        coverage: &mut Coverage,
    ) -> Option<Search<'a>> {
        let mut search = Search {
            tables: Tables { proc_root, source },
            root: open_directory(CWD, proc_root).ok()?,
            places: BTreeMap::new(),
            unread: None,
            suspects: sockets,
            mptcp: HashSet::new(),
            every_table: all_processes && namespaces.are_those_of_all(),
            counts,
            looked: Instant::now(),
        };
        search.suspects.sort_unstable();
        search.read_tables(namespaces);
        search.keep_crowds();
        search.read_tables_of_threads();
        search.keep_crowds();
        search.keep_those_whose_table_was_read();
        search.keep_tcp();
        search.keep_crowds();
        search.report(namespaces.unreadable, coverage);
        search.looked = Instant::now();
        Some(search)
    }

    /// The second look: what is still open, and still in no table.
    fn finish(mut self) -> (Vec<HeldDescriptor>, DeadSocketSearch) {
        let watched = self.looked.elapsed();
        if !self.suspects.is_empty() {
            for place in std::mem::take(&mut self.places).into_values() {
                if self.strike_out(&place).is_err() && !self.has_vanished(&place) {
                    self.every_table = false;
                    // Without the nearest table the first look stands alone.
                    if place.own {
                        self.suspects.clear();
                    }
                }
            }
        }
        let dead = self.still_open();
        let search = DeadSocketSearch {
            allocated: self.counts.allocated,
            in_tables: self.counts.in_tables,
            every_table: self.every_table,
            watched: Some(watched),
        };
        (dead, search)
    }

    /// Takes everything off that is in the table of a namespace in which a process lives, or which
    /// is mounted.
    fn read_tables(&mut self, namespaces: &Namespaces) {
        for (inode, place) in &namespaces.places {
            self.read_table(*inode, place.clone());
        }
    }

    /// A process is where its main thread is; the other threads of those that are suspect may have
    /// gone elsewhere.
    fn read_tables_of_threads(&mut self) {
        let pids: BTreeSet<u32> = self.suspects.iter().map(|suspect| suspect.pid).collect();
        for pid in pids {
            let tasks = self.tables.proc_root.join(format!("{pid}/task"));
            for tid in process_ids(&tasks).unwrap_or_default() {
                let thread = format!("{pid}/task/{tid}");
                match namespace(self.root.as_fd(), &thread) {
                    Ok(inode) if self.places.contains_key(&inode) => {}
                    Ok(inode) => {
                        let processes = vec![thread];
                        let place = Place::new(Netns(inode));
                        self.read_table(inode, Place { processes, ..place });
                    }
                    // The thread has ended.
                    Err(Errno::NOENT | Errno::SRCH) => {}
                    Err(_) => self.every_table = false,
                }
            }
        }
    }

    fn read_table(&mut self, inode: u64, place: Place) {
        match self.strike_out(&place) {
            Ok(seen) => {
                self.every_table &= seen == Seen::Everything;
                self.places.insert(inode, place);
            }
            Err(_) if self.has_vanished(&place) => {}
            Err(error) => {
                self.every_table = false;
                self.unread.get_or_insert((0, error)).0 += 1;
            }
        }
    }

    /// The processes that stood for a namespace have ended. If the namespace has not, the suspects
    /// among its other processes are dropped as those whose table was not read.
    fn has_vanished(&self, place: &Place) -> bool {
        let is_gone = || place.directory(self.tables.proc_root).is_none();
        !place.own && place.mounts.is_empty() && is_gone()
    }

    fn report(&mut self, processes_somewhere: u64, coverage: &mut Coverage) {
        if let Some((count, error)) = self.unread.take() {
            coverage.gaps.push(Gap {
                kind: GapKind::Details,
                what: format!(
                    "sockets in no table, of {}",
                    count_of(count, "network namespace")
                ),
                why: error.to_string(),
                needs: sight::needs_to_enter(&rights::own(self.tables.proc_root)),
                count,
            });
        }
        if processes_somewhere > 0 {
            let rights = rights::own(self.tables.proc_root);
            let gap = sight::unknown_namespaces(processes_somewhere, &rights);
            // A look at all namespaces has said so.
            if !coverage.gaps.contains(&gap) {
                coverage.gaps.push(gap);
            }
        }
    }

    /// Takes the sockets in the table at `place` off the suspects.
    fn strike_out(&mut self, place: &Place) -> Result<Seen, TableError> {
        let seen = self.strike_out_protocol(place, Protocol::Tcp)?;
        if !self.mptcp.is_empty() {
            // That it can be read was seen at the first look.
            let _ = self.strike_out_protocol(place, Protocol::Mptcp);
        }
        Ok(seen)
    }

    fn strike_out_protocol(
        &mut self,
        place: &Place,
        protocol: Protocol,
    ) -> Result<Seen, TableError> {
        let suspects = &self.suspects;
        let mut in_table = vec![false; suspects.len()];
        let seen = self.tables.read(place, protocol, &mut |inode| {
            let first = suspects.partition_point(|suspect| suspect.inode < inode);
            let same = suspects[first..].iter().zip(&mut in_table[first..]);
            for (_, found) in same.take_while(|(suspect, _)| suspect.inode == inode) {
                *found = true;
            }
        })?;
        let mut in_table = in_table.into_iter();
        self.suspects.retain(|_| in_table.next() != Some(true));
        Ok(seen)
    }

    /// Drops the suspects of processes that have few.
    fn keep_crowds(&mut self) {
        let mut by_process: BTreeMap<u32, usize> = BTreeMap::new();
        let same_socket =
            |a: &SocketDescriptor, b: &SocketDescriptor| (a.inode, a.pid) == (b.inode, b.pid);
        for descriptors in self.suspects.chunk_by(same_socket) {
            *by_process.entry(descriptors[0].pid).or_default() += 1;
        }
        self.suspects
            .retain(|suspect| by_process[&suspect.pid] >= DeadSocketSearch::FEWEST);
    }

    /// Drops the suspects of processes that live in a namespace whose table was not read: they are
    /// in there.
    fn keep_those_whose_table_was_read(&mut self) {
        let mut known: BTreeMap<u32, bool> = BTreeMap::new();
        let (root, places) = (self.root.as_fd(), &self.places);
        self.suspects.retain(|suspect| {
            *known.entry(suspect.pid).or_insert_with(|| {
                let own = namespace(root, &suspect.pid.to_string());
                own.is_ok_and(|inode| places.contains_key(&inode))
            })
        });
    }

    /// Drops the suspects that are no TCP sockets. An MPTCP connection is in a table of its own;
    /// where that cannot be read, it is not judged.
    fn keep_tcp(&mut self) {
        let proc_root = self.tables.proc_root;
        let root = self.root.as_fd();
        let mut mptcp = HashSet::new();
        self.suspects.retain(|suspect| {
            is_same(root, suspect)
                && match protocol(proc_root, suspect) {
                    Some(Protocol::Tcp) => true,
                    Some(Protocol::Mptcp) => {
                        mptcp.insert(suspect.inode);
                        true
                    }
                    None => false,
                }
        });
        self.mptcp = mptcp;
        if self.mptcp.is_empty() {
            return;
        }
        let mut read = BTreeSet::new();
        for (inode, place) in &self.places.clone() {
            match self.strike_out_protocol(place, Protocol::Mptcp) {
                Ok(_) => {
                    read.insert(*inode);
                }
                Err(_) => self.every_table = false,
            }
        }
        let root = self.root.as_fd();
        let mptcp = &self.mptcp;
        self.suspects.retain(|suspect| {
            let lives_in = || namespace(root, &suspect.pid.to_string());
            !mptcp.contains(&suspect.inode) || lives_in().is_ok_and(|inode| read.contains(&inode))
        });
    }

    /// The suspects whose descriptors still are what they were, sorted by process.
    fn still_open(&self) -> Vec<HeldDescriptor> {
        let root = self.root.as_fd();
        let mut start_times: BTreeMap<u32, Option<u64>> = BTreeMap::new();
        let mut dead: Vec<HeldDescriptor> = self
            .suspects
            .iter()
            .filter_map(|suspect| {
                let SocketDescriptor { inode, pid, fd } = *suspect;
                let start_time = *start_times
                    .entry(pid)
                    .or_insert_with(|| start_time(root, pid).ok());
                // After the start time: the inode says that this is the process that was walked.
                let start_time = start_time.filter(|_| is_same(root, suspect))?;
                let process = ProcessId { pid, start_time };
                Some(HeldDescriptor { process, fd, inode })
            })
            .collect();
        dead.sort_unstable();
        dead
    }
}

/// The descriptor still refers to that socket.
fn is_same(root: rustix::fd::BorrowedFd<'_>, suspect: &SocketDescriptor) -> bool {
    let mut target = [MaybeUninit::uninit(); 32];
    let link = format!("{}/fd/{}", suspect.pid, suspect.fd);
    readlinkat_raw(root, link, &mut target)
        .is_ok_and(|(target, _)| fd_link::socket_inode(target) == Some(suspect.inode))
}

/// The protocol's name, which the kernel gives as an attribute of the socket's file
/// (`sockfs_xattr_get`, `net/socket.c`): nothing is opened. A socket accepted from an MPTCP
/// listener says `MPTCP` even if the client spoke plain TCP; IPv6 sockets say `TCPv6`.
fn protocol(proc_root: &Path, suspect: &SocketDescriptor) -> Option<Protocol> {
    let path = proc_root.join(format!("{}/fd/{}", suspect.pid, suspect.fd));
    let mut name = [MaybeUninit::uninit(); 32];
    let (name, _) = getxattr(path, "system.sockprotoname", &mut name).ok()?;
    if name.starts_with(b"TCP") {
        Some(Protocol::Tcp)
    } else {
        name.starts_with(b"MPTCP").then_some(Protocol::Mptcp)
    }
}

/// The search in a run: from the screen that tells whether there is anything to look for, to what
/// was found.
pub(super) enum Hunt<'a> {
    /// Nobody asked.
    NotAsked,
    /// This kernel does not tell the counts.
    Unsupported,
    /// The counts, and no reason to look further, or no look yet.
    Screened(Counts),
    /// Between the two looks.
    Searching(Box<Search<'a>>),
}

impl<'a> Hunt<'a> {
    /// Reads the counts.
    pub(super) fn screen(proc_root: &Path, namespaces: &Namespaces) -> Hunt<'a> {
        // A copy's counters and tables are not of one moment.
        let counts = proc_root::is_mounted(proc_root).then(|| Counts::read(proc_root, namespaces));
        counts.flatten().map_or(Hunt::Unsupported, Hunt::Screened)
    }

    /// There may be dead sockets; all descriptors have to be read.
    pub(super) fn wants_sockets(&self) -> bool {
        matches!(self, Hunt::Screened(counts) if counts.are_worth_a_walk())
    }

    /// The first look, if there is reason for one, at the sockets that a walk has found.
    pub(super) fn begin(
        self,
        request: &'a Request,
        namespaces: &Namespaces,
        all_processes: bool,
        sockets: Vec<SocketDescriptor>,
        coverage: &mut Coverage,
    ) -> Hunt<'a> {
        let Hunt::Screened(counts) = self else {
            return self;
        };
        if !counts.are_worth_a_walk() {
            return self;
        }
        let (root, source) = (&request.proc_root, request.source);
        Search::begin(
            root,
            source,
            namespaces,
            all_processes,
            sockets,
            counts,
            coverage,
        )
        .map_or(Hunt::Screened(counts), |search| {
            Hunt::Searching(Box::new(search))
        })
    }

    /// The second look, `settle` after the first one.
    pub(super) fn finish(self, settle: Duration) -> (Vec<HeldDescriptor>, Fact<DeadSocketSearch>) {
        match self {
            Hunt::NotAsked => (Vec::new(), Fact::Unknown(Unknown::NotCollected)),
            Hunt::Unsupported => (Vec::new(), Fact::Unknown(Unknown::Unsupported)),
            Hunt::Screened(counts) => (Vec::new(), Fact::Known(counts.without_search())),
            Hunt::Searching(search) => {
                if !search.suspects.is_empty() {
                    std::thread::sleep(settle.saturating_sub(search.looked.elapsed()));
                }
                let (dead, search) = search.finish();
                (dead, Fact::Known(search))
            }
        }
    }
}
