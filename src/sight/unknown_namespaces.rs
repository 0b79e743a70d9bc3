//! Processes of which it cannot be told in which network namespace they live.

use super::{Found, need, to_read_others};
use crate::model::{Capabilities, Gap, GapKind, Rights, Sight, count_of};

/// The gap that `count` of them make.
pub fn gap(count: u64, rights: &Rights) -> Gap {
    Gap {
        kind: GapKind::Sockets,
        what: format!("network namespaces of {}", count_of(count, "process")),
        why: "permission denied".into(),
        needs: need::words(&to_read_others(Capabilities::SYS_PTRACE, rights), rights),
        count,
    }
}

pub(super) fn check(sight: &Sight) -> Option<Found> {
    let count = sight.namespaces.unknown_processes;
    if count == 0 {
        return None;
    }
    Some(Found {
        id: "unknown-namespaces",
        gap: gap(count, &sight.rights),
        costs: "namespaces in which only they live are not looked at, and whether sockets are in no \
                table cannot be told",
        needs: to_read_others(Capabilities::SYS_PTRACE, &sight.rights),
    })
}
