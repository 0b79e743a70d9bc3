//! The case this project began with: an edge-triggered listener, and an accept loop that returns
//! early at a connection limit.
//!
//! An edge-triggered listener is announced once for any number of connections: the loop has to
//! accept until the queue is empty. At the limit this one closes the newcomer and returns. The
//! rest of the batch stays in the queue, and the limit is no longer even reached when clients go.

use std::io;
use std::net::TcpListener;

use super::server::{self, Connections, EpollSet, EventFlags, LISTENER};
use super::{Driver, Expected, Running, Scenario};

pub(super) static SCENARIO: Scenario = Scenario {
    id: "edge-triggered-missed-wakeup",
    summary: "an edge-triggered accept loop returns at its connection limit instead of going on",
    finding: Some("accept-queue-leak"),
    cause: Some("edge-triggered-missed-wakeup"),
    demo: true,
    expected: Expected {
        accept_queue: 8..=8,
        close_wait: 8,
        recv_q: 46,
        state: 'S',
    },
    serve,
    work: None,
    drive,
};

const MAX_CONNECTIONS: usize = 1;

fn serve(driver: &mut Driver<'_>) -> io::Result<()> {
    let (listener, set) = server::listen_in_set(511, EventFlags::IN | EventFlags::ET)?;
    driver.listening(&listener)?;
    let mut connections = Connections::default();
    loop {
        for number in set.wait()? {
            if number == LISTENER {
                accept_all(&listener, &set, &mut connections)?;
            } else {
                drop(connections.read(number));
            }
        }
    }
}

fn accept_all(
    listener: &TcpListener,
    set: &EpollSet,
    connections: &mut Connections,
) -> io::Result<()> {
    while let Some(connection) = server::accept(listener)? {
        if connections.len() >= MAX_CONNECTIONS {
            drop(connection);
            return Ok(()); // The fault: this has to be `continue`.
        }
        connections.add(set, connection)?;
    }
    Ok(())
}

fn drive(case: &mut Running) -> io::Result<()> {
    case.connect_and_keep(1, b"")?;
    case.wait_until("the accepted client", |look| look.accepted() == 1)?;
    // Stopped, the server finds all of them at once, as a busy server does.
    case.stop()?;
    case.connect_and_close(9, b"GET /health HTTP/1.1\r\nHost: localhost:80\r\n\r\n\n")?;
    case.wait_until("nine queued connections", |look| look.accept_queue() == 9)?;
    case.resume()
}
