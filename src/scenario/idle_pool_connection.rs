//! A client that keeps connections in a pool, and a server that has closed them meanwhile.
//!
//! The process with the leak is the client: nobody looks at an idle connection until it is used
//! again, and then the first request on it fails.

use std::io;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use super::{Driver, Expected, Running, Scenario};

pub(super) static SCENARIO: Scenario = Scenario {
    id: "idle-pool-connection",
    summary: "a client's pool keeps six connections that their server closed while they were idle",
    finding: Some("close-wait-leak"),
    cause: Some("idle-pool-connection"),
    demo: true,
    expected: Expected {
        close_wait: POOL,
        recv_q: 1,
        ..Expected::QUIET
    },
    serve,
    work: None,
    drive,
};

const POOL: usize = 6;
const REQUEST: &[u8] = b"ping\n";
const ANSWER: &[u8] = b"pong\n";

fn serve(driver: &mut Driver<'_>) -> io::Result<()> {
    driver.ready()?;
    let server = driver.hear_address()?;
    let mut pool = (0..POOL)
        .map(|_| TcpStream::connect(server))
        .collect::<io::Result<Vec<_>>>()?;
    for connection in &mut pool {
        connection.write_all(REQUEST)?;
        connection.read_exact(&mut [0; ANSWER.len()])?;
    }
    driver.ready()?;
    // Sleeps until there is work that needs one of them.
    driver.hear().map(drop)
}

fn drive(case: &mut Running) -> io::Result<()> {
    let server = TcpListener::bind("127.0.0.1:0")?;
    case.set_address(server.local_addr()?);
    case.tell(&server.local_addr()?.to_string())?;
    let mut clients = Vec::new();
    for _ in 0..POOL {
        clients.push(case.accept(&server)?);
    }
    for client in &mut clients {
        client.read_exact(&mut [0; REQUEST.len()])?;
        client.write_all(ANSWER)?;
    }
    case.keep(server);
    // A FIN right behind an answer would be taken off the queue together with it (facts W2).
    case.wait_until_ready()?;
    drop(clients);
    Ok(())
}
