//! Servers with a known fault beyond those of `scenario`: the same causes in programs of other
//! shapes. This test runs itself again for each, as `--variant NAME`.
//!
//! Each says `ADDRESS` on a line when it listens. It is sent `taken` clients, says so with an empty
//! line when it has accepted them, and is then sent those that wait.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::EventFlags;
use rustix::event::{PollFd, PollFlags, epoll};

use crate::support::command::Ended;
use crate::support::sockets::{LOOPBACK, connect, listen_at};

/// A server, by the name under which it is run.
pub(crate) struct Variant {
    pub(crate) name: &'static str,
    /// Clients that it accepts.
    taken: usize,
    serve: fn(),
}

/// Clients that wait, of every variant.
const WAITING: usize = 3;

pub(crate) static VARIANTS: &[Variant] = &[
    Variant {
        name: "poll-without-the-listener",
        taken: 0,
        serve: poll_without_the_listener,
    },
    Variant {
        name: "one-of-two-listeners",
        taken: 0,
        serve: one_of_two_listeners,
    },
    Variant {
        name: "pool-of-readers",
        taken: 3,
        serve: pool_of_readers,
    },
    Variant {
        name: "edge-triggered-in-a-nested-set",
        taken: 0,
        serve: edge_triggered_in_a_nested_set,
    },
    Variant {
        name: "accept-thread-ended",
        taken: 0,
        serve: accept_thread_ended,
    },
];

pub(crate) fn find(name: &str) -> Option<&'static Variant> {
    VARIANTS.iter().find(|variant| variant.name == name)
}

/// Is that server.
pub(crate) fn run(name: &str) {
    (find(name).unwrap().serve)();
}

/// A variant that stands in this thread's network namespace.
pub(crate) struct Standing {
    // Before the clients.
    _server: Ended,
    pub(crate) pid: u32,
    pub(crate) address: SocketAddr,
    _clients: Vec<TcpStream>,
}

impl Variant {
    pub(crate) fn start(&self) -> Standing {
        let program = std::env::current_exe().unwrap();
        let mut command = Command::new(program);
        command.args(["--variant", self.name]).stdin(Stdio::null());
        let mut server = Ended(command.stdout(Stdio::piped()).spawn().unwrap());
        let mut said = BufReader::new(server.0.stdout.take().unwrap()).lines();
        let address = said.next().unwrap().unwrap().parse().unwrap();
        let mut clients: Vec<_> = (0..self.taken).map(|_| connect(address)).collect();
        said.next().unwrap().unwrap();
        clients.extend((0..WAITING).map(|_| connect(address)));
        Standing {
            pid: server.0.id(),
            _server: server,
            address,
            _clients: clients,
        }
    }
}

fn say(line: &str) {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}").unwrap();
    stdout.flush().unwrap();
}

fn listen() -> TcpListener {
    let listener = listen_at(LOOPBACK).open().unwrap();
    say(&listener.local_addr().unwrap().to_string());
    listener
}

/// It is woken by other things, and paused accepting for good.
fn poll_without_the_listener() {
    let _listener = listen();
    let (one, other) = (std::io::pipe().unwrap(), std::io::pipe().unwrap());
    say("");
    let mut polled = [
        PollFd::new(&one.0, PollFlags::IN),
        PollFd::new(&other.0, PollFlags::IN),
    ];
    rustix::event::poll(&mut polled, None).unwrap();
}

/// Serves the clients of one, all the time, and has taken the other out of its set.
fn one_of_two_listeners() {
    let _paused = listen();
    let served = listen_at(LOOPBACK).open().unwrap();
    let address = served.local_addr().unwrap();
    served.set_nonblocking(true).unwrap();
    let set = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    let data = epoll::EventData::new_u64(0);
    epoll::add(&set, &served, data, EventFlags::IN).unwrap();
    say("");
    // Its client is a process of its own, which is nobody's business here.
    let program = std::env::current_exe().unwrap();
    let mut client = Command::new(program);
    client.args(["--client", &address.to_string()]);
    let _client = Ended(client.stdin(Stdio::null()).spawn().unwrap());
    loop {
        let mut events = Vec::with_capacity(4);
        epoll::wait(&set, spare_capacity(&mut events), None).unwrap();
        while let Ok((client, _)) = served.accept() {
            drop(client);
        }
    }
}

/// Of the variant above: comes and goes.
pub(crate) fn come_and_go(address: SocketAddr) {
    // It ends when the server has.
    while let Ok(mut client) = TcpStream::connect(address) {
        let _ = client.read(&mut [0; 1]);
        thread::sleep(crate::support::clock::PAUSE);
    }
}

/// Each thread accepts, reads and accepts again; all of them have a client that says nothing.
fn pool_of_readers() {
    let listener = listen();
    let take = || {
        let (mut client, _) = listener.accept().unwrap();
        client.read_exact(&mut [0; 1])
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let (taken, is_taken) = std::sync::mpsc::channel();
                let thread = scope.spawn(move || {
                    let _ = taken.send(());
                    take()
                });
                is_taken.recv().unwrap();
                thread
            })
            .collect();
        // Those that accepted are in read now, or will be before anything is old.
        say("");
        for thread in threads {
            let _ = thread.join();
        }
    });
}

/// An inner set has the listener, edge-triggered; the program sleeps on the outer one. It has seen
/// the edge of the first client, and stopped accepting there.
fn edge_triggered_in_a_nested_set() {
    let listener = listen();
    listener.set_nonblocking(true).unwrap();
    let (inner, outer) = (
        epoll::create(epoll::CreateFlags::CLOEXEC).unwrap(),
        epoll::create(epoll::CreateFlags::CLOEXEC).unwrap(),
    );
    let data = || epoll::EventData::new_u64(0);
    epoll::add(&inner, &listener, data(), EventFlags::IN | EventFlags::ET).unwrap();
    epoll::add(&outer, &inner, data(), EventFlags::IN).unwrap();
    say("");
    loop {
        for set in [&outer, &inner] {
            let mut events = Vec::with_capacity(4);
            epoll::wait(set, spare_capacity(&mut events), None).unwrap();
        }
    }
}

/// The thread that accepted returned on an error, and the main thread waits for another one.
fn accept_thread_ended() {
    let _listener = listen();
    thread::spawn(|| {}).join().unwrap();
    let worker = thread::spawn(thread::park);
    say("");
    worker.join().unwrap();
}
