//! Recordings on disk: for their owner's eyes only, since command lines hold secrets. A snapshot is
//! complete or not there at all; a watch is there from its first look on.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::WatchWriter;
use crate::model::Snapshot;

/// Writes a snapshot to `path`, readable by its owner only.
///
/// It is written beside `path` and renamed, so that what stood there stays until the new file is
/// complete; a symbolic link is replaced, not followed. Anything but a regular file (a pipe,
/// `/dev/stdout`) is written to as it is.
pub fn save(snapshot: &Snapshot, path: &Path) -> io::Result<()> {
    if is_stream(path) {
        let stream = OpenOptions::new().append(true).open(path)?;
        return fill(snapshot, stream);
    }
    let (file, temporary) = Temporary::beside(path)?;
    // Some file systems find out later that there is no room: then it must not have the name yet.
    let on_disk = file.try_clone()?;
    fill(snapshot, file)?;
    on_disk.sync_data()?;
    temporary.rename(path)
}

/// As [`save`], to a name that nothing has yet: otherwise the error is `AlreadyExists`.
pub fn save_new(snapshot: &Snapshot, path: &Path) -> io::Result<()> {
    // Whoever makes the file has the name for itself; what is renamed over it replaces that empty
    // file and no other.
    let mut options = OpenOptions::new();
    drop(
        options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?,
    );
    save(snapshot, path).inspect_err(|_error| {
        // The error that led here is the one that is reported.
        let _ = fs::remove_file(path);
    })
}

fn fill(snapshot: &Snapshot, file: File) -> io::Result<()> {
    let mut buffered = buffered(file);
    super::write(snapshot, &mut buffered)?;
    buffered.flush()
}

/// A watch on disk, while it goes on.
///
/// It is written beside its path and renamed after the first look: what stood there stays until
/// there is something to replace it with, and from then on a kill loses the look that was being
/// written and no other. It is not forced to the disk (fsync): a watch must not load the machine
/// that it looks at, so a power failure may cost more.
#[derive(Debug)]
pub struct WatchFile {
    to: WatchWriter<BufWriter<File>>,
    /// Until it has its name.
    place: Option<(Temporary, PathBuf)>,
}

impl WatchFile {
    /// Begins a recording at `path`, as [`save`] does, of a watch with that interval.
    pub fn create(path: &Path, interval: Duration) -> io::Result<WatchFile> {
        if is_stream(path) {
            let stream = OpenOptions::new().append(true).open(path)?;
            return WatchFile::stream(stream, interval);
        }
        let (file, temporary) = Temporary::beside(path)?;
        let place = Some((temporary, path.to_owned()));
        let to = WatchWriter::begin(buffered(file), interval)?;
        Ok(WatchFile { to, place })
    }

    /// Begins a recording in something that is open: a pipe, standard output.
    pub fn stream(to: File, interval: Duration) -> io::Result<WatchFile> {
        let to = WatchWriter::begin(buffered(to), interval)?;
        Ok(WatchFile { to, place: None })
    }

    /// As [`WatchWriter::look`].
    pub fn look(
        &mut self,
        at: Duration,
        took: Duration,
        taken: Result<&Snapshot, &str>,
    ) -> io::Result<()> {
        self.to.look(at, took, taken)?;
        match self.place.take() {
            Some((temporary, path)) => temporary.rename(&path),
            None => Ok(()),
        }
    }

    /// As [`WatchWriter::end`]. Without a look nothing is left.
    pub fn end(self, at: Duration) -> io::Result<()> {
        self.to.end(at)
    }
}

fn buffered(file: File) -> BufWriter<File> {
    BufWriter::with_capacity(1 << 16, file)
}

