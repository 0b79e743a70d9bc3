//! Reads what a process waits for: threads, epoll sets, rings, freezer, runtime.
//!
//! Only for the few processes that a finding will name. Nothing is stopped or attached to; what
//! may not be read stays unknown with its reason.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::{read_fact, why};
use crate::kernel::mountinfo::{CgroupMounts, cgroup_mounts};
use crate::kernel::{cgroup, decimal, fdinfo as parse, runtime, stat, syscall};
use crate::model::{
    EpollSet, Fact, IoUring, Process, ProcessDetail, Runtime, SecondLook, SystemCall, Thread,
    Unknown,
};

/// Descriptors of a process that say what it waits for.
#[derive(Debug, Clone, Default)]
pub(super) struct WaitingDescriptors {
    /// A thread through which they are seen, where the first thread of the process has ended.
    pub(super) thread: Option<u32>,
    pub(super) epoll: Vec<i32>,
    pub(super) io_uring: Vec<i32>,
}

/// Reads details of processes; knows the machine's cgroup mounts.
pub(super) struct Details {
    proc_root: PathBuf,
    mounts: Fact<CgroupMounts>,
}

/// A process with more threads is described by its first ones.
const THREADS_AT_MOST: usize = 4096;

impl Details {
    pub(super) fn new(proc_root: &Path) -> Details {
        let mountinfo = std::fs::read(proc_root.join("self/mountinfo"));
        let mounts = read_fact(mountinfo, |text| Some(cgroup_mounts(text)));
        Details {
            proc_root: proc_root.to_owned(),
            mounts,
        }
    }

    pub(super) fn read(&self, process: &Process, waiting: &WaitingDescriptors) -> ProcessDetail {
        let directory = self.proc_root.join(process.id.pid.to_string());
        let fdinfo = match waiting.thread {
            Some(tid) => directory.join(format!("task/{tid}/fdinfo")),
            None => directory.join("fdinfo"),
        };
        ProcessDetail {
            threads: threads(&directory.join("task")),
            epoll_sets: each(&waiting.epoll, |fd| {
                let text = read(&fdinfo, fd)?;
                Ok(EpollSet {
                    fd,
                    registrations: parse::epoll_registrations(&text),
                })
            }),
            io_urings: each(&waiting.io_uring, |fd| {
                let (registered_sockets, pending_accepts) = parse::io_uring(&read(&fdinfo, fd)?);
                Ok(IoUring {
                    fd,
                    registered_sockets,
                    pending_accepts,
                })
            }),
            frozen: self.frozen(&process.cgroup),
            runtime: runtime(&directory, &process.exe),
        }
    }

    /// A frozen process looks like a sleeping one under cgroup v2 (state S); only its cgroup tells.
    fn frozen(&self, cgroups: &Fact<Vec<u8>>) -> Fact<bool> {
        let (cgroups, mounts) = match (cgroups, &self.mounts) {
            (Fact::Known(cgroups), Fact::Known(mounts)) => (cgroups, mounts),
            (Fact::Unknown(reason), _) | (_, Fact::Unknown(reason)) => {
                return Fact::Unknown(*reason);
            }
        };
        let state = |mount: &Option<PathBuf>, path: Option<&[u8]>, file: &str, frozen: &str| {
            let (mount, path) = (mount.as_ref()?, std::str::from_utf8(path?).ok()?);
            // The root of a hierarchy has no such file, and cannot be frozen.
            let text = std::fs::read_to_string(format!("{}{path}/{file}", mount.display())).ok()?;
            Some(text.lines().any(|line| line == frozen))
        };
        let unified = cgroup::unified_path(cgroups);
        let v2 = state(&mounts.unified, unified, "cgroup.events", "frozen 1");
        let freezer = cgroup::controller_path(cgroups, b"freezer");
        let v1 = state(&mounts.freezer, freezer, "freezer.state", "FROZEN");
        Fact::Known(v1 == Some(true) || v2 == Some(true))
    }
}

