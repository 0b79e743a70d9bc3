//! Accounts for accept queues: which connections wait in which, how long, and whether they move.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{Holder, Listeners, syn_queue};
use crate::model::{
    Cookie, CookieSet, Fact, Netns, Queues, Snapshot, SocketEntry, TcpState, Unknown,
};

/// A listener and its queue.
#[derive(Debug)]
pub struct Listener<'a> {
    /// Its row, from the newest read.
    pub entry: &'a SocketEntry,
    /// Connections that wait for `accept()`.
    pub accept_queue: u32,
    /// The limit of the queue, where the source tells.
    pub backlog: Option<u32>,
    /// What the queue consists of. Moving if the reads do not agree; unsupported if other
    /// listeners of the same address have a queue too (facts Q9).
    pub queued: Fact<Queued>,
    /// The connections that wait here, or in the queues of the group that cannot be told apart; the
    /// oldest first, and those of unknown age last.
    pub children: Arc<[Child<'a>]>,
    /// The total length of the *other* queues among which `children` are spread.
    pub shared_with: u32,
    /// Handshakes in progress on its address: its SYN queue (facts Q11), or that of all who share it.
    pub syn_recv: u32,
    /// Other listeners fit those handshakes as well.
    pub shares_syn_queue: bool,
    /// What changed between two looks; `None` if there was one look.
    pub movement: Option<Movement>,
    /// The connections on its port that programs have accepted and not closed, in the newest read;
    /// `None` if it was not read, or cannot be told.
    pub accepted: Option<CookieSet>,
    /// Every process that has a descriptor for it.
    pub holders: Vec<Holder<'a>>,
}

/// A connection that waits in an accept queue.
#[derive(Debug, Clone, Copy)]
pub struct Child<'a> {
    /// Its row.
    pub entry: &'a SocketEntry,
    /// How long it has waited: from `tcp_info`, or at least as long as it was watched.
    pub waited: Option<Duration>,
}

/// What a queue consists of; the three add up to its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queued {
    /// Connections whose client still waits.
    pub established: u32,
    /// Connections whose client has closed its side.
    pub close_wait: u32,
    /// Slots whose connection was reset: in no table (facts Q6).
    pub gone: u32,
}

/// What two looks at a queue tell; for a group whose queues cannot be told apart, of all together
/// (`taken` aside).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Movement {
    /// Time between them.
    pub over: Duration,
    /// Connections that were in the first and not in the second: accepted, or reset.
    pub left: u32,
    /// Connections that were in the second only.
    pub came: u32,
    /// Connections that were in both.
    pub stayed: u32,
    /// Slots that were freed, which only `accept()` does: the slot of a connection that was reset
    /// stays taken (facts Q6).
    pub taken: u32,
    /// Queue length at the first look.
    pub before: u32,
    /// Queue length at the second look.
    pub after: u32,
}

impl Movement {
    /// Nothing was taken from the queue.
    pub fn is_stuck(&self) -> bool {
        self.taken == 0
    }
}

impl Listener<'_> {
    /// More connections wait than the backlog allows; new ones are dropped (facts Q2).
    pub fn is_full(&self) -> bool {
        self.backlog
            .is_some_and(|backlog| self.accept_queue > backlog)
    }

    /// The longest wait that certainly belongs to this queue.
    ///
    /// Where the group's queues cannot be told apart, the others may have taken the oldest
    /// connections: only what is left after that is certain.
    pub fn oldest_wait(&self) -> Option<Duration> {
        self.children.get(self.shared_with as usize)?.waited
    }

    /// The queue has slots, and no connection in them is left in any table.
    pub fn only_gone(&self) -> bool {
        self.queued.known().is_some_and(|queued| {
            queued.gone > 0 && queued.established == 0 && queued.close_wait == 0
        })
    }
}

fn accept_queue(listener: &SocketEntry) -> u32 {
    match listener.queues {
        Queues::Listen { accept_queue, .. } => accept_queue,
        Queues::Stream { .. } => 0,
    }
}

/// Before Linux 5.12 each namespace counts its cookies for itself (`__sock_gen_cookie`).
type Identity = (Netns, Option<Cookie>, SocketAddr, SocketAddr);

fn identity(row: &SocketEntry) -> Identity {
    (row.netns, row.cookie, row.local, row.remote)
}

/// The queues of a set of listeners that cannot be told apart; most sets have one member.
struct Pool<'a> {
    queue: u32,
    children: Vec<&'a SocketEntry>,
}

