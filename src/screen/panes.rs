//! What stands in the four panes: rows from a look, sorted.

use std::cmp::Reverse;
use std::time::SystemTime;

use super::log::Log;
use super::look::{Holding, Look, Queue, Verdict};
use super::table::{Cell, Column, Row, Table};
use super::theme::{Theme, Tone};
use crate::model::{CauseId, FindingId, Severity, human_duration};

/// The panes from top to bottom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pane {
    Verdicts,
    Listeners,
    Holders,
    Events,
}

impl Pane {
    pub(super) const ALL: [Pane; 4] =
        [Pane::Verdicts, Pane::Listeners, Pane::Holders, Pane::Events];

    pub(super) fn name(self) -> &'static str {
        match self {
            Pane::Verdicts => "Verdicts",
            Pane::Listeners => "Listeners",
            Pane::Holders => "Holders",
            Pane::Events => "Events",
        }
    }

    /// By what its rows can be sorted; the first is the default.
    pub(super) fn orders(self) -> &'static [&'static str] {
        match self {
            Pane::Verdicts => &["severity", "since", "place"],
            Pane::Listeners => &["queue", "address", "oldest", "drops"],
            Pane::Holders => &["count", "growth", "descriptors", "holder"],
            Pane::Events => &["oldest first", "newest first"],
        }
    }
}

/// How rows are made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    pub(super) theme: Theme,
    /// There is room for long sparklines.
    pub(super) wide: bool,
    /// By which of [`Pane::orders`].
    pub(super) order: usize,
}

impl Manner {
    /// The last looks at a number, for which there is room.
    fn sparkline(self, values: &[u64]) -> Cell {
        let shown = if self.wide { 40 } else { 12 };
        let skipped = values.len().saturating_sub(shown);
        self.theme.sparkline(&values[skipped..]).into()
    }
}

/// `14:02:11Z`, and the date where it is not that of `now`.
pub(super) fn clock(time: Option<SystemTime>, now: SystemTime) -> String {
    let stamp = |time: SystemTime| jiff::Timestamp::try_from(time).ok();
    let Some(time) = time.and_then(stamp) else {
        return "?".into();
    };
    let date = |time: jiff::Timestamp| time.strftime("%Y-%m-%d").to_string();
    let today = stamp(now).map(date);
    let form = if today.is_some_and(|today| today == date(time)) {
        "%H:%M:%SZ"
    } else {
        "%m-%d %H:%M:%SZ"
    };
    time.strftime(form).to_string()
}

pub(super) fn verdicts(look: &Look, manner: Manner) -> Table {
    let mut verdicts: Vec<&Verdict> = look.verdicts.iter().collect();
    match manner.order {
        1 => verdicts.sort_by_key(|verdict| verdict.since),
        2 => verdicts.sort_by(|a, b| a.place.cmp(&b.place)),
        _ => {}
    }
    let row = |verdict: &&Verdict| {
        let finding = &verdict.finding;
        let tone = Tone::Severity(finding.severity);
        // A cause says what is found, and more.
        let cause = finding.cause.as_ref();
        let cause = cause.filter(|cause| cause.id != CauseId::Unknown);
        let (what, sure) = match cause {
            Some(cause) => (cause.id.to_string(), cause.confidence.to_string()),
            None => (finding.id.to_string(), String::new()),
        };
        let since = clock(verdict.since_time, look.snapshot.taken_at);
        Row {
            key: verdict.key.clone(),
            cells: vec![
                Cell::new(finding.severity.to_string().to_uppercase(), tone),
                verdict.place.clone().into(),
                sure.into(),
                what.into(),
                count(verdict).into(),
                format!("since {since}").into(),
                verdict.holder.clone().into(),
                finding
                    .oldest
                    .map_or_else(String::new, |age| format!("oldest {}", human_duration(age)))
                    .into(),
            ],
            sentence: String::new(),
            more: format!("{} {}", finding.id, finding.summary),
        }
    };
    Table {
        columns: vec![
            Column::left("", 0),
            Column::left("", 1),
            Column::left("", 4),
            Column::left("", 2),
            Column::right("", 3),
            Column::left("", 5),
            Column::left("", 6),
            Column::left("", 7),
        ],
        of: verdicts.len(),
        rows: verdicts.iter().map(row).collect(),
    }
}

/// How many, in a word or two.
fn count(verdict: &Verdict) -> String {
    let count = verdict.finding.count;
    match verdict.finding.id {
        FindingId::AcceptQueueLeak
        | FindingId::AcceptQueueBacklog
        | FindingId::AcceptQueueOverflow => format!("{count} queued"),
        FindingId::CloseWaitLeak | FindingId::CloseWaitHalfClosed => format!("{count} held"),
        FindingId::DeadSocketLeak => format!("{count} dead"),
        FindingId::DescriptorExhaustion => format!("{count} fds"),
    }
}

/// The severity of the worst verdict about something.
fn worst(look: &Look, verdict: Option<usize>) -> Option<Severity> {
    let verdict = look.verdicts.get(verdict?)?;
    Some(verdict.finding.severity)
}

fn tone(severity: Option<Severity>) -> Tone {
    severity.map_or(Tone::Plain, Tone::Severity)
}

