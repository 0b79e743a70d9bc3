//! Sockets in CLOSE_WAIT that belong together, through time: how many, how fast that grows, and how
//! long the holder's descriptors last.

use std::collections::HashMap;
use std::time::Duration;

use super::event::Measures;
use super::key::SocketKey;
use super::series::{Series, time_for};
use crate::join::CloseWait;
use crate::model::{DescriptorUse, human_duration, printable};

/// One group.
#[derive(Debug, Default)]
pub(super) struct Group {
    members: HashMap<SocketKey, Member>,
    pub(super) counts: Series,
    pub(super) peak: u64,
    /// The longest that one of them has been in CLOSE_WAIT, where ages are told.
    pub(super) oldest: Option<Duration>,
    /// How many there were when growth was last told.
    told: u64,
    /// Who holds them, and how many of its descriptors are in use.
    holder: Option<(String, Option<DescriptorUse>)>,
}

/// How fast a group grows, and what of its holder's descriptors that leaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Growth {
    /// Sockets a second.
    pub(super) rate: f64,
    /// Descriptors in use, and their limit, where both are known.
    pub(super) used: Option<(u64, u64)>,
    /// Until all of them are in use, at this rate.
    pub(super) time_left: Option<Duration>,
}

#[derive(Debug, Clone, Copy)]
struct Member {
    /// A finding has been about it: as long as it is there, that has not recovered.
    suspect: bool,
}

impl Group {
    /// Follows the group to the next look; `reported` says that a finding is about it now. No more
    /// than `room` sockets are remembered.
    pub(super) fn look(
        &mut self,
        at: Duration,
        sockets: &[&CloseWait<'_>],
        reported: bool,
        close_wait_age: Duration,
        room: usize,
    ) {
        let before = std::mem::take(&mut self.members);
        let mut count = 0;
        for socket in sockets {
            let key = SocketKey::of(socket.entry);
            let was_suspect = before.get(&key).is_some_and(|member| member.suspect);
            let served = socket.is_being_served(close_wait_age);
            let old = socket.entry.may_be_in_close_wait_for(close_wait_age);
            let suspect = was_suspect || reported && old && !served;
            count += u64::from(suspect || !served);
            if self.members.len() < room {
                self.members.insert(key, Member { suspect });
            }
        }
        self.counts.push(at, count);
        self.peak = self.peak.max(count);
        self.oldest = sockets.iter().filter_map(|socket| socket.age).max();
        self.holder = sockets.first().and_then(|socket| {
            let process = socket.holders.first()?.process?;
            let name = format!("{} (pid {})", printable(&process.comm), process.id.pid);
            Some((name, process.descriptors.known().copied()))
        });
    }

    pub(super) fn remembered(&self) -> usize {
        self.members.len()
    }

    /// Some of those that a finding was about are still there.
    pub(super) fn has_suspects(&self) -> bool {
        self.members.values().any(|member| member.suspect)
    }

    /// How fast it grows, if it does.
    pub(super) fn rate(&self) -> Option<Growth> {
        let rate = self.counts.growth()?;
        let used = self.holder.as_ref().and_then(|(_, used)| *used);
        let used = used.and_then(|used| Some((used.open, used.soft_limit?)));
        let left = |(open, limit): (u64, u64)| time_for(limit.saturating_sub(open), rate);
        Some(Growth {
            rate,
            used,
            time_left: used.and_then(left),
        })
    }

    /// That the group grows, when it is worth telling: first, and whenever it has doubled since.
    pub(super) fn growth(&mut self, place: &str) -> Option<(String, Measures)> {
        let growth = self.rate()?;
        let count = self.counts.last()?;
        if count < self.told.saturating_mul(2) {
            return None;
        }
        self.told = count;
        let who = match &self.holder {
            Some((name, _)) => format!(" of {name}"),
            None => String::new(),
        };
        let rate = growth.rate;
        let mut summary = format!(
            "the sockets in CLOSE_WAIT{who} {place} grow by {rate:.1} a second, to {count} now"
        );
        if let (Some((open, limit)), Some(time_left)) = (growth.used, growth.time_left) {
            summary += &format!(
                "; {open} of {limit} descriptors are in use, at this rate all of them in {}",
                human_duration(time_left)
            );
        }
        let measures = Measures {
            count: Some(count),
            rate: Some(rate),
            time_left: growth.time_left,
            ..Measures::default()
        };
        Some((summary, measures))
    }
}
