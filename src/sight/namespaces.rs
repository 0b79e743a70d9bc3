//! Network namespaces that cannot be entered.

use super::{Found, need, to_read_others};
use crate::model::{Capabilities, Gap, GapKind, Sight, count_of};

/// Opens the file of a namespace, and enters it (`man 2 setns`).
const WANTED: Capabilities = Capabilities::SYS_PTRACE.and(Capabilities::SYS_ADMIN);

pub(super) fn check(sight: &Sight) -> Option<Found> {
    let seen = &sight.namespaces;
    let closed = seen.others.saturating_sub(seen.enterable);
    if closed == 0 {
        return None;
    }
    let unread = closed.saturating_sub(seen.readable);
    let needs = if sight.proc.mounted {
        to_read_others(WANTED, &sight.rights)
    } else {
        Vec::new()
    };
    let mut why = seen.refusal.clone().unwrap_or("permission denied".into());
    if unread < closed {
        why += &format!(
            "; {} can be read in /proc/PID/net instead",
            if unread == 0 {
                "they".into()
            } else {
                format!("{} of them", closed - unread)
            }
        );
    }
    Some(Found {
        id: "network-namespaces",
        gap: Gap {
            kind: if unread == 0 {
                GapKind::Details
            } else {
                GapKind::Sockets
            },
            what: format!(
                "{}sockets of {}",
                if unread == 0 { "ages of the " } else { "" },
                count_of(closed, "other network namespace")
            ),
            why,
            needs: need::words(&needs, &sight.rights),
            count: closed,
        },
        costs: if unread == 0 {
            "how long anything waits in there is not known, nor which queue is full"
        } else {
            "leaks in there are not found at all"
        },
        needs,
    })
}
