//! Situations, what is missing in each, and what grants it there.

use std::path::PathBuf;

use super::test_situations::{ALL, but, denied, in_container, root_on_a_host, user_on_a_host};
use super::{USED, judge};
use crate::model::{
    Capabilities, ContainedBy, Fact, GapKind, HidePid, PidNamespace, Sight, SockDiagAnswer,
};

/// The lacks by id, each with its command, or else the beginning of its note.
fn check(sight: &Sight, expect: &[(&str, &str)]) {
    let judgement = judge(sight);
    let told = judgement.lacks.iter().map(|lack| {
        let grant = &lack.grant;
        let told = grant.command.as_ref().or(grant.note.as_ref());
        (lack.id, told.map_or("", |told| told.as_str()))
    });
    let told: Vec<(&str, &str)> = told.collect();
    assert_eq!(told.len(), expect.len(), "{told:?}");
    for ((id, told), (expect_id, expect)) in told.iter().zip(expect) {
        assert_eq!(id, expect_id);
        let is_it = if expect.is_empty() {
            told.is_empty()
        } else {
            told.starts_with(expect)
        };
        assert!(is_it, "{id}: {told}");
    }
}

#[test]
fn nothing_is_missing_where_everything_can_be_read() {
    check(&root_on_a_host(), &[]);
    let summary = judge(&root_on_a_host()).summary();
    assert_eq!(summary, "this run sees everything it needs");
    // Capabilities that nothing here needs are no reason to ask for them.
    check(
        &but(user_on_a_host(), |sight| sight.processes.denied.clear()),
        &[],
    );
    check(
        &but(root_on_a_host(), |sight| sight.rights.effective = USED),
        &[],
    );
}

#[test]
fn capabilities_on_a_host() {
    const FILE: &str = "sudo setcap cap_sys_ptrace,cap_dac_read_search+ep /usr/bin/tcpleak";
    let check = |sight: Sight, expect: &str| check(&sight, &[("descriptors", expect)]);
    check(user_on_a_host(), FILE);
    check(
        but(user_on_a_host(), |sight| {
            sight.program.path = Some("/home/me/my tools/tcpleak".into());
        }),
        "sudo setcap cap_sys_ptrace,cap_dac_read_search+ep '/home/me/my tools/tcpleak'",
    );
    check(
        but(user_on_a_host(), |sight| {
            sight.program.path = Some("/tmp/'\u{1b}[2J".into());
        }),
        "sudo tcpleak scan",
    );
    // setcap writes all of them anew: what the file has already is kept.
    check(
        but(user_on_a_host(), |sight| {
            sight.rights.effective = Capabilities::SYS_PTRACE.and(Capabilities::NET_ADMIN);
        }),
        FILE,
    );
    check(
        but(user_on_a_host(), |sight| sight.program.nosuid = true),
        "sudo /usr/bin/tcpleak scan",
    );
    check(
        but(user_on_a_host(), |sight| {
            sight.rights.no_new_privileges = true;
        }),
        "neither sudo nor capabilities of files have an effect",
    );
    check(
        but(user_on_a_host(), |sight| {
            sight.rights.bounding = ALL.without(Capabilities::SYS_PTRACE);
        }),
        "nothing that is started from here can have CAP_SYS_PTRACE: ",
    );
    let root = |change: &dyn Fn(&mut Sight)| {
        but(root_on_a_host(), |sight| {
            sight.processes.denied = vec![denied(1, "init", 0, ALL)];
            change(sight);
        })
    };
    check(
        root(&|sight| sight.rights.effective = ALL.without(Capabilities::SYS_PTRACE)),
        "setcap cap_sys_ptrace,cap_dac_read_search,cap_sys_admin+ep /usr/bin/tcpleak",
    );
    check(
        root(&|_| {}),
        "no right of this process changes that: start it outside",
    );
    check(
        root(&|sight| sight.confinement.label = Some("snap.x (enforce)".into())),
        "start it where it is not confined by the profile 'snap.x (enforce)'",
    );
    check(
        root(&|sight| sight.rights.first_user_namespace = Some(false)),
        "run it outside of this user namespace",
    );
}

