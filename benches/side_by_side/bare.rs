//! The system calls that an answer needs, and nothing done with what they say: no program that
//! reads the same can be faster, except with fewer calls.

use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, RawDir, openat, readlinkat_raw};

/// Reads the state and the system call of every thread, and the registrations of every epoll set.
pub(crate) fn read_details(pid: u32, epoll_sets: &[String]) {
    let tasks = open_directory(CWD, format!("/proc/{pid}/task"));
    let mut buffer = vec![0; 64 * 1024];
    for tid in entries(&tasks) {
        for file in ["stat", "syscall"] {
            let file = openat(&tasks, format!("{tid}/{file}"), READ, Mode::empty());
            rustix::io::read(file.expect("a file"), &mut buffer[..]).expect("its text");
        }
    }
    let fdinfo = open_directory(CWD, format!("/proc/{pid}/fdinfo"));
    for set in epoll_sets {
        let file = openat(&fdinfo, set.as_str(), READ, Mode::empty()).expect("a file");
        while rustix::io::read(&file, &mut buffer[..]).expect("its text") > 0 {}
    }
}

/// The epoll descriptors of a process.
pub(crate) fn epoll_sets(pid: u32) -> Vec<String> {
    let directory = format!("/proc/{pid}/fd");
    let is_set = |fd: &String| {
        std::fs::read_link(format!("{directory}/{fd}"))
            .is_ok_and(|target| target.as_os_str() == "anon_inode:[eventpoll]")
    };
    let fds = entries(&open_directory(CWD, &*directory));
    fds.into_iter().filter(is_set).collect()
}

/// Reads every link of every process, on as many threads as there are processors, as a scan does.
pub(crate) fn walk_descriptors() {
    let proc = open_directory(CWD, "/proc");
    let pids: Vec<String> = entries(&proc)
        .into_iter()
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .collect();
    let next = AtomicUsize::new(0);
    let walk = || {
        let mut buffer = vec![MaybeUninit::uninit(); 32 * 1024];
        while let Some(pid) = pids.get(next.fetch_add(1, Ordering::Relaxed)) {
            let Ok(directory) = openat(&proc, format!("{pid}/fd"), READ, Mode::empty()) else {
                continue;
            };
            let mut entries = RawDir::new(directory.as_fd(), &mut buffer);
            while let Some(Ok(entry)) = entries.next() {
                let mut target = [MaybeUninit::uninit(); 32];
                // Fails for `.` and `..`, and for what was closed meanwhile.
                let _ = readlinkat_raw(&directory, entry.file_name(), &mut target);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(walk);
        }
        walk();
    });
}

const READ: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC);

fn open_directory(at: impl AsFd, path: impl AsRef<Path>) -> OwnedFd {
    openat(at, path.as_ref(), READ, Mode::empty()).expect("a directory")
}

fn entries(directory: &OwnedFd) -> Vec<String> {
    let mut buffer = vec![MaybeUninit::uninit(); 32 * 1024];
    let mut entries = RawDir::new(directory, &mut buffer);
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let name = entry.expect("an entry").file_name().to_bytes().to_owned();
        if !name.starts_with(b".") {
            names.push(String::from_utf8(name).expect("a name of /proc"));
        }
    }
    names
}