/// Looks once more at those threads that ran at the first look.
pub(super) fn look_again_at_running(proc_root: &Path, processes: &mut [Process]) {
    for process in processes {
        let tasks = proc_root.join(process.id.pid.to_string()).join("task");
        let Fact::Known(ProcessDetail {
            threads: Fact::Known(threads),
            ..
        }) = &mut process.detail
        else {
            continue;
        };
        for thread in threads
            .iter_mut()
            .filter(|thread| thread.state.is_running())
        {
            let stat = std::fs::read(tasks.join(thread.tid.to_string()).join("stat"));
            let now = stat.ok().and_then(|line| stat::parse_stat(&line).ok());
            thread.second_look = now.map(|now| SecondLook {
                state: now.state,
                cpu_ticks: now.cpu_ticks.saturating_sub(thread.cpu_ticks),
            });
        }
    }
}

fn threads(tasks: &Path) -> Fact<Vec<Thread>> {
    let entries = match std::fs::read_dir(tasks) {
        Ok(entries) => entries,
        Err(error) => return Fact::Unknown(why(&error)),
    };
    let thread = |entry: io::Result<std::fs::DirEntry>| {
        let entry = entry.ok()?;
        let tid = u32::try_from(decimal(entry.file_name().as_encoded_bytes())?).ok()?;
        read_thread(&entry.path(), tid)
    };
    Fact::Known(entries.filter_map(thread).take(THREADS_AT_MOST).collect())
}

/// `None` if the thread is gone.
fn read_thread(directory: &Path, tid: u32) -> Option<Thread> {
    let read = |file: &str| std::fs::read(directory.join(file));
    let stat = stat::parse_stat(&read("stat").ok()?).ok()?;
    let system_call = read_fact(read("syscall"), syscall::parse_system_call);
    // A call tells more than the place in the kernel where it sleeps; where there is none, or only
    // that one was restarted, the place is better than nothing.
    let says_little = match &system_call {
        Fact::Known(SystemCall::In { name, .. }) => name.as_deref() == Some("restart_syscall"),
        Fact::Known(SystemCall::Running) => false,
        Fact::Known(SystemCall::NotInCall) | Fact::Unknown(_) => true,
    };
    let wait_channel = if says_little {
        read_fact(read("wchan"), |bytes| {
            let name = String::from_utf8_lossy(bytes).into_owned();
            Some(if name == "0" { String::new() } else { name })
        })
    } else {
        Fact::Unknown(Unknown::NotCollected)
    };
    Some(Thread {
        tid,
        comm: stat.comm,
        state: stat.state,
        cpu_ticks: stat.cpu_ticks,
        second_look: None,
        system_call,
        wait_channel,
    })
}

fn read(fdinfo: &Path, fd: i32) -> io::Result<Vec<u8>> {
    std::fs::read(fdinfo.join(fd.to_string()))
}

/// What can be read of each; unknown if that is nothing although there are some.
fn each<T>(fds: &[i32], read: impl Fn(i32) -> io::Result<T>) -> Fact<Vec<T>> {
    let mut values = Vec::with_capacity(fds.len());
    for fd in fds {
        match read(*fd) {
            Ok(value) => values.push(value),
            // Closed since the walk.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Fact::Unknown(why(&error)),
        }
    }
    Fact::Known(values)
}

fn runtime(directory: &Path, exe: &Fact<Vec<u8>>) -> Fact<Runtime> {
    let exe = match exe {
        Fact::Known(exe) => exe,
        Fact::Unknown(reason) => return Fact::Unknown(*reason),
    };
    if let Some(known) = runtime::by_exe(exe) {
        return Fact::Known(known);
    }
    const ELF_START: u64 = 4096;
    const MAPS_AT_MOST: u64 = 1 << 20;
    let start_of = |file: &str, length: u64| -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(directory.join(file))?
            .take(length)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    if start_of("exe", ELF_START).is_ok_and(|start| runtime::is_go(&start)) {
        return Fact::Known(Runtime::Go);
    }
    read_fact(start_of("maps", MAPS_AT_MOST), |maps| {
        Some(runtime::by_maps(maps).unwrap_or(Runtime::Native))
    })
}
