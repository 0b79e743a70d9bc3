//! Reads what a process waits for: threads, epoll sets, rings, freezer, runtime.
//!
//! Only for the few processes that a finding will name. Nothing is stopped or attached to; what
//! may not be read stays unknown with its reason.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::descriptors::process_ids;
use super::files::Files;
use super::{proc_root, read_fact, why};
use crate::kernel::mountinfo::{CgroupMounts, cgroup_mounts};
use crate::kernel::{cgroup, fdinfo as parse, lines, runtime, stat, syscall};
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

/// From this many on, the threads are read while the epoll sets are. A server with many threads has
/// many connections too; either costs some ten microseconds a thread or a hundred registrations,
/// and to start a thread here costs fifty.
const MANY_THREADS: usize = 100;

impl Details {
    pub(super) fn new(proc_root: &Path) -> Details {
        let mountinfo = std::fs::read(proc_root::own(proc_root).join("mountinfo"));
        let mounts = if proc_root::is_mounted(proc_root) {
            read_fact(mountinfo, |text| Some(cgroup_mounts(text)))
        } else {
            // Those of a copy are another machine's.
            Fact::Unknown(Unknown::NotCollected)
        };
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
        let epoll_sets = || {
            each(&fdinfo, &waiting.epoll, |fd, text| EpollSet {
                fd,
                inode: parse::own_inode(text),
                registrations: parse::epoll_registrations(text),
            })
        };
        let (threads, epoll_sets) = match process_ids(&directory.join("task")) {
            Ok(tids) if tids.len() >= MANY_THREADS => std::thread::scope(|scope| {
                let read = || threads(&directory, &tids);
                match std::thread::Builder::new().spawn_scoped(scope, read) {
                    Ok(threads) => {
                        let epoll_sets = epoll_sets();
                        // It does not panic; if it did, the threads were not read.
                        let not_read = |_| Fact::Unknown(Unknown::NotCollected);
                        (threads.join().unwrap_or_else(not_read), epoll_sets)
                    }
                    // No further thread may be had (pids.max of a cgroup).
                    Err(_) => (read(), epoll_sets()),
                }
            }),
            Ok(tids) => (threads(&directory, &tids), epoll_sets()),
            Err(error) => (Fact::Unknown(why(&error.into())), epoll_sets()),
        };
        ProcessDetail {
            threads,
            epoll_sets,
            io_urings: each(&fdinfo, &waiting.io_uring, |fd, text| {
                let (registered_sockets, pending_accepts) = parse::io_uring(text);
                IoUring {
                    fd,
                    registered_sockets,
                    pending_accepts,
                }
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
        // Outside of the cgroup namespace whose hierarchy is mounted here.
        if cgroup::paths(cgroups).any(|path| path.starts_with(b"/..")) {
            return Fact::Unknown(Unknown::Unsupported);
        }
        let state = |mount: &Option<PathBuf>, path: Option<&[u8]>, file: &str, frozen: &str| {
            let (Some(mount), Some(path)) = (mount, path) else {
                return Fact::Known(false);
            };
            let relative = Path::new(OsStr::from_bytes(path.strip_prefix(b"/").unwrap_or(path)));
            match std::fs::read(mount.join(relative).join(file)) {
                // The root of a hierarchy has no such file, and cannot be frozen.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Fact::Known(false),
                text => read_fact(text, |text| {
                    Some(lines(text).any(|line| line == frozen.as_bytes()))
                }),
            }
        };
        let unified = cgroup::unified_path(cgroups);
        let v2 = state(&mounts.unified, unified, "cgroup.events", "frozen 1");
        let freezer = cgroup::controller_path(cgroups, b"freezer");
        let v1 = state(&mounts.freezer, freezer, "freezer.state", "FROZEN");
        match (v1, v2) {
            (Fact::Known(v1), Fact::Known(v2)) => Fact::Known(v1 || v2),
            (Fact::Known(true), _) | (_, Fact::Known(true)) => Fact::Known(true),
            (Fact::Unknown(reason), _) | (_, Fact::Unknown(reason)) => Fact::Unknown(reason),
        }
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
        let Ok(mut tasks) = Files::below(&tasks) else {
            continue;
        };
        for thread in threads
            .iter_mut()
            .filter(|thread| thread.state.is_running())
        {
            let stat = tasks.read_short(&format!("{}/stat", thread.tid));
            let now = stat.ok().and_then(|line| stat::parse_stat(line).ok());
            thread.second_look = now.map(|now| SecondLook {
                state: now.state,
                cpu_ticks: now.cpu_ticks.saturating_sub(thread.cpu_ticks),
            });
        }
    }
}

/// Unknown if one of them could not be read: the others would pass for all.
fn threads(directory: &Path, tids: &[u32]) -> Fact<Vec<Thread>> {
    let mut files = match Files::below(&directory.join("task")) {
        Ok(files) => files,
        Err(error) => return Fact::Unknown(why(&error.into())),
    };
    let mut threads = Vec::new();
    for tid in tids {
        match read_thread(&mut files, *tid) {
            Fact::Known(thread) => threads.push(thread),
            Fact::Unknown(Unknown::Vanished) => {}
            Fact::Unknown(reason) => return Fact::Unknown(reason),
        }
        if threads.len() == THREADS_AT_MOST {
            break;
        }
    }
    Fact::Known(threads)
}

fn read_thread(tasks: &mut Files, tid: u32) -> Fact<Thread> {
    let stat = tasks.read_short(&format!("{tid}/stat"));
    let stat = match read_fact(stat, |line| stat::parse_stat(line).ok()) {
        Fact::Known(stat) => stat,
        Fact::Unknown(reason) => return Fact::Unknown(reason),
    };
    let system_call = tasks.read_short(&format!("{tid}/syscall"));
    let system_call = read_fact(system_call, syscall::parse_system_call);
    // A call tells more than the place in the kernel where it sleeps; where there is none, or only
    // that one was restarted, the place is better than nothing.
    let says_little = match &system_call {
        Fact::Known(SystemCall::In { name, .. }) => name.as_deref() == Some("restart_syscall"),
        Fact::Known(SystemCall::Running) => false,
        Fact::Known(SystemCall::NotInCall) | Fact::Unknown(_) => true,
    };
    let wait_channel = if says_little {
        read_fact(tasks.read_short(&format!("{tid}/wchan")), |bytes| {
            let name = String::from_utf8_lossy(bytes).into_owned();
            Some(if name == "0" { String::new() } else { name })
        })
    } else {
        Fact::Unknown(Unknown::NotCollected)
    };
    Fact::Known(Thread {
        tid,
        comm: stat.comm,
        state: stat.state,
        cpu_ticks: stat.cpu_ticks,
        second_look: None,
        system_call,
        wait_channel,
    })
}

/// What `parse` takes from the `fdinfo` of each; unknown if that cannot be read although there are
/// some.
fn each<T>(fdinfo: &Path, fds: &[i32], parse: impl Fn(i32, &[u8]) -> T) -> Fact<Vec<T>> {
    let mut values = Vec::with_capacity(fds.len());
    if fds.is_empty() {
        return Fact::Known(values);
    }
    let mut files = match Files::below(fdinfo) {
        Ok(files) => files,
        Err(error) => return Fact::Unknown(why(&error.into())),
    };
    for fd in fds {
        match files.read_to_end(&fd.to_string()) {
            Ok(text) => values.push(parse(*fd, text)),
            // Closed since the walk.
            Err(Errno::NOENT) => {}
            Err(error) => return Fact::Unknown(why(&error.into())),
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
    // In a copy the link leads to a file of this machine.
    let is_copy = !proc_root::is_mounted(directory);
    if !is_copy && start_of("exe", ELF_START).is_ok_and(|start| runtime::is_go(&start)) {
        return Fact::Known(Runtime::Go);
    }
    let by_maps = read_fact(start_of("maps", MAPS_AT_MOST), |maps| {
        Some(runtime::by_maps(maps))
    });
    match by_maps {
        Fact::Known(None) if is_copy => Fact::Unknown(Unknown::NotCollected),
        other => other.map(|runtime| runtime.unwrap_or(Runtime::Native)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use rustix::event::{EventfdFlags, epoll, eventfd};
    use rustix::fd::{AsRawFd, OwnedFd};

    use super::*;
    use crate::model::{ProcessId, ProcessState};

    #[test]
    fn all_of_many_threads_and_their_sets_are_read() {
        const REGISTRATIONS: usize = 100;
        let set = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let register = |_| -> OwnedFd {
            let descriptor = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
            let data = epoll::EventData::new_u64(0);
            epoll::add(&set, &descriptor, data, epoll::EventFlags::IN).unwrap();
            descriptor
        };
        let _registered: Vec<OwnedFd> = (0..REGISTRATIONS).map(register).collect();
        std::thread::scope(|scope| {
            let waiting: Vec<_> = (0..MANY_THREADS)
                .map(|_| {
                    let (done, wait) = channel::<()>();
                    scope.spawn(move || wait.recv());
                    done
                })
                .collect();
            let descriptors = WaitingDescriptors {
                epoll: vec![set.as_raw_fd()],
                ..WaitingDescriptors::default()
            };
            let detail = Details::new(Path::new("/proc")).read(&this_process(), &descriptors);
            assert!(detail.threads.known().unwrap().len() > MANY_THREADS);
            let sets = detail.epoll_sets.known().unwrap();
            assert_eq!(sets[0].registrations.len(), REGISTRATIONS);
            drop(waiting);
        });
    }

    fn this_process() -> Process {
        Process {
            id: ProcessId {
                pid: std::process::id(),
                start_time: 0,
            },
            comm: Vec::new(),
            parent: 0,
            state: ProcessState('S'),
            command_line: Fact::Unknown(Unknown::NotCollected),
            exe: Fact::Unknown(Unknown::NotCollected),
            uid: Fact::Unknown(Unknown::NotCollected),
            user: None,
            cgroup: Fact::Unknown(Unknown::NotCollected),
            descriptors: Fact::Unknown(Unknown::NotCollected),
            detail: Fact::Unknown(Unknown::NotCollected),
        }
    }
}
