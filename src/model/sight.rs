//! What a run may do and where it stands: what it can see follows from this.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::{Fact, Host};

/// A set of capabilities (`man 7 capabilities`), one bit for each number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities(pub u64);

impl Capabilities {
    /// Reads every file and directory, whatever its permissions.
    pub const DAC_READ_SEARCH: Capabilities = Capabilities(1 << 2);
    /// Changes the network: here, sees the marks of sockets.
    pub const NET_ADMIN: Capabilities = Capabilities(1 << 12);
    /// Looks into every process.
    pub const SYS_PTRACE: Capabilities = Capabilities(1 << 19);
    /// Administers: here, enters network namespaces.
    pub const SYS_ADMIN: Capabilities = Capabilities(1 << 21);
    /// Loads programs that trace (Linux 5.8).
    pub const PERFMON: Capabilities = Capabilities(1 << 38);
    /// Loads BPF programs (Linux 5.8).
    pub const BPF: Capabilities = Capabilities(1 << 39);

    /// Those in either.
    #[must_use]
    pub const fn and(self, others: Capabilities) -> Capabilities {
        Capabilities(self.0 | others.0)
    }

    /// Those that are not in `others`.
    #[must_use]
    pub const fn without(self, others: Capabilities) -> Capabilities {
        Capabilities(self.0 & !others.0)
    }

    /// Those in both.
    #[must_use]
    pub const fn among(self, others: Capabilities) -> Capabilities {
        Capabilities(self.0 & others.0)
    }

    /// Whether all of `others` are in it.
    pub const fn has(self, others: Capabilities) -> bool {
        others.without(self).is_empty()
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Their names without `CAP_`, by number: `SYS_PTRACE`. One without a name is its number.
    pub fn names(self) -> impl Iterator<Item = String> {
        let numbers = (0..u64::BITS).filter(move |number| self.0 & (1 << number) != 0);
        numbers.map(|number| match NAMES.get(number as usize) {
            Some(name) => (*name).to_owned(),
            None => number.to_string(),
        })
    }
}

/// By number (`include/uapi/linux/capability.h`).
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What this process may do; cheap to read, and never unreadable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    /// Its effective user.
    pub uid: u32,
    /// The capabilities that there are.
    pub known: Capabilities,
    /// Those that it has now.
    pub effective: Capabilities,
    /// Those that a program it starts could get at all.
    pub bounding: Capabilities,
    /// Whether no program that it starts gets any (`no_new_privs`).
    pub no_new_privileges: bool,
    /// Whether it is in the machine's first user namespace: in another one its capabilities count
    /// for the processes of that namespace only. `None` if that cannot be told.
    pub first_user_namespace: Option<bool>,
}

/// Everything that one look at the own situation found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// Wall-clock time at which looking began.
    pub taken_at: SystemTime,
    /// How long it took.
    pub duration: Duration,
    /// Which machine.
    pub host: Host,
    /// What this process may do.
    pub rights: Rights,
    /// The program's file, and whether capabilities on it would count.
    pub program: Program,
    /// What confines the process beside its rights.
    pub confinement: Confinement,
    /// Where it runs.
    pub place: Place,
    /// The `/proc` that it reads.
    pub proc: ProcMount,
    /// The processes in there.
    pub processes: ProcessesSeen,
    /// How socket entries can be had.
    pub sock_diag: SockDiagAnswer,
    /// Whether `/proc/net/tcp` can be read.
    pub proc_net_tcp: bool,
    /// The network namespaces.
    pub namespaces: NamespacesSeen,
    /// What BPF programs would need; none is used.
    pub bpf: Bpf,
}

/// The file of this program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Its path, if that is known.
    pub path: Option<PathBuf>,
    /// Whether its mount takes no notice of capabilities on files (`nosuid`).
    pub nosuid: bool,
}

/// What confines a process beside its rights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confinement {
    /// The label that AppArmor or SELinux gave it; `None` if no such module is in force.
    pub label: Option<String>,
    /// The kernel's security modules; unknown where securityfs is not mounted.
    pub modules: Fact<Vec<String>>,
    /// Whether a seccomp filter watches its system calls.
    pub seccomp: Fact<bool>,
    /// Yama's `ptrace_scope`; `None` without Yama.
    pub ptrace_scope: Option<u32>,
}

/// Where this process runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The kind of container; `None` where there is no sign of one.
    pub container: Option<ContainedBy>,
    /// What the sign is.
    pub sign: Option<String>,
    /// Its cgroup namespace is the machine's first one; `None` if that cannot be told.
    pub first_cgroup_namespace: Option<bool>,
    /// Its own pid namespace is the machine's first one.
    pub first_pid_namespace: Option<bool>,
}

/// What runs a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum ContainedBy {
    Docker,
    Podman,
    Kubernetes,
    /// Something else, or not known.
    Other,
}

impl ContainedBy {
    /// In JSON and for people.
    pub fn as_str(self) -> &'static str {
        match self {
            ContainedBy::Docker => "docker",
            ContainedBy::Podman => "podman",
            ContainedBy::Kubernetes => "kubernetes",
            ContainedBy::Other => "other",
        }
    }
}

