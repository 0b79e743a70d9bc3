//! Gives up, before anything is read, the rights that a run does not need: it only reads.
//!
//! Capabilities are a thread's own, and a new thread has those of the one that starts it (`man 7
//! capabilities`): so this comes before there is a second thread.

use std::sync::atomic::{AtomicU64, Ordering};

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs,
};

/// What reading other users' processes needs, all the time.
const TO_READ: CapabilitySet = CapabilitySet::SYS_PTRACE.union(CapabilitySet::DAC_READ_SEARCH);
/// What `setns(2)` needs, in the thread that goes to other network namespaces.
const TO_ENTER: CapabilitySet = CapabilitySet::SYS_ADMIN;
/// What lets root write a file in a directory of somebody else, and replace one where the directory
/// is sticky.
const TO_SAVE: CapabilitySet = CapabilitySet::DAC_OVERRIDE.union(CapabilitySet::FOWNER);

/// Kept, and in effect only while they are used.
static IN_RESERVE: AtomicU64 = AtomicU64::new(0);

/// What a run does beside looking.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Uses {
    /// It writes files.
    pub files: bool,
    /// It starts programs that somebody has named: those may need rights that no program has who
    /// has given them up for good.
    pub programs: bool,
}

/// Gives up what a run with those uses does not need. Where that is refused nothing is lost: all
/// that follows only reads.
///
/// Without CAP_SYS_PTRACE the kernel shows those processes that may do no more than this one
/// (`cap_ptrace_access_check`, `security/commoncap.c`): then every capability is kept.
pub fn give_up(uses: Uses) {
    if !uses.programs {
        let _ = set_no_new_privs(true);
    }
    let Ok(before) = capabilities(None) else {
        return;
    };
    if !before.effective.contains(CapabilitySet::SYS_PTRACE) {
        return;
    }
    let reserve = match uses.files {
        true => TO_ENTER.union(TO_SAVE),
        false => TO_ENTER,
    };
    let reserve = before.effective.intersection(reserve);
    let effective = before.effective.intersection(TO_READ);
    let kept = CapabilitySets {
        effective,
        permitted: effective.union(reserve),
        inheritable: before.inheritable,
    };
    if set_capabilities(None, kept).is_ok() {
        IN_RESERVE.store(reserve.bits(), Ordering::Relaxed);
    }
}

/// What was kept, and is not in effect.
pub(super) fn in_reserve() -> u64 {
    IN_RESERVE.load(Ordering::Relaxed)
}

/// Does what needs the right to write files, with it as far as it was kept.
pub fn saving<T>(action: impl FnOnce() -> T) -> T {
    with(TO_SAVE, action)
}

/// Does what needs the right to enter namespaces, with it as far as it was kept.
pub(super) fn entering<T>(action: impl FnOnce() -> T) -> T {
    with(TO_ENTER, action)
}

fn with<T>(wanted: CapabilitySet, action: impl FnOnce() -> T) -> T {
    let wanted = CapabilitySet::from_bits_retain(in_reserve()).intersection(wanted);
    let before = capabilities(None).ok().filter(|_| !wanted.is_empty());
    // If it is refused, so is what needs it, and says so.
    let raised = before.map(|before| {
        let effective = before.effective.union(wanted);
        set_capabilities(
            None,
            CapabilitySets {
                effective,
                ..before
            },
        )
    });
    let done = action();
    if let (Some(before), Some(Ok(()))) = (before, raised) {
        let _ = set_capabilities(None, before);
    }
    done
}
