//! `tcpleak.doctor/1`: what `doctor --json` writes (`docs/json.md`).
//!
//! As in `v1`, the types are the contract's own: keys are added, never changed.

use std::io::{self, Write};

use serde::Serialize;

use super::json::{ms, timestamp, write_line};
use super::v1::HostV1;
use crate::model::{
    Capabilities, DeniedProcess, GapKind, PidNamespace, Rights, Sight, SockDiagAnswer, printable,
};
use crate::sight::{Grant, Judgement, Lack, USES, names};

#[derive(Serialize)]
struct DoctorV1 {
    schema: &'static str,
    taken_at: String,
    duration_ms: u64,
    host: HostV1,
    complete: bool,
    summary: String,
    lacks: Vec<LackV1>,
    all: Option<GrantV1>,
    rights: RightsV1,
    confinement: ConfinementV1,
    place: PlaceV1,
    proc: ProcV1,
    processes: ProcessesV1,
    sockets: SocketsV1,
    netns: NetnsV1,
    bpf: BpfV1,
}

#[derive(Serialize)]
struct LackV1 {
    id: &'static str,
    weakens: &'static str,
    what: String,
    why: String,
    count: u64,
    costs: &'static str,
    needs: Option<String>,
    grant: GrantV1,
}

#[derive(Serialize)]
struct GrantV1 {
    command: Option<String>,
    note: Option<String>,
}

#[derive(Serialize)]
struct RightsV1 {
    uid: u32,
    capabilities: Vec<String>,
    bounding: Vec<String>,
    used: Vec<UsedV1>,
    no_new_privileges: bool,
    user_namespace: Option<&'static str>,
}

#[derive(Serialize)]
struct UsedV1 {
    capability: String,
    effective: bool,
    used_for: &'static str,
}

#[derive(Serialize)]
struct ConfinementV1 {
    label: Option<String>,
    modules: Option<Vec<String>>,
    seccomp: Option<bool>,
    ptrace_scope: Option<u32>,
}

#[derive(Serialize)]
struct PlaceV1 {
    container: Option<&'static str>,
    sign: Option<String>,
    pid_namespace: Option<&'static str>,
    cgroup_namespace: Option<&'static str>,
}

#[derive(Serialize)]
struct ProcV1 {
    path: String,
    mounted: bool,
    pid_namespace: Option<&'static str>,
    shows_this_process: bool,
    hidepid: Option<&'static str>,
    gid: Option<u32>,
    hides: bool,
}

#[derive(Serialize)]
struct ProcessesV1 {
    processes_total: u64,
    processes_read: u64,
    denied: Vec<DeniedV1>,
    system_calls_denied: u64,
    system_calls_missing: u64,
}

#[derive(Serialize)]
struct DeniedV1 {
    pid: u32,
    comm: String,
    uid: Option<u32>,
    lacked: Option<Vec<String>>,
}

#[derive(Serialize)]
struct SocketsV1 {
    sock_diag: Option<bool>,
    error: Option<String>,
    proc_net_tcp: bool,
}

#[derive(Serialize)]
struct NetnsV1 {
    own: Option<u64>,
    own_is_machines: Option<bool>,
    others: u64,
    enterable: u64,
    readable: u64,
    error: Option<String>,
    unknown_processes: u64,
}

#[derive(Serialize)]
struct BpfV1 {
    used: bool,
    btf: bool,
    unprivileged_disabled: Option<u32>,
}

