//! The processes of a case: started, listened to, and ended with their owner.
//!
//! Only processes started here are ended, and by a handle that cannot mean another one: the child
//! that was not yet reaped, and the pidfds of its children.

use std::fs;
use std::io;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};

use super::driver::Announcement;
use super::{SERVE_ARGUMENTS, Scenario};

/// How long anything in a case may take.
pub(super) const TIME_LIMIT: Duration = Duration::from_secs(5);

/// Between two looks at something that is being waited for.
pub(super) const PAUSE: Duration = Duration::from_millis(5);

/// A server and the processes that it started.
pub(super) struct Processes {
    server: Child,
    workers: Vec<Worker>,
}

struct Worker {
    pid: u32,
    handle: OwnedFd,
}

impl Processes {
    /// Starts the server of a case as `exe demo --serve ID`.
    pub(super) fn start(exe: &Path, scenario: &Scenario) -> io::Result<Processes> {
        let server = Command::new(exe)
            .args(SERVE_ARGUMENTS)
            .arg(scenario.id)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        Ok(Processes {
            server,
            workers: Vec::new(),
        })
    }

    /// Waits until the server is set up; returns its last announcement.
    pub(super) fn wait_until_ready(&mut self) -> io::Result<Announcement> {
        let deadline = Instant::now() + TIME_LIMIT;
        loop {
            match self.announcement(deadline)? {
                Announcement::Process(pid) => {
                    let handle = rustix::process::pidfd_open(named(pid)?, PidfdFlags::empty())?;
                    self.workers.push(Worker { pid, handle });
                }
                last => return Ok(last),
            }
        }
    }

    fn announcement(&mut self, deadline: Instant) -> io::Result<Announcement> {
        let stdout = self.server.stdout.as_mut();
        let stdout = stdout.ok_or(io::ErrorKind::BrokenPipe)?;
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            let mut byte = [0];
            if !is_readable_before(deadline, stdout.as_fd())? {
                return Err(io::Error::other("the demo server does not get ready"));
            }
            // A byte at a time, so that nothing of the next line is taken.
            if stdout.read(&mut byte)? == 0 {
                let status = self.server.wait()?;
                return Err(io::Error::other(format!("the demo server ended: {status}")));
            }
            line.extend(byte);
        }
        let line = String::from_utf8_lossy(&line);
        Announcement::parse(line.trim_end())
            .ok_or_else(|| io::Error::other(format!("the demo server said '{}'", line.trim_end())))
    }

    pub(super) fn server(&self) -> u32 {
        self.server.id()
    }

    /// The server first.
    pub(super) fn all(&self) -> Vec<u32> {
        let workers = self.workers.iter().map(|worker| worker.pid);
        std::iter::once(self.server()).chain(workers).collect()
    }

    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(rustix::process::kill_process(
            named(self.server())?,
            signal,
        )?)
    }

    pub(super) fn tell(&mut self, line: &str) -> io::Result<()> {
        let stdin = self.server.stdin.as_mut();
        writeln!(stdin.ok_or(io::ErrorKind::BrokenPipe)?, "{line}")
    }
}

impl Drop for Processes {
    /// Workers go first, so that their parent can reap them: not every init does.
    fn drop(&mut self) {
        // Nothing can be done about an error here, and a process that has ended already is one.
        for worker in &self.workers {
            let _ = rustix::process::pidfd_send_signal(&worker.handle, Signal::KILL);
        }
        let deadline = Instant::now() + TIME_LIMIT;
        for worker in &self.workers {
            let entry = format!("/proc/{}", worker.pid);
            while fs::exists(&entry).unwrap_or(false) && Instant::now() < deadline {
                thread::sleep(PAUSE);
            }
        }
        // Ends a stopped process too.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn named(pid: u32) -> io::Result<Pid> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// Waits for input, or for a client of a listener.
pub(super) fn wait_until_readable(fd: impl AsFd) -> io::Result<()> {
    match is_readable_before(Instant::now() + TIME_LIMIT, fd)? {
        true => Ok(()),
        false => Err(io::ErrorKind::TimedOut.into()),
    }
}

fn is_readable_before(deadline: Instant, fd: impl AsFd) -> io::Result<bool> {
    let left = deadline.saturating_duration_since(Instant::now());
    let left = Timespec::try_from(left).map_err(io::Error::other)?;
    let mut polled = [PollFd::new(&fd, PollFlags::IN)];
    let ready = rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, Some(&left)))?;
    Ok(ready != 0)
}
