//! What this run may do and where it stands: everything is tried, and nothing is concluded.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::path::Path;
use std::time::{Instant, SystemTime};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, RawDir, StatVfsMountFlags, openat, readlinkat_raw, statvfs};
use rustix::io::Errno;

use super::census::{self, table_file};
use super::descriptors::{is_kernel_thread, open_directory, process_ids};
use super::netlink::{NetlinkError, SockDiag};
use super::opening::probe;
use super::places::{Place as NamespacePlace, visit};
use super::{CollectError, host, proc_root, read_fact, rights};
use crate::kernel::{cgroup, decimal, status};
use crate::model::{
    Bpf, Confinement, ContainedBy, ContainerRuntime, DeniedProcess, NamespacesSeen, PidNamespace,
    Place, ProcMount, ProcessesSeen, Program, Sight, SockDiagAnswer,
};

/// `NET_NS_INIT_INO` (`include/uapi/linux/nsfs.h`, since Linux 6.18).
const FIRST_NET_NAMESPACE: u64 = 0xEFFF_FFF9;
/// `PROC_CGROUP_INIT_INO` (`include/linux/proc_ns.h`).
const FIRST_CGROUP_NAMESPACE: &str = "cgroup:[4026531835]";

/// Looks at the own situation, with `root` as `/proc`. Fails only if that is no directory.
pub fn sight(root: &Path) -> Result<Sight, CollectError> {
    std::fs::read_dir(root).map_err(|error| CollectError::Proc {
        path: root.to_owned(),
        error,
    })?;
    let (taken_at, began) = (SystemTime::now(), Instant::now());
    let own = proc_root::own(root);
    let mounted = proc_root::is_mounted(root);
    let pid_namespace = proc_root::pid_namespace(root);
    let options = proc_root::options(root);
    let rights = rights::own(root);
    let hides = proc_root::hides(root, &options, &rights);
    let sight = Sight {
        taken_at,
        duration: std::time::Duration::ZERO,
        host: host::host(root),
        rights,
        program: program(),
        confinement: confinement(root, &own),
        place: place(root, &own),
        proc: ProcMount {
            path: root.to_owned(),
            mounted,
            pid_namespace,
            shows_this_process: proc_root::shows_this_process(root),
            gid: options.known().and_then(|options| options.gid),
            hidepid: options.map(|options| options.hidepid),
            hides,
        },
        processes: processes(root),
        sock_diag: if mounted {
            let asked = SockDiag::open().and_then(probe);
            asked.map_or_else(|error| answer(&error), |_| SockDiagAnswer::Works)
        } else {
            SockDiagAnswer::NotAsked
        },
        proc_net_tcp: File::open(own.join("net/tcp")).is_ok(),
        namespaces: namespaces(root),
        bpf: Bpf {
            btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
            unprivileged_disabled: read_fact(
                std::fs::read(root.join("sys/kernel/unprivileged_bpf_disabled")),
                number,
            ),
        },
    };
    Ok(Sight {
        duration: began.elapsed(),
        ..sight
    })
}

/// What it means that sock_diag cannot be asked.
pub(super) fn answer(error: &NetlinkError) -> SockDiagAnswer {
    let is = |io: &io::Error, errno: Errno| io.raw_os_error() == Some(errno.raw_os_error());
    let no_module = match error {
        // No handler for the family or the protocol (`sock_diag_rcv_msg`, `inet_diag_lock_handler`).
        NetlinkError::Refused(io) => is(io, Errno::NOENT),
        NetlinkError::Open(io) => is(io, Errno::PROTONOSUPPORT),
        _ => false,
    };
    if no_module {
        SockDiagAnswer::NoModule(error.to_string())
    } else {
        SockDiagAnswer::Refused(error.to_string())
    }
}

fn program() -> Program {
    let path = std::env::current_exe().ok();
    let mount = path.as_deref().and_then(|path| statvfs(path).ok());
    Program {
        nosuid: mount.is_some_and(|mount| mount.f_flag.contains(StatVfsMountFlags::NOSUID)),
        path,
    }
}

