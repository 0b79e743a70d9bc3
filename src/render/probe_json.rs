//! The JSON contract of `probe`: `tcpleak.probe/1` (`docs/json.md`).
//!
//! The types are the contract's own, as those of `v1` are.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::json::{cause_v1, cookie, endpoint, ms, timestamp, write_line};
use super::probe::page;
use super::v1::{CauseV1, EndpointV1, HostV1};
use crate::experiment::{End, Experiment, Place, QueueSeen, Verdict};
use crate::model::Host;

/// When and where a probe was made.
pub struct ProbeRun {
    /// Wall-clock time at which it began.
    pub taken_at: SystemTime,
    /// How long it took.
    pub duration: Duration,
    /// Which machine.
    pub host: Host,
}

#[derive(Serialize)]
struct ProbeV1 {
    schema: &'static str,
    taken_at: String,
    duration_ms: u64,
    host: HostV1,
    target: EndpointV1,
    listener: ListenerV1,
    outcome: &'static str,
    problem: Option<bool>,
    confidence: String,
    summary: String,
    meaning: String,
    remedy: String,
    cause: Option<CauseV1>,
    page: Option<&'static str>,
    connection: Option<ConnectionV1>,
    before: QueueV1,
    after: Option<QueueV1>,
    changes: ChangesV1,
}

#[derive(Serialize)]
struct ListenerV1 {
    netns: u64,
    cookie: Option<String>,
    inode: Option<u64>,
    local: EndpointV1,
    sharing: usize,
}

#[derive(Serialize)]
struct ConnectionV1 {
    local: EndpointV1,
    fate: &'static str,
    accepted_after_ms: Option<u64>,
    watched_ms: u64,
}

#[derive(Serialize)]
struct QueueV1 {
    accept_queue: u32,
    backlog: Option<u32>,
    full: bool,
    visible: usize,
    oldest_wait_ms: Option<u64>,
}

#[derive(Serialize)]
struct ChangesV1 {
    watched_before_ms: u64,
    freed_before: u32,
    came_before: u32,
    freed: u32,
    first_freed_after_ms: Option<u64>,
    old_left: usize,
    others_came: usize,
    accepted_ended: usize,
    quiet_ms: u64,
}

/// Writes the experiment as one JSON document and a line end.
pub fn write_experiment(
    to: &mut dyn Write,
    run: &ProbeRun,
    seen: &Experiment,
    verdict: &Verdict,
) -> io::Result<()> {
    let opened = seen.opened;
    let out_after = |opened: crate::experiment::Opened| {
        let out = seen.first_out?;
        Some(ms(out.at.saturating_sub(opened.at)))
    };
    write_line(
        to,
        &ProbeV1 {
            schema: "tcpleak.probe/1",
            taken_at: timestamp(run.taken_at),
            duration_ms: ms(run.duration),
            host: HostV1 {
                hostname: run.host.hostname.clone(),
                kernel: run.host.kernel.clone(),
            },
            target: endpoint(seen.target),
            listener: ListenerV1 {
                netns: seen.listener.netns.0,
                cookie: cookie(seen.listener.cookie),
                inode: seen.listener.inode.map(|inode| inode.0),
                local: endpoint(seen.listener.local),
                sharing: seen.sharing,
            },
            outcome: verdict.outcome.as_str(),
            problem: verdict.outcome.is_problem(),
            confidence: verdict.confidence.to_string(),
            summary: verdict.summary.clone(),
            meaning: verdict.meaning.clone(),
            remedy: verdict.remedy.clone(),
            cause: verdict.cause.as_ref().map(cause_v1),
            page: page(verdict),
            connection: opened.map(|opened| ConnectionV1 {
                local: endpoint(opened.local),
                fate: fate(seen, opened.end),
                accepted_after_ms: seen.accepted_after().map(ms),
                watched_ms: ms(seen.watched()),
            }),
            before: queue(&seen.before),
            after: opened.map(|_| queue(&seen.now)),
            changes: ChangesV1 {
                watched_before_ms: ms(seen.watched_before),
                freed_before: seen.moved_before,
                came_before: seen.came_before,
                freed: seen.taken(),
                first_freed_after_ms: opened.and_then(out_after),
                old_left: seen.left().len(),
                others_came: seen.others_came(),
                accepted_ended: seen.ended(),
                quiet_ms: ms(seen.quiet_for()),
            },
        },
    )
}

fn fate(seen: &Experiment, end: End) -> &'static str {
    match (end, seen.accepted_after(), seen.now.ours) {
        (End::Refused, ..) => "refused",
        (End::Closed, Some(_), _) => "closed",
        (_, Some(_), _) => "accepted",
        (End::Reset, ..) => "reset",
        (End::Connecting, ..) => "unanswered",
        (_, _, Some(Place::Queued)) => "queued",
        (_, _, Some(Place::Handshake)) => "not-queued",
        (..) => "elsewhere",
    }
}

fn queue(queue: &QueueSeen) -> QueueV1 {
    QueueV1 {
        accept_queue: queue.length,
        backlog: queue.backlog,
        full: queue.full,
        visible: queue.waiting.len() + usize::from(queue.ours == Some(Place::Queued)),
        oldest_wait_ms: queue.oldest_wait().map(ms),
    }
}
