//! A directory of files in the place of a mounted `/proc`: what somebody kept of a machine.

use std::path::Path;

use super::Found;
use crate::model::{Gap, GapKind, Sight};

/// The gap that it makes.
pub fn gap(path: &Path) -> Gap {
    Gap {
        kind: GapKind::Owners,
        what: "processes that are not in the copy".into(),
        why: format!(
            "{} is a directory of files, not a mounted /proc",
            path.display()
        ),
        needs: None,
        count: 1,
    }
}

pub(super) fn check(sight: &Sight) -> Option<Found> {
    if sight.proc.mounted {
        return None;
    }
    Some(Found {
        id: "proc-copy",
        gap: gap(&sight.proc.path),
        costs: "nothing is read twice or at one moment: what moves and what is gone cannot be \
                told, and \"no process holds it\" cannot be said",
        needs: Vec::new(),
    })
}
