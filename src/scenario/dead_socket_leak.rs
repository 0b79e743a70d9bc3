//! Connections that their clients reset, and whose descriptors a server keeps: sockets that are
//! in no table any more (facts W8).

use std::io;
use std::net::TcpStream;
use std::time::Duration;

use super::server::{self, EventFlags};
use super::{Driver, Expected, Running, Scenario};

pub(super) static SCENARIO: Scenario = Scenario {
    id: "dead-socket-leak",
    summary: "the server never touches twelve connections again that their clients have reset",
    finding: Some("dead-socket-leak"),
    cause: None,
    demo: true,
    expected: Expected::QUIET,
    serve,
    work: None,
    drive,
};

const CLIENTS: usize = 12;

fn serve(driver: &mut Driver<'_>) -> io::Result<()> {
    let (listener, set) = server::listen_in_set(128, EventFlags::IN)?;
    driver.listening(&listener)?;
    let mut sessions: Vec<TcpStream> = Vec::new();
    loop {
        set.wait()?;
        while let Some(session) = server::accept(&listener)? {
            sessions.push(session); // The fault: without a time limit for idle sessions.
        }
    }
}

fn drive(case: &mut Running) -> io::Result<()> {
    let clients = (0..CLIENTS)
        .map(|_| case.connect())
        .collect::<io::Result<Vec<_>>>()?;
    case.wait_until("all accepted", |look| look.accepted() == CLIENTS)?;
    for client in &clients {
        // close() then sends a reset (man 7 socket, SO_LINGER).
        rustix::net::sockopt::set_socket_linger(client, Some(Duration::ZERO))?;
    }
    drop(clients);
    case.wait_until("no connection", |look| look.sockets.len() == 1)
}
