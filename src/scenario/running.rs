//! A case that stands: its processes, and the clients that have to stay connected.

use std::any::Any;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::Instant;

use rustix::process::Signal;

use crate::model::SocketEntry;

use super::driver::Announcement;
use super::look::{self, Look};
use super::processes::{self, PAUSE, Processes, TIME_LIMIT};
use super::{Expected, Scenario};

/// A case that stands for as long as this lives. Dropping it ends the processes and then
/// disconnects the clients.
pub struct Running {
    scenario: &'static Scenario,
    address: SocketAddr,
    // Before `kept`: a server that sees its clients go may complain.
    processes: Processes,
    kept: Vec<Box<dyn Any + Send>>,
}

impl Running {
    /// Starts the server of a case from the program at `exe` (see [`super::serve`]), connects its
    /// clients, and returns when the kernel shows what the case promises.
    ///
    /// The server is in the network namespace of this thread and is killed when this thread ends.
    /// Fails when a step takes longer than five seconds, and says what was to be seen and what was.
    pub fn start(exe: &Path, scenario: &'static Scenario) -> io::Result<Running> {
        let mut processes = Processes::start(exe, scenario)?;
        let address = match processes.wait_until_ready()? {
            Announcement::Listening(address) => address,
            // Set by the case, which listens itself.
            _ => SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        let mut case = Running {
            scenario,
            address,
            kept: Vec::new(),
            processes,
        };
        (scenario.drive)(&mut case)?;
        let expected = &scenario.expected;
        case.wait_until(&expected.to_string(), |look| look.shows(expected))?;
        Ok(case)
    }

    /// What this is a case of.
    pub fn scenario(&self) -> &'static Scenario {
        self.scenario
    }

    /// Where the case's listener is. In a case about outbound connections: the far end, which
    /// this process holds.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process with the fault.
    pub fn server_pid(&self) -> u32 {
        self.processes.server()
    }

    /// Every process of the case: the server, then its children.
    pub fn pids(&self) -> Vec<u32> {
        self.processes.all()
    }

    /// Every row of the socket tables with [`Running::address`] on either side, read from
    /// `/proc/thread-self/net`.
    pub fn sockets(&self) -> io::Result<Vec<SocketEntry>> {
        Ok(self.look()?.sockets)
    }

    /// What a look has to show for the case to stand.
    pub fn expected(&self) -> &'static Expected {
        &self.scenario.expected
    }

    /// A further client.
    pub fn connect(&self) -> io::Result<TcpStream> {
        connect(self.address)
    }

    /// The next client of a listener that this side holds.
    pub(super) fn accept(&self, listener: &TcpListener) -> io::Result<TcpStream> {
        processes::wait_until_readable(listener)?;
        let (client, _) = listener.accept()?;
        limit_in_time(&client)?;
        Ok(client)
    }

    pub(super) fn set_address(&mut self, address: SocketAddr) {
        self.address = address;
    }

    /// Keeps a client, or whatever else the case needs, until the case ends.
    pub(super) fn keep(&mut self, thing: impl Any + Send) {
        self.kept.push(Box::new(thing));
    }

    /// Connects that many clients, each of which sends `request` and stays.
    pub(super) fn connect_and_keep(&mut self, count: usize, request: &[u8]) -> io::Result<()> {
        for _ in 0..count {
            let client = self.connect()?;
            send(&client, request)?;
            self.keep(client);
        }
        Ok(())
    }

    /// Connects that many clients, each of which sends `request` and closes.
    pub(super) fn connect_and_close(&mut self, count: usize, request: &[u8]) -> io::Result<()> {
        for _ in 0..count {
            send(&self.connect()?, request)?;
        }
        Ok(())
    }

    /// Waits for the server to say once more that it is set up.
    pub(super) fn wait_until_ready(&mut self) -> io::Result<()> {
        self.processes.wait_until_ready().map(drop)
    }

    /// Says a line to the server ([`super::driver::Driver::hear`]).
    pub(super) fn tell(&mut self, line: &str) -> io::Result<()> {
        self.processes.tell(line)
    }

    /// Stops the server and waits until it is.
    pub(super) fn stop(&self) -> io::Result<()> {
        self.processes.signal(Signal::STOP)?;
        self.wait_until("a stopped server", |look| look.state == 'T')
    }

    pub(super) fn resume(&self) -> io::Result<()> {
        self.processes.signal(Signal::CONT)
    }

    pub(super) fn descriptors(&self) -> io::Result<Vec<u64>> {
        look::descriptors(self.server_pid())
    }

    pub(super) fn wait_until(&self, what: &str, is_so: impl Fn(&Look) -> bool) -> io::Result<()> {
        let deadline = Instant::now() + TIME_LIMIT;
        loop {
            let look = self.look()?;
            if is_so(&look) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let id = self.scenario.id;
                let message = format!("{id}: waited for {what}; seen: {look}");
                return Err(io::Error::new(io::ErrorKind::TimedOut, message));
            }
            thread::sleep(PAUSE);
        }
    }

    fn look(&self) -> io::Result<Look> {
        Look::take(self.address, self.server_pid())
    }
}

/// Connects a client whose calls are all limited in time.
pub(super) fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let client = TcpStream::connect_timeout(&address, TIME_LIMIT)?;
    limit_in_time(&client)?;
    Ok(client)
}

fn limit_in_time(client: &TcpStream) -> io::Result<()> {
    client.set_read_timeout(Some(TIME_LIMIT))?;
    client.set_write_timeout(Some(TIME_LIMIT))
}

fn send(mut client: &TcpStream, request: &[u8]) -> io::Result<()> {
    io::Write::write_all(&mut client, request)
}