impl Pool<'_> {
    /// A dump begins with the listeners: what comes meanwhile is seen, and was not counted.
    fn length(&self) -> u32 {
        let visible = u32::try_from(self.children.len());
        visible.map_or(u32::MAX, |visible| self.queue.max(visible))
    }
}

/// Which listeners of `listeners` share a pool, and what is in it, in one read.
fn pools<'a>(
    listeners: &Listeners<'a>,
    rows: impl Iterator<Item = &'a SocketEntry>,
) -> (BTreeMap<Vec<usize>, Pool<'a>>, Vec<&'a SocketEntry>) {
    let queue_of = |index: &usize| accept_queue(listeners.entries()[*index]);
    // Of several listeners, only those with a queue can have a connection in it.
    let with_queue = |mut members: Vec<usize>| {
        if members.iter().any(|index| queue_of(index) > 0) {
            members.retain(|index| queue_of(index) > 0);
        }
        members
    };
    let mut preferred: BTreeMap<Arc<[usize]>, Vec<&SocketEntry>> = BTreeMap::new();
    let mut strays = Vec::new();
    for row in rows.filter(|row| row.is_unaccepted()) {
        match listeners.of_connection(row) {
            members if members.is_empty() => strays.push(row),
            members => preferred.entry(members).or_default().push(row),
        }
    }
    let mut pools = Merged::default();
    for (members, rows) in preferred {
        let members = with_queue(members.to_vec());
        let room: u32 = members.iter().map(queue_of).fold(0, u32::saturating_add);
        if rows.len() <= room as usize {
            pools.add(members, rows);
        } else {
            // More than those queues hold: some came in before the listener that would take them
            // now was opened, and still wait at another one.
            let mut fitting: BTreeMap<Vec<usize>, Vec<&SocketEntry>> = BTreeMap::new();
            for row in rows {
                let members = with_queue(listeners.fitting(row));
                fitting.entry(members).or_default().push(row);
            }
            for (members, rows) in fitting {
                pools.add(members, rows);
            }
        }
    }
    // Queues in which nothing is visible.
    for index in 0..listeners.entries().len() {
        if queue_of(&index) > 0 && !pools.place_of.contains_key(&index) {
            pools.add(vec![index], Vec::new());
        }
    }
    let pool = |(members, children): (Vec<usize>, Vec<&'a SocketEntry>)| {
        let queue = members.iter().map(queue_of).fold(0, u32::saturating_add);
        (members, Pool { queue, children })
    };
    (pools.sets.into_iter().flatten().map(pool).collect(), strays)
}

/// Sets of listeners with the rows that wait at one of them; sets that share a listener are one.
#[derive(Default)]
struct Merged<'a> {
    sets: Vec<Option<(Vec<usize>, Vec<&'a SocketEntry>)>>,
    /// In which set a listener is.
    place_of: HashMap<usize, usize>,
}

impl<'a> Merged<'a> {
    /// Adds rows that wait at one of `members`.
    fn add(&mut self, mut members: Vec<usize>, mut rows: Vec<&'a SocketEntry>) {
        let shared: BTreeSet<usize> = members
            .iter()
            .filter_map(|member| self.place_of.get(member))
            .copied()
            .collect();
        for place in shared {
            if let Some((other_members, other_rows)) = self.sets[place].take() {
                members.extend(other_members);
                rows.extend(other_rows);
            }
        }
        members.sort_unstable();
        members.dedup();
        let place = self.sets.len();
        self.place_of
            .extend(members.iter().map(|member| (*member, place)));
        self.sets.push(Some((members, rows)));
    }
}

