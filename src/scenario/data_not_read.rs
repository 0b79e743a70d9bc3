//! A server with a pool of one thread, and a client that keeps it: the others were accepted, and
//! nobody reads what they send.

use std::io;
use std::net::TcpStream;
use std::sync::mpsc;
use std::thread;

use super::server;
use super::{Driver, Expected, Running, Scenario};

pub(super) static SCENARIO: Scenario = Scenario {
    id: "data-not-read",
    summary: "a slow client keeps the pool's only thread; the requests of the others are not read",
    finding: Some("close-wait-leak"),
    cause: Some("data-not-read"),
    demo: true,
    expected: Expected {
        close_wait: 23,
        recv_q: 11,
        ..Expected::QUIET
    },
    serve,
    work: None,
    drive,
};

fn serve(driver: &mut Driver<'_>) -> io::Result<()> {
    let listener = server::listen(128)?;
    let (jobs, waiting) = mpsc::channel::<TcpStream>();
    thread::Builder::new()
        .name("pool-1".to_owned())
        .spawn(move || {
            for connection in waiting {
                // The fault: no time limit. A client that failed is closed like any other.
                let _ = server::read_all(&connection);
            }
        })?;
    driver.listening(&listener)?;
    loop {
        let (connection, _) = listener.accept()?;
        jobs.send(connection).map_err(io::Error::other)?;
    }
}

fn drive(case: &mut Running) -> io::Result<()> {
    case.connect_and_keep(1, b"GET")?;
    case.connect_and_close(23, b"GET /file\n")?;
    case.wait_until("all accepted", |look| look.accepted() == 24)
}
