//! No leak: clients that have sent all they had to send, and are still being answered.
//!
//! CLOSE_WAIT alone says only that the far end will not send any more (facts W4).

use std::io;
use std::io::Write;
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use super::server;
use super::{Driver, Expected, Running, Scenario};

pub(super) static SCENARIO: Scenario = Scenario {
    id: "close-wait-half-closed",
    summary: "no leak: three clients have shut down their sending side and are still being served",
    finding: Some("close-wait-half-closed"),
    cause: None,
    demo: true,
    expected: Expected {
        close_wait: CLIENTS,
        recv_q: 0,
        ..Expected::QUIET
    },
    serve,
    work: None,
    drive,
};

const CLIENTS: usize = 3;
const BETWEEN_BYTES: Duration = Duration::from_millis(50);

fn serve(driver: &mut Driver<'_>) -> io::Result<()> {
    let listener = server::listen(128)?;
    driver.listening(&listener)?;
    let mut clients = Vec::new();
    while clients.len() < CLIENTS {
        let (client, _) = listener.accept()?;
        server::read_all(&client)?;
        clients.push(client);
    }
    loop {
        for client in &mut clients {
            client.write_all(b".")?;
        }
        thread::sleep(BETWEEN_BYTES);
    }
}

/// The clients need not read: an hour of this fits into their receive buffers.
fn drive(case: &mut Running) -> io::Result<()> {
    for _ in 0..CLIENTS {
        let mut client = case.connect()?;
        client.write_all(b"tail -f log\n")?;
        client.shutdown(Shutdown::Write)?;
        case.keep(client);
    }
    Ok(())
}
