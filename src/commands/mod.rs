//! One file a command: glue between the stages, and nothing else.

mod demo;
mod doctor;
mod explain;
mod hook;
mod inspect;
mod list;
mod probe;
mod scan;
mod watch;

use std::io;
use std::process::ExitCode;

use crate::cli::{Cli, Command};
use crate::model::Coverage;
use crate::options;
use crate::render;

/// Runs a command and returns its exit status.
pub fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    match &cli.command {
        Command::Scan(options) => scan::run(options),
        Command::Watch(options) => watch::run(options),
        Command::List(options) => list::run(options),
        Command::Inspect(options) => inspect::run(options),
        Command::Explain(options) => explain::run(options),
        Command::Demo(options) => demo::run(options),
        Command::Probe(options) => probe::run(options),
        Command::Doctor(options) => doctor::run(options),
    }
}

/// Says on standard error what was not seen. If that is closed nobody wants to know, and the exit
/// status still tells what was found.
fn note(coverage: &Coverage) {
    let stderr = io::stderr();
    let width = options::width(&stderr);
    let _ = render::write_coverage(&mut stderr.lock(), coverage, width);
}
