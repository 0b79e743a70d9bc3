//! No leak: a server that is too slow for its clients. Its queue is old and moves.

use std::collections::VecDeque;
use std::io;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Driver, Expected, Running, Scenario};
use super::{running, server};

pub(super) static SCENARIO: Scenario = Scenario {
    id: "accept-queue-backlog",
    summary: "no leak: ten clients at a time, of whom the server serves one in 150 ms",
    finding: Some("accept-queue-backlog"),
    cause: None,
    demo: true,
    expected: Expected {
        // One is being served, one may be on its way.
        accept_queue: 8..=10,
        ..Expected::QUIET
    },
    serve,
    work: None,
    drive,
};

const CLIENTS: usize = 10;
const WORK: Duration = Duration::from_millis(150);

fn serve(driver: &mut Driver<'_>) -> io::Result<()> {
    let listener = server::listen(128)?;
    driver.listening(&listener)?;
    loop {
        let (mut client, _) = listener.accept()?;
        thread::sleep(WORK);
        client.write_all(b"done\n")?;
    }
}

fn drive(case: &mut Running) -> io::Result<()> {
    let load = Load::start(case.address())?;
    let served = Arc::clone(&load.served);
    case.keep(load);
    // From then on every client has waited for all the others.
    case.wait_until("a settled load", |_| {
        served.load(Ordering::Relaxed) >= CLIENTS
    })
}

/// A thread that replaces each client that has been served by a new one, as `ab -c 10` does.
struct Load {
    served: Arc<AtomicUsize>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Load {
    fn start(address: SocketAddr) -> io::Result<Load> {
        let served = Arc::new(AtomicUsize::new(0));
        let ended = Arc::new(AtomicBool::new(false));
        let (counter, end) = (Arc::clone(&served), Arc::clone(&ended));
        // The thread is in the network namespace of this one.
        let thread = thread::Builder::new()
            .name("demo-load".to_owned())
            .spawn(move || load(address, &counter, &end))?;
        Ok(Load {
            served,
            ended,
            thread: Some(thread),
        })
    }
}

fn load(address: SocketAddr, served: &AtomicUsize, ended: &AtomicBool) -> io::Result<()> {
    let connect = || running::connect(address);
    let mut clients = (0..CLIENTS)
        .map(|_| connect())
        .collect::<io::Result<VecDeque<TcpStream>>>()?;
    while !ended.load(Ordering::Relaxed) {
        let Some(mut oldest) = clients.pop_front() else {
            return Ok(());
        };
        oldest.read_to_end(&mut Vec::new())?;
        served.fetch_add(1, Ordering::Relaxed);
        drop(oldest);
        clients.push_back(connect()?);
    }
    Ok(())
}

impl Drop for Load {
    /// Waits for the client that is being served: 150 ms at most, less if the server is gone.
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
