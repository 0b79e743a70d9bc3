//! The addresses of network namespaces: only in one that has the address of a far end can that
//! far end be.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use super::places::{Place, visit};
use crate::kernel::addresses::{self, Listed};
use crate::model::Netns;

/// The addresses of each place that can be entered, but for those that mean another host in every
/// namespace: loopback, and link-local ones.
pub(super) fn of(proc_root: &Path, places: &[&Place]) -> BTreeMap<Netns, HashSet<IpAddr>> {
    let (own, others): (Vec<&Place>, Vec<&Place>) = places.iter().partition(|place| place.own);
    let own_addresses = own.iter().map(|_| here().ok());
    let inside = visit(proc_root, &others, |_| here().ok());
    let inside = inside.into_iter().map(|addresses| addresses.ok().flatten());
    let all = own.iter().chain(&others).zip(own_addresses.chain(inside));
    all.filter_map(|(place, addresses)| Some((place.netns, addresses?)))
        .collect()
}

/// Means a host of this very namespace, or one on a device of it.
pub(super) fn is_of_one_namespace(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unicast_link_local(),
    }
}

/// Those of the namespace in which this thread is.
fn here() -> io::Result<HashSet<IpAddr>> {
    /// The kernel answers as the dump is read; silence is an answer lost.
    const SILENCE: Duration = Duration::from_secs(1);
    const DATAGRAM: usize = 32 * 1024;
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    set_socket_timeout(&socket, Timeout::Recv, Some(SILENCE))?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&addresses::request(), 0)?;
    let mut addresses = HashSet::new();
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let length = socket.recv(&mut &mut buffer[..], 0)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut on_address = |ip: IpAddr| {
            if !is_of_one_namespace(ip) {
                addresses.insert(ip);
            }
        };
        let datagram = &buffer[..length.min(DATAGRAM)];
        match addresses::parse(datagram, &mut on_address) {
            Listed::More => {}
            Listed::All => return Ok(addresses),
            Listed::Refused(errno) => return Err(io::Error::from_raw_os_error(errno)),
        }
    }
}
