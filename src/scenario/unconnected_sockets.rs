//! A server without a fault that keeps sockets ready: some made and no more, some only bound, and
//! connections. No table of `/proc` has the first two kinds, as if they were dead.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::server::{self, EventFlags};
use super::{Driver, Expected, Running, Scenario};

pub(super) static SCENARIO: Scenario = Scenario {
    id: "unconnected-sockets",
    summary: "a server that works keeps three fresh sockets, twenty bound ones and twenty clients",
    finding: None,
    cause: None,
    demo: false,
    expected: Expected::QUIET,
    serve,
    work: None,
    drive,
};

const FRESH: usize = 3;
const BOUND: usize = 20;
const CLIENTS: usize = 20;

fn serve(driver: &mut Driver<'_>) -> io::Result<()> {
    let (listener, set) = server::listen_in_set(128, EventFlags::IN)?;
    let _fresh = (0..FRESH)
        .map(|_| fresh())
        .collect::<io::Result<Vec<_>>>()?;
    let _bound = (0..BOUND)
        .map(|_| bound())
        .collect::<io::Result<Vec<_>>>()?;
    driver.listening(&listener)?;
    let mut sessions: Vec<TcpStream> = Vec::new();
    loop {
        set.wait()?;
        while let Some(session) = server::accept(&listener)? {
            sessions.push(session);
        }
    }
}

fn fresh() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    Ok(rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        flags,
        None,
    )?)
}

fn bound() -> io::Result<OwnedFd> {
    let socket = fresh()?;
    rustix::net::bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    Ok(socket)
}

fn drive(case: &mut Running) -> io::Result<()> {
    case.connect_and_keep(CLIENTS, b"GET / HTTP/1.0\r\n")?;
    case.wait_until("all accepted", |look| look.accepted() == CLIENTS)
}