fn confinement(root: &Path, own: &Path) -> Confinement {
    // Without a module that labels processes the file is not there, or cannot be read.
    let label = std::fs::read(own.join("attr/current")).unwrap_or_default();
    // SELinux ends it with a zero byte, AppArmor with a line end.
    let end = |byte: &u8| matches!(byte, 0 | b'\n');
    let label = label.split(end).next().unwrap_or_default();
    let label = crate::model::printable(label);
    let modules = std::fs::read("/sys/kernel/security/lsm");
    let scope = std::fs::read(root.join("sys/kernel/yama/ptrace_scope"));
    Confinement {
        label: Some(label).filter(|label| !label.is_empty() && label != "unconfined"),
        modules: read_fact(modules, |text| {
            let text = std::str::from_utf8(text).ok()?;
            Some(text.trim().split(',').map(str::to_owned).collect())
        }),
        seccomp: read_fact(std::fs::read(own.join("status")), status::has_seccomp),
        ptrace_scope: scope.ok().as_deref().and_then(number),
    }
}

fn number(text: &[u8]) -> Option<u32> {
    u32::try_from(decimal(text.trim_ascii())?).ok()
}

fn place(root: &Path, own: &Path) -> Place {
    let cgroups = std::fs::read(own.join("cgroup")).unwrap_or_default();
    let sign = sign_of_container(&cgroups);
    let cgroup_namespace = std::fs::read_link(own.join("ns/cgroup"));
    Place {
        container: sign.as_ref().map(|(container, _)| *container),
        sign: sign.map(|(_, sign)| sign),
        first_cgroup_namespace: cgroup_namespace
            .ok()
            .map(|link| link.as_os_str() == FIRST_CGROUP_NAMESPACE),
        first_pid_namespace: proc_root::own_pid_namespace_is_first(root),
    }
}

/// The runtime, and what gives it away. In a pod there are also the signs of what runs the pod.
fn sign_of_container(cgroups: &[u8]) -> Option<(ContainedBy, String)> {
    const IN_PODS: &str = "KUBERNETES_SERVICE_HOST";
    if std::env::var_os(IN_PODS).is_some() {
        return Some((ContainedBy::Kubernetes, format!("{IN_PODS} is set")));
    }
    let files = [
        (ContainedBy::Kubernetes, "/run/secrets/kubernetes.io"),
        (ContainedBy::Docker, "/.dockerenv"),
        (ContainedBy::Podman, "/run/.containerenv"),
    ];
    let there = files.into_iter().find(|(_, file)| Path::new(file).exists());
    if let Some((container, file)) = there {
        return Some((container, file.to_owned()));
    }
    // systemd's convention (systemd.io/CONTAINER_INTERFACE).
    if let Some(name) = std::env::var_os("container") {
        let name = crate::model::printable(name.as_encoded_bytes());
        let container = match &*name {
            "docker" => ContainedBy::Docker,
            "podman" => ContainedBy::Podman,
            _ => ContainedBy::Other,
        };
        return Some((container, format!("container={name} is set")));
    }
    let service = cgroup::service(cgroups);
    let container = match (&service.pod, service.container()?.runtime) {
        (Some(_), _) => ContainedBy::Kubernetes,
        (None, Some(ContainerRuntime::Docker)) => ContainedBy::Docker,
        (None, Some(ContainerRuntime::Podman)) => ContainedBy::Podman,
        (None, _) => ContainedBy::Other,
    };
    Some((container, "the path of its cgroup".into()))
}

