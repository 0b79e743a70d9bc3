//! Facts about the machine that are read once.

use std::path::Path;

use super::{proc_root, read_fact};
use crate::model::{Fact, FileTable, Host, printable};

/// Its name and kernel; of a copy those that are in it.
pub(super) fn host(proc_root: &Path) -> Host {
    if !proc_root::is_mounted(proc_root) {
        let read = |name: &str| {
            let text = std::fs::read(proc_root.join("sys/kernel").join(name));
            text.map_or("unknown".into(), |text| printable(text.trim_ascii_end()))
        };
        return Host {
            hostname: read("hostname"),
            kernel: read("osrelease"),
        };
    }
    let names = rustix::system::uname();
    Host {
        hostname: names.nodename().to_string_lossy().into_owned(),
        kernel: names.release().to_string_lossy().into_owned(),
    }
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
