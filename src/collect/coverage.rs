//! What this run cannot see for reasons that are known before it looks.

use std::path::Path;

use super::{proc_root, rights};
use crate::model::Coverage;
use crate::sight;

/// Notes those parts of the machine that are out of sight.
pub(super) fn begin(proc_root: &Path) -> Coverage {
    let mut coverage = Coverage::default();
    if !proc_root::is_mounted(proc_root) {
        coverage.gaps.push(sight::copied_processes(proc_root));
        return coverage;
    }
    let rights = rights::own(proc_root);
    let shown = proc_root::pid_namespace(proc_root);
    let elsewhere = sight::processes_elsewhere(proc_root, shown, &rights);
    let options = proc_root::options(proc_root);
    let hides = proc_root::hides(proc_root, &options, &rights);
    let gid = options.known().and_then(|options| options.gid);
    let hidepid = options.map(|options| options.hidepid);
    let hidden = hides.then(|| sight::hidden_processes(proc_root, &hidepid, gid, &rights));
    coverage.gaps.extend(elsewhere.into_iter().chain(hidden));
    coverage
}
