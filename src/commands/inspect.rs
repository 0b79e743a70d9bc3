//! `tcpleak inspect`: everything that is known about one subject.

use std::process::ExitCode;

use crate::cli;
use crate::collect::collect;
use crate::join::Filter;
use crate::render;
use crate::report::Report;

pub(super) fn run(options: &cli::Inspect) -> anyhow::Result<ExitCode> {
    let snapshot = collect(&options.request())?;
    let report = Report::new(
        &snapshot,
        &options.thresholds(),
        &Filter::about(options.subject, &snapshot.sockets),
    );
    super::print(|to| render::write_inspection(to, &report, options.subject, options.layout()))?;
    super::note(&snapshot.coverage);
    Ok(ExitCode::SUCCESS)
}
