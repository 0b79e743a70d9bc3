//! Clients that reset while they wait: their slots stay taken, and no table shows them (facts Q6).

use std::io;
use std::time::Duration;

use crate::model::TcpState;

use super::server;
use super::{Driver, Expected, Running, Scenario};

pub(super) static SCENARIO: Scenario = Scenario {
    id: "gone-in-queue",
    summary: "two of six waiting clients have reset; nobody accepts",
    finding: Some("accept-queue-leak"),
    cause: Some("acceptor-blocked"),
    demo: false,
    expected: Expected {
        accept_queue: 6..=6,
        ..Expected::QUIET
    },
    serve,
    work: None,
    drive,
};

fn serve(driver: &mut Driver<'_>) -> io::Result<()> {
    let listener = server::listen(128)?;
    driver.listening(&listener)?;
    server::park()
}

fn drive(case: &mut Running) -> io::Result<()> {
    case.connect_and_keep(4, b"")?;
    for _ in 0..2 {
        let client = case.connect()?;
        // close() then sends a reset (man 7 socket, SO_LINGER).
        rustix::net::sockopt::set_socket_linger(client, Some(Duration::ZERO))?;
    }
    // Both ends of the four that stay.
    case.wait_until("four visible clients of six", |look| {
        look.accept_queue() == 6 && look.in_state(TcpState::Established) == 8
    })
}
