//! The report for people: the answer first, then why, then the tables.

use std::io::{self, Write};

use unicode_width::UnicodeWidthStr;

use super::style::{Style, paint};
use super::wrap::wrap;
use super::{Layout, tables};
use crate::model::{
    CauseId, CauseVerdict, Finding, FindingId, OwnerSource, Severity, count_of, human_duration,
};
use crate::report::Report;

/// Width of the labels in front of a finding's parts.
const LABEL: usize = 10;

/// Writes the report. The first line is the answer.
pub fn write_report(to: &mut dyn Write, report: &Report<'_>, layout: Layout) -> io::Result<()> {
    if report
        .findings
        .iter()
        .all(|finding| finding.severity == Severity::Info)
    {
        write_labelled(to, "OK", Style::Good, &calm(report), layout)?;
    }
    let mut before: Option<Severity> = None;
    for finding in &report.findings {
        // Findings of one line stand together, the others apart.
        if before.is_some_and(|before| before.max(finding.severity) > Severity::Info) {
            writeln!(to)?;
        }
        write_finding(to, finding, layout)?;
        before = Some(finding.severity);
    }
    tables::write_listeners(to, report, layout)?;
    tables::write_strays(to, report, layout)?;
    tables::write_close_wait(to, report, layout)
}

/// A sentence for a machine on which nothing is wrong: what was looked at.
pub(crate) fn calm(report: &Report<'_>) -> String {
    let snapshot = report.table.snapshot;
    let mut seen = vec![
        count_of(report.listeners_seen() as u64, "listener"),
        format!(
            "{} in CLOSE_WAIT",
            count_of(report.table.close_wait.len() as u64, "socket")
        ),
    ];
    if let Some(in_use) = snapshot.sockets_in_use() {
        seen.push(format!("{} in use", count_of(in_use, "TCP socket")));
    }
    if snapshot.namespaces.len() > 1 {
        let read = snapshot.coverage.netns_read;
        seen.push(format!("in {}", count_of(read, "network namespace")));
    }
    if snapshot.owner_source == OwnerSource::Procfs {
        seen.push(format!(
            "{} of {} read",
            snapshot.coverage.processes_read,
            count_of(snapshot.coverage.processes_total, "process")
        ));
    }
    let complete = if snapshot.coverage.is_complete() {
        ""
    } else {
        " among what could be seen"
    };
    // Without ages, a leak and what was closed a moment ago look the same.
    let ageless = |finding: &&Finding| {
        finding.oldest.is_none()
            && matches!(
                finding.id,
                FindingId::CloseWaitLeak | FindingId::AcceptQueueBacklog
            )
    };
    let verdict = match report.findings.iter().find(ageless) {
        Some(_) => "nothing is known to leak, for how long sockets wait cannot be told",
        None => "nothing leaks",
    };
    format!(
        "{verdict}{complete}: {}, looked at in {}",
        seen.join(", "),
        human_duration(snapshot.duration)
    )
}

/// Writes one finding: what is the case, and unless it is for information only its cause, evidence,
/// remedy and how to confirm it.
pub fn write_finding(to: &mut dyn Write, finding: &Finding, layout: Layout) -> io::Result<()> {
    let severity = finding.severity.to_string().to_uppercase();
    let summary = format!(
        "{} [{}{}]",
        finding.summary,
        finding.id,
        short_cause(finding)
    );
    write_labelled(
        to,
        &severity,
        Style::Severity(finding.severity),
        &summary,
        layout,
    )?;
    if finding.severity == Severity::Info {
        return Ok(());
    }
    if let Some(cause) = &finding.cause {
        write_labelled(to, "  cause", Style::Strong, &cause_text(cause), layout)?;
        for other in &finding.other_causes {
            write_labelled(to, "  or", Style::Strong, &cause_text(other), layout)?;
        }
    }
    let mut label = "  evidence";
    for evidence in &finding.evidence {
        let text = format!("{} ({})", evidence.fact, evidence.source);
        write_labelled(to, label, Style::Strong, &text, layout)?;
        label = "";
    }
    write_labelled(to, "  remedy", Style::Strong, &finding.remedy, layout)?;
    let mut label = "  confirm";
    for command in &finding.confirm {
        // A command is never broken: it is there to be copied.
        let unbroken = Layout {
            width: None,
            ..layout
        };
        write_labelled(to, label, Style::Strong, command, unbroken)?;
        label = "";
    }
    let more = format!("tcpleak explain {}", page_of(finding));
    write_labelled(to, "  more", Style::Strong, &more, layout)
}

/// The page that says most about it: that of the cause, if it is known.
fn page_of(finding: &Finding) -> &'static str {
    match &finding.cause {
        Some(cause) if cause.id != CauseId::Unknown => cause.id.as_str(),
        _ => finding.id.as_str(),
    }
}

/// The cause in two words, for the first line.
pub(crate) fn short_cause(finding: &Finding) -> String {
    match &finding.cause {
        Some(cause) if cause.id != CauseId::Unknown => {
            format!(", {} {}", cause.confidence, cause.id)
        }
        Some(_) => ", cause unknown".into(),
        None => String::new(),
    }
}

fn cause_text(cause: &CauseVerdict) -> String {
    match cause.id {
        CauseId::Unknown => format!("unknown: {}", cause.summary),
        id => format!("{id} ({}): {}", cause.confidence, cause.summary),
    }
}

/// A label, and beside it text that stays beside it when it is wrapped.
pub(super) fn write_labelled(
    to: &mut dyn Write,
    label: &str,
    style: Style,
    text: &str,
    layout: Layout,
) -> io::Result<()> {
    let indent = (LABEL + 1).max(label.width() + 1);
    let width = layout
        .width
        .map(|width| width.saturating_sub(indent).max(20));
    for (index, line) in wrap(text, width).into_iter().enumerate() {
        let padding = if index == 0 {
            indent - label.width()
        } else {
            indent
        };
        if index == 0 {
            write!(
                to,
                "{}",
                paint(label, style, layout.color && !label.is_empty())
            )?;
        }
        writeln!(to, "{:padding$}{line}", "")?;
    }
    Ok(())
}
