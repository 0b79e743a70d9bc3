//! What this run cannot see for reasons that are known before it looks.

use std::path::Path;

use crate::model::{Coverage, Gap, GapKind};

/// `PROC_PID_INIT_INO` (`include/linux/proc_ns.h`): the first pid namespace of the machine.
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Notes those parts of the machine that are out of sight.
pub(super) fn begin(proc_root: &Path) -> Coverage {
    let mut coverage = Coverage::default();
    let pid_namespace = std::fs::read_link(proc_root.join("self/ns/pid"));
    let is_first = match &pid_namespace {
        Ok(target) => target.as_os_str() == FIRST_PID_NAMESPACE,
        // A kernel without pid namespaces has no such link. Nor is there one where this process is
        // not in this /proc: it is of another pid namespace, entered without `nsenter --pid`.
        Err(_) => proc_root.join("self/stat").exists(),
    };
    if !is_first {
        coverage.gaps.push(Gap {
            kind: GapKind::Owners,
            what: "processes outside this pid namespace".into(),
            why: "this /proc shows only the processes of a container".into(),
            needs: Some("run on the host, or with its pid namespace (--pid=host)".into()),
            count: 1,
        });
    } else if !proc_root.join("1").exists() {
        coverage.gaps.push(Gap {
            kind: GapKind::Owners,
            what: "processes of other users".into(),
            why: "/proc is mounted with hidepid".into(),
            needs: Some("CAP_SYS_PTRACE, or membership in the gid= of the mount".into()),
            count: 1,
        });
    }
    coverage
}
