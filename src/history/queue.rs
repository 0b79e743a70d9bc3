//! One accept queue through time: what came, what was taken, and what that says. Stuck and busy are
//! told apart by identity: the same connections look after look, or others.

use std::collections::HashSet;
use std::time::Duration;

use super::event::Measures;
use super::key::SocketKey;
use super::series::{Series, time_for};
use crate::join::Listener;
use crate::model::{CookieSet, count_of, human_duration};

/// Connections that came so close together cannot be put in order. A wait is told in jiffies, and
/// counts from when the connection was established, which is a moment after it was queued
/// (`tcp_child_process`, `net/ipv4/tcp_minisocks.c`): on a busy machine 12 ms have been seen.
const CLOSE_TOGETHER: Duration = Duration::from_millis(100);
/// So many looks without any movement make the next movement an answer to what came with it, and
/// the queue one that does not move.
const STILL_LOOKS: u32 = 2;
/// So many looks without any movement make a single exchange a proof: that something else let one
/// in just then would be a rare chance.
const STILL_LOOKS_OF_A_PROOF: u32 = 20;
/// Or so many exchanges, and nothing else. By chance, the next look after three still ones has
/// both the newcomer and what let one in for another reason once in 27 times, three times in a row.
const EXCHANGES_OF_A_PROOF: u32 = 3;

/// One listener.
#[derive(Debug, Default)]
pub(super) struct Queue {
    length: u32,
    /// The oldest first; unknown if several listeners share it, or if the history is full.
    waiting: Option<Vec<Waiting>>,
    /// What had been accepted on the port.
    accepted: Option<CookieSet>,
    pub(super) lengths: Series,
    /// Came and were taken in all looks together, as far as that was told.
    pub(super) moved: Option<(u64, u64)>,
    /// The listener's own counter of drops at the last look.
    drops: Option<u32>,
    is_dropping: bool,
    /// Dropped in all looks together, where the source tells.
    pub(super) dropped: Option<u64>,
    /// While a finding says that the queue is stuck.
    stuck: Option<Stuck>,
    told: Option<Told>,
    pub(super) peak: u32,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    key: SocketKey,
    waited: Option<Duration>,
}

/// What happened between two looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    /// Connections that came, at least.
    came: u32,
    /// Slots that were freed, which only `accept()` does (facts Q6, Q8).
    taken: u32,
    /// What left was the oldest; unknown without ages.
    oldest_left: Option<bool>,
    /// No connection that had been accepted before has ended. Each that does makes room for one
    /// under a limit on connections, and whoever it was may come again at once.
    nobody_ended: bool,
}

/// What happened since the queue got stuck.
#[derive(Debug, Default)]
struct Stuck {
    /// Looks in a row in which nothing came and nothing was taken, and since when.
    still: u32,
    still_since: Duration,
    /// How long that was before what came or was taken last.
    still_for: Duration,
    /// Came, and was taken, since both were last the same.
    came: u32,
    taken: u32,
    /// More was taken than came: the program accepts by itself.
    moves: bool,
    /// One came, and nothing was taken for it.
    unanswered: bool,
    /// An accepted connection may have ended since both were last the same.
    somebody_ended: bool,
    /// Times that one was taken for one that came, and for nothing else that could be seen.
    exchanges: u32,
    /// One of them was after so long a time that it is a proof by itself.
    proved_at_once: bool,
    /// This look began with a queue that had been still for long enough.
    was_still: bool,
    /// And for so long that one exchange is a proof.
    was_long_still: bool,
    /// One was taken for one that came, in this look.
    exchanged: bool,
}

/// The verdict that was told last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    NotMoving,
    OneInOneOut,
    Draining,
    /// At this length.
    Growing(u32),
}

/// What is to be told about a queue.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    NotMoving(String, Measures),
    OneInOneOut(String, Measures),
    Draining(String, Measures),
    Growing(String, Measures),
}

impl Queue {
    /// Follows the queue to the next look; no more than `room` connections are remembered.
    pub(super) fn look(&mut self, at: Duration, listener: &Listener<'_>, room: usize) {
        let can_tell = listener.shared_with == 0 && listener.children.len() <= room;
        let waiting: Option<Vec<Waiting>> = can_tell.then(|| {
            let children = listener.children.iter();
            children
                .map(|child| Waiting {
                    key: SocketKey::of(child.entry),
                    // Not how long it was watched, which is the same for all.
                    waited: child.entry.wait(),
                })
                .collect()
        });
        let step = match (&self.waiting, &waiting) {
            (Some(before), Some(now)) => {
                let accepted = self.accepted.zip(listener.accepted);
                Some(step(
                    before,
                    self.length,
                    now,
                    listener.accept_queue,
                    accepted,
                ))
            }
            _ => None,
        };
        self.accepted = listener.accepted;
        self.length = listener.accept_queue;
        self.waiting = waiting;
        self.peak = self.peak.max(self.length);
        self.lengths.push(at, self.length.into());
        if let Some(step) = step {
            let (came, taken) = self.moved.unwrap_or_default();
            self.moved = Some((came + u64::from(step.came), taken + u64::from(step.taken)));
        }
        if let Some(stuck) = &mut self.stuck {
            match step {
                Some(step) => stuck.note(at, step),
                // Whatever came or left, nobody saw it.
                None => {
                    *stuck = Stuck {
                        moves: true,
                        ..Stuck::default()
                    };
                }
            }
        }
    }