/// Every listener with its queue, and the unaccepted connections that no listener matches.
pub(super) fn account<'a>(
    listeners: &Listeners<'a>,
    rows: &[&'a SocketEntry],
    snapshot: &'a Snapshot,
) -> (Vec<Listener<'a>>, Vec<&'a SocketEntry>) {
    let mut accounts: Vec<Listener<'a>> = listeners
        .entries()
        .iter()
        .map(|entry| empty_account(entry))
        .collect();
    syn_queue::count(listeners, rows, &mut accounts);
    let (pools, strays) = pools(listeners, rows.iter().copied());
    let earlier_reads = earlier_reads(snapshot);
    for (members, pool) in pools {
        let identities: Vec<Identity> = members
            .iter()
            .map(|index| identity(listeners.entries()[*index]))
            .collect();
        let earlier: Vec<(Duration, Pool<'a>)> = earlier_reads
            .iter()
            .map(|read| (read.after, read.pool(&identities)))
            .collect();
        let queued = pool_account(&pool, earlier.last().map(|(_, pool)| pool));
        let change = change(&pool, &earlier, snapshot);
        let watched = change.as_ref().map(|change| change.over);
        let before: HashSet<Identity> = earlier
            .first()
            .map(|(_, pool)| pool.children.iter().map(|row| identity(row)).collect())
            .unwrap_or_default();
        let mut children: Vec<Child<'a>> = pool
            .children
            .iter()
            .map(|row| Child {
                entry: row,
                waited: row
                    .wait()
                    .max(watched.filter(|_| before.contains(&identity(row)))),
            })
            .collect();
        children.sort_by_key(|child| Reverse(child.waited));
        let children: Arc<[Child<'a>]> = children.into();
        let is_alone = members.len() == 1;
        for (index, identity) in members.iter().zip(&identities) {
            let account = &mut accounts[*index];
            account.children = Arc::clone(&children);
            account.shared_with = pool.queue.saturating_sub(account.accept_queue);
            account.accepted = accepted(snapshot, account.entry);
            account.movement = change.as_ref().map(|change| {
                let before = earlier_reads.first().map_or(0, |read| read.queue(identity));
                let freed = snapshot.freed_of(account.entry);
                change.of_member(is_alone, before, freed)
            });
            account.queued = if is_alone {
                queued.clone()
            } else {
                Fact::Unknown(Unknown::Unsupported)
            };
        }
    }
    (accounts, strays)
}

fn empty_account(entry: &SocketEntry) -> Listener<'_> {
    let (accept_queue, backlog) = match entry.queues {
        Queues::Listen {
            accept_queue,
            backlog,
        } => (accept_queue, backlog),
        Queues::Stream { .. } => (0, None),
    };
    Listener {
        entry,
        accept_queue,
        backlog,
        queued: Fact::Known(Queued {
            established: 0,
            close_wait: 0,
            gone: 0,
        }),
        children: Arc::new([]),
        shared_with: 0,
        syn_recv: 0,
        shares_syn_queue: false,
        movement: None,
        accepted: None,
        holders: Vec::new(),
    }
}

/// What was accepted on the port of a listener.
fn accepted(snapshot: &Snapshot, listener: &SocketEntry) -> Option<CookieSet> {
    let ports = snapshot.queue_reads.last()?.accepted.as_ref()?;
    let place = (listener.netns, listener.local.port());
    let found = ports.iter().find(|on| (on.netns, on.port) == place);
    found.map(|on| on.set)
}

/// A read before the last one, by listener.
struct EarlierRead<'a> {
    after: Duration,
    pools: Vec<Pool<'a>>,
    /// The pool of a listener, and the length of its own queue.
    pool_of: HashMap<Identity, (usize, u32)>,
}

fn earlier_reads(snapshot: &Snapshot) -> Vec<EarlierRead<'_>> {
    let Some((_, before)) = snapshot.queue_reads.split_last() else {
        return Vec::new();
    };
    before
        .iter()
        .map(|read| {
            let listeners = Listeners::of(read.sockets.iter());
            let mut earlier = EarlierRead {
                after: read.after,
                pools: Vec::new(),
                pool_of: HashMap::new(),
            };
            for (members, pool) in pools(&listeners, read.sockets.iter()).0 {
                for member in members {
                    let listener = listeners.entries()[member];
                    let (place, queue) = (earlier.pools.len(), accept_queue(listener));
                    earlier.pool_of.insert(identity(listener), (place, queue));
                }
                earlier.pools.push(pool);
            }
            earlier
        })
        .collect()
}

impl<'a> EarlierRead<'a> {
    /// What the pool of these listeners was then; empty if none of them had a queue.
    fn pool(&self, members: &[Identity]) -> Pool<'a> {
        let indices: BTreeSet<usize> = members
            .iter()
            .filter_map(|member| self.pool_of.get(member))
            .map(|(place, _)| *place)
            .collect();
        let mut merged = Pool {
            queue: 0,
            children: Vec::new(),
        };
        for index in indices {
            merged.queue = merged.queue.saturating_add(self.pools[index].queue);
            merged.children.extend(&self.pools[index].children);
        }
        merged
    }

    /// The length of one listener's queue then.
    fn queue(&self, listener: &Identity) -> u32 {
        self.pool_of.get(listener).map_or(0, |(_, queue)| *queue)
    }
}

