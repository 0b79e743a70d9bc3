//! `/proc/net/tcp` and `tcp6` of one namespace, read row by row, as often as needed.
//!
//! An open file shows the namespace in which it was opened, whatever becomes of the process whose
//! `/proc/PID/net` it came from.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek};
use std::path::{Path, PathBuf};

use crate::kernel::{ParseError, proc_net_tcp};
use crate::model::{Netns, SocketEntry};

/// One row, or why it was not understood.
pub(super) type Row = Result<SocketEntry, ParseError>;

/// Both files, open.
pub(super) struct ProcTables {
    /// A kernel without IPv6 has no tcp6.
    files: Vec<(PathBuf, File)>,
}

impl ProcTables {
    /// Opens those in a directory `net`. An error comes with the file that it is about.
    pub(super) fn open(directory: &Path) -> Result<ProcTables, (PathBuf, io::Error)> {
        let mut files = Vec::new();
        for name in ["tcp", "tcp6"] {
            let path = directory.join(name);
            match File::open(&path) {
                Ok(file) => files.push((path, file)),
                Err(error) if name == "tcp6" && error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err((path, error)),
            }
        }
        Ok(ProcTables { files })
    }

    /// Gives every row, of both files, with the file that it is in; `on_row` may end that with an
    /// error.
    pub(super) fn each_row(
        &mut self,
        netns: Netns,
        on_row: &mut dyn FnMut(&Path, Row) -> io::Result<()>,
    ) -> Result<(), (PathBuf, io::Error)> {
        for (path, file) in &mut self.files {
            let read = file.rewind().and_then(|()| {
                let on_row = &mut |row| on_row(path, row);
                each_row(BufReader::with_capacity(64 * 1024, file), netns, on_row)
            });
            read.map_err(|error| (path.clone(), error))?;
        }
        Ok(())
    }
}

fn each_row(
    mut reader: impl BufRead,
    netns: Netns,
    on_row: &mut dyn FnMut(Row) -> io::Result<()>,
) -> io::Result<()> {
    let mut line = Vec::new();
    let mut number = 0;
    while reader.read_until(b'\n', &mut line)? > 0 {
        // The kernel ends every row with its line; one without it was cut.
        if line.last() != Some(&b'\n') {
            return Err(cut_short());
        }
        number += 1;
        // The first line is the heading.
        if number > 1 {
            let row = line.trim_ascii_end();
            on_row(proc_net_tcp::parse_row(row, number, netns))?;
        }
        line.clear();
    }
    // There is a heading where there is no socket.
    if number == 0 {
        return Err(cut_short());
    }
    Ok(())
}

fn cut_short() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it is cut short")
}
