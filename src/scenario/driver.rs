//! The driver as its server sees it: one line each way when there is something to say.
//!
//! To the driver, on standard output: `process PID` for every child process of the server, then
//! `listening ADDRESS`, or `ready` from a program that does not listen. From the driver, on
//! standard input: whatever the case has agreed on.

use std::io;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};

/// The driver's end of a server.
pub(super) struct Driver<'a> {
    stdout: &'a mut dyn Write,
}

/// What a server says about itself before it starts to serve.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Announcement {
    /// A child process of the server, by pid.
    Process(u32),
    /// The server is set up and listens; the last line.
    Listening(SocketAddr),
    /// The program is set up and does not listen; the last line.
    Ready,
}

impl<'a> Driver<'a> {
    pub(super) fn new(stdout: &'a mut dyn Write) -> Driver<'a> {
        Driver { stdout }
    }

    pub(super) fn process(&mut self, pid: u32) -> io::Result<()> {
        self.say(&format!("process {pid}"))
    }

    pub(super) fn listening(&mut self, listener: &TcpListener) -> io::Result<()> {
        let address = listener.local_addr()?;
        self.say(&format!("listening {address}"))
    }

    pub(super) fn ready(&mut self) -> io::Result<()> {
        self.say("ready")
    }

    fn say(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.stdout, "{line}")?;
        self.stdout.flush()
    }

    /// Sleeps until the driver says something.
    pub(super) fn hear(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match io::stdin().read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }

    /// Sleeps until the driver says an address.
    pub(super) fn hear_address(&mut self) -> io::Result<SocketAddr> {
        self.hear()?.parse().map_err(io::Error::other)
    }
}

impl Announcement {
    pub(super) fn parse(line: &str) -> Option<Announcement> {
        match line.split_once(' ') {
            None if line == "ready" => Some(Announcement::Ready),
            Some(("listening", address)) => address.parse().ok().map(Announcement::Listening),
            Some(("process", pid)) => pid.parse().ok().map(Announcement::Process),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn understands_what_a_server_says() {
        let mut said = Vec::new();
        let mut driver = Driver::new(&mut said);
        driver.process(77).unwrap();
        driver.ready().unwrap();
        assert_eq!(said, b"process 77\nready\n");
        let check = |line, expect| assert_eq!(Announcement::parse(line), expect, "{line}");
        let address = "127.0.0.1:8080".parse().unwrap();
        check("process 77", Some(Announcement::Process(77)));
        check(
            "listening 127.0.0.1:8080",
            Some(Announcement::Listening(address)),
        );
        check("ready", Some(Announcement::Ready));
        check("listening nowhere", None);
        check("panicked", None);
    }
}
