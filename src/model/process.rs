//! Processes, their descriptors and their threads.

use std::fmt;

use super::{Fact, Inode};

/// A process. Pids are reused; together with the start time they are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId {
    /// The process id, as this `/proc` shows it.
    pub pid: u32,
    /// Field 22 of `/proc/PID/stat`: clock ticks between boot and the start of the process.
    pub start_time: u64,
}

/// A descriptor that refers to a socket somebody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeldDescriptor {
    /// Whose descriptor.
    pub process: ProcessId,
    /// Its number.
    pub fd: i32,
    /// The socket it refers to.
    pub inode: Inode,
}

/// A process that the report names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Pid and start time.
    pub id: ProcessId,
    /// The command name as the process chose it: any bytes, at most 15.
    pub comm: Vec<u8>,
    /// Pid of the parent.
    pub parent: u32,
    /// State of the thread group's leader.
    pub state: ProcessState,
    /// The words of the command line, any bytes.
    pub command_line: Fact<Vec<Vec<u8>>>,
    /// Target of `/proc/PID/exe`, any bytes; ends in ` (deleted)` when the file is gone.
    pub exe: Fact<Vec<u8>>,
    /// Effective user id.
    pub uid: Fact<u32>,
    /// Name of that user, if `/etc/passwd` has one.
    pub user: Option<String>,
    /// `/proc/PID/cgroup` as it is.
    pub cgroup: Fact<Vec<u8>>,
    /// Open descriptors and their limit.
    pub descriptors: Fact<DescriptorUse>,
    /// What its threads wait for; read only for processes that a finding is about.
    pub detail: Fact<ProcessDetail>,
}

impl Process {
    /// Path of the executable, without what the kernel appends when the file is gone.
    pub fn exe_path(&self) -> Option<&[u8]> {
        let exe = self.exe.known()?;
        Some(exe.strip_suffix(Self::GONE).unwrap_or(exe))
    }

    /// Path of the executable, if the file was deleted or replaced since it was started: after an
    /// upgrade, this is the old binary. A program that was never a file (`memfd_create`) has none.
    pub fn old_binary(&self) -> Option<&[u8]> {
        let path = self.exe.known()?.strip_suffix(Self::GONE)?;
        Some(path).filter(|path| !path.starts_with(b"/memfd:"))
    }

    /// `d_path` (`fs/d_path.c`) marks a file without a name so.
    const GONE: &[u8] = b" (deleted)";
}

/// How many descriptors a process has, of how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DescriptorUse {
    /// Open descriptors.
    pub open: u64,
    /// The soft `RLIMIT_NOFILE`; `None` is unlimited.
    pub soft_limit: Option<u64>,
    /// No number below the limit is free: the next `accept()` fails with EMFILE. The limit is one
    /// of numbers, not of how many there are, and inherited descriptors may lie above it.
    pub exhausted: bool,
}

impl DescriptorUse {
    /// Share of the limit that is used, in percent, rounded down.
    pub fn percent(self) -> u64 {
        match self.soft_limit {
            Some(0) => 100,
            Some(limit) => self.open.saturating_mul(100) / limit,
            None => 0,
        }
    }
}

/// State letter of `/proc/PID/stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessState(pub char);

impl ProcessState {
    /// `T`: stopped by a signal.
    pub fn is_stopped(self) -> bool {
        self.0 == 'T'
    }

    /// `t`: stopped by a tracer.
    pub fn is_traced(self) -> bool {
        self.0 == 't'
    }

    /// `R`: running or ready to run.
    pub fn is_running(self) -> bool {
        self.0 == 'R'
    }

    /// `Z` or `X`: has exited.
    pub fn has_exited(self) -> bool {
        matches!(self.0, 'Z' | 'X' | 'x')
    }
}

/// What a process is doing, and what it waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessDetail {
    /// Its threads.
    pub threads: Fact<Vec<Thread>>,
    /// Its epoll descriptors.
    pub epoll_sets: Fact<Vec<EpollSet>>,
    /// Its io_uring descriptors.
    pub io_urings: Fact<Vec<IoUring>>,
    /// Its cgroup, or one above, is frozen.
    pub frozen: Fact<bool>,
    /// The language or server it runs.
    pub runtime: Fact<Runtime>,
}

/// One thread, looked at once, and a second time where the run looked twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    /// Thread id.
    pub tid: u32,
    /// Name as the program chose it.
    pub comm: Vec<u8>,
    /// State letter.
    pub state: ProcessState,
    /// User and system time, in clock ticks.
    pub cpu_ticks: u64,
    /// A second look at a thread that ran at the first one, where the run looked twice.
    pub second_look: Option<SecondLook>,
    /// The system call it sleeps in.
    pub system_call: Fact<SystemCall>,
    /// Where in the kernel it sleeps; empty if the kernel does not say.
    pub wait_channel: Fact<String>,
}

