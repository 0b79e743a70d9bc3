//! Processes that a `/proc` mounted with `hidepid` does not show.

use std::path::Path;

use super::{Found, need, to_read_others};
use crate::model::{Capabilities, Fact, Gap, GapKind, HidePid, Rights, Sight};

/// The gap that `/proc` at `path` makes, mounted with `option` and, if it has one, the group `gid`.
pub fn gap(path: &Path, option: &Fact<HidePid>, gid: Option<u32>, rights: &Rights) -> Gap {
    let needs = need::words(&to_read_others(Capabilities::SYS_PTRACE, rights), rights);
    let path = path.display();
    // The group does not count where only what can be traced is shown (`has_pid_permissions`,
    // `fs/proc/base.c`).
    let group_counts = option.known() != Some(&HidePid::NotTraceable);
    let group = gid
        .filter(|_| group_counts)
        .map(|gid| format!(",gid={gid}"));
    Gap {
        kind: GapKind::Owners,
        what: "processes of other users".into(),
        why: match option {
            Fact::Known(option) => format!(
                "{path} is mounted with hidepid={}{}",
                option.as_str(),
                group.unwrap_or_default()
            ),
            Fact::Unknown(_) => format!("{path} is mounted with hidepid"),
        },
        needs: if group_counts {
            needs.map(|needs| format!("{needs}, or membership in the gid= of the mount"))
        } else {
            needs
        },
        count: 1,
    }
}

pub(super) fn check(sight: &Sight) -> Option<Found> {
    let proc = &sight.proc;
    if !proc.hides {
        return None;
    }
    let gap = gap(&proc.path, &proc.hidepid, proc.gid, &sight.rights);
    Some(Found {
        id: "hidden-processes",
        gap,
        costs: "they are not counted, what they hold has no holder in the report, and network \
                namespaces in which only they live are not known",
        needs: to_read_others(Capabilities::SYS_PTRACE, &sight.rights),
    })
}
