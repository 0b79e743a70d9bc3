//! Runs the program itself, in the namespace of this thread.
#![expect(
    clippy::disallowed_methods,
    reason = "limits how long a process may take"
)]

use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use serde_json::Value;

use super::clock::{self, TIME_LIMIT};

/// What a run of the program left.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }
}

/// The option that keeps to the sockets of one case, and off other processes of this machine.
pub(crate) fn at_port(address: SocketAddr) -> String {
    format!("--port {}", address.port())
}

/// The words of a command line, with `--netns self` where a namespace could be asked for and none
/// is: other tests have namespaces of their own at the same time.
pub(crate) fn words(arguments: &str) -> Vec<&str> {
    let mut words: Vec<&str> = arguments.split_whitespace().collect();
    let looks = matches!(
        words.first(),
        Some(&("scan" | "watch" | "list" | "inspect"))
    );
    if looks && !words.contains(&"--netns") && !words.contains(&"--from") {
        words.splice(1..1, ["--netns", "self"]);
    }
    words
}

/// `tcpleak ARGUMENTS`, the words separated by spaces; of this namespace, unless told otherwise.
pub(crate) fn tcpleak(arguments: &str) -> Outcome {
    run(Command::new(env!("CARGO_BIN_EXE_tcpleak")).args(words(arguments)))
}

/// The same by a user without any right: user and group 65534, "nobody".
pub(crate) fn tcpleak_as_nobody(arguments: &str) -> Outcome {
    const NOBODY: u32 = 65534;
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcpleak"));
    command.args(words(arguments));
    run(command.uid(NOBODY).gid(NOBODY).current_dir("/"))
}

/// Runs a command without input to its end, which has to come in time.
pub(crate) fn run(command: &mut Command) -> Outcome {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .env_remove("NO_COLOR")
        .spawn();
    let mut child = Ended(child.unwrap_or_else(|error| panic!("{command:?}: {error}")));
    let (stdout, stderr) = (child.0.stdout.take(), child.0.stderr.take());
    thread::scope(|scope| {
        let stdout = scope.spawn(|| text(stdout));
        let stderr = scope.spawn(|| text(stderr));
        let status = wait(&mut child.0);
        Outcome {
            status,
            stdout: stdout.join().unwrap(),
            stderr: stderr.join().unwrap(),
        }
    })
}

fn text(pipe: Option<impl Read>) -> String {
    let mut text = String::new();
    pipe.unwrap().read_to_string(&mut text).unwrap();
    text
}

/// The exit status, or the signal that ended it, negated; a process that does not end in time is
/// killed.
pub(crate) fn wait(child: &mut Child) -> i32 {
    let deadline = Instant::now() + TIME_LIMIT;
    while child.try_wait().unwrap().is_none() && Instant::now() < deadline {
        thread::sleep(clock::PAUSE);
    }
    let late = child.try_wait().unwrap().is_none();
    if late {
        child.kill().unwrap();
    }
    let status = child.wait().unwrap();
    assert!(!late, "not ended in time");
    let signal = || status.signal().map(|signal| -signal);
    status.code().or_else(signal).expect("it has ended")
}

/// A child process that is ended with its owner.
pub(crate) struct Ended(pub(crate) Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
