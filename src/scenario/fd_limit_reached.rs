//! A server with more clients than its descriptor limit allows.
//!
//! `accept()` fails with EMFILE and the connection stays in the queue. A level-triggered listener
//! is announced again at once; as real servers do, this one waits a little so as not to spin.

use std::io;
use std::thread;
use std::time::Duration;

use rustix::io::Errno;

use super::server::{self, Connections, EventFlags, LISTENER};
use super::{Driver, Expected, Running, Scenario};

pub(super) static SCENARIO: Scenario = Scenario {
    id: "fd-limit-reached",
    summary: "accept() fails with EMFILE: clients have used up a limit of 32 descriptors",
    finding: Some("accept-queue-leak"),
    cause: Some("fd-limit-reached"),
    demo: true,
    expected: Expected {
        accept_queue: 5..=5,
        ..Expected::QUIET
    },
    serve,
    work: None,
    drive,
};

const LIMIT: u64 = 32;
const RETRY_AFTER: Duration = Duration::from_millis(100);

fn serve(driver: &mut Driver<'_>) -> io::Result<()> {
    server::limit_descriptors(LIMIT)?;
    let (listener, set) = server::listen_in_set(128, EventFlags::IN)?;
    driver.listening(&listener)?;
    let mut connections = Connections::default();
    loop {
        for number in set.wait()? {
            if number != LISTENER {
                drop(connections.read(number));
                continue;
            }
            match server::accept(&listener) {
                Ok(Some(connection)) => connections.add(&set, connection)?,
                Ok(None) => {}
                Err(error) if Errno::from_io_error(&error) == Some(Errno::MFILE) => {
                    thread::sleep(RETRY_AFTER);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

fn drive(case: &mut Running) -> io::Result<()> {
    // The limit is one of numbers: an inherited descriptor with a higher one takes no place.
    let open = case.descriptors()?;
    let free = (0..LIMIT).filter(|number| !open.contains(number)).count();
    case.connect_and_keep(free + 5, b"")?;
    case.wait_until("all descriptors used", |look| look.accepted() == free)
}
