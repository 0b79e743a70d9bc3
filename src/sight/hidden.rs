//! Processes that a `/proc` mounted with `hidepid` does not show.

use super::{Found, need, to_read_others};
use crate::model::{Capabilities, Fact, Gap, GapKind, HidePid, Rights, Sight};

/// The gap where not even the first process is shown.
pub fn gap(rights: &Rights) -> Gap {
    let needs = need::words(&to_read_others(Capabilities::SYS_PTRACE, rights), rights);
    Gap {
        kind: GapKind::Owners,
        what: "processes of other users".into(),
        why: "/proc is mounted with hidepid".into(),
        needs: needs.map(|needs| format!("{needs}, or membership in the gid= of the mount")),
        count: 1,
    }
}

pub(super) fn check(sight: &Sight) -> Option<Found> {
    let proc = &sight.proc;
    if !proc.hides {
        return None;
    }
    let mut gap = gap(&sight.rights);
    if let Fact::Known(option) = proc.hidepid {
        let group = match (option, proc.gid) {
            (HidePid::NotTraceable, _) | (_, None) => String::new(),
            (_, Some(gid)) => format!(",gid={gid}"),
        };
        let path = proc.path.display();
        gap.why = format!("{path} is mounted with hidepid={}{group}", option.as_str());
        if option == HidePid::NotTraceable {
            // The group does not count then (`has_pid_permissions`, `fs/proc/base.c`).
            let needs = to_read_others(Capabilities::SYS_PTRACE, &sight.rights);
            gap.needs = need::words(&needs, &sight.rights);
        }
    }
    Some(Found {
        id: "hidden-processes",
        gap,
        costs: "they are not counted, what they hold has no holder in the report, and network \
                namespaces in which only they live are not known",
        needs: to_read_others(Capabilities::SYS_PTRACE, &sight.rights),
    })
}
