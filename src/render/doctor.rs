//! `doctor` for people: the answer, then each thing that is missing with what it costs and how to get
//! it, then what this run has.

use std::io::{self, Write};

use super::Layout;
use super::style::Style;
use super::text::write_labelled;
use crate::model::{
    Capabilities, Fact, HidePid, NamespacesSeen, PidNamespace, Rights, Severity, Sight,
    SockDiagAnswer, count_of, printable,
};
use crate::sight::{Grant, Judgement, Lack, UNUSED, USES, names};

/// So many capabilities are named one by one as missing rather than as there.
const FEW: usize = 5;

/// Writes what a run sees from here. The first line is the answer.
pub fn write_sight(
    to: &mut dyn Write,
    sight: &Sight,
    judgement: &Judgement,
    layout: Layout,
) -> io::Result<()> {
    let (label, style) = if judgement.lacks.is_empty() {
        ("OK", Style::Good)
    } else {
        ("INCOMPLETE", Style::Severity(Severity::Warning))
    };
    write_labelled(to, label, style, &judgement.summary(), layout)?;
    for lack in &judgement.lacks {
        writeln!(to)?;
        write_lack(to, lack, layout)?;
    }
    if let Some(all) = &judgement.all {
        writeln!(to)?;
        write_grant(to, "all of it", all, layout)?;
    }
    writeln!(to)?;
    for (label, text) in facts(sight) {
        write_labelled(to, &format!("  {label}"), Style::Strong, &text, layout)?;
    }
    Ok(())
}

fn write_lack(to: &mut dyn Write, lack: &Lack, layout: Layout) -> io::Result<()> {
    let gap = &lack.gap;
    let text = format!("{}: {} [{}]", gap.what, gap.why, lack.id);
    write_labelled(to, "not seen", Style::Strong, &text, layout)?;
    write_labelled(to, "  costs", Style::Strong, lack.costs, layout)?;
    let needs = gap.needs.as_deref().unwrap_or("nothing helps here");
    write_labelled(to, "  needs", Style::Strong, needs, layout)?;
    write_grant(to, "  grant", &lack.grant, layout)
}

/// A command is never broken: it is there to be copied.
fn write_grant(to: &mut dyn Write, label: &str, grant: &Grant, layout: Layout) -> io::Result<()> {
    let mut label = label;
    if let Some(command) = &grant.command {
        let unbroken = Layout {
            width: None,
            ..layout
        };
        write_labelled(to, label, Style::Strong, command, unbroken)?;
        label = "";
    }
    match &grant.note {
        Some(note) => write_labelled(to, label, Style::Strong, note, layout),
        None => Ok(()),
    }
}

/// What this run has, a line each.
fn facts(sight: &Sight) -> Vec<(&'static str, String)> {
    let mut facts = vec![("rights", rights(&sight.rights))];
    let mut label = "uses";
    for (capability, what_for) in USES {
        let has = sight.rights.effective.has(capability);
        let name = names(capability).concat();
        let there = if has { "there" } else { "missing" };
        facts.push((label, format!("{name}, {there}: {what_for}")));
        label = "";
    }
    facts.push(("", format!("not used: {}", names(UNUSED).join(", "))));
    facts.push(("confined", confined(sight)));
    facts.push(("place", place(sight)));
    facts.push(("/proc", proc(sight)));
    facts.push(("holders", holders(sight)));
    facts.push(("sockets", sockets(sight)));
    facts.push(("netns", namespaces(&sight.namespaces)));
    facts.push(("BPF", bpf(sight)));
    facts
}

fn rights(rights: &Rights) -> String {
    let mut text = match rights.uid {
        0 => "root".to_owned(),
        uid => format!("user {uid}"),
    };
    text += &format!(", {}", capabilities(rights));
    match rights.first_user_namespace {
        Some(true) => {}
        Some(false) => {
            text += "; in a user namespace of its own, outside of which they do not count"
        }
        None => text += "; whether in the first user namespace cannot be told",
    }
    if rights.no_new_privileges {
        text += "; no_new_privs: what it starts can have no more";
    }
    text
}

fn capabilities(rights: &Rights) -> String {
    let missing = rights.known.without(rights.effective);
    let list = |set: Capabilities| names(set).join(", ");
    if rights.effective.is_empty() {
        "no capability".into()
    } else if missing.is_empty() {
        "every capability".into()
    } else if missing.names().count() <= FEW {
        format!("every capability but {}", list(missing))
    } else {
        list(rights.effective)
    }
}

