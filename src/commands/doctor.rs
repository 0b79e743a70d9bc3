//! `tcpleak doctor`: what a run sees from here, what is missing, what that costs, and what grants it.

use std::process::ExitCode;

use crate::cli;
use crate::collect;
use crate::render;
use crate::sight::judge;

pub(super) fn run(options: &cli::Doctor) -> anyhow::Result<ExitCode> {
    let sight = collect::sight(&options.proc_root())?;
    let judgement = judge(&sight);
    super::print(|to| match options.output.json {
        true => render::write_sight_json(to, &sight, &judgement),
        false => render::write_sight(to, &sight, &judgement, options.output.layout()),
    })?;
    Ok(if judgement.lacks.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(3)
    })
}