/// Tries each process: one link, and the system call of its first thread.
fn processes(root: &Path) -> ProcessesSeen {
    let mut seen = ProcessesSeen::default();
    let (Ok(directory), Ok(pids)) = (open_directory(CWD, root), process_ids(root)) else {
        return seen;
    };
    let directory = directory.as_fd();
    for pid in pids {
        match try_descriptors(directory, pid) {
            Ok(has_some) => {
                seen.read += 1;
                if has_some {
                    match try_system_call(directory, pid) {
                        Err(Errno::PERM | Errno::ACCESS) => seen.calls_denied += 1,
                        Err(Errno::NOENT) if root.join(pid.to_string()).exists() => {
                            seen.calls_missing += 1;
                        }
                        _ => {}
                    }
                }
            }
            // It has ended.
            Err(Errno::NOENT | Errno::SRCH) => continue,
            Err(_) if is_kernel_thread(directory, pid) => seen.read += 1,
            Err(_) => match denied(&root.join(pid.to_string()), pid) {
                Some(process) => seen.denied.push(process),
                None => continue,
            },
        }
        seen.total += 1;
    }
    seen.denied.sort_by_key(|process| process.pid);
    seen
}

/// Whether the process has descriptors; an error where the first of them cannot be read.
fn try_descriptors(root: BorrowedFd<'_>, pid: u32) -> Result<bool, Errno> {
    let directory = open_directory(root, format!("{pid}/fd"))?;
    let mut buffer = [MaybeUninit::uninit(); 1024];
    let mut entries = RawDir::new(directory.as_fd(), &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        if decimal(entry.file_name().to_bytes()).is_none() {
            continue;
        }
        let mut target = [MaybeUninit::uninit(); 32];
        match readlinkat_raw(&directory, entry.file_name(), &mut target) {
            Ok(_) => return Ok(true),
            // Closed since the directory was read.
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

fn try_system_call(root: BorrowedFd<'_>, pid: u32) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file: OwnedFd = openat(root, format!("{pid}/syscall"), flags, Mode::empty())?;
    rustix::io::read(&file, &mut [0; 16]).map(drop)
}

/// Who it is that may not be read; `None` if it has ended.
fn denied(directory: &Path, pid: u32) -> Option<DeniedProcess> {
    let comm = std::fs::read(directory.join("comm"));
    let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    if comm.as_ref().is_err_and(gone) {
        return None;
    }
    let text = std::fs::read(directory.join("status"));
    let text = text.as_deref().map_err(|error| error.kind());
    Some(DeniedProcess {
        pid,
        comm: comm.unwrap_or_default().trim_ascii_end().to_vec(),
        uid: read_fact(text, status::effective_uid),
        permitted: read_fact(text, status::permitted),
    })
}

/// Tries each: to enter it, or else to read it through somebody who lives there.
fn namespaces(root: &Path) -> NamespacesSeen {
    let known = census::take(root).namespaces;
    let own = known.places.values().find(|place| place.own);
    let own = own.map(|place| place.netns.0).filter(|inode| *inode != 0);
    let others: Vec<&NamespacePlace> = known.places.values().filter(|place| !place.own).collect();
    let mut seen = NamespacesSeen {
        own,
        own_is_machines: own_is_machines(root, own),
        others: others.len() as u64,
        unknown_processes: known.unreadable,
        ..NamespacesSeen::default()
    };
    for (place, entered) in others.iter().zip(visit(root, &others, |_| ())) {
        let Err(closed) = entered else {
            seen.enterable += 1;
            continue;
        };
        seen.refusal.get_or_insert_with(|| closed.to_string());
        let table = place.directory(root).map(|net| File::open(net.join("tcp")));
        seen.readable += u64::from(table.is_some_and(|file| file.is_ok()));
    }
    seen
}

/// Whether the own namespace is that in which the machine's first process lives.
fn own_is_machines(root: &Path, own: Option<u64>) -> Option<bool> {
    if own == Some(FIRST_NET_NAMESPACE) {
        return Some(true);
    }
    if proc_root::pid_namespace(root) != PidNamespace::First {
        return None;
    }
    let root = open_directory(CWD, root).ok()?;
    let table = |process: &str| table_file(root.as_fd(), process).ok();
    Some(table("1")? == table("thread-self")?)
}
