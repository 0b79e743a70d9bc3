//! `tcpleak doctor`: what a run sees from here, what is missing, what that costs, and what grants it.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use crate::cli;
use crate::collect;
use crate::render;
use crate::sight::judge;

pub(super) fn run(options: &cli::Doctor) -> anyhow::Result<ExitCode> {
    let sight = collect::sight(&options.proc_root())?;
    let judgement = judge(&sight);
    let mut stdout = BufWriter::new(io::stdout().lock());
    if options.output.json {
        render::write_sight_json(&mut stdout, &sight, &judgement)?;
    } else {
        render::write_sight(&mut stdout, &sight, &judgement, options.output.layout())?;
    }
    stdout.flush()?;
    Ok(if judgement.lacks.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(3)
    })
}
