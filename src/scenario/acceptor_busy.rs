//! A server whose event loop computes: the queue does not get its turn.

use std::hint::black_box;
use std::io;

use super::server::{self, EventFlags};
use super::{Driver, Expected, Running, Scenario};

pub(super) static SCENARIO: Scenario = Scenario {
    id: "acceptor-busy",
    summary: "a request keeps the event loop computing for ever",
    finding: Some("accept-queue-leak"),
    cause: Some("acceptor-busy"),
    demo: true,
    expected: Expected {
        accept_queue: 4..=4,
        state: 'R',
        ..Expected::QUIET
    },
    serve,
    work: None,
    drive,
};

fn serve(driver: &mut Driver<'_>) -> io::Result<()> {
    let (listener, set) = server::listen_in_set(128, EventFlags::IN)?;
    driver.listening(&listener)?;
    loop {
        set.wait()?;
        if let Some(_client) = server::accept(&listener)? {
            compute();
        }
    }
}

/// As an expression that backtracks without end does.
fn compute() {
    let mut step = 1_u64;
    while black_box(step) != 0 {
        step = step.wrapping_mul(6_364_136_223_846_793_005) | 1;
    }
}

fn drive(case: &mut Running) -> io::Result<()> {
    case.connect_and_keep(1, b"")?;
    case.wait_until("the accepted client", |look| look.accepted() == 1)?;
    case.connect_and_keep(4, b"")
}
