//! The built program, run as a user runs it, and the recordings to run it on.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What a run left behind.
pub(crate) struct Run {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

/// The program with `arguments`, in a clean environment, with nothing on its standard input.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcpleak"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

/// Runs the program to its end.
pub(crate) fn run(arguments: &[&str]) -> Run {
    of(command(arguments).output().expect("the program starts"))
}

/// What is left of a run that has ended.
pub(crate) fn of(output: Output) -> Run {
    Run {
        status: output.status.code(),
        stdout: output.stdout,
        stderr: String::from_utf8(output.stderr).expect("messages are text"),
    }
}

impl Run {
    /// Standard output as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("a report is text")
    }
}

/// The path of a recording in `tests/fixtures`.
pub(crate) fn fixture(name: &str) -> String {
    let path = fixtures().join(name).with_extension("tcpleak");
    path.into_os_string().into_string().expect("a plain path")
}

/// The folder of the recordings.
pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}