/// A second look at a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecondLook {
    /// State letter then.
    pub state: ProcessState,
    /// User and system time used since the first look, in clock ticks.
    pub cpu_ticks: u64,
}

/// `/proc/PID/task/TID/syscall`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SystemCall {
    /// The thread runs.
    Running,
    /// The thread is blocked, but not in a system call (a fault, a stop on the way out).
    NotInCall,
    /// The thread sleeps in a system call.
    In {
        /// The architecture's number.
        number: u64,
        /// Its name, if it is one of those that diagnosis knows.
        name: Option<String>,
        /// Its arguments.
        arguments: [u64; 6],
    },
}

/// One epoll descriptor and what is registered in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpollSet {
    /// The epoll descriptor.
    pub fd: i32,
    /// Inode of its file, which all epoll descriptors of a machine share; 5.14 and later.
    pub inode: Option<u64>,
    /// Its registrations.
    pub registrations: Vec<EpollRegistration>,
}

/// A `tfd:` line of `/proc/PID/fdinfo/EPFD` (facts O1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpollRegistration {
    /// Descriptor number at the time of registration; it may have been reused since.
    pub fd: i32,
    /// Event mask with flags.
    pub events: u32,
    /// Inode of the registered file.
    pub inode: u64,
}

impl EpollRegistration {
    const IN: u32 = 0x001;
    const RDNORM: u32 = 0x040;
    const EXCLUSIVE: u32 = 1 << 28;
    const ONESHOT: u32 = 1 << 30;
    const EDGE_TRIGGERED: u32 = 1 << 31;

    /// EPOLLET.
    pub fn edge_triggered(self) -> bool {
        self.events & Self::EDGE_TRIGGERED != 0
    }

    /// EPOLLONESHOT.
    pub fn one_shot(self) -> bool {
        self.events & Self::ONESHOT != 0
    }

    /// EPOLLEXCLUSIVE.
    pub fn exclusive(self) -> bool {
        self.events & Self::EXCLUSIVE != 0
    }

    /// Waits for something to read or to accept.
    pub fn wants_input(self) -> bool {
        self.events & (Self::IN | Self::RDNORM) != 0
    }

    /// A one-shot registration that has fired: no event bits are left (facts O2), not even
    /// EPOLLERR and EPOLLHUP, which the kernel adds to whatever a program asks for.
    pub fn is_spent(self) -> bool {
        const FLAGS: u32 = EpollRegistration::EXCLUSIVE
            | EpollRegistration::ONESHOT
            | EpollRegistration::EDGE_TRIGGERED
            | 1 << 29;
        self.one_shot() && self.events & !FLAGS == 0
    }
}

impl fmt::Display for EpollRegistration {
    /// The mask by its names: `EPOLLIN|EPOLLET`. EPOLLERR and EPOLLHUP are always on and left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [(u32, &str); 10] = [
            (EpollRegistration::IN, "EPOLLIN"),
            (0x002, "EPOLLPRI"),
            (0x004, "EPOLLOUT"),
            (0x040, "EPOLLRDNORM"),
            (0x2000, "EPOLLRDHUP"),
            (EpollRegistration::EXCLUSIVE, "EPOLLEXCLUSIVE"),
            (1 << 29, "EPOLLWAKEUP"),
            (EpollRegistration::ONESHOT, "EPOLLONESHOT"),
            (EpollRegistration::EDGE_TRIGGERED, "EPOLLET"),
            (0x080, "EPOLLRDBAND"),
        ];
        let mut first = true;
        for (bit, name) in NAMES {
            if self.events & bit != 0 {
                f.write_str(if first { "" } else { "|" })?;
                f.write_str(name)?;
                first = false;
            }
        }
        if first {
            f.write_str("no events")
        } else {
            Ok(())
        }
    }
}

/// One io_uring descriptor and the sockets among its registered files (facts O9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IoUring {
    /// The ring's descriptor.
    pub fd: i32,
    /// Inodes of registered sockets.
    pub registered_sockets: Vec<Inode>,
    /// Accept operations that wait for a connection; the kernel does not tell on which listener.
    pub pending_accepts: u32,
}

/// What a process runs, since advice differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Runtime {
    Go,
    Jvm,
    Node,
    Python,
    Ruby,
    DotNet,
    Nginx,
    Haproxy,
    Native,
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Runtime::Go => "Go",
            Runtime::Jvm => "JVM",
            Runtime::Node => "Node.js",
            Runtime::Python => "Python",
            Runtime::Ruby => "Ruby",
            Runtime::DotNet => ".NET",
            Runtime::Nginx => "nginx",
            Runtime::Haproxy => "HAProxy",
            Runtime::Native => "native",
        })
    }
}
