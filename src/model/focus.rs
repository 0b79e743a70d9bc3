//! What somebody asks about: one socket, descriptor, port or process.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use super::{Cookie, SocketEntry};

/// The subject of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Focus {
    /// Every socket on a local port.
    Port(u16),
    /// Every socket at a local address and port.
    Address(SocketAddr),
    /// One connection, by its local and remote address.
    Connection {
        /// Local address and port.
        local: SocketAddr,
        /// Remote address and port.
        remote: SocketAddr,
    },
    /// One socket, by its cookie.
    Socket(Cookie),
    /// Every socket of a process.
    Process(u32),
    /// The socket behind a descriptor of a process.
    Descriptor {
        /// The process.
        pid: u32,
        /// The descriptor.
        fd: i32,
    },
}

impl Focus {
    /// Whether the row is what is asked about, as far as the row itself tells: of a process's
    /// sockets it does not.
    pub fn takes(&self, row: &SocketEntry) -> bool {
        match *self {
            Focus::Port(port) => row.local.port() == port,
            Focus::Address(local) => row.local == local,
            Focus::Connection { local, remote } => (row.local, row.remote) == (local, remote),
            Focus::Socket(cookie) => row.cookie == Some(cookie),
            Focus::Process(_) | Focus::Descriptor { .. } => false,
        }
    }
}

/// What was typed is no subject.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is no subject: :PORT, ADDR:PORT, ADDR:PORT-ADDR:PORT, PID, PID/FD, or a cookie in \
     hexadecimal (sk:COOKIE if it has decimal digits only)"
)]
pub struct UnknownFocus(pub String);

impl FromStr for Focus {
    type Err = UnknownFocus;

    fn from_str(text: &str) -> Result<Focus, UnknownFocus> {
        parse(text).ok_or_else(|| UnknownFocus(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Focus> {
    let cookie = |digits: &str| {
        u64::from_str_radix(digits, 16)
            .ok()
            .map(|c| Focus::Socket(Cookie(c)))
    };
    if let Some(port) = text.strip_prefix(':') {
        return port.parse().ok().map(Focus::Port);
    }
    if let Some(digits) = text.strip_prefix("sk:").or_else(|| text.strip_prefix("0x")) {
        return cookie(digits);
    }
    if let Some((local, remote)) = text.split_once('-') {
        let (local, remote) = (local.parse().ok()?, remote.parse().ok()?);
        return Some(Focus::Connection { local, remote });
    }
    if let Some((pid, fd)) = text.split_once('/') {
        return Some(Focus::Descriptor {
            pid: pid.parse().ok()?,
            fd: fd.parse().ok()?,
        });
    }
    if let Ok(address) = text.parse() {
        return Some(Focus::Address(address));
    }
    text.parse()
        .ok()
        .map(Focus::Process)
        .or_else(|| cookie(text))
}

impl fmt::Display for Focus {
    /// As it is typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Focus::Port(port) => write!(f, ":{port}"),
            Focus::Address(address) => write!(f, "{address}"),
            Focus::Connection { local, remote } => write!(f, "{local}-{remote}"),
            Focus::Socket(cookie) => write!(f, "sk:{cookie}"),
            Focus::Process(pid) => write!(f, "{pid}"),
            Focus::Descriptor { pid, fd } => write!(f, "{pid}/{fd}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_told_apart() {
        let check = |text: &str, expect: &str| {
            let seen = text.parse::<Focus>().map(|focus| format!("{focus:?}"));
            assert!(
                seen.as_ref().is_ok_and(|seen| seen.starts_with(expect)),
                "{text}: {seen:?}"
            );
        };
        check(":8080", "Port(8080)");
        check("127.0.0.1:80", "Address(127.0.0.1:80)");
        check("[::1]:80-[::1]:4000", "Connection");
        check("4866", "Process(4866)");
        check("4866/3", "Descriptor { pid: 4866, fd: 3 }");
        check("10a4", "Socket(Cookie(4260))");
        check("sk:1000", "Socket(Cookie(4096))");
        for text in [
            "", ":", ":99999", "4866/x", "1.2.3.4", "xyz", "a-b", "sk:", "/",
        ] {
            assert!(text.parse::<Focus>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_shown_can_be_typed() {
        for text in [
            ":80",
            "127.0.0.1:80",
            "127.0.0.1:80-127.0.0.1:9",
            "sk:1f",
            "12",
            "12/3",
        ] {
            assert_eq!(
                text.parse::<Focus>()
                    .map(|focus| focus.to_string())
                    .as_deref(),
                Ok(text)
            );
        }
    }
}