#[test]
fn what_refuses_is_named_with_what_it_has() {
    let why = |sight: &Sight| judge(sight).lacks[0].gap.why.clone();
    let mut sight = user_on_a_host();
    assert_eq!(
        why(&sight),
        "permission denied by nginx (pid 4866); 1 process of other users"
    );
    sight.rights.uid = 33;
    assert_eq!(why(&sight), "permission denied by nginx (pid 4866)");
    let resource = Capabilities(1 << 24);
    sight = but(root_on_a_host(), |sight| {
        sight.rights.effective = ALL.without(resource);
        sight.processes.denied = vec![denied(1, "init", 0, ALL)];
    });
    assert_eq!(
        why(&sight),
        "permission denied by init (pid 1), although this run has CAP_SYS_PTRACE and \
         CAP_DAC_READ_SEARCH; 1 process has capabilities that this run lacks: CAP_SYS_RESOURCE"
    );
    sight.rights.effective = Capabilities::DAC_READ_SEARCH;
    sight.processes.denied = (1..=5)
        .map(|pid| denied(pid, "a\x1bb", 0, Capabilities::SYS_ADMIN))
        .collect();
    assert_eq!(
        why(&sight),
        "permission denied by a\\x1bb (pid 1), a\\x1bb (pid 2), a\\x1bb (pid 3), 2 more; \
         5 processes have capabilities that this run lacks: CAP_SYS_ADMIN"
    );
}

#[test]
fn system_calls_that_yama_closes() {
    let closed = |scope: Option<u32>, effective: Capabilities| {
        but(user_on_a_host(), |sight| {
            sight.processes.denied.clear();
            sight.processes.calls_denied = 4;
            sight.confinement.ptrace_scope = scope;
            sight.rights.effective = effective;
        })
    };
    let none = Capabilities::default();
    const GRANT: &str = "sudo setcap cap_sys_ptrace+ep /usr/bin/tcpleak";
    check(&closed(Some(1), none), &[("system-calls", GRANT)]);
    check(&closed(Some(2), none), &[("system-calls", GRANT)]);
    check(&closed(None, none), &[("system-calls", GRANT)]);
    check(&closed(Some(3), none), &[("system-calls", "")]);
    check(&closed(Some(3), ALL), &[("system-calls", "")]);
    check(
        &closed(Some(1), ALL),
        &[("system-calls", "no right of this process changes that")],
    );
    let lack = &judge(&closed(Some(1), none)).lacks[0];
    assert_eq!(lack.gap.kind, GapKind::Details);
    assert_eq!(lack.gap.why, "permission denied (Yama's ptrace_scope is 1)");
    check(
        &but(root_on_a_host(), |sight| sight.processes.calls_missing = 30),
        &[("system-calls", "")],
    );
}

#[test]
fn processes_that_hidepid_hides() {
    let hiding = |option: HidePid, gid: Option<u32>| {
        but(user_on_a_host(), |sight| {
            sight.processes.denied.clear();
            sight.proc.hides = true;
            sight.proc.hidepid = Fact::Known(option);
            sight.proc.gid = gid;
        })
    };
    const GRANT: &str = "sudo setcap cap_sys_ptrace+ep /usr/bin/tcpleak";
    let check = |sight: Sight, why: &str, needs: &str| {
        check(&sight, &[("hidden-processes", GRANT)]);
        let gap = &judge(&sight).lacks[0].gap;
        assert_eq!((&*gap.why, gap.needs.as_deref()), (why, Some(needs)));
        assert_eq!(gap.kind, GapKind::Owners);
    };
    check(
        hiding(HidePid::Invisible, Some(27)),
        "/proc is mounted with hidepid=invisible,gid=27",
        "root, or CAP_SYS_PTRACE, or membership in the gid= of the mount",
    );
    check(
        hiding(HidePid::NotTraceable, Some(27)),
        "/proc is mounted with hidepid=ptraceable",
        "root, or CAP_SYS_PTRACE",
    );
}

