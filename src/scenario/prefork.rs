//! A listener that three processes share: a parent that never accepts, and two workers that are
//! both stuck with a client that does not say anything.

use std::io;
use std::io::Read;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;

use super::server;
use super::{Driver, Expected, Running, Scenario};

pub(super) static SCENARIO: Scenario = Scenario {
    id: "prefork",
    summary: "both workers of a prefork server wait for clients that say nothing",
    finding: Some("accept-queue-leak"),
    cause: Some("acceptor-blocked"),
    demo: false,
    expected: Expected {
        accept_queue: 3..=3,
        ..Expected::QUIET
    },
    serve,
    work: Some(work),
    drive,
};

const WORKERS: usize = 2;

fn serve(driver: &mut Driver<'_>) -> io::Result<()> {
    let listener = server::listen(128)?;
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        let stdin = Stdio::from(OwnedFd::from(listener.try_clone()?));
        let worker = server::start_worker(SCENARIO.id, stdin)?;
        driver.process(worker.id())?;
        workers.push(worker);
    }
    driver.listening(&listener)?;
    workers.into_iter().try_for_each(server::reap)
}

/// A worker gets the listener as its standard input, as from inetd.
fn work(driver: &mut Driver<'_>) -> io::Result<()> {
    let listener = TcpListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    driver.ready()?;
    loop {
        let (mut client, _) = listener.accept()?;
        // The fault: no time limit. A client that failed is closed like any other.
        let _ = client.read_exact(&mut [0; 16]);
    }
}

fn drive(case: &mut Running) -> io::Result<()> {
    case.connect_and_keep(WORKERS, b"")?;
    case.wait_until("both workers taken", |look| look.accepted() == WORKERS)?;
    case.connect_and_keep(3, b"")
}
