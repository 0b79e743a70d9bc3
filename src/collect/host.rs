//! Facts about the machine that are read once.

use std::path::Path;

use super::read_fact;
use crate::model::{Fact, FileTable, Host};

/// Its name and kernel.
pub(super) fn host() -> Host {
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
