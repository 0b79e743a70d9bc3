//! The directory that is read as `/proc`: what it is, whose processes it shows, and where this
//! thread is in it.
//!
//! It may be `/proc`, another mount of it (the host's, in a debug pod), or a copy in plain files.
//! A mounted one speaks of this kernel, so its processes and this thread's sockets belong together;
//! a copy may be of any machine.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{
    CWD, Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags, major, minor, openat2, stat, statfs,
};
use rustix::process::{getegid, getgroups};

use super::descriptors::open_directory;
use super::{CollectError, Request, SourceChoice, read_fact};
use crate::kernel::proc_mount::{self, ProcOptions};
use crate::kernel::{stat as process_stat, status};
use crate::model::{Capabilities, Fact, HidePid, PidNamespace, Rights, Unknown};

/// `PROC_PID_INIT_INO` (`include/linux/proc_ns.h`): the first pid namespace of the machine.
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";
/// The process that makes kernel threads; it is in the first pid namespace only.
const KTHREADD: &str = "2";
/// Where the own `/proc` is, as a rule.
const USUAL: &str = "/proc";

/// Whether `root` is a mounted proc file system.
pub(super) fn is_mounted(root: &Path) -> bool {
    match statfs(root) {
        Ok(statfs) => statfs.f_type == PROC_SUPER_MAGIC,
        // Not told (a filter of system calls): it is where it is on every machine.
        Err(_) => root.starts_with(USUAL),
    }
}

/// `request` as it is carried out: of a copy only files are read, and once.
pub(super) fn settled(request: &Request) -> Result<Cow<'_, Request>, CollectError> {
    if is_mounted(&request.proc_root) {
        return Ok(Cow::Borrowed(request));
    }
    if request.source == SourceChoice::SockDiag {
        return Err(CollectError::Copy {
            path: request.proc_root.clone(),
            why: "sock_diag speaks of this machine",
        });
    }
    Ok(Cow::Owned(Request {
        source: SourceChoice::Proc,
        settle: Duration::ZERO,
        ..request.clone()
    }))
}

/// Fails where looks in a row would show the same each time.
pub(super) fn has_to_move(root: &Path) -> Result<(), CollectError> {
    if is_mounted(root) {
        return Ok(());
    }
    Err(CollectError::Copy {
        path: root.to_owned(),
        why: "nothing moves in it",
    })
}

/// The content of `/etc/passwd` where the processes are; empty if it is not known.
pub(super) fn passwd(root: &Path) -> Vec<u8> {
    let device = |path: &Path| stat(path).map(|stat| stat.st_dev);
    let read = if is_mounted(root) && device(root) == device(Path::new(USUAL)) {
        std::fs::read("/etc/passwd")
    } else {
        below_first_process(root, "etc/passwd")
    };
    read.unwrap_or_default()
}

/// A file below the root directory of the first process. Whatever links are in there lead to
/// nothing outside of it.
fn below_first_process(root: &Path, path: &str) -> io::Result<Vec<u8>> {
    const AT_MOST: u64 = 1 << 20;
    let directory = root.join("1/root");
    // In a copy that may be a link to the root directory of this machine.
    if !is_mounted(root) && std::fs::symlink_metadata(&directory)?.is_symlink() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let directory = open_directory(CWD, &directory)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = openat2(directory, path, flags, Mode::empty(), inside)?;
    let mut content = Vec::new();
    File::from(file).take(AT_MOST).read_to_end(&mut content)?;
    Ok(content)
}

/// The directory of this thread, `root/thread-self` as a rule.
///
/// In a mounted `/proc` of a pid namespace in which this thread is not, there is none; what it says
/// of this thread is then read where that is. In a copy it is that of the process that made it, or
/// else of the first one.
pub(super) fn own(root: &Path) -> PathBuf {
    let own = root.join("thread-self");
    if own.exists() {
        return own;
    }
    if is_mounted(root) {
        return Path::new(USUAL).join("thread-self");
    }
    let others = ["self", "1"].map(|process| root.join(process));
    others
        .into_iter()
        .find(|other| other.exists())
        .unwrap_or(own)
}

/// Whether this process is among those that `root` shows.
pub(super) fn shows_this_process(root: &Path) -> bool {
    root.join("self/stat").exists()
}

/// Whether `root` hides processes from this one, with `options` as they are known.
///
/// The first process is there for whoever may see all; where it is this user's own, the options tell
/// (`has_pid_permissions`, `fs/proc/base.c`).
pub(super) fn hides(root: &Path, options: &Fact<ProcOptions>, rights: &Rights) -> bool {
    if !is_mounted(root) {
        return false;
    }
    let may_trace = rights.effective.has(Capabilities::SYS_PTRACE);
    let hides = options
        .known()
        .is_some_and(|options| match options.hidepid {
            HidePid::Off | HidePid::NoAccess => false,
            HidePid::Invisible => !may_trace && !is_member(options.gid.unwrap_or(0)),
            HidePid::NotTraceable => !may_trace,
        });
    hides || !root.join("1").exists()
}

fn is_member(gid: u32) -> bool {
    let groups = getgroups().unwrap_or_default();
    let mut own = groups.into_iter().chain([getegid()]);
    own.any(|group| group.as_raw() == gid)
}

/// Whether this process's own pid namespace is the first one; `None` if that cannot be told.
pub(super) fn own_pid_namespace_is_first(root: &Path) -> Option<bool> {
    let link = std::fs::read_link(own(root).join("ns/pid")).ok()?;
    Some(link.as_os_str() == FIRST_PID_NAMESPACE)
}

/// Whose processes `root` shows.
pub(super) fn pid_namespace(root: &Path) -> PidNamespace {
    // The first process of a namespace lives there; to read the link a right is needed.
    if let Ok(link) = std::fs::read_link(root.join("1/ns/pid")) {
        return if link.as_os_str() == FIRST_PID_NAMESPACE {
            PidNamespace::First
        } else {
            PidNamespace::Other
        };
    }
    let stat = std::fs::read(root.join(KTHREADD).join("stat")).ok();
    let stat = stat.and_then(|line| process_stat::parse_stat(&line).ok());
    if stat.is_some_and(|stat| stat.kernel_thread) {
        return PidNamespace::First;
    }
    // With one pid, this process is in the very namespace that `root` is of.
    let status = std::fs::read(root.join("self/status")).unwrap_or_default();
    let own_is_first = match std::fs::read_link(own(root).join("ns/pid")) {
        Ok(link) => Some(link.as_os_str() == FIRST_PID_NAMESPACE),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(_) => return PidNamespace::Unknown,
    };
    match (status::pid_namespaces(&status), own_is_first) {
        // Only namespaces around its own show a process, and there is none around the first one. A
        // kernel without pid namespaces has no such link.
        (_, Some(true) | None) if shows_this_process(root) => PidNamespace::First,
        (Some(1), Some(false)) => PidNamespace::Other,
        _ => PidNamespace::Unknown,
    }
}

/// The mount options of `root`.
pub(super) fn options(root: &Path) -> Fact<ProcOptions> {
    let Ok(stat) = stat(root) else {
        return Fact::Unknown(Unknown::Unsupported);
    };
    let mounts = std::fs::read(own(root).join("mountinfo"));
    read_fact(mounts, |text| {
        proc_mount::options(text, major(stat.st_dev), minor(stat.st_dev))
    })
}
