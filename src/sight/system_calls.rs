//! The system calls in which threads wait, where descriptors may be read and those may not.
//!
//! `/proc/PID/syscall` asks for the right to attach (`proc_pid_syscall`, `fs/proc/base.c`), which
//! Yama restricts (`Documentation/admin-guide/LSM/Yama.rst`); links ask for the right to read only.

use super::{Found, Need, need};
use crate::model::{Capabilities, Gap, GapKind, Sight, count_of};

/// Yama's `ptrace_scope` at which nobody attaches to anything.
const NOBODY: u32 = 3;

pub(super) fn check(sight: &Sight) -> Option<Found> {
    let processes = &sight.processes;
    let rights = &sight.rights;
    let missing = Capabilities::SYS_PTRACE.without(rights.effective);
    let (count, why, needs) = match (processes.calls_denied, sight.confinement.ptrace_scope) {
        (0, _) if processes.calls_missing == 0 => return None,
        (0, _) => (
            processes.calls_missing,
            "this /proc has no file for them (syscall)".to_owned(),
            Vec::new(),
        ),
        (count, Some(NOBODY)) => (
            count,
            "Yama's ptrace_scope is 3: nobody may, until the machine is started anew".into(),
            Vec::new(),
        ),
        (count, scope) if !missing.is_empty() => {
            let why = match scope {
                Some(scope @ 1..) => format!("permission denied (Yama's ptrace_scope is {scope})"),
                _ => "permission denied".into(),
            };
            (count, why, vec![Need::Capabilities(missing)])
        }
        (count, _) => (count, "permission denied".into(), vec![Need::NoConfinement]),
    };
    Some(Found {
        id: "system-calls",
        gap: Gap {
            kind: GapKind::Details,
            what: format!("system calls of {}", count_of(count, "process")),
            why,
            needs: need::words(&needs, rights),
            count,
        },
        costs: "what their threads wait for is not known: a leak of theirs is found, with its \
                holder and without a cause that depends on that",
        needs,
    })
}
