//! A server that sees its clients leave, stops watching their connections, and forgets to close.

use std::io;
use std::net::TcpStream;

use super::server::{self, Connections, EventFlags, LISTENER};
use super::{Driver, Expected, Running, Scenario};

pub(super) static SCENARIO: Scenario = Scenario {
    id: "read-not-closed",
    summary: "at end of file the server takes a connection out of its epoll set, and keeps it open",
    finding: Some("close-wait-leak"),
    cause: Some("read-not-closed"),
    demo: true,
    expected: Expected {
        close_wait: 23,
        recv_q: 0,
        ..Expected::QUIET
    },
    serve,
    work: None,
    drive,
};

fn serve(driver: &mut Driver<'_>) -> io::Result<()> {
    let (listener, set) = server::listen_in_set(128, EventFlags::IN)?;
    driver.listening(&listener)?;
    let mut connections = Connections::default();
    let mut finished: Vec<TcpStream> = Vec::new();
    loop {
        for number in set.wait()? {
            if number == LISTENER {
                while let Some(connection) = server::accept(&listener)? {
                    connections.add(&set, connection)?;
                }
            } else if let Some(connection) = connections.read(number) {
                set.delete(&connection)?;
                finished.push(connection); // The fault: nothing ever empties this list.
            }
        }
    }
}

fn drive(case: &mut Running) -> io::Result<()> {
    case.connect_and_close(23, b"GET /file\n")?;
    case.wait_until("all accepted", |look| look.accepted() == 23)
}
