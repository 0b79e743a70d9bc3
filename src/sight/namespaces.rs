//! Network namespaces that cannot be entered: read through a process that lives there, or not at all.

use super::{Found, Need, need, sock_diag, to_read_others};
use crate::model::{Capabilities, Gap, GapKind, Rights, Sight, count_of};

/// Opens the file of a namespace, and enters it (`man 2 setns`).
const WANTED: Capabilities = Capabilities::SYS_PTRACE.and(Capabilities::SYS_ADMIN);

/// What it takes to enter one, as words.
pub fn needs_to_enter(rights: &Rights) -> Option<String> {
    need::words(&to_read_others(WANTED, rights), rights)
}

/// The gap that `count` namespaces make which cannot be read.
pub fn closed(count: u64, why: String, rights: &Rights) -> Gap {
    Gap {
        kind: GapKind::Sockets,
        what: format!("sockets of {}", others(count)),
        why,
        needs: needs_to_enter(rights),
        count,
    }
}

/// The gap that `count` namespaces make of which only `/proc/PID/net` could be read.
pub fn from_outside(count: u64, why: &str, rights: &Rights) -> Gap {
    let why = format!("it was not entered ({why}); /proc/PID/net/tcp was read instead");
    let sockets = format!("sockets of {}", others(count));
    sock_diag::untold(&sockets, why, needs_to_enter(rights), count)
}

fn others(count: u64) -> String {
    count_of(count, "other network namespace")
}

pub(super) fn check_closed(sight: &Sight) -> Option<Found> {
    let seen = &sight.namespaces;
    let count = seen.others.saturating_sub(seen.enterable + seen.readable);
    (count > 0).then(|| Found {
        id: "network-namespaces",
        gap: closed(count, refusal(sight), &sight.rights),
        costs: "leaks in there are not found at all",
        needs: needs(sight),
    })
}

pub(super) fn check_from_outside(sight: &Sight) -> Option<Found> {
    let count = sight.namespaces.readable;
    // In a copy nothing is entered, and that its sockets have no ages is said.
    (count > 0 && sight.proc.mounted).then(|| Found {
        id: "network-namespaces-from-outside",
        gap: from_outside(count, &refusal(sight), &sight.rights),
        costs: "how long anything waits in there is not known, nor which queue is full",
        needs: needs(sight),
    })
}

fn needs(sight: &Sight) -> Vec<Need> {
    if sight.proc.mounted {
        to_read_others(WANTED, &sight.rights)
    } else {
        Vec::new()
    }
}

fn refusal(sight: &Sight) -> String {
    let refusal = sight.namespaces.refusal.clone();
    refusal.unwrap_or("permission denied".into())
}
