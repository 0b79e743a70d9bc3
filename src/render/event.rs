//! An event of a watch: a line for people, a JSON document for programs.

use std::io::{self, Write};
use std::time::SystemTime;

use super::Layout;
use super::json::{finding_v1, ms, subject_v1, timestamp, write_line};
use super::style::{Style, paint};
use super::text::short_cause;
use super::v1::{EventV1, MeasuresV1, PeakV1, TotalsV1};
use crate::history::{Event, EventKind, History};

/// Writes an event that happened at `time` as one line: time, severity, kind, and what is the case.
pub fn write_event(
    to: &mut dyn Write,
    event: &Event,
    time: Option<SystemTime>,
    layout: Layout,
) -> io::Result<()> {
    let severity = format!("{:<8}", event.severity.to_string().to_uppercase());
    let severity = paint(&severity, Style::Severity(event.severity), layout.color);
    let kind = paint(&format!("{:<14}", event.kind), Style::Strong, layout.color);
    let finding = match (&event.finding, event.kind) {
        (Some(finding), EventKind::Appeared | EventKind::Changed | EventKind::OneInOneOut) => {
            format!(" [{}{}]", finding.id, short_cause(finding))
        }
        _ => String::new(),
    };
    let time = time.map_or_else(String::new, line_time);
    writeln!(to, "{time} {severity} {kind} {}{finding}", event.summary)
}

/// Writes an event that happened at `time` as one JSON document and a line end; with the totals of
/// `history` if it is the last one.
pub fn write_event_json(
    to: &mut dyn Write,
    event: &Event,
    time: Option<SystemTime>,
    history: &History,
) -> io::Result<()> {
    let measures = event.measures;
    let document = EventV1 {
        schema: "tcpleak.event/1",
        at: time.map(timestamp),
        elapsed_ms: ms(event.at),
        kind: event.kind.as_str(),
        severity: event.severity.to_string(),
        summary: event.summary.clone(),
        subject: event.subject.as_ref().map(subject_v1),
        measures: MeasuresV1 {
            count: measures.count,
            rate_per_s: measures.rate,
            time_left_ms: measures.time_left.map(ms),
            came: measures.came,
            left: measures.left,
            lasted_ms: measures.lasted.map(ms),
        },
        finding: event.finding.as_deref().map(finding_v1),
        totals: (event.kind == EventKind::Summary).then(|| totals(history)),
    };
    write_line(to, &document)
}

fn totals(history: &History) -> TotalsV1 {
    let totals = history.totals();
    TotalsV1 {
        looks: totals.looks,
        late: totals.late,
        appeared: totals.appeared,
        gone: totals.gone,
        open: history.open().map(finding_v1).collect(),
        peak_queue: totals.peak_queue.as_ref().map(|(place, length)| PeakV1 {
            place: place.clone(),
            count: (*length).into(),
        }),
        peak_close_wait: totals
            .peak_close_wait
            .as_ref()
            .map(|(place, count)| PeakV1 {
                place: place.clone(),
                count: *count,
            }),
    }
}

/// Of one width, so that lines stand below each other.
fn line_time(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|_error| String::new(), |time| format!("{time:.3}"))
}
