//! Socket entries without sock_diag: from `/proc/net/tcp`, or not at all.

use std::path::Path;

use super::{Found, Need, need};
use crate::model::{Gap, GapKind, Rights, Sight, SockDiagAnswer};

/// What `/proc/net/tcp` does not have of `sockets`, and why that was read.
pub(super) fn untold(sockets: &str, why: String, needs: Option<String>, count: u64) -> Gap {
    Gap {
        kind: GapKind::Details,
        what: format!("ages, backlogs, drops and cookies of {sockets}"),
        why,
        needs,
        count,
    }
}

/// The gap where sock_diag gave `answer` and `/proc/net/tcp` is read instead; `None` where it works.
pub fn gap(answer: &SockDiagAnswer, rights: &Rights) -> Option<Gap> {
    let (error, needs) = match answer {
        SockDiagAnswer::Works => return None,
        SockDiagAnswer::NotAsked => {
            let why = "/proc/net/tcp does not tell, and was asked for";
            return Some(untold("sockets", why.into(), None, 1));
        }
        SockDiagAnswer::NoModule(error) => (error, Need::SockDiagModule),
        SockDiagAnswer::Refused(error) => (error, Need::NetlinkAllowed),
    };
    let why = format!("sock_diag cannot be had ({error}); /proc/net/tcp was read instead");
    Some(untold("sockets", why, need::words(&[needs], rights), 1))
}

/// The gap where sock_diag is not asked because the sockets are another machine's, perhaps.
pub fn not_asked(path: &Path) -> Gap {
    let path = path.display();
    let why = format!("{path} is a directory of files, and sock_diag speaks of this machine");
    untold("sockets", why, None, 1)
}

pub(super) fn check(sight: &Sight) -> Option<Found> {
    let rights = &sight.rights;
    let mut gap = match &sight.sock_diag {
        SockDiagAnswer::NotAsked => not_asked(&sight.proc.path),
        answer => gap(answer, rights)?,
    };
    let mut costs = "how long anything waits is not known, nor which queue is full: leaks are told \
                     from what was closed a moment ago only by watching, and far ends not at all";
    if !sight.proc_net_tcp {
        gap.kind = GapKind::Sockets;
        gap.what = "sockets".into();
        gap.why += "; and that cannot be read";
        costs = "nothing can be looked at";
    }
    Some(Found {
        id: "sock-diag",
        gap,
        costs,
        needs: match &sight.sock_diag {
            SockDiagAnswer::NoModule(_) => vec![Need::SockDiagModule],
            SockDiagAnswer::Refused(_) => vec![Need::NetlinkAllowed],
            SockDiagAnswer::Works | SockDiagAnswer::NotAsked => Vec::new(),
        },
    })
}
