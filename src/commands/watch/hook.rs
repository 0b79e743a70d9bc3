//! `watch --exec`: runs a program for each new finding, one after the other.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, PipeReader, Read, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use super::desk::Desk;
use crate::model::printable;

/// Findings that wait for the program; more are dropped, and counted.
const WAIT_AT_MOST: usize = 16;
/// Between the end of one run and the beginning of the next.
const REST: Duration = Duration::from_secs(1);
/// How long a run may go on when the watch has ended.
const PATIENCE: Duration = Duration::from_secs(5);

/// What runs the program, beside the watch.
pub(super) struct Hook {
    documents: SyncSender<Vec<u8>>,
    ended: Receiver<()>,
    dropped: u64,
}

impl Hook {
    /// Starts no program yet. With a screen, that says what the programs print.
    pub(super) fn new(
        program: OsString,
        arguments: Vec<OsString>,
        screen: Option<Arc<Desk>>,
    ) -> io::Result<Hook> {
        let (documents, to_run) = sync_channel::<Vec<u8>>(WAIT_AT_MOST);
        let (end, ended) = sync_channel(1);
        let runs = move || {
            let mut first = true;
            while let Ok(document) = to_run.recv() {
                if !std::mem::take(&mut first) {
                    std::thread::sleep(REST);
                }
                if let Err(error) = run(&program, &arguments, &document, screen.as_ref()) {
                    let program = printable(program.as_encoded_bytes());
                    let text = format!("cannot run {program}: {error}");
                    match &screen {
                        Some(screen) => screen.note(&text),
                        None => note(&text),
                    }
                }
            }
            // Nobody waits if the watch was ended by an error.
            let _ = end.send(());
        };
        std::thread::Builder::new()
            .name("exec".into())
            .spawn(runs)?;
        Ok(Hook {
            documents,
            ended,
            dropped: 0,
        })
    }

    /// Has the program run with `document` on its standard input, now or when it is its turn.
    pub(super) fn give(&mut self, document: Vec<u8>) {
        if self.documents.try_send(document).is_err() {
            self.dropped += 1;
        }
    }

    /// Lets the runs that are due end.
    pub(super) fn end(self) {
        drop(self.documents);
        if self.ended.recv_timeout(PATIENCE).is_err() {
            note("the program of --exec still runs");
        }
        if self.dropped > 0 {
            let dropped = self.dropped;
            note(&format!(
                "{dropped} findings came too fast for --exec and were not passed on"
            ));
        }
    }
}

/// One run. What it prints goes to standard error: the events are alone on standard output.
fn run(
    program: &OsString,
    arguments: &[OsString],
    document: &[u8],
    screen: Option<&Arc<Desk>>,
) -> io::Result<()> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped());
    match screen {
        None => command.stdout(io::stderr()),
        Some(screen) => {
            let (reader, writer) = io::pipe()?;
            let screen = screen.clone();
            // It ends with the last process that has the other end, which may outlive the program.
            std::thread::Builder::new()
                .name("exec output".into())
                .spawn(move || show(reader, &screen))?;
            command.stdout(writer.try_clone()?).stderr(writer)
        }
    };
    let mut child = command.spawn()?;
    // And with it this process's own ends of the pipe.
    drop(command);
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read its input is its own business.
        let _ = stdin.write_all(document);
    }
    child.wait().map(drop)
}

/// Says what a program prints, line by line, and no line without end.
fn show(reader: PipeReader, screen: &Desk) {
    const LONGEST: u64 = 4_096;
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        match reader.by_ref().take(LONGEST).read_until(b'\n', &mut line) {
            Ok(1..) => screen.note(&format!("exec: {}", printable(line.trim_ascii_end()))),
            _ => return,
        }
    }
}

/// Says something on standard error; if that is closed nobody wants to know.
fn note(text: &str) {
    let _ = writeln!(io::stderr(), "tcpleak: {text}");
}
