//! Situations to judge, hand-made.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::model::{
    Bpf, Capabilities, Confinement, ContainedBy, DeniedProcess, Fact, HidePid, Host,
    NamespacesSeen, PidNamespace, Place, ProcMount, ProcessesSeen, Program, Rights, Sight,
    SockDiagAnswer, Unknown,
};

/// Every capability of Linux 6.18.
pub(super) const ALL: Capabilities = Capabilities((1 << 41) - 1);
/// What Docker gives as a rule.
pub(super) const DOCKERS: Capabilities = Capabilities(0xa804_25fb);

/// Root on a host, in whose way there is nothing.
pub(super) fn root_on_a_host() -> Sight {
    Sight {
        taken_at: SystemTime::UNIX_EPOCH,
        duration: Duration::ZERO,
        host: Host {
            hostname: "host".into(),
            kernel: "6.18.0".into(),
        },
        rights: Rights {
            uid: 0,
            known: ALL,
            effective: ALL,
            bounding: ALL,
            no_new_privileges: false,
            first_user_namespace: Some(true),
        },
        program: Program {
            path: Some(PathBuf::from("/usr/bin/tcpleak")),
            nosuid: false,
        },
        confinement: Confinement {
            label: None,
            modules: Fact::Unknown(Unknown::Vanished),
            seccomp: Fact::Known(false),
            ptrace_scope: Some(1),
        },
        place: Place {
            container: None,
            sign: None,
            first_cgroup_namespace: Some(true),
            first_pid_namespace: Some(true),
        },
        proc: ProcMount {
            path: PathBuf::from("/proc"),
            mounted: true,
            pid_namespace: PidNamespace::First,
            shows_this_process: true,
            hidepid: Fact::Known(HidePid::Off),
            gid: None,
            hides: false,
        },
        processes: ProcessesSeen {
            total: 30,
            read: 30,
            ..ProcessesSeen::default()
        },
        sock_diag: SockDiagAnswer::Works,
        proc_net_tcp: true,
        namespaces: NamespacesSeen {
            own: Some(1),
            own_is_machines: Some(true),
            ..NamespacesSeen::default()
        },
        bpf: Bpf {
            btf: true,
            unprivileged_disabled: Fact::Known(2),
        },
    }
}

pub(super) fn user_on_a_host() -> Sight {
    let mut sight = root_on_a_host();
    sight.rights.uid = 1000;
    sight.rights.effective = Capabilities::default();
    sight.processes.denied = vec![denied(4866, "nginx", 33, Capabilities::default())];
    sight
}

/// Root in a container with a `/proc` of its own.
pub(super) fn in_container(container: ContainedBy) -> Sight {
    let mut sight = root_on_a_host();
    sight.rights.effective = DOCKERS;
    sight.rights.bounding = DOCKERS;
    sight.place.container = Some(container);
    sight.place.first_pid_namespace = Some(false);
    sight.proc.pid_namespace = PidNamespace::Other;
    sight.namespaces.own_is_machines = None;
    sight
}

pub(super) fn denied(pid: u32, comm: &str, uid: u32, permitted: Capabilities) -> DeniedProcess {
    DeniedProcess {
        pid,
        comm: comm.into(),
        uid: Fact::Known(uid),
        permitted: Fact::Known(permitted),
    }
}

/// A situation that differs from another one.
pub(super) fn but(mut sight: Sight, change: impl FnOnce(&mut Sight)) -> Sight {
    change(&mut sight);
    sight
}
