//! A server that only writes, and so never learns that its clients have gone.

use std::io;
use std::io::Write;
use std::net::TcpStream;

use super::server::{self, EventFlags};
use super::{Driver, Expected, Running, Scenario};

pub(super) static SCENARIO: Scenario = Scenario {
    id: "eof-not-read",
    summary: "a publisher never reads from its subscribers, so it does not see them leave",
    finding: Some("close-wait-leak"),
    cause: Some("eof-not-read"),
    demo: true,
    expected: Expected {
        close_wait: 23,
        recv_q: 1,
        ..Expected::QUIET
    },
    serve,
    work: None,
    drive,
};

fn serve(driver: &mut Driver<'_>) -> io::Result<()> {
    let (listener, set) = server::listen_in_set(128, EventFlags::IN)?;
    driver.listening(&listener)?;
    let mut subscribers: Vec<TcpStream> = Vec::new();
    loop {
        set.wait()?;
        while let Some(mut subscriber) = server::accept(&listener)? {
            // The fault: a subscriber has to be watched for EPOLLIN or EPOLLRDHUP.
            subscriber.write_all(b"welcome\n")?;
            subscribers.push(subscriber);
        }
    }
}

fn drive(case: &mut Running) -> io::Result<()> {
    let clients = (0..23)
        .map(|_| case.connect())
        .collect::<io::Result<Vec<_>>>()?;
    for client in &clients {
        read_greeting(client)?;
    }
    Ok(())
}

/// A client that closes with unread data would reset the connection instead.
fn read_greeting(mut client: &TcpStream) -> io::Result<()> {
    io::Read::read_exact(&mut client, &mut [0; 8])
}
