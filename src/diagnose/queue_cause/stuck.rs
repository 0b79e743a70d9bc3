//! A stuck listener with what its holders wait for: what the causes are judged on.

use std::collections::BTreeMap;

use super::phrase;
use crate::diagnose::wait::{Wait, is_of_the_program, wait_of};
use crate::join::{Holder, Listener, SocketTable};
use crate::model::{
    Confidence, EpollRegistration, EpollSet, Evidence, Fact, Process, ProcessDetail, Runtime,
    Thread, count_of, printable,
};

/// A listener whose queue is stuck, and those of its holders that are to be judged.
pub(in crate::diagnose) struct Stuck<'t, 'a> {
    pub(in crate::diagnose) listener: &'t Listener<'a>,
    pub(in crate::diagnose) table: &'t SocketTable<'a>,
    /// Holders that accept, or all that could, with what was read of them.
    pub(in crate::diagnose) judged: Vec<Judged<'t>>,
    /// Holders of which too little could be read, with the reason.
    pub(in crate::diagnose) unread: Vec<(&'t Holder<'a>, String)>,
}

/// A holder, with what it has to do with the listener.
pub(in crate::diagnose) struct Judged<'t> {
    pub(in crate::diagnose) process: &'t Process,
    pub(in crate::diagnose) detail: &'t ProcessDetail,
    /// Each registration of the listener in an epoll set of the process.
    pub(in crate::diagnose) registrations: Vec<Registered>,
    /// Its threads, as far as they are the program's, and what each waits for.
    pub(in crate::diagnose) threads: Vec<(&'t Thread, Wait)>,
    /// Its descriptors for the listener.
    fds: &'t [i32],
}

/// A registration of the listener.
pub(in crate::diagnose) struct Registered {
    /// The epoll descriptor.
    pub(in crate::diagnose) epoll: i32,
    pub(in crate::diagnose) registration: EpollRegistration,
    /// The epoll descriptors through which it wakes somebody: its own, and those of sets in which
    /// that is registered.
    pub(in crate::diagnose) reached_through: Vec<i32>,
}

impl<'t, 'a> Stuck<'t, 'a> {
    pub(in crate::diagnose) fn new(
        listener: &'t Listener<'a>,
        table: &'t SocketTable<'a>,
    ) -> Stuck<'t, 'a> {
        let (mut judged, mut unread) = (Vec::new(), Vec::new());
        for holder in &listener.holders {
            match holder.process.map(|process| (process, &process.detail)) {
                Some((process, Fact::Known(detail))) => {
                    judged.push(Judged::new(holder, process, detail, listener));
                }
                Some((_, Fact::Unknown(reason))) => unread.push((holder, reason.to_string())),
                None => unread.push((holder, "it has ended".into())),
            }
        }
        let judged = those_that_accept(judged);
        Stuck {
            listener,
            table,
            judged,
            unread,
        }
    }

    /// The most that may be claimed: other holders may exist where not every process was read.
    pub(super) fn ceiling(&self) -> Confidence {
        if self.table.owners_complete() && self.unread.is_empty() {
            Confidence::Certain
        } else {
            Confidence::Likely
        }
    }

    /// What the holders do, whatever the cause.
    pub(super) fn evidence(&self) -> Vec<Evidence> {
        const SHOWN: usize = 4;
        let mut evidence = Vec::new();
        for judged in self.judged.iter().take(SHOWN) {
            evidence.extend(judged.evidence());
        }
        if self.judged.len() > SHOWN {
            let rest = count_of((self.judged.len() - SHOWN) as u64, "more process");
            evidence.push(Evidence::new(format!("{rest} not shown here"), "/proc"));
        }
        if self.unread.len() > SHOWN {
            let rest = count_of((self.unread.len() - SHOWN) as u64, "more process");
            let fact = format!("what {rest} wait for is not known either");
            evidence.push(Evidence::new(fact, "/proc"));
        }
        for (holder, reason) in self.unread.iter().take(SHOWN) {
            evidence.push(Evidence::new(
                format!(
                    "what {} waits for is not known: {reason}",
                    phrase::holder(holder)
                ),
                format!("/proc/{}", holder.id.pid),
            ));
        }
        if self.ceiling() < Confidence::Certain && self.unread.is_empty() {
            evidence.push(Evidence::new(
                "not every process could be read: another holder may exist",
                "coverage",
            ));
        }
        evidence
    }

    /// Why a predicate on the holders cannot be judged at all.
    pub(super) fn cannot_judge(&self) -> Option<String> {
        if self.listener.holders.is_empty() {
            let coverage = &self.table.snapshot.coverage;
            let gap = coverage
                .gaps
                .iter()
                .find(|gap| gap.kind == crate::model::GapKind::Owners);
            return gap.map(|gap| {
                let needs = gap.needs.as_ref().map(|needs| format!("; needs {needs}"));
                let (what, why) = (&gap.what, &gap.why);
                format!(
                    "its holder was not found: {what}: {why}{}",
                    needs.unwrap_or_default()
                )
            });
        }
        match &self.unread[..] {
            [(holder, reason), ..] if self.judged.is_empty() => Some(format!(
                "{} could not be looked at: {reason}",
                phrase::holder(holder)
            )),
            _ => None,
        }
    }

