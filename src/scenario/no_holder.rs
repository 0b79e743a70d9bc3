//! A listener that no process has a descriptor of, and that still takes connections.
//!
//! A server that hands its listener to a successor sends it over a Unix socket (SCM_RIGHTS) and
//! closes its own descriptor. Until the successor receives the message the listener is kept alive
//! by the message alone (man 7 unix), and this one never does.

use std::io;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use super::server;
use super::{Driver, Expected, Running, Scenario};

pub(super) static SCENARIO: Scenario = Scenario {
    id: "no-holder",
    summary: "a listener was sent to the server's successor, which never received it",
    finding: Some("accept-queue-leak"),
    cause: Some("no-holder"),
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
    let (predecessor, _successor) = UnixStream::pair()?;
    send_descriptor(&predecessor, &listener)?;
    let announced = driver.listening(&listener);
    drop(listener);
    announced?;
    // What an old process does after its handover: it lives on for the clients it still has.
    driver.hear().map(drop)
}

fn send_descriptor(to: &UnixStream, descriptor: impl AsFd) -> io::Result<()> {
    let descriptors = [descriptor.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    rights.push(SendAncillaryMessage::ScmRights(&descriptors));
    let text = [IoSlice::new(b"listener")];
    rustix::net::sendmsg(to, &text, &mut rights, SendFlags::empty())?;
    Ok(())
}

fn drive(case: &mut Running) -> io::Result<()> {
    case.connect_and_keep(4, b"")
}
