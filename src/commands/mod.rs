//! One file a command: glue between the stages, and nothing else.

mod demo;
mod explain;
mod list;
mod scan;

use std::process::ExitCode;

use crate::cli::{Cli, Command};

/// Runs a command and returns its exit status.
pub fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    match &cli.command {
        Command::Scan(options) => scan::run(options),
        Command::List(options) => list::run(options),
        Command::Explain(options) => explain::run(options),
        Command::Demo(options) => demo::run(options),
    }
}
