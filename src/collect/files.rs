//! Reads many small files of `/proc`, one after the other: relative to an open directory, and into
//! one buffer.
//!
//! The kernel makes up the text of such a file at the first read; each further call only copies. So
//! the first read has room for all of it, which `std::fs::read`, that begins with 32 bytes, has not.

use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, read};

use super::descriptors::open_directory;

/// What one read takes.
const AT_ONCE: usize = 64 * 1024;

/// The files below a directory.
pub(super) struct Files {
    directory: OwnedFd,
    buffer: Vec<u8>,
}

impl Files {
    pub(super) fn below(directory: &Path) -> Result<Files, Errno> {
        Ok(Files {
            directory: open_directory(CWD, directory)?,
            buffer: Vec::with_capacity(AT_ONCE),
        })
    }

    /// A file that the kernel makes up as one piece of less than a page, like `stat`, `syscall` and
    /// `wchan`: the first read gives all of it.
    pub(super) fn read_short(&mut self, path: &str) -> Result<&[u8], Errno> {
        let file = self.open(path)?;
        read(file, spare_capacity(&mut self.buffer))?;
        Ok(&self.buffer)
    }

    /// A file of any length.
    pub(super) fn read_to_end(&mut self, path: &str) -> Result<&[u8], Errno> {
        let file = self.open(path)?;
        while read(&file, spare_capacity(&mut self.buffer))? > 0 {
            self.buffer.reserve(AT_ONCE);
        }
        Ok(&self.buffer)
    }

    fn open(&mut self, path: &str) -> Result<OwnedFd, Errno> {
        self.buffer.clear();
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        openat(&self.directory, path, flags, Mode::empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_a_long_file_and_nothing_of_the_one_before() {
        let program = std::env::current_exe().unwrap();
        let mut files = Files::below(program.parent().unwrap()).unwrap();
        let name = program.file_name().unwrap().to_str().unwrap();
        let expect = std::fs::read(&program).unwrap();
        assert!(expect.len() > AT_ONCE);
        for _ in 0..2 {
            assert!(files.read_to_end(name).unwrap() == expect);
        }
        let mut files = Files::below(Path::new("/proc/self")).unwrap();
        files.read_to_end("limits").unwrap();
        let expect = std::fs::read("/proc/self/comm").unwrap();
        assert_eq!(files.read_short("comm").unwrap(), expect);
        assert_eq!(files.read_short("nothing"), Err(Errno::NOENT));
    }
}
