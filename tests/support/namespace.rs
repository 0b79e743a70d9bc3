//! A network namespace for each kernel test: an empty socket table that nobody else changes.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

/// A network namespace of this thread's own, with its loopback device up. The processes and
/// threads that this thread starts are in it too. Dropping it brings the thread back.
pub(crate) struct Namespace {
    before: File,
}

/// Moves this thread into a new network namespace; `None`, having said why, where that is not
/// permitted.
pub(crate) fn in_own_namespace() -> Option<Namespace> {
    match enter() {
        Ok(namespace) => Some(namespace),
        Err(error) => {
            super::cannot_run(&format!(
                "needs CAP_SYS_ADMIN for a network namespace: {error}"
            ));
            None
        }
    }
}

fn enter() -> io::Result<Namespace> {
    let before = File::open("/proc/thread-self/ns/net")?;
    unshare_network()?;
    let namespace = Namespace { before };
    bring_loopback_up()?;
    Ok(namespace)
}

#[expect(unsafe_code, reason = "rustix has no safe form of unshare(2)")]
fn unshare_network() -> io::Result<()> {
    // SAFETY: the call is unsafe for CLONE_FILES only, which is not asked for.
    Ok(unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?)
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let kind = Some(LinkNameSpaceType::Network);
        if let Err(error) = rustix::thread::move_into_link_name_space(self.before.as_fd(), kind) {
            eprintln!("this thread stays in the test's network namespace: {error}");
        }
    }
}

/// `ip link set lo up`, as one RTM_NEWLINK message (man 7 rtnetlink). With it come 127.0.0.1/8
/// and ::1.
fn bring_loopback_up() -> io::Result<()> {
    const LENGTH: u32 = 32;
    const RTM_NEWLINK: u16 = 16;
    const NLM_F_REQUEST_ACK: u16 = 0x1 | 0x4;
    const LOOPBACK_INDEX: i32 = 1;
    const IFF_UP: u32 = 1;
    let mut request = Vec::new();
    // struct nlmsghdr: length, type, flags, sequence number, port.
    request.extend(LENGTH.to_ne_bytes());
    request.extend(RTM_NEWLINK.to_ne_bytes());
    request.extend(NLM_F_REQUEST_ACK.to_ne_bytes());
    request.extend(1_u32.to_ne_bytes());
    request.extend(0_u32.to_ne_bytes());
    // struct ifinfomsg: family, padding, device type, index, flags, which of them to change.
    request.extend([0, 0]);
    request.extend(0_u16.to_ne_bytes());
    request.extend(LOOPBACK_INDEX.to_ne_bytes());
    request.extend(IFF_UP.to_ne_bytes());
    request.extend(IFF_UP.to_ne_bytes());

    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&request, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    // struct nlmsgerr follows the header: a negative errno, zero for an acknowledgement.
    match answer.get(16..20).and_then(|error| error.try_into().ok()) {
        Some(error) => match i32::from_ne_bytes(error) {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(-error)),
        },
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}