pub(super) fn listeners(look: &Look, manner: Manner) -> Table {
    const BAR: usize = 8;
    let mut queues: Vec<&Queue> = look.queues.iter().collect();
    match manner.order {
        0 => queues.sort_by_key(|queue| {
            let verdict = queue.verdict.unwrap_or(usize::MAX);
            (verdict, Reverse((queue.length, queue.peak)))
        }),
        2 => queues.sort_by_key(|queue| Reverse(queue.oldest)),
        3 => queues.sort_by_key(|queue| Reverse(queue.dropped)),
        // As they come.
        _ => {}
    }
    let row = |queue: &&Queue| {
        let limit = queue
            .backlog
            .map_or("?".into(), |backlog| backlog.to_string());
        // A queue is full at backlog + 1 (facts Q2).
        let bar = queue.backlog.map_or_else(String::new, |backlog| {
            let most = u64::from(backlog) + 1;
            manner.theme.bar(queue.length.into(), most, BAR)
        });
        let number = |number: Option<u64>| number.map_or("?".into(), |number| number.to_string());
        let verdict = queue.verdict.and_then(|index| look.verdicts.get(index));
        let tone = tone(worst(look, queue.verdict));
        Row {
            key: queue.key.clone(),
            cells: vec![
                Cell::new(queue.local.clone(), tone),
                queue.netns.clone().into(),
                format!("{}/{limit}", queue.length).into(),
                Cell::new(bar, tone),
                manner.sparkline(&queue.lengths),
                queue.oldest.map_or("-".into(), human_duration).into(),
                number(queue.moved.map(|(came, _)| came)).into(),
                number(queue.moved.map(|(_, taken)| taken)).into(),
                number(queue.dropped).into(),
                queue.peak.to_string().into(),
                queue.holder.clone().into(),
                verdict
                    .map_or("-".into(), |verdict| verdict.finding.id.to_string())
                    .into(),
            ],
            sentence: String::new(),
            more: String::new(),
        }
    };
    Table {
        columns: vec![
            Column::left("LISTENER", 0),
            Column::left("NETNS", 1),
            Column::right("QUEUE", 1),
            Column::left("", 4),
            Column::left("LAST LOOKS", 2),
            Column::right("OLDEST", 3),
            Column::right("CAME", 5),
            Column::right("TAKEN", 6),
            Column::right("DROPS", 7),
            Column::right("PEAK", 10),
            Column::left("HOLDER", 8),
            Column::left("VERDICT", 9),
        ],
        of: queues.len(),
        rows: queues.iter().map(row).collect(),
    }
}

pub(super) fn holders(look: &Look, manner: Manner) -> Table {
    let mut holders: Vec<&Holding> = look.holders.iter().collect();
    let percent = |holding: &&Holding| holding.descriptors.map(|used| used.percent());
    match manner.order {
        0 => holders.sort_by_key(|holding| {
            let verdict = holding.verdict.unwrap_or(usize::MAX);
            (verdict, Reverse(holding.count))
        }),
        1 => holders.sort_by(|a, b| {
            let rate = |holding: &Holding| holding.rate.unwrap_or(0.0);
            rate(b).total_cmp(&rate(a))
        }),
        2 => holders.sort_by_key(|holding| Reverse(percent(holding))),
        _ => holders.sort_by(|a, b| a.holder.cmp(&b.holder)),
    }
    let row = |holding: &&Holding| {
        let descriptors = holding.descriptors.map_or("?".into(), |used| {
            let limit = used
                .soft_limit
                .map_or("unlimited".into(), |limit| limit.to_string());
            format!("{}/{limit}", used.open)
        });
        let rate = holding
            .rate
            .map_or("-".into(), |rate| format!("+{rate:.1}/s"));
        Row {
            key: holding.key.clone(),
            cells: vec![
                Cell::new(holding.holder.clone(), tone(worst(look, holding.verdict))),
                holding.place.clone().into(),
                holding.count.to_string().into(),
                manner.sparkline(&holding.counts),
                rate.into(),
                descriptors.into(),
                holding.time_left.map_or("-".into(), human_duration).into(),
                holding.oldest.map_or("-".into(), human_duration).into(),
            ],
            sentence: String::new(),
            more: String::new(),
        }
    };
    Table {
        columns: vec![
            Column::left("HOLDER", 0),
            Column::left("WHERE", 2),
            Column::right("CLOSE_WAIT", 1),
            Column::left("LAST LOOKS", 7),
            Column::right("GROWTH", 3),
            Column::right("FDS", 4),
            Column::right("FULL IN", 5),
            Column::right("OLDEST", 6),
        ],
        of: holders.len(),
        rows: holders.iter().map(row).collect(),
    }
}

/// Entries of the log below number `end`.
pub(super) fn events(log: &Log, end: u64, now: SystemTime, manner: Manner) -> Table {
    let mut rows: Vec<Row> = log
        .before(end)
        .map(|(number, entry)| {
            let tone = Tone::Severity(entry.severity);
            Row {
                key: number.to_string(),
                cells: vec![
                    clock(entry.time, now).into(),
                    Cell::new(entry.severity.to_string().to_uppercase(), tone),
                    entry.kind.into(),
                ],
                sentence: entry.text.clone(),
                more: String::new(),
            }
        })
        .collect();
    if manner.order == 1 {
        rows.reverse();
    }
    Table {
        columns: vec![
            Column::left("", 0),
            Column::left("", 1),
            Column::left("", 2),
        ],
        of: rows.len(),
        rows,
    }
}
