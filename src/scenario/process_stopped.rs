//! A server without a fault that somebody has stopped: a forgotten `kill -STOP`, a Ctrl-Z, a
//! debugger that was left attached.

use std::io;

use super::server::{self, EventFlags};
use super::{Driver, Expected, Running, Scenario};

pub(super) static SCENARIO: Scenario = Scenario {
    id: "process-stopped",
    summary: "a correct server was stopped by SIGSTOP and not continued",
    finding: Some("accept-queue-leak"),
    cause: Some("process-stopped"),
    demo: true,
    expected: Expected {
        accept_queue: 5..=5,
        state: 'T',
        ..Expected::QUIET
    },
    serve,
    work: None,
    drive,
};

fn serve(driver: &mut Driver<'_>) -> io::Result<()> {
    let (listener, set) = server::listen_in_set(128, EventFlags::IN)?;
    driver.listening(&listener)?;
    server::serve_correctly(&listener, &set)
}

fn drive(case: &mut Running) -> io::Result<()> {
    case.stop()?;
    case.connect_and_keep(5, b"GET / HTTP/1.0\r\n\r\n")
}
