//! A server with one thread that accepts, serves, and accepts again, and a backend that hangs.

use std::io;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use super::server;
use super::{Driver, Expected, Running, Scenario};

pub(super) static SCENARIO: Scenario = Scenario {
    id: "acceptor-blocked",
    summary: "the only thread waits, without a time limit, for a backend that does not answer",
    finding: Some("accept-queue-leak"),
    cause: Some("acceptor-blocked"),
    demo: true,
    expected: Expected {
        accept_queue: 4..=4,
        ..Expected::QUIET
    },
    serve,
    work: None,
    drive,
};

fn serve(driver: &mut Driver<'_>) -> io::Result<()> {
    let listener = server::listen(128)?;
    driver.listening(&listener)?;
    let backend = driver.hear_address()?;
    loop {
        let (client, _) = listener.accept()?;
        answer(client, backend)?;
    }
}

fn answer(mut client: TcpStream, backend: SocketAddr) -> io::Result<()> {
    let mut backend = TcpStream::connect(backend)?;
    backend.write_all(b"get greeting\n")?;
    let mut greeting = [0; 64];
    let length = backend.read(&mut greeting)?; // The fault: no time limit.
    client.write_all(&greeting[..length])
}

fn drive(case: &mut Running) -> io::Result<()> {
    let backend = TcpListener::bind("127.0.0.1:0")?;
    case.tell(&backend.local_addr()?.to_string())?;
    case.connect_and_keep(1, b"")?;
    // Taken, and never answered.
    case.keep(case.accept(&backend)?);
    case.keep(backend);
    case.connect_and_keep(4, b"")
}
