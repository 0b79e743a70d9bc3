//! What `probe` reads: one port again and again, whether an address is this machine's, and
//! listeners in other network namespaces.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr as KernelAddress};

use super::sockets::{Sockets, Want};
use super::{CollectError, Request, census, host};
use crate::kernel::{proc_net_tcp, route};
use crate::model::{Coverage, Host, Netns, QueueRead, TcpState};

/// Reads the sockets on one local port, with the time since the first read was possible.
pub struct PortWatch {
    sockets: Sockets,
    port: u16,
    began_at: SystemTime,
    began: Instant,
}

impl PortWatch {
    /// Needs what `request` names as its source; nothing else of it matters.
    pub fn open(request: &Request, port: u16) -> Result<PortWatch, CollectError> {
        let (began_at, began) = (SystemTime::now(), Instant::now());
        let sockets = Sockets::open(request, &mut Coverage::default())?;
        Ok(PortWatch {
            sockets,
            port,
            began_at,
            began,
        })
    }

    /// Every socket on the port, whoever has it; `None` if the table changed during every attempt
    /// to read it.
    pub fn read(&mut self) -> Result<Option<QueueRead>, CollectError> {
        let after = self.began.elapsed();
        let mut coverage = Coverage::default();
        let want = Want {
            states: TcpState::all().collect(),
            ports: Some(BTreeSet::from([self.port])),
            accepted: true,
        };
        let sockets = self.sockets.read(&want, &mut coverage)?;
        Ok(coverage.is_complete().then_some(QueueRead {
            after,
            sockets,
            accepted: None,
        }))
    }

    /// The namespace that is read.
    pub fn netns(&self) -> Netns {
        self.sockets.netns()
    }

    /// Wall-clock time of the beginning.
    pub fn began_at(&self) -> SystemTime {
        self.began_at
    }

    /// Time since then.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Waits.
    pub fn pause(&self, time: Duration) {
        std::thread::sleep(time);
    }

    /// Which machine this is.
    pub fn host(&self) -> Host {
        host::host()
    }
}

/// Whether packets to `address` go to this machine, in this thread's network namespace; `device`
/// is the scope of a link-local address, else zero. Nothing is sent to find out.
pub fn is_local(address: IpAddr, device: u32) -> io::Result<bool> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&KernelAddress::new(0, 0))?;
    socket.send(&route::request(address, device), 0)?;
    let (answer, _) = socket.recv_from_full()?;
    route::is_local(&answer).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Listeners on `port` in other network namespaces, each with a process that lives there, as far
/// as `/proc/PID/net` may be read.
pub fn listeners_elsewhere(proc_root: &Path, port: u16) -> Vec<(u32, SocketAddr)> {
    let mut found = Vec::new();
    for pid in census::take(proc_root).namespaces.others.into_values() {
        for file in ["tcp", "tcp6"] {
            let path = proc_root.join(format!("{pid}/net/{file}"));
            // Unreadable, or without IPv6: then nothing is said of it.
            let table = std::fs::read(path).unwrap_or_default();
            let rows = table.split(|byte| *byte == b'\n').enumerate().skip(1);
            let rows = rows
                .filter_map(|(line, row)| proc_net_tcp::parse_row(row, line + 1, Netns(0)).ok());
            let listens = rows
                .filter(|row| row.state == TcpState::Listen && row.local.port() == port)
                .map(|row| (pid, row.local));
            found.extend(listens);
        }
    }
    found
}
