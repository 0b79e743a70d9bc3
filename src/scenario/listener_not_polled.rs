//! A server that stops accepting while it is full, and forgets to begin again.

use std::io;

use super::server::{self, Connections, EventFlags, LISTENER};
use super::{Driver, Expected, Running, Scenario};

pub(super) static SCENARIO: Scenario = Scenario {
    id: "listener-not-polled",
    summary: "the server takes its listener out of its epoll set when full and never puts it back",
    finding: Some("accept-queue-leak"),
    cause: Some("listener-not-polled"),
    demo: true,
    expected: Expected {
        accept_queue: 3..=3,
        ..Expected::QUIET
    },
    serve,
    work: None,
    drive,
};

const MAX_CONNECTIONS: usize = 2;

fn serve(driver: &mut Driver<'_>) -> io::Result<()> {
    let (listener, set) = server::listen_in_set(128, EventFlags::IN)?;
    driver.listening(&listener)?;
    let mut connections = Connections::default();
    loop {
        for number in set.wait()? {
            if number == LISTENER {
                if let Some(connection) = server::accept(&listener)? {
                    connections.add(&set, connection)?;
                }
                if connections.len() >= MAX_CONNECTIONS {
                    set.delete(&listener)?;
                }
            } else {
                // The fault: with room for a client again, the listener belongs into the set.
                drop(connections.read(number));
            }
        }
    }
}

fn drive(case: &mut Running) -> io::Result<()> {
    let leaves = case.connect()?;
    case.connect_and_keep(1, b"")?;
    case.wait_until("two accepted clients", |look| look.accepted() == 2)?;
    case.connect_and_keep(3, b"")?;
    drop(leaves);
    case.wait_until("one client closed", |look| look.accepted() == 1)
}
