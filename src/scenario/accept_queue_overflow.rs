//! A server that listens before it is able to accept, with a short backlog: the queue is full,
//! and the kernel drops whoever comes next.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::model::TcpState;

use super::server;
use super::{Driver, Expected, Running, Scenario};

pub(super) static SCENARIO: Scenario = Scenario {
    id: "accept-queue-overflow",
    summary: "a backlog of 2 is full and a further client gets no answer",
    finding: Some("accept-queue-overflow"),
    cause: None,
    demo: true,
    expected: Expected {
        // A queue holds one more than its backlog (facts Q2).
        accept_queue: 3..=3,
        ..Expected::QUIET
    },
    serve,
    work: None,
    drive,
};

fn serve(driver: &mut Driver<'_>) -> io::Result<()> {
    let listener = server::listen(2)?;
    driver.listening(&listener)?;
    // As a server does that warms its cache after listen().
    server::park()
}

fn drive(case: &mut Running) -> io::Result<()> {
    case.connect_and_keep(3, b"")?;
    case.wait_until("a full queue", |look| look.accept_queue() == 3)?;
    case.keep(begin_to_connect(case.address())?);
    case.wait_until("an unanswered client", |look| {
        look.in_state(TcpState::SynSent) == 1
    })
}

fn begin_to_connect(address: SocketAddr) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let client = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&client, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(client),
        Err(error) => Err(error.into()),
    }
}