#[test]
fn in_a_container_its_runtime_is_told() {
    const OUTSIDE: &str = "outside-pid-namespace";
    let docker = || in_container(ContainedBy::Docker);
    check(
        &docker(),
        &[(
            OUTSIDE,
            "docker run --pid=host --net=host IMAGE tcpleak scan",
        )],
    );
    // What is so already is not suggested.
    check(
        &but(docker(), |sight| {
            sight.namespaces.own_is_machines = Some(true);
        }),
        &[(OUTSIDE, "docker run --pid=host IMAGE tcpleak scan")],
    );
    let refused = |sight: &mut Sight| {
        sight.proc.pid_namespace = PidNamespace::First;
        sight.processes.denied = vec![denied(1, "systemd", 0, ALL)];
    };
    check(
        &but(docker(), refused),
        &[(
            "descriptors",
            "docker run --cap-add=SYS_PTRACE --cap-add=DAC_READ_SEARCH IMAGE tcpleak scan",
        )],
    );
    check(
        &but(docker(), |sight| {
            refused(sight);
            sight.rights.uid = 1000;
            sight.rights.effective = Capabilities::default();
            sight.confinement.label = Some("docker-default (enforce)".into());
        }),
        &[(
            "descriptors",
            "docker run --user=0 --cap-add=SYS_PTRACE --cap-add=DAC_READ_SEARCH \
             --security-opt=apparmor=unconfined IMAGE tcpleak scan",
        )],
    );
    // Everything is there, but the profile.
    check(
        &but(docker(), |sight| {
            refused(sight);
            sight.rights.effective = ALL;
            sight.confinement.label = Some("system_u:system_r:container_t:s0:c1,c2".into());
        }),
        &[(
            "descriptors",
            "docker run --security-opt=label=disable IMAGE tcpleak scan",
        )],
    );
    check(
        &but(docker(), |sight| {
            refused(sight);
            sight.rights.effective = ALL;
        }),
        &[("descriptors", "no right of this process changes that")],
    );
    check(
        &but(in_container(ContainedBy::Podman), |sight| {
            sight.rights.first_user_namespace = Some(false);
        }),
        &[(
            OUTSIDE,
            "sudo podman run --pid=host --net=host IMAGE tcpleak scan",
        )],
    );
    check(
        &in_container(ContainedBy::Other),
        &[(OUTSIDE, "run it on the host")],
    );
}

#[test]
fn in_a_pod_the_node_is_told() {
    const NODE: &str =
        "kubectl debug node/NODE -it --image=IMAGE --profile=sysadmin -- tcpleak scan";
    let pod = but(in_container(ContainedBy::Kubernetes), |sight| {
        sight.processes.denied = vec![denied(7, "app", 1000, Capabilities::default())];
    });
    check(
        &pod,
        &[("outside-pid-namespace", NODE), ("descriptors", NODE)],
    );
    let judgement = judge(&pod);
    let notes = judgement.lacks.iter().map(|lack| lack.grant.note.clone());
    let notes: Vec<String> = notes.flatten().collect();
    assert_eq!(
        notes,
        [
            "or in the pod: hostPID: true, hostNetwork: true",
            "or in the pod: securityContext: {capabilities: {add: [SYS_PTRACE, DAC_READ_SEARCH]}}",
        ]
    );
    // One command gives each of them, and all.
    assert_eq!(judgement.all, None);
    check(
        &but(in_container(ContainedBy::Kubernetes), |sight| {
            sight.proc.pid_namespace = PidNamespace::First;
            sight.sock_diag = SockDiagAnswer::NoModule("no such file".into());
        }),
        &[("sock-diag", "on the node: modprobe tcp_diag")],
    );
}