fn confined(sight: &Sight) -> String {
    let confinement = &sight.confinement;
    let mut parts = vec![match &confinement.label {
        Some(label) => format!("by the profile '{label}'"),
        None => "by no profile".into(),
    }];
    parts.push(match confinement.seccomp {
        Fact::Known(true) => "a seccomp filter".into(),
        Fact::Known(false) => "no seccomp filter".into(),
        Fact::Unknown(reason) => format!("seccomp: {reason}"),
    });
    parts.push(match confinement.ptrace_scope {
        Some(scope) => format!("Yama's ptrace_scope is {scope}"),
        None => "no Yama".into(),
    });
    if let Fact::Known(modules) = &confinement.modules {
        parts.push(format!(
            "security modules: {}",
            printable(modules.join(", ").as_bytes())
        ));
    }
    parts.join("; ")
}

fn place(sight: &Sight) -> String {
    let place = &sight.place;
    let mut text = match (&place.container, &place.sign) {
        (Some(container), Some(sign)) => format!("a container ({}: {sign})", container.as_str()),
        _ => "no sign of a container".into(),
    };
    let namespaces = [
        ("pid", place.first_pid_namespace),
        ("cgroup", place.first_cgroup_namespace),
    ];
    for (name, first) in namespaces {
        text += &match first {
            Some(true) => format!("; the machine's first {name} namespace"),
            Some(false) => format!("; a {name} namespace of its own"),
            None => format!("; its {name} namespace cannot be told"),
        };
    }
    text
}

fn proc(sight: &Sight) -> String {
    let proc = &sight.proc;
    let path = printable(proc.path.as_os_str().as_encoded_bytes());
    if !proc.mounted {
        return format!("{path}: a directory of files");
    }
    let whose = match proc.pid_namespace {
        PidNamespace::First => "the machine's processes",
        PidNamespace::Other => "the processes of a container",
        PidNamespace::Unknown => "processes; whether all of them cannot be told",
    };
    let mut text = format!("{path}: {whose}");
    if !proc.shows_this_process {
        text += ", this one not among them";
    }
    text += &match (&proc.hidepid, proc.gid) {
        (Fact::Known(HidePid::Off), _) => "; hidepid is off".into(),
        (Fact::Known(hidepid), None) => format!("; hidepid={}", hidepid.as_str()),
        (Fact::Known(hidepid), Some(gid)) => format!("; hidepid={},gid={gid}", hidepid.as_str()),
        (Fact::Unknown(reason), _) => format!("; hidepid: {reason}"),
    };
    text
}

fn holders(sight: &Sight) -> String {
    let seen = &sight.processes;
    let denied = seen.denied.len() as u64;
    let mut text = format!(
        "descriptors of {} of {} can be read",
        seen.read,
        count_of(seen.total, "process")
    );
    let calls = seen.calls_denied + seen.calls_missing;
    if calls > 0 {
        text += &format!("; not the system calls of {calls} of them");
    } else if seen.read > 0 {
        text += ", and their system calls";
    }
    if denied > 0 {
        text += &format!("; {denied} refused");
    }
    text
}

fn sockets(sight: &Sight) -> String {
    let proc = if sight.proc_net_tcp {
        "/proc/net/tcp can be read"
    } else {
        "/proc/net/tcp cannot be read"
    };
    match &sight.sock_diag {
        SockDiagAnswer::Works => format!("sock_diag answers; {proc}"),
        SockDiagAnswer::NotAsked => format!("sock_diag is not asked; {proc}"),
        SockDiagAnswer::NoModule(error) | SockDiagAnswer::Refused(error) => {
            format!("sock_diag: {error}; {proc}")
        }
    }
}

fn namespaces(seen: &NamespacesSeen) -> String {
    let own = match seen.own_is_machines {
        Some(true) => "the machine's own",
        Some(false) => "another one than the machine's own",
        None => "this one",
    };
    let mut text = format!("{own}, and {}", count_of(seen.others, "other"));
    if seen.others > 0 {
        text += &format!(", of which {} can be entered", seen.enterable);
    }
    if seen.unknown_processes > 0 {
        let unknown = count_of(seen.unknown_processes, "process");
        text += &format!("; where {unknown} live cannot be told");
    }
    text
}

fn bpf(sight: &Sight) -> String {
    let there = if sight.bpf.btf { "" } else { "not " };
    let unprivileged = match sight.bpf.unprivileged_disabled {
        Fact::Known(0) => "plain users may load programs",
        Fact::Known(_) => "plain users may not load programs",
        Fact::Unknown(_) => "who may load programs cannot be told",
    };
    format!("not used by this version; the kernel's types (BTF) are {there}there, {unprivileged}")
}
