//! Facts about the machine and this network namespace that are read once.

use std::io;
use std::path::Path;

use super::read_fact;
use crate::kernel::netstat;
use crate::model::{Fact, FileTable, Host, ListenCounters};

/// Its name and kernel.
pub(super) fn host() -> Host {
    let names = rustix::system::uname();
    Host {
        hostname: names.nodename().to_string_lossy().into_owned(),
        kernel: names.release().to_string_lossy().into_owned(),
    }
}

/// Counters of this namespace, and what it does when a SYN queue is full.
pub(super) fn listen_counters(proc_root: &Path) -> Fact<ListenCounters> {
    let setting = |name: &str| {
        let text = std::fs::read(proc_root.join("sys/net/ipv4").join(name)).ok()?;
        crate::kernel::decimal(text.trim_ascii_end())
    };
    let counters = read_fact(net(proc_root, "netstat"), netstat::listen_counters);
    counters.map(|mut counters| {
        if let Some(syn) = &mut counters.syn {
            syn.cookies_when = setting("tcp_syncookies");
            syn.max_backlog = setting("tcp_max_syn_backlog");
        }
        counters
    })
}

/// First and last port that `connect()` picks from.
pub(super) fn ephemeral_ports(proc_root: &Path) -> Fact<(u16, u16)> {
    let file = proc_root.join("sys/net/ipv4/ip_local_port_range");
    read_fact(std::fs::read(file), |text| {
        let mut ports = text
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty());
        let mut port = || u16::try_from(crate::kernel::decimal(ports.next()?)?).ok();
        Some((port()?, port()?))
    })
}

/// Open files of the machine.
pub(super) fn file_table(proc_root: &Path) -> Fact<FileTable> {
    let file = proc_root.join("sys/fs/file-nr");
    read_fact(std::fs::read(file), |text| {
        let mut numbers = text
            .split(u8::is_ascii_whitespace)
            .map(crate::kernel::decimal);
        let allocated = numbers.next()??;
        let limit = numbers.nth(1)??;
        Some(FileTable { allocated, limit })
    })
}

/// TCP sockets in use in this namespace.
pub(super) fn sockets_in_use(proc_root: &Path) -> Fact<u64> {
    // A kernel without IPv6 has no sockstat6.
    let v6 = net(proc_root, "sockstat6").ok();
    let v6 = v6
        .and_then(|text| netstat::sockets_in_use(&text, b"TCP6"))
        .unwrap_or(0);
    read_fact(net(proc_root, "sockstat"), |text| {
        Some(netstat::sockets_in_use(text, b"TCP")? + v6)
    })
}

fn net(proc_root: &Path, file: &str) -> io::Result<Vec<u8>> {
    std::fs::read(proc_root.join("thread-self/net").join(file))
}