    /// Why what threads wait for cannot be judged: it could not be read, or it goes through
    /// io_uring, which does not show which listener a pending accept is for.
    pub(super) fn waits_hidden(&self) -> Option<String> {
        if let Some(reason) = self.cannot_judge() {
            return Some(reason);
        }
        let registered = self
            .judged
            .iter()
            .any(|judged| !judged.registrations.is_empty());
        for judged in &self.judged {
            let who = phrase::process(Some(judged.process), judged.process.id);
            if let Fact::Known(rings) = &judged.detail.io_urings
                && !rings.is_empty()
                && !registered
            {
                return Some(format!(
                    "{who} uses io_uring: the kernel does not tell on which listener a ring's \
                     pending accept waits"
                ));
            }
            if let Fact::Unknown(reason) = judged.detail.epoll_sets {
                return Some(format!(
                    "the epoll sets of {who} could not be read: {reason}"
                ));
            }
            let hidden = judged.threads.iter().find_map(|(_, wait)| match wait {
                Wait::Unknown(reason) => Some(reason),
                _ => None,
            });
            if let Some(reason) = hidden {
                return Some(format!(
                    "what the threads of {who} wait for could not be read: {reason}; needs root, \
                     or CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"
                ));
            }
        }
        None
    }

    /// Every registration of the listener among the judged.
    pub(super) fn registrations(&self) -> impl Iterator<Item = (&Judged<'t>, &Registered)> {
        self.judged
            .iter()
            .flat_map(|judged| judged.registrations.iter().map(move |r| (judged, r)))
    }

    /// What the threads of all judged holders wait for.
    pub(super) fn waits(&self) -> impl Iterator<Item = &Wait> {
        self.judged
            .iter()
            .flat_map(|judged| judged.threads.iter().map(|(_, wait)| wait))
    }

    /// Threads asleep where an armed registration of the listener would wake them.
    pub(super) fn sleepers_on_listener(&self) -> usize {
        self.judged.iter().map(Judged::sleepers_on_listener).sum()
    }

    /// Names of the judged, for a sentence.
    pub(super) fn names(&self) -> String {
        const NAMED: usize = 3;
        let mut names: Vec<String> = self
            .judged
            .iter()
            .take(NAMED)
            .map(|judged| phrase::process(Some(judged.process), judged.process.id))
            .collect();
        if self.judged.len() > NAMED {
            names.push(format!("{} more", self.judged.len() - NAMED));
        }
        phrase::join_words(&names)
    }

    /// The verb for [`Stuck::names`].
    pub(super) fn verb(&self, singular: &'static str, plural: &'static str) -> &'static str {
        if self.judged.len() == 1 {
            singular
        } else {
            plural
        }
    }

    /// The runtime that all judged share.
    pub(super) fn runtime(&self) -> Option<Runtime> {
        let mut runtimes = self
            .judged
            .iter()
            .map(|judged| judged.detail.runtime.known().copied());
        let first = runtimes.next()??;
        runtimes.all(|other| other == Some(first)).then_some(first)
    }
}

