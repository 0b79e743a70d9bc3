//! One file a command, or a folder: glue between the stages, and nothing else.

mod demo;
mod doctor;
mod explain;
mod inspect;
mod list;
mod probe;
mod scan;
mod watch;

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;

use crate::cli::{Cli, Command};
use crate::collect::{self, Uses};
use crate::model::{Coverage, printable};
use crate::options;
use crate::record::Recording;
use crate::render;

/// Runs a command and returns its exit status.
pub fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    if let Some(uses) = uses(&cli.command) {
        collect::give_up(uses);
    }
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

/// What a command does beside looking. `doctor` tells what it may do, and `demo` and the pager of
/// `explain` are programs of their own: these give up nothing.
fn uses(command: &Command) -> Option<Uses> {
    match command {
        Command::Scan(options) => Some(Uses {
            files: options.save.is_some(),
            programs: false,
        }),
        Command::Watch(options) => Some(Uses {
            // A key saves what is on the screen.
            files: options.save.is_some() || options.screen(),
            programs: options.exec.is_some(),
        }),
        Command::List(_) | Command::Inspect(_) | Command::Probe(_) => Some(Uses::default()),
        Command::Doctor(_) | Command::Explain(_) | Command::Demo(_) => None,
    }
}

/// What was to be printed could not be.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output")]
pub struct Unprinted(#[from] io::Error);

impl Unprinted {
    /// The reader has what it wanted (`| head`): no error. A pipe that `--save` names is another
    /// matter.
    pub fn is_reader_gone(&self) -> bool {
        self.0.kind() == io::ErrorKind::BrokenPipe
    }
}

/// Has `write` print to standard output, all of it.
fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Unprinted> {
    let mut stdout = BufWriter::new(io::stdout().lock());
    let written = write(&mut stdout).and_then(|()| stdout.flush());
    if written.is_err() {
        // What is left in the buffer would follow upon a gap.
        let _ = stdout.into_parts();
    }
    Ok(written?)
}

/// Says on standard error what was not seen. If that is closed nobody wants to know, and the exit
/// status still tells what was found.
fn note(coverage: &Coverage) {
    let stderr = io::stderr();
    let width = options::width(&stderr);
    let _ = render::write_coverage(&mut stderr.lock(), coverage, width);
}

/// Opens what `--save` wrote; `-` is standard input.
fn open(path: &Path) -> anyhow::Result<Recording<Box<dyn BufRead>>> {
    let from: Box<dyn BufRead> = if path.as_os_str() == "-" {
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(path).with_context(|| cannot_read(path))?;
        Box::new(BufReader::new(file))
    };
    Recording::open(from).with_context(|| cannot_read(path))
}

fn cannot_read(path: &Path) -> String {
    format!("cannot read {}", shown(path))
}

/// A path for a message: a file can have any name, and a shell's `*` hands it on.
fn shown(path: &Path) -> String {
    match path.as_os_str().as_encoded_bytes() {
        b"-" => "standard input".to_owned(),
        path => printable(path),
    }
}
