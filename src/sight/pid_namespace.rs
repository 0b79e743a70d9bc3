//! Processes outside the pid namespace whose `/proc` is read.

use std::path::Path;

use super::{Found, Need, need};
use crate::model::{Gap, GapKind, PidNamespace, Rights, Sight};

/// The usual place of `/proc`.
const USUAL: &str = "/proc";

/// The gap that a container's `/proc` at `path` makes; `None` if it shows everybody.
pub fn gap(path: &Path, shown: PidNamespace, rights: &Rights) -> Option<Gap> {
    let this = if path == Path::new(USUAL) {
        "this /proc".to_owned()
    } else {
        path.display().to_string()
    };
    let why = match shown {
        PidNamespace::First => return None,
        PidNamespace::Other => format!("{this} shows only the processes of a container"),
        PidNamespace::Unknown => {
            format!("whether {this} shows only the processes of a container cannot be told")
        }
    };
    Some(Gap {
        kind: GapKind::Owners,
        what: "processes outside this pid namespace".into(),
        why,
        needs: need::words(&[Need::HostProcesses], rights),
        count: 1,
    })
}

pub(super) fn check(sight: &Sight) -> Option<Found> {
    let proc = &sight.proc;
    if !proc.mounted {
        return None; // What a copy shows is said there.
    }
    Some(Found {
        id: "outside-pid-namespace",
        gap: gap(&proc.path, proc.pid_namespace, &sight.rights)?,
        costs: "sockets that other containers or the host hold have no holder in the report, \
                their network namespaces are not known, and \"no process holds it\" cannot be said",
        needs: vec![Need::HostProcesses],
    })
}
