//! Programs without a fault that run beside the cases, each in a process of its own, and keep the
//! tables moving: connections, forks, programs that are executed, threads, processes that die.
//!
//! This test runs itself again for each, as `--churn NAME SEED`. None of them ends by itself.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::event::epoll::EventFlags;
use rustix::event::{PollFd, PollFlags};
use rustix::io::FdFlags;

use crate::support::command::Ended;
use crate::support::random::Random;
use crate::support::sockets::{LOOPBACK, connect, listen_at, reset};

/// A program, by the name under which it is run.
type Program = (&'static str, fn(Random));

pub(crate) const PROGRAMS: &[Program] = &[
    ("storm", storm),
    ("threads", threads),
    ("forks", forks),
    ("mayflies", mayflies),
    ("half-closed", half_closed),
    ("idle-pool", idle_pool),
    ("resets", resets),
    ("edge-triggered", edge_triggered),
    ("one-shot", one_shot),
    ("polling", polling),
];

/// Those that the programs above run.
const CHILDREN: &[Program] = &[("nap", nap), ("mayfly", mayfly)];

/// Starts a program in this thread's network namespace.
pub(crate) fn start(name: &str, seed: u64) -> Ended {
    Ended(spawn(name, seed))
}

fn spawn(name: &str, seed: u64) -> Child {
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new(program);
    command.args(["--churn", name, &seed.to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.spawn().unwrap()
}

/// Is that program.
pub(crate) fn run(name: &str, seed: u64) {
    let known = PROGRAMS.iter().chain(CHILDREN);
    let (_, program) = known.into_iter().find(|known| known.0 == name).unwrap();
    program(Random::new(seed));
}

fn pause(random: &mut Random, least: usize, most: usize) {
    let millis = random.between(least, most) as u64;
    thread::sleep(Duration::from_millis(millis));
}

fn listen() -> TcpListener {
    listen_at(LOOPBACK).open().unwrap()
}

const REQUEST: &[u8] = b"GET / HTTP/1.0\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.0 200 OK\r\n\r\nhello\n";

/// One request and its answer. A client that the server has closed is none of its business here.
fn ask(address: SocketAddr) {
    let mut client = connect(address);
    let _ = client.write_all(REQUEST);
    let _ = client.read_to_end(&mut Vec::new());
}

/// Reads a request, answers and closes.
fn answer(mut client: TcpStream) {
    let mut request = [0; REQUEST.len()];
    if client.read_exact(&mut request).is_ok() {
        let _ = client.write_all(ANSWER);
    }
}

/// Clients for ever, some of them at once.
fn clients(address: SocketAddr, mut random: Random) {
    loop {
        ask(address);
        if !random.one_in(4) {
            pause(&mut random, 1, 8);
        }
    }
}

fn with_clients(address: SocketAddr, number: usize, random: &mut Random) {
    for _ in 0..number {
        let random = Random::new(random.next());
        thread::spawn(move || clients(address, random));
    }
}

/// One thread accepts and answers, two are clients.
fn storm(mut random: Random) {
    let listener = listen();
    with_clients(listener.local_addr().unwrap(), 2, &mut random);
    for client in listener.incoming() {
        answer(client.unwrap());
    }
}

/// A thread for each connection, which takes its time.
fn threads(mut random: Random) {
    let listener = listen();
    with_clients(listener.local_addr().unwrap(), 3, &mut random);
    for client in listener.incoming() {
        let client = client.unwrap();
        let mut random = Random::new(random.next());
        thread::spawn(move || {
            pause(&mut random, 0, 20);
            answer(client);
        });
    }
}

/// A server whose short-lived helpers inherit its listener and its connections.
fn forks(mut random: Random) {
    let listener = listen();
    rustix::io::fcntl_setfd(&listener, FdFlags::empty()).unwrap();
    with_clients(listener.local_addr().unwrap(), 1, &mut random);
    for client in listener.incoming() {
        let client = client.unwrap();
        rustix::io::fcntl_setfd(&client, FdFlags::empty()).unwrap();
        let mut helper = spawn("nap", random.next());
        answer(client);
        if random.one_in(2) {
            helper.wait().unwrap();
        } else {
            thread::spawn(move || helper.wait());
        }
    }
}

fn nap(mut random: Random) {
    pause(&mut random, 0, 30);
}

/// Processes with sockets and files in every state, killed while they are being read.
fn mayflies(mut random: Random) {
    loop {
        let mut mayfly = spawn("mayfly", random.next());
        pause(&mut random, 5, 60);
        let _ = mayfly.kill();
        mayfly.wait().unwrap();
    }
}

fn mayfly(mut random: Random) {
    let listener = listen();
    let mut kept = Vec::new();
    for _ in 0..random.between(1, 40) {
        let client = connect(listener.local_addr().unwrap());
        if random.one_in(2) {
            kept.push(listener.accept().unwrap().0);
        }
        if random.one_in(2) {
            kept.push(client);
        }
    }
    pause(&mut random, 0, 60);
    // Half of them die with everything open, as a program does that panics.
    if random.one_in(2) {
        std::process::abort();
    }
}

/// Clients that end their side first and are served for a while longer.
fn half_closed(mut random: Random) {
    let listener = listen();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        loop {
            let mut client = connect(address);
            let _ = client.write_all(REQUEST);
            let _ = client.shutdown(Shutdown::Write);
            let _ = client.read_to_end(&mut Vec::new());
        }
    });
    for client in listener.incoming() {
        let mut client = client.unwrap();
        let _ = client.read_to_end(&mut Vec::new());
        for _ in 0..random.between(1, 15) {
            let _ = client.write_all(b".");
            pause(&mut random, 5, 20);
        }
    }
}

/// Connections that both sides keep, and use now and then.
fn idle_pool(mut random: Random) {
    let listener = listen();
    let mut pool: Vec<_> = (0..random.between(2, 30))
        .map(|_| {
            let client = connect(listener.local_addr().unwrap());
            (client, listener.accept().unwrap().0)
        })
        .collect();
    loop {
        pause(&mut random, 20, 200);
        let one = random.below(pool.len());
        let (client, server) = &mut pool[one];
        client.write_all(REQUEST).unwrap();
        server.read_exact(&mut [0; REQUEST.len()]).unwrap();
    }
}

/// Clients that reset: before they are accepted, and after. The server closes what has failed.
fn resets(mut random: Random) {
    let listener = listen();
    let address = listener.local_addr().unwrap();
    let mut patience = Random::new(random.next());
    thread::spawn(move || {
        loop {
            let mut client = connect(address);
            if patience.one_in(2) {
                let _ = client.write_all(REQUEST);
            }
            pause(&mut patience, 0, 10);
            reset(client);
        }
    });
    loop {
        pause(&mut random, 0, 15);
        if let Ok((client, _)) = listener.accept() {
            answer(client);
        }
    }
}

/// Accepts as an edge-triggered registration asks for: until nobody is left.
fn edge_triggered(random: Random) {
    serve_events(random, EventFlags::IN | EventFlags::ET, false);
}

/// Two threads share a set, and whoever has accepted arms the listener again.
fn one_shot(random: Random) {
    serve_events(random, EventFlags::IN | EventFlags::ONESHOT, true);
}

fn serve_events(mut random: Random, flags: EventFlags, arm_again: bool) {
    let listener = listen();
    listener.set_nonblocking(true).unwrap();
    let set = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    let data = || epoll::EventData::new_u64(0);
    epoll::add(&set, &listener, data(), flags).unwrap();
    with_clients(listener.local_addr().unwrap(), 2, &mut random);
    let serve = || loop {
        let mut events = Vec::with_capacity(4);
        epoll::wait(&set, spare_capacity(&mut events), None).unwrap();
        while let Ok((client, _)) = listener.accept() {
            client.set_nonblocking(false).unwrap();
            answer(client);
        }
        if arm_again {
            epoll::modify(&set, &listener, data(), flags).unwrap();
        }
    };
    if arm_again {
        thread::scope(|scope| {
            scope.spawn(serve);
            serve();
        });
    } else {
        serve();
    }
}

/// poll(2), and between two rounds some computing.
fn polling(mut random: Random) {
    let listener = listen();
    listener.set_nonblocking(true).unwrap();
    with_clients(listener.local_addr().unwrap(), 2, &mut random);
    let mut clients: Vec<TcpStream> = Vec::new();
    loop {
        let ready = {
            let mut polled = vec![PollFd::new(&listener, PollFlags::IN)];
            polled.extend(
                clients
                    .iter()
                    .map(|c| PollFd::from_borrowed_fd(c.as_fd(), PollFlags::IN)),
            );
            rustix::event::poll(&mut polled, None).unwrap();
            polled
                .iter()
                .map(|p| !p.revents().is_empty())
                .collect::<Vec<_>>()
        };
        for index in (0..clients.len()).rev().filter(|index| ready[index + 1]) {
            answer(clients.swap_remove(index));
        }
        while let Ok((client, _)) = listener.accept() {
            client.set_nonblocking(false).unwrap();
            clients.push(client);
        }
        let work = random.below(20_000) as u64;
        std::hint::black_box((0..work).fold(0, |sum, step| sum ^ step));
    }
}
