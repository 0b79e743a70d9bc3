//! Small real servers, and their clients, that put the kernel into a known state.
//!
//! `tcpleak demo` shows them and the kernel tests scan them. One file a case: `serve` is the
//! faulty program, `drive` its clients, and what the socket table shows once the case stands is
//! written beside them in [`Expected`].
//!
//! A case is made of real processes. [`Running::start`] starts this program again as
//! `demo --serve ID`, which calls [`serve`]; the two talk over the child's standard streams
//! (`driver`). The server is killed with the thread that started it, has exactly the threads that
//! a program of its kind has, and everything is bounded in count and time. Nothing here needs a
//! right that a plain user lacks, and only `dual-stack`, which is for tests, listens on more than
//! the loopback device.
//!
//! A case has a port of its own, which the kernel chooses. This module reads
//! clocks and the kernel's tables by itself: it is the experiment, not the instrument.
#![expect(
    clippy::disallowed_methods,
    reason = "waits for kernel states, and limits how long"
)]

mod accept_queue_backlog;
mod accept_queue_overflow;
mod acceptor_blocked;
mod acceptor_busy;
mod close_wait_half_closed;
mod data_not_read;
mod dead_socket_leak;
mod descriptor_exhaustion;
mod driver;
mod dual_stack;
mod edge_triggered_missed_wakeup;
mod eof_not_read;
mod fd_limit_reached;
mod gone_in_queue;
mod healthy;
mod held_by_another_process;
mod idle_pool_connection;
mod listener_not_polled;
mod look;
mod no_holder;
mod oneshot_not_rearmed;
mod prefork;
mod process_stopped;
mod processes;
mod read_not_closed;
mod reuseport_member_stuck;
mod running;
mod server;
mod unconnected_sockets;

use std::fmt;
use std::io;
use std::io::Write;
use std::ops::RangeInclusive;

use rustix::process::Signal;

use driver::Driver;
pub use running::Running;

/// A case: a server with a known fault, and the clients that bring it out.
pub struct Scenario {
    /// Name of the case: the cause it shows, or the finding where that has no cause.
    pub id: &'static str,
    /// What the server does wrong, in one sentence.
    pub summary: &'static str,
    /// Id of the finding that a scan must report first; `None` if it must report nothing.
    pub finding: Option<&'static str>,
    /// Id of the first cause of that finding.
    pub cause: Option<&'static str>,
    /// A case for `tcpleak demo`; the others are for tests.
    pub demo: bool,
    /// What is to be seen once the case stands.
    pub expected: Expected,
    serve: fn(&mut Driver<'_>) -> io::Result<()>,
    /// The program of the server's child processes.
    work: Option<fn(&mut Driver<'_>) -> io::Result<()>>,
    drive: fn(&mut Running) -> io::Result<()>,
}

/// What is to be seen at the case's address once it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Connections in the listener's accept queue. A queue that moves has a range.
    pub accept_queue: RangeInclusive<u32>,
    /// Sockets in CLOSE_WAIT, in the queue or accepted.
    pub close_wait: usize,
    /// Recv-Q of each of those.
    pub recv_q: u32,
    /// State letter of the server's main thread.
    pub state: char,
}

impl Expected {
    /// Nothing waits, nothing is left over, and the server sleeps.
    const QUIET: Expected = Expected {
        accept_queue: 0..=0,
        close_wait: 0,
        recv_q: 0,
        state: 'S',
    };
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (least, most) = (self.accept_queue.start(), self.accept_queue.end());
        write!(
            f,
            "server in state {}; accept queue {least} to {most}; {} in CLOSE_WAIT with Recv-Q {}",
            self.state, self.close_wait, self.recv_q
        )
    }
}

/// Every case. Those of `demo --list` come in the order in which it shows them.
pub static ALL: &[&Scenario] = &[
    &edge_triggered_missed_wakeup::SCENARIO,
    &process_stopped::SCENARIO,
    &fd_limit_reached::SCENARIO,
    &oneshot_not_rearmed::SCENARIO,
    &listener_not_polled::SCENARIO,
    &acceptor_blocked::SCENARIO,
    &acceptor_busy::SCENARIO,
    &no_holder::SCENARIO,
    &accept_queue_backlog::SCENARIO,
    &accept_queue_overflow::SCENARIO,
    &eof_not_read::SCENARIO,
    &data_not_read::SCENARIO,
    &read_not_closed::SCENARIO,
    &held_by_another_process::SCENARIO,
    &idle_pool_connection::SCENARIO,
    &close_wait_half_closed::SCENARIO,
    &dead_socket_leak::SCENARIO,
    &descriptor_exhaustion::SCENARIO,
    &gone_in_queue::SCENARIO,
    &prefork::SCENARIO,
    &reuseport_member_stuck::SCENARIO,
    &dual_stack::SCENARIO,
    &healthy::SCENARIO,
    &unconnected_sockets::SCENARIO,
];

/// The case of that name.
pub fn find(id: &str) -> Option<&'static Scenario> {
    ALL.iter().copied().find(|scenario| scenario.id == id)
}

/// The arguments, before the role, with which this program has to call [`serve`].
pub const SERVE_ARGUMENTS: [&str; 2] = ["demo", "--serve"];

/// Behind a case's id: the role of the server's child processes.
const WORKER: &str = "/worker";

/// Is the server of a case (`role` is its id), or one of that server's child processes.
///
/// Returns only when the server cannot go on. Reads what its driver has to say from the standard
/// input. Must be called in a process of its own, whose main thread this is.
pub fn serve(role: &str, stdout: &mut dyn Write) -> io::Result<()> {
    let program = match role.strip_suffix(WORKER) {
        Some(id) => find(id).and_then(|scenario| scenario.work),
        None => find(role).map(|scenario| scenario.serve),
    };
    let Some(program) = program else {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("there is no case '{role}'"),
        ));
    };
    // A parent that died before this call is noticed too: it does not read what is announced.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::thread::set_name(c"demo-server")?;
    program(&mut Driver::new(stdout))
}
