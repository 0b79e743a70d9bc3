//! Two processes with a listener each on one port (SO_REUSEPORT), of which one is stuck. The
//! kernel shares new clients out by hash, so about half of them hang (facts Q9).

use std::io;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::Stdio;

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::server::{self, EpollSet, EventFlags, LISTENER};
use super::{Driver, Expected, Running, Scenario};

pub(super) static SCENARIO: Scenario = Scenario {
    id: "reuseport-member-stuck",
    summary: "of two processes that share a port by SO_REUSEPORT, one does not accept",
    finding: Some("accept-queue-leak"),
    cause: Some("acceptor-blocked"),
    demo: false,
    expected: Expected {
        accept_queue: 1..=23,
        ..Expected::QUIET
    },
    serve,
    work: Some(work),
    drive,
};

/// That all of so many go to one member happens once in eight million times.
const CLIENTS: usize = 24;

fn serve(driver: &mut Driver<'_>) -> io::Result<()> {
    let listener = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let (stdin, mut to_worker) = io::pipe()?;
    writeln!(to_worker, "{}", listener.local_addr()?)?;
    let stdin = Stdio::from(OwnedFd::from(stdin));
    let worker = server::start_worker(SCENARIO.id, stdin)?;
    driver.process(worker.id())?;
    driver.listening(&listener)?;
    server::reap(worker)
}

/// The member that works.
fn work(driver: &mut Driver<'_>) -> io::Result<()> {
    let listener = listen(driver.hear_address()?)?;
    listener.set_nonblocking(true)?;
    let set = EpollSet::new()?;
    set.add(&listener, LISTENER, EventFlags::IN)?;
    driver.ready()?;
    server::serve_correctly(&listener, &set)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, 128)?;
    Ok(TcpListener::from(socket))
}

fn drive(case: &mut Running) -> io::Result<()> {
    case.connect_and_keep(CLIENTS, b"")?;
    // A client that does not wait in the one queue has left the other.
    case.wait_until("one queue of two empty", |look| {
        let mut queues = look.accept_queues();
        queues.sort_unstable();
        matches!(queues[..], [0, stuck] if stuck > 0)
    })
}