/// Writes what a run sees from here as one JSON document and a line end.
pub fn write_sight(to: &mut dyn Write, sight: &Sight, judgement: &Judgement) -> io::Result<()> {
    let (error, sock_diag) = match &sight.sock_diag {
        SockDiagAnswer::Works => (None, Some(true)),
        SockDiagAnswer::NotAsked => (None, None),
        SockDiagAnswer::NoModule(error) | SockDiagAnswer::Refused(error) => {
            (Some(error.clone()), Some(false))
        }
    };
    let (confinement, proc, seen) = (&sight.confinement, &sight.proc, &sight.processes);
    let (namespaces, rights) = (&sight.namespaces, &sight.rights);
    let document = DoctorV1 {
        schema: "tcpleak.doctor/1",
        taken_at: timestamp(sight.taken_at),
        duration_ms: ms(sight.duration),
        host: HostV1 {
            hostname: sight.host.hostname.clone(),
            kernel: sight.host.kernel.clone(),
        },
        complete: judgement.lacks.is_empty(),
        summary: judgement.summary(),
        lacks: judgement.lacks.iter().map(lack_v1).collect(),
        all: judgement.all.as_ref().map(grant_v1),
        rights: rights_v1(rights),
        confinement: ConfinementV1 {
            label: confinement.label.clone(),
            modules: confinement.modules.known().cloned(),
            seccomp: confinement.seccomp.known().copied(),
            ptrace_scope: confinement.ptrace_scope,
        },
        place: PlaceV1 {
            container: sight.place.container.map(|container| container.as_str()),
            sign: sight.place.sign.clone(),
            pid_namespace: sight.place.first_pid_namespace.map(which),
            cgroup_namespace: sight.place.first_cgroup_namespace.map(which),
        },
        proc: ProcV1 {
            path: printable(proc.path.as_os_str().as_encoded_bytes()),
            mounted: proc.mounted,
            pid_namespace: match proc.pid_namespace {
                PidNamespace::First => Some(which(true)),
                PidNamespace::Other => Some(which(false)),
                PidNamespace::Unknown => None,
            },
            shows_this_process: proc.shows_this_process,
            hidepid: proc.hidepid.known().map(|option| option.as_str()),
            gid: proc.gid,
            hides: proc.hides,
        },
        processes: ProcessesV1 {
            processes_total: seen.total,
            processes_read: seen.read,
            denied: seen.denied.iter().map(|it| denied_v1(it, rights)).collect(),
            system_calls_denied: seen.calls_denied,
            system_calls_missing: seen.calls_missing,
        },
        sockets: SocketsV1 {
            sock_diag,
            error,
            proc_net_tcp: sight.proc_net_tcp,
        },
        netns: NetnsV1 {
            own: namespaces.own,
            own_is_machines: namespaces.own_is_machines,
            others: namespaces.others,
            enterable: namespaces.enterable,
            readable: namespaces.readable,
            error: namespaces.refusal.clone(),
            unknown_processes: namespaces.unknown_processes,
        },
        bpf: BpfV1 {
            used: false,
            btf: sight.bpf.btf,
            unprivileged_disabled: sight.bpf.unprivileged_disabled.known().copied(),
        },
    };
    write_line(to, &document)
}

fn lack_v1(lack: &Lack) -> LackV1 {
    let gap = &lack.gap;
    LackV1 {
        id: lack.id,
        weakens: weakens(gap.kind),
        what: gap.what.clone(),
        why: gap.why.clone(),
        count: gap.count,
        costs: lack.costs,
        needs: gap.needs.clone(),
        grant: grant_v1(&lack.grant),
    }
}

fn grant_v1(grant: &Grant) -> GrantV1 {
    GrantV1 {
        command: grant.command.clone(),
        note: grant.note.clone(),
    }
}

fn rights_v1(rights: &Rights) -> RightsV1 {
    RightsV1 {
        uid: rights.uid,
        capabilities: names(rights.effective),
        bounding: names(rights.bounding),
        used: USES
            .iter()
            .map(|(capability, used_for)| UsedV1 {
                capability: names(*capability).concat(),
                effective: rights.effective.has(*capability),
                used_for,
            })
            .collect(),
        no_new_privileges: rights.no_new_privileges,
        user_namespace: rights.first_user_namespace.map(which),
    }
}

fn denied_v1(process: &DeniedProcess, rights: &Rights) -> DeniedV1 {
    let beyond = |permitted: &Capabilities| names(permitted.without(rights.effective));
    DeniedV1 {
        pid: process.pid,
        comm: String::from_utf8_lossy(&process.comm).into_owned(),
        uid: process.uid.known().copied(),
        lacked: process.permitted.known().map(beyond),
    }
}

/// What a gap weakens, in one word.
pub(super) fn weakens(kind: GapKind) -> &'static str {
    match kind {
        GapKind::Sockets => "sockets",
        GapKind::Owners => "owners",
        GapKind::Details => "details",
    }
}

fn which(first: bool) -> &'static str {
    if first { "first" } else { "other" }
}
