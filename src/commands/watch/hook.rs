//! `watch --exec`: runs a program for each new finding, one after the other.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

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
    /// Starts no program yet.
    pub(super) fn new(program: OsString, arguments: Vec<OsString>) -> io::Result<Hook> {
        let (documents, to_run) = sync_channel::<Vec<u8>>(WAIT_AT_MOST);
        let (end, ended) = sync_channel(1);
        let runs = move || {
            let mut first = true;
            while let Ok(document) = to_run.recv() {
                if !std::mem::take(&mut first) {
                    std::thread::sleep(REST);
                }
                if let Err(error) = run(&program, &arguments, &document) {
                    let program = crate::model::printable(program.as_encoded_bytes());
                    note(&format!("cannot run {program}: {error}"));
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
fn run(program: &OsString, arguments: &[OsString], document: &[u8]) -> io::Result<()> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(io::stderr())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read its input is its own business.
        let _ = stdin.write_all(document);
    }
    child.wait().map(drop)
}

/// Says something on standard error; if that is closed nobody wants to know.
fn note(text: &str) {
    let _ = writeln!(io::stderr(), "tcpleak: {text}");
}
