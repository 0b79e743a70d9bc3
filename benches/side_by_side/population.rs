//! The processes that are looked at: this program, started again for each of them.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::holder::{HOLD, Role};

/// Processes with their sockets, in the namespace of the thread that started them. They end when
/// this is dropped, or when this process ends in whatever way: their standard input is closed then.
pub(crate) struct Population(Vec<(Child, Option<ChildStdin>)>);

impl Population {
    /// Starts a process for each role, and waits until all have what they are to hold.
    pub(crate) fn start(roles: &[Role]) -> Population {
        let exe = std::env::current_exe().expect("this program's file");
        let mut population = Population(Vec::new());
        let start = |role: &Role| {
            let mut child = Command::new(&exe)
                .arg(HOLD)
                .args(role.words())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("this program starts again");
            let stdin = child.stdin.take();
            (child, stdin)
        };
        population.0.extend(roles.iter().map(start));
        for (child, _) in &mut population.0 {
            let stdout = child.stdout.take().expect("a pipe");
            let mut line = String::new();
            let read = BufReader::new(stdout).read_line(&mut line);
            read.expect("a pipe can be read");
            assert_eq!(line, "ready\n", "a process of the population has failed");
        }
        population
    }

    /// The pid of the process with that place in the roles.
    pub(crate) fn pid(&self, index: usize) -> u32 {
        self.0[index].0.id()
    }
}

impl Drop for Population {
    fn drop(&mut self) {
        // All are told before any is waited for.
        for (_, stdin) in &mut self.0 {
            drop(stdin.take());
        }
        for (child, _) in &mut self.0 {
            let _ = child.wait();
        }
    }
}
