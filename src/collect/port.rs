//! What `probe` reads: one port again and again, whether an address is this machine's, and
//! listeners in other network namespaces.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr as KernelAddress};

use super::sockets::{Ports, Sockets, Want};
use super::{CollectError, Request, SourceChoice, census, host};
use crate::kernel::route;
use crate::model::{Coverage, Host, Namespace, Netns, QueueRead, TcpState};

/// Reads the sockets on one local port, with the time since the first read was possible.
pub struct PortWatch {
    sockets: Sockets,
    netns: Netns,
    port: u16,
    began_at: SystemTime,
    began: Instant,
    proc_root: PathBuf,
}

impl PortWatch {
    /// Needs what `request` names as its source; nothing else of it matters.
    pub fn open(request: &Request, port: u16) -> Result<PortWatch, CollectError> {
        let (began_at, began) = (SystemTime::now(), Instant::now());
        let own = [census::own(&request.proc_root)];
        let netns = own[0].netns;
        let sockets = Sockets::open(request, &own, &mut Coverage::default())?;
        Ok(PortWatch {
            sockets,
            netns,
            port,
            began_at,
            began,
            proc_root: request.proc_root.clone(),
        })
    }

    /// Every socket on the port, whoever has it; `None` if the table changed during every attempt
    /// to read it.
    pub fn read(&mut self) -> Result<Option<QueueRead>, CollectError> {
        let after = self.began.elapsed();
        let mut coverage = Coverage::default();
        let want = Want {
            states: TcpState::all().collect(),
            ports: Some(Ports::from([(self.netns, BTreeSet::from([self.port]))])),
            accepted: true,
        };
        let sockets = self.sockets.read(&want, &mut coverage)?;
        Ok(coverage.is_complete().then_some(QueueRead {
            after,
            sockets,
            accepted: None,
            freed: None,
        }))
    }

    /// The namespace that is read.
    pub fn netns(&self) -> Netns {
        self.netns
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
        host::host(&self.proc_root)
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

/// Listeners on `port` in other network namespaces, as far as those can be read.
pub fn listeners_elsewhere(request: &Request, port: u16) -> Vec<(Namespace, SocketAddr)> {
    let root = &request.proc_root;
    let places = census::take(root).namespaces.places.into_values();
    let others: Vec<_> = places.filter(|place| !place.own).collect();
    let mut coverage = Coverage::default();
    let request = Request {
        source: SourceChoice::Auto,
        ..request.clone()
    };
    let Ok(mut sockets) = Sockets::open(&request, &others, &mut coverage) else {
        return Vec::new();
    };
    let want = Want {
        states: vec![TcpState::Listen],
        ports: None,
        accepted: true,
    };
    let rows = sockets.read(&want, &mut coverage).unwrap_or_default();
    let on_port = rows.into_iter().filter(|row| row.local.port() == port);
    let with_namespace = on_port.filter_map(|row| {
        let mut namespaces = sockets.namespaces.iter();
        let namespace = namespaces.find(|namespace| namespace.id == row.netns)?;
        Some((namespace.clone(), row.local))
    });
    with_namespace.collect()
}
