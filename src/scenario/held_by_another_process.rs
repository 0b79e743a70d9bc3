//! A server that closes its connections, and a helper program that it started meanwhile and that
//! inherited them: a socket is closed with its last descriptor (facts W7).

use std::io;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};

use rustix::io::FdFlags;
use rustix::process::{Pid, PidfdFlags};

use super::server::{self, EpollSet, EventFlags};
use super::{Driver, Expected, Running, Scenario};

pub(super) static SCENARIO: Scenario = Scenario {
    id: "held-by-another-process",
    summary: "the server closes its connections; a helper that it started has inherited them",
    finding: Some("close-wait-leak"),
    cause: Some("held-by-another-process"),
    demo: true,
    expected: Expected {
        close_wait: CLIENTS,
        recv_q: 1,
        ..Expected::QUIET
    },
    serve,
    work: Some(help),
    drive,
};

const CLIENTS: usize = 5;
const HELPER: u64 = 1;
const REQUEST: &[u8] = b"start\n";
const ANSWER: &[u8] = b"done\n";

fn serve(driver: &mut Driver<'_>) -> io::Result<()> {
    let (listener, set) = server::listen_in_set(128, EventFlags::IN)?;
    driver.listening(&listener)?;
    let mut clients = Vec::new();
    while clients.len() < CLIENTS {
        set.wait()?;
        while let Some(client) = server::accept(&listener)? {
            // The fault: accept() has to be told SOCK_CLOEXEC; std does so on its own.
            rustix::io::fcntl_setfd(&client, FdFlags::empty())?;
            clients.push(client);
        }
    }
    let helper = server::start_worker(SCENARIO.id, Stdio::null())?;
    driver.process(helper.id())?;
    driver.ready()?;
    for client in clients {
        answer(client)?;
    }
    set.delete(&listener)?;
    outlive(&set, helper)
}

/// Sleeps until the helper ends, and reaps it.
fn outlive(set: &EpollSet, mut helper: Child) -> io::Result<()> {
    let pid = Pid::from_child(&helper);
    let handle = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    set.add(&handle, HELPER, EventFlags::IN)?;
    set.wait()?;
    helper.wait().map(drop)
}

/// Closes its descriptor at the end, which the client does not get to see.
fn answer(mut client: TcpStream) -> io::Result<()> {
    client.read_exact(&mut [0; REQUEST.len()])?;
    client.write_all(ANSWER)
}

/// The helper: something that has nothing to do with the connections, and takes its time.
fn help(driver: &mut Driver<'_>) -> io::Result<()> {
    driver.ready()?;
    server::park()
}

fn drive(case: &mut Running) -> io::Result<()> {
    let mut clients = (0..CLIENTS)
        .map(|_| case.connect())
        .collect::<io::Result<Vec<_>>>()?;
    case.wait_until_ready()?;
    for client in &mut clients {
        client.write_all(REQUEST)?;
        client.read_exact(&mut [0; ANSWER.len()])?;
    }
    Ok(())
}