#[test]
fn several_lacks_have_one_command() {
    let sight = but(in_container(ContainedBy::Docker), |sight| {
        sight.processes.denied = vec![denied(7, "app", 1000, Capabilities::default())];
        sight.namespaces.others = 3;
        sight.namespaces.enterable = 1;
        sight.namespaces.readable = 1;
    });
    let judgement = judge(&sight);
    let ids: Vec<&str> = judgement.lacks.iter().map(|lack| lack.id).collect();
    assert_eq!(
        ids,
        [
            "network-namespaces",
            "network-namespaces-from-outside",
            "outside-pid-namespace",
            "descriptors"
        ]
    );
    assert_eq!(judgement.lacks[0].gap.kind, GapKind::Sockets);
    let all = judgement.all.and_then(|all| all.command);
    assert_eq!(
        all.as_deref(),
        Some(
            "docker run --pid=host --net=host --cap-add=SYS_PTRACE --cap-add=DAC_READ_SEARCH \
             --cap-add=SYS_ADMIN IMAGE tcpleak scan"
        )
    );
}

#[test]
fn sockets_without_sock_diag() {
    let refused = |answer: SockDiagAnswer, proc_net_tcp: bool| {
        but(user_on_a_host(), |sight| {
            sight.processes.denied.clear();
            sight.sock_diag = answer;
            sight.proc_net_tcp = proc_net_tcp;
        })
    };
    let no_module = || SockDiagAnswer::NoModule("no such file".into());
    check(
        &refused(no_module(), true),
        &[("sock-diag", "sudo modprobe tcp_diag")],
    );
    let filtered = || SockDiagAnswer::Refused("socket: Operation not permitted".into());
    check(
        &refused(filtered(), true),
        &[(
            "sock-diag",
            "the sandbox or service that runs it has to allow AF_NETLINK",
        )],
    );
    let kind = |sight: &Sight| judge(sight).lacks[0].gap.kind;
    assert_eq!(kind(&refused(filtered(), true)), GapKind::Details);
    assert_eq!(kind(&refused(filtered(), false)), GapKind::Sockets);
    check(
        &but(in_container(ContainedBy::Docker), |sight| {
            sight.proc.pid_namespace = PidNamespace::First;
            sight.sock_diag = filtered();
        }),
        &[(
            "sock-diag",
            "docker run --security-opt=seccomp=unconfined IMAGE tcpleak scan",
        )],
    );
}

#[test]
fn another_proc() {
    // Of a container, seen from the host.
    check(
        &but(root_on_a_host(), |sight| {
            sight.proc.path = PathBuf::from("/proc/4866/root/proc");
            sight.proc.pid_namespace = PidNamespace::Other;
            sight.proc.shows_this_process = false;
        }),
        &[("outside-pid-namespace", "leave --proc out")],
    );
    check(
        &but(root_on_a_host(), |sight| {
            sight.place.first_pid_namespace = Some(false);
            sight.proc.pid_namespace = PidNamespace::Other;
        }),
        &[(
            "outside-pid-namespace",
            "run it outside of this pid namespace",
        )],
    );
    // The host's, in a container: nothing is missing.
    check(
        &but(in_container(ContainedBy::Kubernetes), |sight| {
            sight.proc.path = PathBuf::from("/host/proc");
            sight.proc.pid_namespace = PidNamespace::First;
        }),
        &[],
    );
    // A copy: no right helps.
    check(
        &but(root_on_a_host(), |sight| {
            sight.proc.path = PathBuf::from("/tmp/proc");
            sight.proc.mounted = false;
            sight.proc.pid_namespace = PidNamespace::Other;
            sight.sock_diag = SockDiagAnswer::NotAsked;
            sight.namespaces.others = 2;
            sight.namespaces.readable = 2;
        }),
        &[("sock-diag", ""), ("proc-copy", "")],
    );
}
