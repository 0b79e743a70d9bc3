//! What the kernel counts and has set for a whole network namespace.

use std::io;
use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::fs::{Mode, OFlags, open};

use super::read_fact;
use crate::kernel::{decimal, netstat};
use crate::model::{Fact, ListenCounters, SynSettings};

/// How many sockets a namespace has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InUse {
    /// TCP sockets in use: listeners, connections, whether accepted or not, and orphans.
    pub(super) sockets: Fact<u64>,
    /// There are none, and no TIME_WAIT entry either: there is no row to read.
    pub(super) is_empty: bool,
}

/// Reads `sockstat` and `sockstat6` of a `net` directory.
pub(super) fn in_use(net: &Path) -> InUse {
    let v4 = read_small(&net.join("sockstat"));
    let v6 = match read_small(&net.join("sockstat6")) {
        // A kernel without IPv6 has no such file.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Fact::Known(0),
        text => read_fact(text, |text| netstat::sockets_in_use(text, b"TCP6")),
    };
    let time_wait = v4.as_ref().ok().and_then(|text| netstat::time_wait(text));
    let sockets = match (
        read_fact(v4, |text| netstat::sockets_in_use(text, b"TCP")),
        v6,
    ) {
        (Fact::Known(v4), Fact::Known(v6)) => Fact::Known(v4 + v6),
        (Fact::Unknown(reason), _) | (_, Fact::Unknown(reason)) => Fact::Unknown(reason),
    };
    let is_empty = sockets == Fact::Known(0) && time_wait == Some(0);
    InUse { sockets, is_empty }
}

/// Reads `netstat` of a `net` directory.
pub(super) fn listen_counters(net: &Path) -> Fact<ListenCounters> {
    read_fact(std::fs::read(net.join("netstat")), netstat::listen_counters)
}

/// First and last port that `connect()` picks from, in the namespace of this thread: `/proc/sys`
/// shows that of whoever looks.
pub(super) fn ephemeral_ports(proc_root: &Path) -> Fact<(u16, u16)> {
    let file = proc_root.join("sys/net/ipv4/ip_local_port_range");
    read_fact(std::fs::read(file), |text| {
        let mut ports = text
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty());
        let mut port = || u16::try_from(decimal(ports.next()?)?).ok();
        Some((port()?, port()?))
    })
}

/// What the namespace of this thread does when a SYN queue is full.
pub(super) fn syn_settings(proc_root: &Path) -> Option<SynSettings> {
    let setting = |name: &str| {
        let text = read_small(&proc_root.join("sys/net/ipv4").join(name)).ok()?;
        decimal(text.trim_ascii_end())
    };
    Some(SynSettings {
        cookies: setting("tcp_syncookies")?,
        max_backlog: setting("tcp_max_syn_backlog")?,
    })
}

/// A file of a few lines, which the kernel gives in one read.
fn read_small(path: &Path) -> io::Result<Vec<u8>> {
    let file = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut text = Vec::with_capacity(1024);
    rustix::io::read(&file, spare_capacity(&mut text))?;
    Ok(text)
}