/// Narrows holders to those whose business it is to accept: first those with the listener in an
/// epoll set or a thread in `accept()`; otherwise without supervisors (a parent whose children
/// run the same program and hold it too: nginx's master, gunicorn's arbiter) and without children
/// that have merely inherited it (another program than their parent's).
fn those_that_accept(judged: Vec<Judged<'_>>) -> Vec<Judged<'_>> {
    let (accepting, others): (Vec<_>, Vec<_>) = judged.into_iter().partition(Judged::accepts);
    if !accepting.is_empty() {
        return accepting;
    }
    let by_pid: BTreeMap<u32, &Process> = others
        .iter()
        .map(|judged| (judged.process.id.pid, judged.process))
        .collect();
    let same_program = |a: &Process, b: &Process| a.exe.known() == b.exe.known();
    let supervises = |process: &Process| {
        by_pid
            .values()
            .any(|child| child.parent == process.id.pid && same_program(child, process))
    };
    let inherited = |process: &Process| {
        by_pid
            .get(&process.parent)
            .is_some_and(|parent| !same_program(parent, process))
    };
    let left_out: Vec<bool> = others
        .iter()
        .map(|judged| supervises(judged.process) || inherited(judged.process))
        .collect();
    if left_out.iter().all(|left_out| *left_out) {
        return others;
    }
    let mut left_out = left_out.into_iter();
    others
        .into_iter()
        .filter(|_| left_out.next() == Some(false))
        .collect()
}

impl<'t> Judged<'t> {
    fn new(
        holder: &'t Holder<'_>,
        process: &'t Process,
        detail: &'t ProcessDetail,
        listener: &Listener<'_>,
    ) -> Judged<'t> {
        let sets = detail.epoll_sets.known().map_or(&[][..], Vec::as_slice);
        let inode = listener.entry.inode.map_or(0, |inode| inode.0);
        let registrations = sets
            .iter()
            .flat_map(|set| set.registrations.iter().map(move |entry| (set, entry)))
            // Kernels before 4.2 do not tell the inode; then the number has to do.
            .filter(|(_, entry)| match entry.inode {
                0 => holder.fds.contains(&entry.fd),
                known => known == inode,
            })
            .map(|(set, entry)| Registered {
                epoll: set.fd,
                registration: *entry,
                reached_through: reached_through(set.fd, sets),
            })
            .collect();
        let threads = detail.threads.known().map_or(&[][..], Vec::as_slice);
        let threads = threads
            .iter()
            .filter(|thread| is_of_the_program(thread, detail.runtime.known().copied()))
            .map(|thread| (thread, wait_of(thread).beside_a_ready_listener()))
            .collect();
        Judged {
            process,
            detail,
            registrations,
            threads,
            fds: &holder.fds,
        }
    }

    fn accepts(&self) -> bool {
        let in_accept = |wait: &Wait| matches!(wait, Wait::Accept { fd } if self.fds.contains(fd));
        !self.registrations.is_empty() || self.threads.iter().any(|(_, wait)| in_accept(wait))
    }

    /// Threads asleep in `registered`'s set, or in one that contains it.
    pub(super) fn sleepers_in(&self, registered: &Registered) -> usize {
        let sleeps = |wait: &Wait| matches!(wait, Wait::Epoll { set } if registered.reached_through.contains(set));
        self.threads.iter().filter(|(_, wait)| sleeps(wait)).count()
    }

    pub(super) fn sleepers_on_listener(&self) -> usize {
        let armed = |registered: &&Registered| {
            registered.registration.wants_input() && !registered.registration.is_spent()
        };
        let in_sets: usize = self
            .registrations
            .iter()
            .filter(armed)
            .map(|registered| self.sleepers_in(registered))
            .sum();
        let in_accept = self
            .threads
            .iter()
            .filter(|(_, wait)| matches!(wait, Wait::Accept { fd } if self.fds.contains(fd)));
        in_sets + in_accept.count()
    }

    fn evidence(&self) -> Vec<Evidence> {
        let pid = self.process.id.pid;
        let name = printable(&self.process.comm);
        let mut evidence = Vec::new();
        for registered in &self.registrations {
            evidence.push(Evidence::new(
                format!(
                    "{name} has it registered in epoll fd {} with events {:x}, {}",
                    registered.epoll, registered.registration.events, registered.registration
                ),
                format!("/proc/{pid}/fdinfo/{}", registered.epoll),
            ));
        }
        if self.registrations.is_empty()
            && let Fact::Known(sets) = &self.detail.epoll_sets
        {
            evidence.push(match sets.len() {
                0 => Evidence::new(
                    format!("{name} has no epoll descriptor"),
                    format!("/proc/{pid}/fd"),
                ),
                sets => Evidence::new(
                    match sets {
                        1 => format!("it is not in {name}'s epoll set"),
                        _ => format!("it is in none of {name}'s {sets} epoll sets"),
                    },
                    format!("/proc/{pid}/fdinfo"),
                ),
            });
        }
        let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
        for (_, wait) in &self.threads {
            *kinds.entry(wait.to_string()).or_default() += 1;
        }
        let mut kinds: Vec<(String, u64)> = kinds.into_iter().collect();
        kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        if let [(kind, 1)] = &kinds[..] {
            evidence.push(Evidence::new(
                format!("its only thread is {kind}"),
                format!("/proc/{pid}/syscall, /proc/{pid}/stat"),
            ));
        } else if !kinds.is_empty() {
            const SHOWN: usize = 5;
            let mut parts: Vec<String> = kinds
                .iter()
                .take(SHOWN)
                .map(|(kind, count)| format!("{count} {kind}"))
                .collect();
            if kinds.len() > SHOWN {
                let rest: u64 = kinds[SHOWN..].iter().map(|(_, count)| count).sum();
                parts.push(format!("{rest} elsewhere"));
            }
            evidence.push(Evidence::new(
                format!(
                    "{} of {name}: {}",
                    count_of(self.threads.len() as u64, "thread"),
                    parts.join(", ")
                ),
                format!("/proc/{pid}/task/*/syscall, stat"),
            ));
        }
        evidence
    }
}

/// `set` and the sets through which its events arrive: nested epoll descriptors, by number, since
/// all of them have one inode; a number that was reused for another file has that file's.
fn reached_through(set: i32, sets: &[EpollSet]) -> Vec<i32> {
    let of_epoll = sets.iter().find_map(|set| set.inode);
    let is_epoll = |entry: &EpollRegistration| {
        of_epoll.is_none_or(|inode| entry.inode == inode || entry.inode == 0)
    };
    let mut reached = vec![set];
    let mut next = 0;
    while let Some(inner) = reached.get(next).copied() {
        for outer in sets {
            let mut entries = outer.registrations.iter();
            let contains = entries.any(|entry| entry.fd == inner && is_epoll(entry));
            if contains && !reached.contains(&outer.fd) {
                reached.push(outer.fd);
            }
        }
        next += 1;
    }
    reached
}
