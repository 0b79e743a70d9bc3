//! The descriptors of processes that may not be read (facts O7).

use super::{Found, need, to_read_others};
use crate::model::{Capabilities, DeniedProcess, Gap, GapKind, Rights, Sight, count_of, printable};

/// Lists a directory that belongs to another user, and reads the links in it.
const WANTED: Capabilities = Capabilities::SYS_PTRACE.and(Capabilities::DAC_READ_SEARCH);

/// Processes that are named; the others are counted.
const NAMED_AT_MOST: usize = 3;

/// What it takes to read them, as words.
pub fn needs(rights: &Rights) -> Option<String> {
    need::words(&to_read_others(WANTED, rights), rights)
}

/// The gap that `count` processes make whose descriptors may not be read.
pub fn gap(count: u64, kind: GapKind, rights: &Rights) -> Gap {
    Gap {
        kind,
        what: format!("descriptors of {}", count_of(count, "process")),
        why: "permission denied".into(),
        needs: needs(rights),
        count,
    }
}

pub(super) fn check(sight: &Sight) -> Option<Found> {
    let denied = &sight.processes.denied;
    if denied.is_empty() {
        return None;
    }
    let rights = &sight.rights;
    let mut gap = gap(denied.len() as u64, GapKind::Owners, rights);
    gap.why = why(denied, rights);
    Some(Found {
        id: "descriptors",
        gap,
        costs: "sockets that they hold have no holder in the report and no known cause; where \
                another holder may exist a cause is at most likely, and \"no process holds it\" \
                cannot be said",
        needs: if sight.proc.mounted {
            to_read_others(WANTED, rights)
        } else {
            Vec::new()
        },
    })
}

/// Which they are, and why they refuse, as far as that shows from outside.
fn why(denied: &[DeniedProcess], rights: &Rights) -> String {
    let mut named: Vec<String> = denied.iter().take(NAMED_AT_MOST).map(name).collect();
    if denied.len() > NAMED_AT_MOST {
        named.push(format!("{} more", denied.len() - NAMED_AT_MOST));
    }
    let mut text = format!("permission denied by {}", named.join(", "));
    let missing = WANTED.without(rights.effective);
    if missing.is_empty() {
        text += &format!(
            ", although this run has {}",
            need::names(WANTED).join(" and ")
        );
    } else {
        let others = denied
            .iter()
            .filter(|process| is_of_another(process, rights));
        let others = others.count() as u64;
        if others > 0 {
            text += &format!("; {} of other users", count_of(others, "process"));
        }
    }
    // What the kernel compares where CAP_SYS_PTRACE is missing; with it, a hint at most.
    let beyond = |process: &&DeniedProcess| {
        let permitted = process.permitted.known();
        permitted.is_some_and(|permitted| !rights.effective.has(*permitted))
    };
    let beyond: Vec<&DeniedProcess> = denied.iter().filter(beyond).collect();
    if !beyond.is_empty() && rights.uid == 0 {
        let lacked = beyond
            .iter()
            .filter_map(|process| process.permitted.known());
        let lacked = lacked.fold(Capabilities::default(), |all, set| all.and(*set));
        let lacked = lacked.without(rights.effective);
        text += &format!(
            "; {} capabilities that this run lacks: {}",
            match beyond.len() as u64 {
                1 => "1 process has".into(),
                count => format!("{} have", count_of(count, "process")),
            },
            need::names(lacked).join(", ")
        );
    }
    text
}

fn name(process: &DeniedProcess) -> String {
    format!("{} (pid {})", printable(&process.comm), process.pid)
}

fn is_of_another(process: &DeniedProcess, rights: &Rights) -> bool {
    process.uid.known().is_some_and(|uid| *uid != rights.uid)
}
