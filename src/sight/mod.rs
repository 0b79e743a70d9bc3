//! What a run cannot see, what that costs the diagnosis, and what would show it: pure.
//!
//! Each lack has a file: the check that finds it in a [`Sight`], for `doctor`, and the gap that a
//! scan reports for it. So both say the same. A [`Need`] is what would help, in words; a [`Grant`] the
//! command that gives it, in the situation that is at hand.

mod descriptors;
mod grant;
mod hidden;
mod namespaces;
mod need;
mod pid_namespace;
mod proc_copy;
mod sock_diag;
mod system_calls;
#[cfg(test)]
mod test_sight;
#[cfg(test)]
mod test_situations;
mod unknown_namespaces;

pub use descriptors::{gap as unread_descriptors, needs as needs_to_read_descriptors};
pub use grant::Grant;
pub use hidden::gap as hidden_processes;
pub use namespaces::{
    closed as closed_namespaces, from_outside as namespaces_from_outside, needs_to_enter,
};
pub use need::{Need, names};
pub use pid_namespace::gap as processes_elsewhere;
pub use proc_copy::gap as copied_processes;
pub use sock_diag::{gap as no_sock_diag, not_asked as sock_diag_of_another_machine};
pub use unknown_namespaces::gap as unknown_namespaces;

use crate::model::{Capabilities, Gap, Rights, Sight};

/// The capabilities that this version uses, each with what for; `docs/rights.md` says more.
pub const USES: [(Capabilities, &str); 3] = [
    (
        Capabilities::SYS_PTRACE,
        "descriptors, threads and namespaces of other processes",
    ),
    (
        Capabilities::DAC_READ_SEARCH,
        "lists of other users' descriptors",
    ),
    (Capabilities::SYS_ADMIN, "entering other network namespaces"),
];

/// Capabilities that one might expect here: this version has no use for them.
pub const UNUSED: Capabilities = Capabilities::NET_ADMIN
    .and(Capabilities::BPF)
    .and(Capabilities::PERFMON);

/// All of [`USES`].
pub const USED: Capabilities = Capabilities::SYS_PTRACE
    .and(Capabilities::DAC_READ_SEARCH)
    .and(Capabilities::SYS_ADMIN);

/// Something that a run does not see, or that it does not see in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// Permanent, in JSON: `descriptors`.
    pub id: &'static str,
    /// What is not seen, why, and what would show it.
    pub gap: Gap,
    /// What that costs the diagnosis.
    pub costs: &'static str,
    /// What would help; nothing would if it is empty.
    pub needs: Vec<Need>,
    /// How to get it here.
    pub grant: Grant,
}

/// What a check finds: a [`Lack`] that does not know yet how to be mended.
struct Found {
    id: &'static str,
    gap: Gap,
    costs: &'static str,
    needs: Vec<Need>,
}

/// The checks, the weightiest first: without sockets nothing is seen, without holders no cause.
const CHECKS: [fn(&Sight) -> Option<Found>; 9] = [
    sock_diag::check,
    namespaces::check_closed,
    namespaces::check_from_outside,
    unknown_namespaces::check,
    proc_copy::check,
    pid_namespace::check,
    hidden::check,
    descriptors::check,
    system_calls::check,
];

/// Everything that a run in this situation cannot see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// One after the other, the weightiest first.
    pub lacks: Vec<Lack>,
    /// What grants all of it at once, if there are several and one command does.
    pub all: Option<Grant>,
}

/// Judges a situation.
pub fn judge(sight: &Sight) -> Judgement {
    let found: Vec<Found> = CHECKS.iter().filter_map(|check| check(sight)).collect();
    let needs: Vec<Need> = found.iter().flat_map(|found| found.needs.clone()).collect();
    let mended = |found: Found| Lack {
        grant: Grant::of(&found.needs, sight),
        id: found.id,
        gap: found.gap,
        costs: found.costs,
        needs: found.needs,
    };
    let lacks: Vec<Lack> = found.into_iter().map(mended).collect();
    let all = Grant::of(&needs, sight);
    // One that does not give all would be taken for one that does.
    let each = lacks.iter().all(|lack| lack.grant.command.is_some());
    let differ = lacks.iter().all(|lack| lack.grant.command != all.command);
    Judgement {
        all: (lacks.len() > 1 && each && differ && all.command.is_some()).then_some(all),
        lacks,
    }
}

impl Judgement {
    /// The answer in a sentence.
    pub fn summary(&self) -> String {
        if self.lacks.is_empty() {
            return "this run sees everything it needs".into();
        }
        let what: Vec<&str> = self.lacks.iter().map(|lack| &*lack.gap.what).collect();
        format!("this run cannot see: {}", what.join("; "))
    }
}

/// What a process needs to read another one of this machine: what it lacks of `wanted`, or else what
/// stands in the way of a process that lacks none of it.
///
/// With CAP_SYS_PTRACE in the target's user namespace the kernel itself refuses nothing
/// (`cap_ptrace_access_check`, `security/commoncap.c`), whatever capabilities the target has.
fn to_read_others(wanted: Capabilities, rights: &Rights) -> Vec<Need> {
    let missing = wanted.without(rights.effective);
    if !missing.is_empty() {
        vec![Need::Capabilities(missing)]
    } else if rights.first_user_namespace == Some(false) {
        vec![Need::FirstUserNamespace]
    } else {
        vec![Need::NoConfinement]
    }
}
