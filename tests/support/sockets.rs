//! Listeners and connections of every kind, held by the test itself.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, ipproto, sockopt};
use socket2::{SockFilter, SockRef};

use super::clock::{TIME_LIMIT, eventually};

/// A listener before it listens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Listen {
    address: SocketAddr,
    backlog: i32,
    protocol: Option<Protocol>,
    share_port: bool,
    device: Option<&'static str>,
    v6only: Option<bool>,
}

/// A listener at `address`; IPv6 wildcards take IPv4 too, whatever the machine's default is.
pub(crate) fn listen_at(address: impl Into<SocketAddr>) -> Listen {
    let address = address.into();
    Listen {
        address,
        backlog: 128,
        protocol: None,
        share_port: false,
        device: None,
        v6only: address.is_ipv6().then_some(false),
    }
}

impl Listen {
    pub(crate) fn backlog(self, backlog: i32) -> Listen {
        Listen { backlog, ..self }
    }

    /// SO_REUSEPORT.
    pub(crate) fn sharing_its_port(self) -> Listen {
        Listen {
            share_port: true,
            ..self
        }
    }

    /// SO_BINDTODEVICE.
    pub(crate) fn bound_to(self, device: &'static str) -> Listen {
        Listen {
            device: Some(device),
            ..self
        }
    }

    /// IPV6_V6ONLY.
    pub(crate) fn v6only(self) -> Listen {
        Listen {
            v6only: Some(true),
            ..self
        }
    }

    /// IPPROTO_MPTCP.
    pub(crate) fn mptcp(self) -> Listen {
        Listen {
            protocol: Some(ipproto::MPTCP),
            ..self
        }
    }

    pub(crate) fn open(self) -> rustix::io::Result<TcpListener> {
        let family = match self.address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, self.protocol)?;
        if let Some(v6only) = self.v6only {
            sockopt::set_ipv6_v6only(&socket, v6only)?;
        }
        sockopt::set_socket_reuseport(&socket, self.share_port)?;
        if let Some(device) = self.device {
            SockRef::from(&socket)
                .bind_device(Some(device.as_bytes()))
                .map_err(|error| rustix::io::Errno::from_io_error(&error).unwrap())?;
        }
        rustix::net::bind(&socket, &self.address)?;
        rustix::net::listen(&socket, self.backlog)?;
        Ok(TcpListener::from(socket))
    }
}

pub(crate) const LOOPBACK: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);
pub(crate) const LOOPBACK6: (Ipv6Addr, u16) = (Ipv6Addr::LOCALHOST, 0);

/// A client whose calls are all limited in time.
pub(crate) fn connect(address: impl Into<SocketAddr>) -> TcpStream {
    let client = TcpStream::connect_timeout(&address.into(), TIME_LIMIT).unwrap();
    limit_in_time(&client);
    client
}

fn limit_in_time(stream: &TcpStream) {
    stream.set_read_timeout(Some(TIME_LIMIT)).unwrap();
    stream.set_write_timeout(Some(TIME_LIMIT)).unwrap();
}

/// A client that offers MPTCP.
pub(crate) fn connect_mptcp(address: SocketAddr) -> TcpStream {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let (kind, flags) = (SocketType::STREAM, SocketFlags::CLOEXEC);
    let client = rustix::net::socket_with(family, kind, flags, Some(ipproto::MPTCP)).unwrap();
    let client = TcpStream::from(client);
    limit_in_time(&client);
    rustix::net::connect(&client, &address).unwrap();
    client
}

/// A connection: the client's end, then the accepted one.
pub(crate) fn connection(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = connect(listener.local_addr().unwrap());
    listener.set_nonblocking(true).unwrap();
    let (accepted, peer) = eventually("a client to accept", || listener.accept().ok());
    assert_eq!(peer, client.local_addr().unwrap());
    accepted.set_nonblocking(false).unwrap();
    limit_in_time(&accepted);
    (client, accepted)
}

/// A client at an address of its own.
pub(crate) fn connect_from(from: SocketAddr, to: SocketAddr) -> TcpStream {
    let family = match to {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let (kind, flags) = (SocketType::STREAM, SocketFlags::CLOEXEC);
    let client = rustix::net::socket_with(family, kind, flags, None).unwrap();
    rustix::net::bind(&client, &from).unwrap();
    let client = TcpStream::from(client);
    limit_in_time(&client);
    rustix::net::connect(&client, &to).unwrap();
    client
}

/// A connection from `from` to an address of the listener: the client's end, then the accepted one.
pub(crate) fn connection_from(
    from: SocketAddr,
    listener: &TcpListener,
    to: SocketAddr,
) -> (TcpStream, TcpStream) {
    let client = connect_from(from, to);
    let (accepted, _) = listener.accept().unwrap();
    (client, accepted)
}

/// Lets no handshake with a listener end. A classic BPF program on a TCP socket sees packets from their
/// TCP header on (`tcp_filter`, `net/ipv4/tcp_ipv4.c`).
pub(crate) fn hear_only_syns(listener: &TcpListener) {
    const LOAD_BYTE: u16 = 0x30;
    const JUMP_IF_SET: u16 = 0x45;
    const RETURN: u16 = 0x06;
    const FLAGS: u32 = 13;
    const SYN: u32 = 0x02;
    let only_syn = [
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS),
        SockFilter::new(JUMP_IF_SET, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ];
    SockRef::from(listener).attach_filter(&only_syn).unwrap();
}

/// Sends, and waits until it has arrived and was acknowledged.
pub(crate) fn transfer(from: &mut TcpStream, to: &mut TcpStream, bytes: usize) {
    let sent = vec![b'x'; bytes];
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| from.write_all(&sent).unwrap());
        to.read_exact(&mut vec![0; bytes]).unwrap();
        sender.join().unwrap();
    });
}

/// Reads to the end of what the far end has sent and closed.
pub(crate) fn read_to_end(stream: &mut TcpStream) {
    stream.read_to_end(&mut Vec::new()).unwrap();
}

/// Closes with a reset (man 7 socket, SO_LINGER).
pub(crate) fn reset(stream: TcpStream) {
    sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
}
