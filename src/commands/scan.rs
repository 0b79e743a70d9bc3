//! `tcpleak scan`: one look, one report.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};

use super::{cannot_read, shown};
use crate::cli;
use crate::collect::{collect, saving};
use crate::join::Filter;
use crate::model::{NetnsChoice, Snapshot};
use crate::record::{self, Entry};
use crate::render;
use crate::report::{Outcome, Report};

pub(super) fn run(options: &cli::Scan) -> anyhow::Result<ExitCode> {
    let snapshot = match &options.from {
        Some(path) => read(path)?,
        None => collect(&options.request())?,
    };
    if let Some(path) = &options.save {
        if path.as_os_str() == "-" {
            super::print(|to| record::write(&snapshot, to))?;
            return Ok(ExitCode::SUCCESS);
        }
        let saved = saving(|| record::save(&snapshot, path));
        saved.with_context(|| format!("cannot write {}", shown(path)))?;
    }
    show(&snapshot, options)
}

/// Diagnoses a snapshot, prints the report, and maps it to an exit status.
pub(super) fn show(snapshot: &Snapshot, options: &cli::Scan) -> anyhow::Result<ExitCode> {
    let mut filter = Filter::from(&options.filter);
    if options.from.is_some() {
        filter.netns.clone_from(&options.filter.netns);
        let is_there = |choice: &&NetnsChoice| snapshot.namespaces.iter().any(|n| choice.takes(n));
        if let Some(missing) = filter.netns.iter().find(|choice| !is_there(choice)) {
            bail!("no network namespace {missing} in the recording");
        }
    }
    let report = Report::new(snapshot, &options.thresholds(), &filter);
    super::print(|to| match options.output.json {
        true => render::write_report_json(to, &report, options.all),
        false => render::write_report(to, &report, options.layout()),
    })?;
    super::note(&snapshot.coverage);
    Ok(match report.outcome(options.fail_on.into()) {
        Outcome::Found => ExitCode::from(1),
        Outcome::Incomplete if options.strict => ExitCode::from(3),
        Outcome::Clear | Outcome::Incomplete => ExitCode::SUCCESS,
    })
}

/// The snapshot of a file, or the last one of a recorded watch.
fn read(path: &Path) -> anyhow::Result<Snapshot> {
    let mut recording = super::open(path)?;
    let (mut looks, mut last) = (0_u64, None);
    let end = loop {
        match recording.entry().with_context(|| cannot_read(path))? {
            Entry::Look(look) => {
                looks += 1;
                last = look.taken.ok().map(|snapshot| (looks, snapshot)).or(last);
            }
            end => break end,
        }
    };
    let Some((number, last)) = last else {
        bail!("{}: it holds no look that is whole", cannot_read(path));
    };
    if recording.interval().is_some() {
        let cut = match end {
            Entry::Cut { line } => format!(", and ends at line {line} without its end line"),
            _ => String::new(),
        };
        // If standard error is closed nobody wants to know.
        let _ = writeln!(
            io::stderr(),
            "tcpleak: {} is the recording of a watch{cut}: this is look {number} of {looks}",
            shown(path)
        );
    }
    Ok(*last)
}
