//! `probe` for people: the answer, what was seen before and after, what it means, what to do.

use std::io::{self, Write};

use super::Layout;
use super::style::Style;
use super::text::write_labelled;
use crate::experiment::{End, Experiment, Outcome, Place, QueueSeen, Verdict};
use crate::model::{Severity, count_of, human_duration};

/// Writes what the experiment has shown. The first line is the answer.
pub fn write_experiment(
    to: &mut dyn Write,
    seen: &Experiment,
    verdict: &Verdict,
    layout: Layout,
) -> io::Result<()> {
    let (label, style) = match verdict.outcome.is_problem() {
        Some(false) => ("OK", Style::Good),
        Some(true) => ("PROBLEM", Style::Severity(Severity::Critical)),
        None => ("UNDECIDED", Style::Severity(Severity::Warning)),
    };
    let answer = format!(
        "{} [{}{}]",
        verdict.summary,
        verdict.outcome,
        short_cause(verdict)
    );
    write_labelled(to, label, style, &answer, layout)?;
    let mut line = |label: &str, text: &str| {
        let label = format!("  {label}");
        write_labelled(to, &label, Style::Strong, text, layout)
    };
    line("before", &before(seen))?;
    line("ours", &ours(seen))?;
    if seen.opened.is_some() {
        line("after", &after(seen))?;
    }
    if let Some(cause) = &verdict.cause {
        let text = format!("{} ({}): {}", cause.id, cause.confidence, cause.summary);
        line("cause", &text)?;
    }
    line("means", &verdict.meaning)?;
    line("remedy", &verdict.remedy)?;
    if let Some(page) = page(verdict) {
        line("more", &format!("tcpleak explain {page}"))?;
    }
    Ok(())
}

/// The reference page that says most about it.
pub(super) fn page(verdict: &Verdict) -> Option<&'static str> {
    match (&verdict.cause, verdict.outcome) {
        (_, Outcome::Healthy | Outcome::Refused | Outcome::Reset) => None,
        (_, Outcome::Full) => Some("accept-queue-overflow"),
        (_, Outcome::Slow | Outcome::MovesByItself) => Some("accept-queue-backlog"),
        (_, Outcome::OneInOneOut) => Some("edge-triggered-missed-wakeup"),
        (Some(cause), _) => Some(cause.id.as_str()),
        (None, Outcome::CannotTell) => None,
        (None, _) => Some("accept-queue-leak"),
    }
}

fn short_cause(verdict: &Verdict) -> String {
    match &verdict.cause {
        Some(cause) => format!(", {} {}", cause.confidence, cause.id),
        None if matches!(verdict.outcome, Outcome::OneInOneOut | Outcome::Drained) => {
            format!(", {}", verdict.confidence)
        }
        None => String::new(),
    }
}

fn before(seen: &Experiment) -> String {
    let mut text = queue(&seen.before);
    if let Some(oldest) = seen.before.oldest_wait() {
        text += &format!(", the oldest for {}", human_duration(oldest));
    }
    if seen.sharing > 1 {
        text += &format!("; {} listeners share the address", seen.sharing);
    }
    if !seen.watched_before.is_zero() && seen.before.length + seen.moved_before > 0 {
        let over = human_duration(seen.watched_before);
        text += &match seen.moved_before {
            0 => format!("; nothing left it within {over}"),
            moved => format!(
                "; {moved} left it and {} came within {over}",
                seen.came_before
            ),
        };
    }
    text
}

fn ours(seen: &Experiment) -> String {
    let Some(opened) = seen.opened else {
        return "no connection was opened: the kernel would have dropped it".into();
    };
    let local = opened.local;
    let over = human_duration(seen.watched());
    match (opened.end, seen.accepted_after(), seen.now.ours) {
        (End::Refused, ..) => "refused".into(),
        (End::Closed, Some(after), _) => format!(
            "from {local}: accepted, and closed by the server within {}",
            human_duration(after)
        ),
        (_, Some(after), _) => format!(
            "from {local}: accepted within {}; then closed",
            human_duration(after)
        ),
        (End::Reset, ..) => format!("from {local}: reset by the server's side after {over}"),
        (End::Connecting, ..) => format!("from {local}: not answered within {over}"),
        (_, _, Some(Place::Queued)) => format!(
            "from {local}: connected, not accepted within {over}; closed, and stays in the queue \
             until the program accepts it"
        ),
        (_, _, Some(Place::Handshake)) => {
            format!("from {local}: connected, not queued within {over}; closed")
        }
        (..) => format!("from {local}: connected, and in no table within {over}; closed"),
    }
}

fn after(seen: &Experiment) -> String {
    let mut text = format!(
        "{}; {} freed, {} left",
        queue(&seen.now),
        count_of(seen.taken().into(), "slot"),
        count_of(seen.left().len() as u64, "older connection"),
    );
    if let (Some(out), Some(opened)) = (seen.first_out, seen.opened) {
        let after = out.at.saturating_sub(opened.at);
        text += &format!(", first seen {} after ours came", human_duration(after));
    }
    text += &format!("; {} came", count_of(seen.others_came() as u64, "other"));
    if !seen.quiet_for().is_zero() {
        text += &format!(
            "; nothing changed for the last {}",
            human_duration(seen.quiet_for())
        );
    }
    text
}

fn queue(queue: &QueueSeen) -> String {
    match queue.backlog {
        Some(backlog) => format!("accept queue {} of {backlog}", queue.length),
        None => format!("accept queue {}", queue.length),
    }
}