    pub(super) fn remembered(&self) -> usize {
        self.waiting.as_ref().map_or(0, Vec::len)
    }

    /// A finding says from now on that the queue is stuck.
    pub(super) fn begin(&mut self, at: Duration) {
        if self.stuck.is_none() {
            self.told = None;
            self.stuck = Some(Stuck {
                still_since: at,
                ..Stuck::default()
            });
        }
    }

    /// It moves again, and something is still the matter with it.
    pub(super) fn unstick(&mut self) {
        self.stuck = None;
    }

    /// Nothing is the matter any more.
    pub(super) fn end(&mut self) {
        self.stuck = None;
        self.told = None;
    }

    /// The queue was stuck, and nothing was taken from it but for what came: that it moved in this
    /// look does not mean that it is not stuck.
    pub(super) fn only_exchanges(&self) -> bool {
        self.length > 0 && self.stuck.as_ref().is_some_and(|stuck| !stuck.moves)
    }

    /// How many times one was taken for one that came, if that proves that the program wakes up
    /// for new connections only; else 0.
    pub(super) fn proven_exchanges(&self) -> u32 {
        let proof = self.stuck.as_ref().filter(|stuck| stuck.is_proof());
        proof.map_or(0, |stuck| stuck.exchanges)
    }

    /// What is to be told now, if that is something new.
    pub(super) fn verdict(&mut self, at: Duration, local: &str) -> Option<Verdict> {
        let length = count_of(self.length.into(), "connection");
        let mut measures = Measures {
            count: Some(self.length.into()),
            ..Measures::default()
        };
        let stuck = self.stuck.as_ref();
        if let Some(stuck) = stuck.filter(|stuck| stuck.exchanged) {
            self.told = Some(Told::OneInOneOut);
            (measures.came, measures.left) = (Some(1), Some(1));
            let times = match stuck.exchanges {
                1 => String::new(),
                times => format!(" (seen {times} times)"),
            };
            let more = EXCHANGES_OF_A_PROOF.saturating_sub(stuck.exchanges);
            let proof = if stuck.is_proof() {
                String::new()
            } else {
                format!("; {more} more like this make it certain")
            };
            let summary = format!(
                "one in, one out at {local}{times}: a new connection came, and exactly one, the \
                 oldest, was let out; {} wait as before, and nothing had moved for {} until \
                 then{proof}",
                self.length,
                human_duration(stuck.still_for),
            );
            return Some(Verdict::OneInOneOut(summary, measures));
        }
        if let Some(rate) = self.lengths.growth()
            && !matches!(self.told, Some(Told::Growing(told)) if self.length < told.saturating_mul(2))
        {
            self.told = Some(Told::Growing(self.length));
            measures.rate = Some(rate);
            let summary =
                format!("the accept queue of {local} grows by {rate:.1} a second: {length} now");
            return Some(Verdict::Growing(summary, measures));
        }
        let moves = stuck.is_none_or(|stuck| stuck.moves);
        if let Some(rate) = self.lengths.decline().filter(|_| moves && self.length > 0)
            && self.told != Some(Told::Draining)
        {
            self.told = Some(Told::Draining);
            measures.rate = Some(-rate);
            measures.time_left = time_for(self.length.into(), rate);
            let empty = measures.time_left.map_or(String::new(), |time| {
                format!(", empty in about {}", human_duration(time))
            });
            let summary = format!(
                "the accept queue of {local} drains by {rate:.1} a second: {length} left{empty}"
            );
            return Some(Verdict::Draining(summary, measures));
        }
        if let Some(stuck) = stuck.filter(|stuck| stuck.still >= STILL_LOOKS)
            && self.told.is_none()
        {
            self.told = Some(Told::NotMoving);
            let lasted = at.saturating_sub(stuck.still_since);
            measures.lasted = Some(lasted);
            let summary = format!(
                "the accept queue of {local} does not move: the same {length} in {} looks, for {}",
                stuck.still + 1,
                human_duration(lasted)
            );
            return Some(Verdict::NotMoving(summary, measures));
        }
        None
    }

