//! A listener registered with EPOLLONESHOT, as programs do whose threads share one epoll set, and
//! a path on which it is not armed again.

use std::io;
use std::io::Read;

use super::server::{self, Connections, EventFlags, LISTENER};
use super::{Driver, Expected, Running, Scenario};

pub(super) static SCENARIO: Scenario = Scenario {
    id: "oneshot-not-rearmed",
    summary: "after refusing a client over its limit the server does not arm its listener again",
    finding: Some("accept-queue-leak"),
    cause: Some("oneshot-not-rearmed"),
    demo: true,
    expected: Expected {
        accept_queue: 4..=4,
        ..Expected::QUIET
    },
    serve,
    work: None,
    drive,
};

const MAX_CONNECTIONS: usize = 1;

fn serve(driver: &mut Driver<'_>) -> io::Result<()> {
    let once = EventFlags::IN | EventFlags::ONESHOT;
    let (listener, set) = server::listen_in_set(128, once)?;
    driver.listening(&listener)?;
    let mut connections = Connections::default();
    loop {
        for number in set.wait()? {
            if number != LISTENER {
                drop(connections.read(number));
                continue;
            }
            if let Some(connection) = server::accept(&listener)? {
                if connections.len() >= MAX_CONNECTIONS {
                    drop(connection);
                    continue; // The fault: this passes by `modify`.
                }
                connections.add(&set, connection)?;
            }
            set.modify(&listener, LISTENER, once)?;
        }
    }
}

fn drive(case: &mut Running) -> io::Result<()> {
    case.connect_and_keep(1, b"")?;
    case.wait_until("the accepted client", |look| look.accepted() == 1)?;
    let mut refused = case.connect()?;
    // Returns when the server has closed: from then on the listener is not armed.
    let _end = refused.read(&mut [0; 1])?;
    drop(refused);
    case.connect_and_keep(4, b"")
}
