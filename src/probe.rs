//! The experiment itself: one connection to a listener of this machine, which sends nothing.
//!
//! Beside `scenario` this is the only place that opens a connection. What it sees goes to
//! [`crate::experiment`], which says what it proves; what it reads comes from `collect`.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};

use crate::collect::{self, CollectError, PortWatch, Request};
use crate::experiment::{End, Experiment, QueueSeen};
use crate::model::Netns;

/// Between two reads.
const PAUSE: Duration = Duration::from_millis(20);

/// Reads that may fail in a row because the table changes.
const FAILURES_AT_MOST: u32 = 50;

/// Why there is no experiment.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// `0.0.0.0` or `::`.
    #[error("{0} is every address and none: say which one a client dials, such as 127.0.0.1:{1}")]
    Unspecified(IpAddr, u16),
    /// Not this machine's.
    #[error(
        "{0} is not an address of this machine (in this network namespace): probe opens \
         connections to its own listeners only"
    )]
    NotHere(IpAddr),
    /// No listener takes a connection to it.
    #[error("nothing listens at {address}{elsewhere}")]
    NoListener {
        /// What was asked for.
        address: SocketAddr,
        /// Listeners in other namespaces, in words; empty if there are none.
        elsewhere: String,
    },
    /// The table could not be read.
    #[error(transparent)]
    Collect(#[from] CollectError),
    /// The table changed during every attempt.
    #[error("the socket table changed during every attempt to read it")]
    Restless,
    /// Whether the address is this machine's cannot be found out.
    #[error("cannot find out whether {0} is this machine's: {1}")]
    Route(IpAddr, std::io::Error),
    /// No connection can be opened.
    #[error("cannot open a connection to {0}: {1}")]
    Connect(SocketAddr, std::io::Error),
}

/// An experiment that goes on. Dropping it closes the connection.
pub struct Probe {
    watch: PortWatch,
    limit: Duration,
    connection: Option<OwnedFd>,
    /// What was seen so far.
    pub experiment: Experiment,
}

impl Probe {
    /// Checks that the target is a listener of this machine, and takes a first look at its queue.
    /// Opens nothing.
    pub fn prepare(
        target: SocketAddr,
        limit: Duration,
        request: &Request,
    ) -> Result<Probe, Refusal> {
        // An IPv4-mapped address is dialled as IPv4.
        let mapped = target.ip().to_canonical();
        let target = match target {
            SocketAddr::V6(_) if mapped.is_ipv4() => SocketAddr::new(mapped, target.port()),
            _ => target,
        };
        let ip = target.ip();
        if ip.is_unspecified() {
            return Err(Refusal::Unspecified(ip, target.port()));
        }
        let scope = match target {
            SocketAddr::V4(_) => 0,
            SocketAddr::V6(target) => target.scope_id(),
        };
        match collect::is_local(ip, scope) {
            Ok(true) => {}
            Ok(false) => return Err(Refusal::NotHere(ip)),
            Err(error) => return Err(Refusal::Route(ip, error)),
        }
        let mut watch = PortWatch::open(request, target.port())?;
        let netns = watch.netns();
        let (listener, sharing, seen) =
            look(&mut watch, netns, target, None)?.ok_or_else(|| Refusal::NoListener {
                address: target,
                elsewhere: elsewhere(request, target),
            })?;
        Ok(Probe {
            watch,
            limit,
            connection: None,
            experiment: Experiment::begin(target, listener, sharing, seen),
        })
    }

    /// Where the time of the experiment is kept.
    pub fn watch(&self) -> &PortWatch {
        &self.watch
    }

    /// Watches the queue as it is, opens the connection, and watches until something is decided or
    /// the time is up. The connection stays open until this is dropped.
    pub fn run(&mut self) -> Result<(), Refusal> {
        loop {
            if let Some(seen) = self.look(None)? {
                self.experiment.also_before(seen);
            }
            if self.experiment.is_prepared() {
                break;
            }
            self.watch.pause(PAUSE);
        }
        if self.experiment.is_pointless() {
            return Ok(());
        }
        let target = self.experiment.target;
        let opened_at = self.watch.elapsed();
        let fail = |error: Errno| Refusal::Connect(target, error.into());
        let (connection, mut end) = connect(target).map_err(fail)?;
        let local = rustix::net::getsockname(&connection)
            .and_then(SocketAddr::try_from)
            .map_err(fail)?;
        self.experiment.ours(opened_at, local, end);
        loop {
            // Our end first: what it says has happened is in the table by then.
            end = now(&connection, end).map_err(fail)?;
            let at = self.watch.elapsed();
            self.experiment.ours(at, local, end);
            if let Some(seen) = self.look(Some(local))? {
                self.experiment.then(seen);
            }
            let late = self.watch.elapsed().saturating_sub(opened_at) >= self.limit;
            if self.experiment.is_decided() || late {
                self.connection = Some(connection);
                return Ok(());
            }
            self.watch.pause(PAUSE);
        }
    }

    /// The queue now; `None` if the listener is gone.
    fn look(&mut self, ours: Option<SocketAddr>) -> Result<Option<QueueSeen>, Refusal> {
        let (target, netns) = (self.experiment.target, self.watch.netns());
        Ok(look(&mut self.watch, netns, target, ours)?.map(|(_, _, seen)| seen))
    }
}

type Looked = (crate::experiment::ListenerSeen, usize, QueueSeen);

fn look(
    watch: &mut PortWatch,
    netns: Netns,
    target: SocketAddr,
    ours: Option<SocketAddr>,
) -> Result<Option<Looked>, Refusal> {
    for _ in 0..FAILURES_AT_MOST {
        if let Some(read) = watch.read()? {
            return Ok(QueueSeen::of(&read, netns, target, ours));
        }
    }
    Err(Refusal::Restless)
}

fn elsewhere(request: &Request, target: SocketAddr) -> String {
    match &collect::listeners_elsewhere(request, target.port())[..] {
        [] => String::new(),
        [(namespace, local), ..] => format!(
            " in this network namespace; {local} is listened at in {}: {}",
            namespace.title(),
            namespace.command(&format!("tcpleak probe ADDR:{}", target.port()))
        ),
    }
}

fn connect(target: SocketAddr) -> Result<(OwnedFd, End), Errno> {
    let family = match target {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &target) {
        Ok(()) => Ok((socket, End::Connected)),
        Err(Errno::INPROGRESS) => Ok((socket, End::Connecting)),
        Err(Errno::CONNREFUSED) => Ok((socket, End::Refused)),
        Err(error) => Err(error),
    }
}

/// What our end says, without waiting and without taking anything from it.
fn now(socket: &OwnedFd, before: End) -> Result<End, Errno> {
    if matches!(before, End::Refused | End::Reset | End::Closed) {
        return Ok(before);
    }
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    match rustix::net::recv(socket, &mut [0_u8; 1], flags) {
        Ok((0, _)) => Ok(End::Closed),
        Ok(_) => Ok(End::Connected),
        Err(Errno::CONNREFUSED) => Ok(End::Refused),
        Err(Errno::CONNRESET | Errno::PIPE) => Ok(End::Reset),
        // In SYN_SENT too: then there is no peer yet.
        Err(Errno::AGAIN) => match rustix::net::getpeername(socket) {
            Ok(_) => Ok(End::Connected),
            Err(Errno::NOTCONN) => Ok(before),
            Err(error) => Err(error),
        },
        // It gave up, later than any limit here.
        Err(Errno::TIMEDOUT | Errno::NOTCONN) => Ok(before),
        Err(error) => Err(error),
    }
}
