//! Which errors which system call can end with.

use super::Call;

/// The faults of a call, as strace injects them.
pub(crate) fn faults_of(call: &Call) -> Vec<&'static str> {
    let row = TABLE.iter().find(|(calls, _)| calls.contains(&&*call.name));
    let mut faults = row.map_or(Vec::new(), |(_, faults)| faults.to_vec());
    // An end behind some rows is how the kernel ends `/proc/net/tcp`, and no reader can tell.
    if call.is_read_of_rows() {
        faults.retain(|fault| *fault != CUT_SHORT);
    }
    faults
}

const CUT_SHORT: &str = "retval=0";

/// Calls and what becomes of them. `man 2` of each, and what `/proc` adds: ESRCH for a process that
/// has ended, EACCES and EPERM for one that may not be read.
const TABLE: &[(&[&str], &[&str])] = &[
    (
        &["openat", "open", "openat2"],
        &[
            "error=EACCES",
            "error=EINTR",
            "error=EIO",
            "error=EMFILE",
            "error=ENFILE",
            "error=ENOENT",
            "error=ENOMEM",
            "error=EPERM",
            "error=ESRCH",
        ],
    ),
    (
        &["read", "pread64"],
        // Zero is a file that is empty, or cut short.
        &[
            "error=EINTR",
            "error=EIO",
            "error=ENOMEM",
            "error=EPERM",
            "error=ESRCH",
            CUT_SHORT,
        ],
    ),
    (
        &["getdents64"],
        &[
            "error=EACCES",
            "error=EINTR",
            "error=EIO",
            "error=ENOENT",
            "error=ENOMEM",
            "error=ESRCH",
        ],
    ),
    (
        &["readlinkat", "readlink"],
        &[
            "error=EACCES",
            "error=EIO",
            "error=ENAMETOOLONG",
            "error=ENOENT",
            "error=ENOMEM",
            "error=EPERM",
            "error=ESRCH",
        ],
    ),
    (
        &[
            "statx",
            "newfstatat",
            "statfs",
            "fstat",
            "fstatfs",
            "stat",
            "lstat",
        ],
        &[
            "error=EACCES",
            "error=EIO",
            "error=ENOENT",
            "error=ENOMEM",
            "error=ESRCH",
        ],
    ),
    (
        &["socket"],
        &[
            "error=EACCES",
            "error=EAFNOSUPPORT",
            "error=EMFILE",
            "error=ENFILE",
            "error=ENOBUFS",
            "error=EPERM",
            "error=EPROTONOSUPPORT",
        ],
    ),
    (
        &["setsockopt", "bind", "connect", "getsockname"],
        &[
            "error=EACCES",
            "error=EADDRINUSE",
            "error=ENOBUFS",
            "error=ENOMEM",
        ],
    ),
    (
        &["sendto", "sendmsg"],
        &[
            "error=EAGAIN",
            "error=ECONNREFUSED",
            "error=EINTR",
            "error=ENOBUFS",
            "error=ENOMEM",
            "error=EPERM",
        ],
    ),
    (
        &["recvfrom", "recvmsg"],
        &[
            "error=EAGAIN",
            "error=EINTR",
            "error=EIO",
            "error=ENOBUFS",
            "error=ENOMEM",
            CUT_SHORT,
        ],
    ),
    (&["setns"], &["error=EINVAL", "error=ENOMEM", "error=EPERM"]),
    (
        &["clone", "clone3"],
        &["error=EAGAIN", "error=ENOMEM", "error=EPERM"],
    ),
    (&["lseek"], &["error=EIO"]),
    (
        &["getxattr"],
        &["error=EACCES", "error=ENODATA", "error=ENOTSUP"],
    ),
    (
        &["prctl", "capget", "capset", "getgroups"],
        &["error=EINVAL", "error=EPERM"],
    ),
    (&["clock_nanosleep", "poll", "ppoll"], &["error=EINTR"]),
    (
        &["write"],
        &[
            "error=EAGAIN",
            "error=EINTR",
            "error=EIO",
            "error=ENOSPC",
            "error=EPIPE",
        ],
    ),
];