    /// How many connections the listener has dropped since the last look.
    ///
    /// `others` is by how much ListenDrops of the whole namespace grew: the listener's own counter
    /// counts other packets too, and no drop of a connection is only there.
    pub(super) fn drops(&mut self, listener: &Listener<'_>, others: Option<u64>) -> u64 {
        let now = listener.entry.drops;
        let before = std::mem::replace(&mut self.drops, now);
        let (Some(before), Some(now)) = (before, now) else {
            self.dropped = self.dropped.or(now.map(|_first| 0));
            return 0;
        };
        let dropped = u64::from(now.wrapping_sub(before));
        let dropped = others.map_or(dropped, |others| dropped.min(others));
        self.dropped = Some(self.dropped.unwrap_or(0) + dropped);
        dropped
    }

    /// So many were dropped since the last look, and in the look before none.
    pub(super) fn begins_to_drop(&mut self, dropped: u64) -> bool {
        let was_dropping = std::mem::replace(&mut self.is_dropping, dropped > 0);
        dropped > 0 && !was_dropping
    }
}

impl Stuck {
    /// Nothing but exchanges was seen, and not by chance: one after a long time, or several.
    fn is_proof(&self) -> bool {
        let enough = self.proved_at_once || self.exchanges >= EXCHANGES_OF_A_PROOF;
        enough && !self.moves && !self.unanswered
    }

    fn note(&mut self, at: Duration, step: Step) {
        self.exchanged = false;
        if step.came == 0 && step.taken == 0 {
            // The program had a whole look's time to answer.
            self.unanswered |= self.came > self.taken;
            self.still += 1;
            return;
        }
        let pending = self.came > 0;
        if !pending {
            self.somebody_ended = false;
            self.was_still = self.still >= STILL_LOOKS;
            self.was_long_still = self.still >= STILL_LOOKS_OF_A_PROOF;
            self.still_for = at.saturating_sub(self.still_since);
        }
        self.still = 0;
        self.somebody_ended |= !step.nobody_ended;
        self.came += step.came;
        self.taken += step.taken;
        self.unanswered |= pending && step.came > 0 && self.came > self.taken + 1;
        self.moves |= self.taken > self.came || step.taken > 0 && step.oldest_left == Some(false);
        if self.came == self.taken {
            let one = self.came == 1 && step.oldest_left == Some(true);
            let only_that = !self.moves && !self.unanswered && !self.somebody_ended;
            self.exchanged = one && self.was_still && only_that;
            self.exchanges += u32::from(self.exchanged);
            self.proved_at_once |= self.exchanged && self.was_long_still;
            (self.came, self.taken) = (0, 0);
        }
        self.still_since = at;
    }
}

/// What happened between two looks at a queue that had these lengths, while this had been accepted.
fn step(
    before: &[Waiting],
    length_before: u32,
    now: &[Waiting],
    length: u32,
    accepted: Option<(CookieSet, CookieSet)>,
) -> Step {
    let keys = |waiting: &[Waiting]| -> HashSet<SocketKey> {
        waiting.iter().map(|waiting| waiting.key).collect()
    };
    let (keys_before, keys_now) = (keys(before), keys(now));
    let came = keys_now.difference(&keys_before).count();
    let left: Vec<&Waiting> = before
        .iter()
        .filter(|waiting| !keys_now.contains(&waiting.key))
        .collect();
    // A slot in which nothing was visible may have been freed too. Lengths and rows are read a
    // moment apart: no more was taken than has left or could not be seen.
    let hidden = (length_before as usize).saturating_sub(before.len());
    let taken = (length_before as usize + came)
        .saturating_sub(length as usize)
        .min(left.len() + hidden);
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Step {
        came: number(came),
        taken: number(taken),
        oldest_left: oldest_left(before, &left),
        nobody_ended: accepted.is_some_and(|(before, now)| nobody_ended(before, now, &left)),
    }
}

/// Whether what is accepted is what was, with nobody or the one that left the queue. Where more
/// than one left, that is not asked.
fn nobody_ended(before: CookieSet, now: CookieSet, left: &[&Waiting]) -> bool {
    let with = match left {
        [one] => one.key.cookie().map(|cookie| before.with(cookie)),
        _ => None,
    };
    // Accepted and closed again at once, or kept.
    now == before || with == Some(now)
}

/// Whether those that left were the oldest of all; `None` if nothing left, or without ages.
fn oldest_left(before: &[Waiting], left: &[&Waiting]) -> Option<bool> {
    // The youngest that may be among so many oldest.
    let youngest = before.get(left.len().checked_sub(1)?)?.waited?;
    let mut waits = left.iter().map(|waiting| waiting.waited);
    waits.try_fold(true, |all, waited| {
        Some(all && waited? + CLOSE_TOGETHER >= youngest)
    })
}