/// Something that is written to and can't be replaced.
///
/// `/dev/stdout` leads to a regular file when the shell has redirected it; renaming over it would
/// then replace the link in `/dev`. So whatever stands in `/dev` or `/proc` counts.
fn is_stream(path: &Path) -> bool {
    let Ok(metadata) = fs::metadata(path) else {
        return false;
    };
    let folder = folder_of(path).canonicalize().unwrap_or_default();
    !metadata.is_file() || folder == Path::new("/dev") || folder.starts_with("/proc")
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// A file that is removed unless it gets its final name.
#[derive(Debug)]
struct Temporary(PathBuf);

impl Temporary {
    fn beside(path: &Path) -> io::Result<(File, Temporary)> {
        let mut attempt = 0;
        loop {
            let name = format!(".tcpleak-{}-{attempt}", std::process::id());
            let temporary = folder_of(path).join(name);
            // O_CREAT with O_EXCL follows no symbolic link (man 2 open).
            let opened = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&temporary);
            match opened {
                Ok(file) => return Ok((file, Temporary(temporary))),
                // Left behind by a run that was killed, or another thread's.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < 100 => {
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn rename(self, to: &Path) -> io::Result<()> {
        fs::rename(&self.0, to)?;
        std::mem::forget(self);
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // There is nobody left to tell: the error that led here is the one that is reported.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::super::{read, sample};
    use super::*;

    /// An empty folder, removed with everything in it.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let name = format!("tcpleak-record-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            let _ = fs::remove_dir_all(&path);
            fs::create_dir(&path).unwrap();
            Folder(path)
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).unwrap();
            let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name();
            let mut names: Vec<String> = entries
                .map(|entry| name(entry).into_string().unwrap())
                .collect();
            names.sort();
            names
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn check_saved(path: &Path) {
        let metadata = fs::symlink_metadata(path).unwrap();
        assert!(metadata.is_file());
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o600);
        let file = io::BufReader::new(File::open(path).unwrap());
        assert_eq!(read(file).unwrap(), sample::full());
    }

    #[test]
    fn a_new_file_an_old_one_and_a_link() {
        let folder = Folder::new("kinds");
        let path = folder.0.join("snapshot");
        save(&sample::full(), &path).unwrap();
        check_saved(&path);

        fs::write(&path, "open to all").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        save(&sample::full(), &path).unwrap();
        check_saved(&path);

        let target = folder.0.join("target");
        fs::write(&target, "not to be touched").unwrap();
        let link = folder.0.join("link");
        symlink(&target, &link).unwrap();
        save(&sample::full(), &link).unwrap();
        check_saved(&link);
        assert_eq!(fs::read_to_string(&target).unwrap(), "not to be touched");
        assert_eq!(folder.names(), ["link", "snapshot", "target"]);
    }

    #[test]
    fn a_failure_leaves_nothing_behind() {
        let folder = Folder::new("failure");
        // Renaming a file to a name that must be a folder's fails with ENOTDIR.
        let path = folder.0.join("missing/");
        assert!(save(&sample::small(), &path).is_err());
        assert!(save(&sample::small(), &folder.0.join("no/such/folder")).is_err());
        assert!(save(&sample::small(), &folder.0).is_err(), "a folder");
        assert!(save(&sample::small(), Path::new("")).is_err());
        assert_eq!(folder.names(), [""; 0]);
    }

    #[test]
    fn a_name_that_is_taken_is_left_alone() {
        let folder = Folder::new("taken");
        let path = folder.0.join("snapshot");
        save_new(&sample::full(), &path).unwrap();
        check_saved(&path);
        let error = save_new(&sample::small(), &path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        check_saved(&path);
        let link = folder.0.join("link");
        symlink("/nowhere", &link).unwrap();
        assert!(save_new(&sample::small(), &link).is_err());
        assert!(save_new(&sample::small(), &folder.0.join("no/folder")).is_err());
        assert_eq!(folder.names(), ["link", "snapshot"]);
    }

    #[test]
    fn left_over_names_are_stepped_over() {
        let folder = Folder::new("left-over");
        let left_over = folder.0.join(format!(".tcpleak-{}-0", std::process::id()));
        symlink("/nowhere", &left_over).unwrap();
        let path = folder.0.join("snapshot");
        save(&sample::full(), &path).unwrap();
        check_saved(&path);
        assert!(fs::symlink_metadata(&left_over).unwrap().is_symlink());
    }

    #[test]
    fn streams_are_written_to() {
        let folder = Folder::new("streams");
        let pipe = folder.0.join("pipe");
        rustix::fs::mkfifoat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::Mode::from_raw_mode(0o600),
        )
        .unwrap();
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || read(io::BufReader::new(File::open(pipe).unwrap()))
        });
        save(&sample::full(), &pipe).unwrap();
        assert_eq!(reader.join().unwrap().unwrap(), sample::full());
        assert_eq!(folder.names(), ["pipe"]);
        save(&sample::full(), Path::new("/dev/null")).unwrap();

        // As `/dev/stdout` is when the shell has redirected it to a file.
        let path = folder.0.join("redirected");
        let file = File::create(&path).unwrap();
        let descriptor = std::os::fd::AsRawFd::as_raw_fd(&file);
        save(
            &sample::small(),
            Path::new(&format!("/proc/self/fd/{descriptor}")),
        )
        .unwrap();
        save(
            &sample::small(),
            Path::new(&format!("/dev/fd/{descriptor}")),
        )
        .unwrap();
        let mut expect = Vec::new();
        super::super::write(&sample::small(), &mut expect).unwrap();
        assert_eq!(fs::read(&path).unwrap(), expect.repeat(2));
    }
}
