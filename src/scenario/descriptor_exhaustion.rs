//! A server that leaks descriptors of something else than sockets. It still serves; soon
//! `accept()` will fail.

use std::fs::File;
use std::io;

use super::look;
use super::server::{self, EventFlags};
use super::{Driver, Expected, Running, Scenario};

pub(super) static SCENARIO: Scenario = Scenario {
    id: "descriptor-exhaustion",
    summary: "a server that works has used 54 of its 64 descriptors, most of them for files",
    finding: Some("descriptor-exhaustion"),
    cause: None,
    demo: true,
    expected: Expected::QUIET,
    serve,
    work: None,
    drive,
};

const LIMIT: u64 = 64;
/// 84 %: above the threshold of a warning, below that of a critical finding.
const USED: usize = 54;

fn serve(driver: &mut Driver<'_>) -> io::Result<()> {
    server::limit_descriptors(LIMIT)?;
    let (listener, set) = server::listen_in_set(128, EventFlags::IN)?;
    // The count includes the descriptor that it is made with.
    let used = look::descriptors(std::process::id())?.len() - 1;
    let _logs = (used..USED)
        .map(|_| File::open("/dev/null"))
        .collect::<io::Result<Vec<_>>>()?;
    driver.listening(&listener)?;
    server::serve_correctly(&listener, &set)
}

/// Shows that it serves.
fn drive(case: &mut Running) -> io::Result<()> {
    case.connect_and_close(3, b"GET / HTTP/1.0\r\n\r\n")?;
    case.wait_until("all served", |look| look.accepted() == 0)
}