/// The directory that is read as `/proc`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcMount {
    /// Its path.
    pub path: PathBuf,
    /// It is a mounted proc file system, not a directory of files.
    pub mounted: bool,
    /// Whose processes it shows.
    pub pid_namespace: PidNamespace,
    /// Whether this process is among those.
    pub shows_this_process: bool,
    /// Whom it hides; unknown if its mount options could not be read.
    pub hidepid: Fact<HidePid>,
    /// The group from which nothing is hidden.
    pub gid: Option<u32>,
    /// Processes are hidden from this run: not even the first one is there.
    pub hides: bool,
}

/// Whose processes a `/proc` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PidNamespace {
    /// The machine's first pid namespace: everybody's.
    First,
    /// Those of a container.
    Other,
    /// It cannot be told.
    Unknown,
}

/// The option `hidepid` of a mounted `/proc` (`man 5 proc`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HidePid {
    /// Nothing is hidden.
    Off,
    /// Directories of other users' processes are there and closed.
    NoAccess,
    /// They are not there.
    Invisible,
    /// Only processes that may be traced are there, whatever the group.
    NotTraceable,
}

impl HidePid {
    /// As `mount` takes it since Linux 5.8.
    pub fn as_str(self) -> &'static str {
        match self {
            HidePid::Off => "off",
            HidePid::NoAccess => "noaccess",
            HidePid::Invisible => "invisible",
            HidePid::NotTraceable => "ptraceable",
        }
    }
}

/// How far the processes can be read: each was tried.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProcessesSeen {
    /// Processes that are in `/proc`.
    pub total: u64,
    /// Those whose descriptors can be read; kernel threads, that have none, among them.
    pub read: u64,
    /// The others.
    pub denied: Vec<DeniedProcess>,
    /// Those among the read ones whose system calls cannot be read.
    pub calls_denied: u64,
    /// Those among the read ones of which no such file is there.
    pub calls_missing: u64,
}

/// A process that may not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeniedProcess {
    /// Its pid.
    pub pid: u32,
    /// Its command name.
    pub comm: Vec<u8>,
    /// Its effective user.
    pub uid: Fact<u32>,
    /// The capabilities that it may use.
    pub permitted: Fact<Capabilities>,
}

/// What sock_diag answered when it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SockDiagAnswer {
    /// It answers.
    Works,
    /// The kernel has no such module loaded (ENOENT).
    NoModule(String),
    /// No netlink socket could be made, or another error: a filter is in the way.
    Refused(String),
    /// It was not asked: the sockets are those of this machine, and `/proc` is not.
    NotAsked,
}

/// The network namespaces that are known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NamespacesSeen {
    /// This process's, as the inode of its file.
    pub own: Option<u64>,
    /// Whether it is the machine's own; `None` if that cannot be told.
    pub own_is_machines: Option<bool>,
    /// How many others there are.
    pub others: u64,
    /// Those that can be entered; each was tried.
    pub enterable: u64,
    /// Those that cannot, and whose tables are readable in `/proc/PID/net`.
    pub readable: u64,
    /// Why the first of those that cannot be entered could not.
    pub refusal: Option<String>,
    /// Processes of which it cannot be told where they live.
    pub unknown_processes: u64,
}

/// What BPF programs would need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bpf {
    /// The kernel describes its types (`/sys/kernel/btf/vmlinux`).
    pub btf: bool,
    /// `unprivileged_bpf_disabled`; unknown where it is not there.
    pub unprivileged_disabled: Fact<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_have_the_names_of_their_numbers() {
        let check = |set: Capabilities, expect: &str| {
            assert_eq!(set.names().collect::<Vec<_>>().join(" "), expect);
        };
        check(Capabilities::SYS_PTRACE, "SYS_PTRACE");
        check(Capabilities::DAC_READ_SEARCH, "DAC_READ_SEARCH");
        check(Capabilities::SYS_ADMIN, "SYS_ADMIN");
        check(Capabilities::NET_ADMIN, "NET_ADMIN");
        check(Capabilities::PERFMON.and(Capabilities::BPF), "PERFMON BPF");
        check(
            Capabilities(1 | 1 << 40 | 1 << 63),
            "CHOWN CHECKPOINT_RESTORE 63",
        );
        check(Capabilities::default(), "");
    }

    #[test]
    fn sets_are_compared() {
        let both = Capabilities::SYS_PTRACE.and(Capabilities::SYS_ADMIN);
        assert!(both.has(Capabilities::SYS_ADMIN) && !Capabilities::SYS_ADMIN.has(both));
        assert_eq!(
            both.without(Capabilities::SYS_ADMIN),
            Capabilities::SYS_PTRACE
        );
        assert_eq!(both.among(Capabilities::SYS_ADMIN), Capabilities::SYS_ADMIN);
        assert!(both.without(both).is_empty() && both.has(Capabilities::default()));
    }
}
