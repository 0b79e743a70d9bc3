//! `tcpleak inspect`: everything that is known about one subject.

use std::io::{self, BufWriter, Write};
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
    let mut stdout = BufWriter::new(io::stdout().lock());
    render::write_inspection(&mut stdout, &report, options.subject, options.layout())?;
    stdout.flush()?;
    drop(stdout);
    super::note(&snapshot.coverage);
    Ok(ExitCode::SUCCESS)
}
