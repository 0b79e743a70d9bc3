//! What this run cannot see for reasons that are known before it looks.

use std::path::Path;

use super::census::Namespaces;
use super::{proc_root, rights};
use crate::model::{Coverage, Gap, GapKind, count_of};
use crate::sight;

/// Counts namespaces and notes those parts of the machine that are out of sight.
pub(super) fn begin(proc_root: &Path, namespaces: &Namespaces) -> Coverage {
    let mut coverage = Coverage {
        netns_total: 1,
        netns_read: 1,
        ..Coverage::default()
    };
    let others = namespaces.others.len() as u64;
    if others > 0 {
        coverage.netns_total += others;
        coverage.gaps.push(Gap {
            kind: GapKind::Sockets,
            what: format!("sockets of {}", count_of(others, "other network namespace")),
            why: "this version reads the network namespace it runs in".into(),
            needs: Some("nsenter --net=/proc/PID/ns/net tcpleak scan".into()),
            count: others,
        });
    }
    let rights = rights::own(proc_root);
    if !proc_root::is_mounted(proc_root) {
        coverage.gaps.push(sight::copied_processes(proc_root));
    } else {
        let shown = proc_root::pid_namespace(proc_root);
        let elsewhere = sight::processes_elsewhere(proc_root, shown, &rights);
        let options = proc_root::options(proc_root);
        let hides = proc_root::hides(proc_root, &options, &rights);
        let hidden = hides.then(|| sight::hidden_processes(&rights));
        coverage.gaps.extend(elsewhere.into_iter().chain(hidden));
    }
    coverage
}
