//! Parse, resolve, run, map the outcome to an exit status.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use tcpleak::commands::Unprinted;

fn main() -> ExitCode {
    match tcpleak::commands::run(&tcpleak::cli::Cli::parse()) {
        Ok(status) => status,
        Err(error) if is_reader_gone(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // If standard error is closed too, the status still tells.
            let _ = writeln!(io::stderr(), "tcpleak: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn is_reader_gone(error: &anyhow::Error) -> bool {
    let unprinted = error.downcast_ref::<Unprinted>();
    unprinted.is_some_and(Unprinted::is_reader_gone)
}
