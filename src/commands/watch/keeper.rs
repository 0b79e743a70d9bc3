//! `watch --save`: each look into a file, before anything is said of it.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use crate::collect::saving;
use crate::commands::{Unprinted, shown};
use crate::model::Snapshot;
use crate::record::WatchFile;

/// What keeps the looks of a watch.
pub(super) struct Keeper {
    file: WatchFile,
    /// The name of the file, for messages; `None` for standard output.
    name: Option<String>,
}

impl Keeper {
    /// Begins a recording at `path`, or on standard output for `-`.
    pub(super) fn create(path: &Path, interval: Duration) -> anyhow::Result<Keeper> {
        let (file, name) = if path.as_os_str() == "-" {
            let stdout = io::stdout().as_fd().try_clone_to_owned();
            let file = stdout.and_then(|stdout| WatchFile::stream(File::from(stdout), interval));
            (file, None)
        } else {
            (
                saving(|| WatchFile::create(path, interval)),
                Some(shown(path)),
            )
        };
        let file = kept(file, name.as_deref())?;
        Ok(Keeper { file, name })
    }

    /// The events have no place on standard output.
    pub(super) fn takes_stdout(&self) -> bool {
        self.name.is_none()
    }

    pub(super) fn look(
        &mut self,
        at: Duration,
        took: Duration,
        taken: Result<&Snapshot, &str>,
    ) -> anyhow::Result<()> {
        // The first look gives the file its name.
        let written = saving(|| self.file.look(at, took, taken));
        kept(written, self.name.as_deref())
    }

    /// The watch ended at `at`.
    pub(super) fn end(self, at: Duration) -> anyhow::Result<()> {
        kept(self.file.end(at), self.name.as_deref())
    }
}

/// With the file that it is about, or as what was to be printed.
fn kept<T>(written: io::Result<T>, name: Option<&str>) -> anyhow::Result<T> {
    match name {
        Some(name) => written.with_context(|| format!("cannot write {name}")),
        None => Ok(written.map_err(Unprinted::from)?),
    }
}
