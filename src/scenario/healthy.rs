//! A server without a fault, for tests that nothing is reported on one, under whatever load.

use std::io;

use super::server::{self, EventFlags};
use super::{Driver, Expected, Running, Scenario};

pub(super) static SCENARIO: Scenario = Scenario {
    id: "healthy",
    summary: "a correct server: takes everyone, reads to the end, closes",
    finding: None,
    cause: None,
    demo: false,
    expected: Expected::QUIET,
    serve,
    work: None,
    drive,
};

fn serve(driver: &mut Driver<'_>) -> io::Result<()> {
    let (listener, set) = server::listen_in_set(511, EventFlags::IN)?;
    driver.listening(&listener)?;
    server::serve_correctly(&listener, &set)
}

fn drive(_case: &mut Running) -> io::Result<()> {
    Ok(())
}
