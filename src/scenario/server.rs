//! What the servers of several cases have in common.

use std::collections::HashMap;
use std::io;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Resource, Rlimit};

pub(super) use rustix::event::epoll::EventFlags;

use super::{SERVE_ARGUMENTS, WORKER};

/// Listens on loopback, at a port of the kernel's choice. `std` does not let choose the backlog.
pub(super) fn listen(backlog: i32) -> io::Result<TcpListener> {
    listen_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), backlog)
}

pub(super) fn listen_at(address: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, backlog)?;
    Ok(TcpListener::from(socket))
}

/// Sets the soft limit of descriptors; a plain user may lower it.
pub(super) fn limit_descriptors(soft: u64) -> io::Result<()> {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let limit = Rlimit {
        current: Some(soft),
        ..limit
    };
    Ok(rustix::process::setrlimit(Resource::Nofile, limit)?)
}

/// An epoll set whose members are known by a number.
pub(super) struct EpollSet {
    epoll: OwnedFd,
}

/// The number of the listener in every server here; connections count from 1.
pub(super) const LISTENER: u64 = 0;

impl EpollSet {
    pub(super) fn new() -> io::Result<EpollSet> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(EpollSet { epoll })
    }

    pub(super) fn add(&self, member: impl AsFd, number: u64, flags: EventFlags) -> io::Result<()> {
        let data = epoll::EventData::new_u64(number);
        Ok(epoll::add(&self.epoll, member, data, flags)?)
    }

    pub(super) fn modify(
        &self,
        member: impl AsFd,
        number: u64,
        flags: EventFlags,
    ) -> io::Result<()> {
        let data = epoll::EventData::new_u64(number);
        Ok(epoll::modify(&self.epoll, member, data, flags)?)
    }

    pub(super) fn delete(&self, member: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, member)?)
    }

    /// Sleeps until a member is ready; returns the numbers of those that are.
    pub(super) fn wait(&self) -> io::Result<Vec<u64>> {
        let mut events = Vec::with_capacity(16);
        // A stop and its continuation interrupt epoll_wait without any handler (man 7 signal).
        rustix::io::retry_on_intr(|| epoll::wait(&self.epoll, spare_capacity(&mut events), None))?;
        Ok(events.iter().map(|event| event.data.u64()).collect())
    }
}

/// The open connections of an epoll server.
#[derive(Default)]
pub(super) struct Connections {
    open: HashMap<u64, TcpStream>,
    last: u64,
}

impl Connections {
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Takes a connection and watches it for input.
    pub(super) fn add(&mut self, set: &EpollSet, connection: TcpStream) -> io::Result<()> {
        connection.set_nonblocking(true)?;
        self.last += 1;
        set.add(&connection, self.last, EventFlags::IN)?;
        self.open.insert(self.last, connection);
        Ok(())
    }

    /// Reads what there is. Gives the connection out when its client has gone.
    pub(super) fn read(&mut self, number: u64) -> Option<TcpStream> {
        let connection = self.open.get(&number)?;
        match read_all(connection) {
            Ok(Input::Open) => None,
            Ok(Input::End) | Err(_) => self.open.remove(&number),
        }
    }
}

/// Whether more can come on a connection whose input has been read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// The client may send more.
    Open,
    /// The client has closed, or has shut its sending side.
    End,
}

/// Reads a non-blocking connection empty, a blocking one to its end.
pub(super) fn read_all(mut connection: &TcpStream) -> io::Result<Input> {
    let mut buffer = [0; 4096];
    loop {
        match connection.read(&mut buffer) {
            Ok(0) => return Ok(Input::End),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Input::Open),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The next connection of a non-blocking listener; `None` when its queue is empty.
pub(super) fn accept(listener: &TcpListener) -> io::Result<Option<TcpStream>> {
    loop {
        match listener.accept() {
            Ok((connection, _)) => return Ok(Some(connection)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            // The client has gone meanwhile (man 2 accept).
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A server without a fault: level-triggered, takes everyone, reads to the end and closes.
pub(super) fn serve_correctly(listener: &TcpListener, set: &EpollSet) -> io::Result<()> {
    let mut connections = Connections::default();
    loop {
        for number in set.wait()? {
            if number == LISTENER {
                while let Some(connection) = accept(listener)? {
                    connections.add(set, connection)?;
                }
            } else {
                drop(connections.read(number));
            }
        }
    }
}

/// A non-blocking listener in an epoll set, as most servers begin.
pub(super) fn listen_in_set(
    backlog: i32,
    flags: EventFlags,
) -> io::Result<(TcpListener, EpollSet)> {
    let listener = listen(backlog)?;
    listener.set_nonblocking(true)?;
    let set = EpollSet::new()?;
    set.add(&listener, LISTENER, flags)?;
    Ok((listener, set))
}

/// Starts a child process of the server of case `id` and waits until it is set up. It inherits
/// what is not marked close-on-exec, and `stdin`.
pub(super) fn start_worker(id: &str, stdin: Stdio) -> io::Result<Child> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(SERVE_ARGUMENTS)
        .arg(format!("{id}{WORKER}"))
        .stdin(stdin)
        .stdout(Stdio::piped())
        .spawn()?;
    // The pipe is closed again here: a worker says nothing after its first line.
    if let Some(stdout) = child.stdout.take()
        && BufReader::new(stdout).read_line(&mut String::new())? == 0
    {
        let status = child.wait()?;
        return Err(io::Error::other(format!("a worker ended: {status}")));
    }
    Ok(child)
}

/// Sleeps for ever, as a program does that waits for something which does not come.
pub(super) fn park() -> ! {
    loop {
        thread::park();
    }
}

/// Sleeps until a worker ends.
pub(super) fn reap(mut worker: Child) -> io::Result<()> {
    worker.wait().map(drop)
}