/// What a queue consists of. What is missing is gone only if the read before saw exactly the same;
/// otherwise it may have been on its way in or out.
fn pool_account(pool: &Pool<'_>, before: Option<&Pool<'_>>) -> Fact<Queued> {
    let count = |state| {
        pool.children
            .iter()
            .filter(|row| row.state == state)
            .count()
    };
    let visible = pool.children.len();
    let Some(gone) = (pool.queue as usize).checked_sub(visible) else {
        return Fact::Unknown(Unknown::Moving);
    };
    let same = |before: &Pool<'_>| {
        let ids = |pool: &Pool<'_>| -> HashSet<Identity> {
            pool.children.iter().map(|row| identity(row)).collect()
        };
        before.queue == pool.queue && ids(before) == ids(pool)
    };
    if gone > 0 && !before.is_some_and(same) {
        return Fact::Unknown(Unknown::Moving);
    }
    let close_wait = count(TcpState::CloseWait);
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Fact::Known(Queued {
        established: number(visible - close_wait),
        close_wait: number(close_wait),
        gone: number(gone),
    })
}

/// What became of a pool between the first read and the last one.
struct Change {
    over: Duration,
    left: u32,
    came: u32,
    stayed: u32,
    /// What the listeners said at the first read.
    queue_before: u32,
    before: u32,
    after: u32,
    /// Slots of the first read in which no connection was visible.
    hidden: u32,
    /// How many of the oldest connections of the first read were still there, up to the first that
    /// was not, or whose age is not known.
    oldest_stayed: u32,
}

impl Change {
    /// What it says about one listener, whose queue had this length before.
    ///
    /// What left was accepted, or was reset and left its slot taken; only the slots tell which.
    /// Both are read a moment apart, so no more is taken than has left or could not be seen. A
    /// queue is taken from in the order of arrival: where so many of the oldest stayed that one of
    /// them is at the head of this queue, nothing was taken from it, whatever the group's others do.
    ///
    /// `seen` slots were freed: where as many came and were reset, only the length itself told.
    fn of_member(&self, is_alone: bool, before: u32, seen: u32) -> Movement {
        let others = self.queue_before.saturating_sub(before);
        // By now alone, it may have shared its pool then.
        let alone_by_now = is_alone && others > 0;
        let before = if alone_by_now { before } else { self.before };
        let freed = (before.saturating_add(self.came)).saturating_sub(self.after);
        let head_stayed = !is_alone && self.oldest_stayed > others;
        Movement {
            over: self.over,
            left: self.left,
            came: self.came,
            stayed: self.stayed,
            taken: match head_stayed {
                true => 0,
                false => freed.min(self.left.saturating_add(self.hidden)),
            }
            .max(seen),
            before,
            after: self.after,
        }
    }
}

/// Compares the first read with the last one, if there is time between them.
fn change(
    pool: &Pool<'_>,
    earlier: &[(Duration, Pool<'_>)],
    snapshot: &Snapshot,
) -> Option<Change> {
    /// Reads this close together were made to get one account, not to see movement.
    const SHORTEST: Duration = Duration::from_millis(20);
    let (first_at, first) = earlier.first()?;
    let over = snapshot.queue_reads.last()?.after.checked_sub(*first_at)?;
    if over < SHORTEST {
        return None;
    }
    let ids = |pool: &Pool<'_>| -> HashSet<Identity> {
        pool.children.iter().map(|row| identity(row)).collect()
    };
    let (before, now) = (ids(first), ids(pool));
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let mut oldest_first: Vec<&SocketEntry> = first.children.clone();
    oldest_first.sort_by_key(|row| Reverse(row.wait()));
    let ages_known = oldest_first.iter().all(|row| row.wait().is_some());
    let still_there = oldest_first
        .iter()
        .take_while(|row| ages_known && now.contains(&identity(row)));
    Some(Change {
        over,
        left: number(before.difference(&now).count()),
        came: number(now.difference(&before).count()),
        stayed: number(now.intersection(&before).count()),
        queue_before: first.queue,
        before: first.length(),
        after: pool.length(),
        hidden: first.queue.saturating_sub(number(before.len())),
        oldest_stayed: number(still_there.count()),
    })
}
