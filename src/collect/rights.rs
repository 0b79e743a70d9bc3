//! What this process may do.

use std::path::Path;

use rustix::process::geteuid;
use rustix::thread::{CapabilitySet, capabilities, capability_is_in_bounding_set, no_new_privs};

use super::{privileges, proc_root};
use crate::model::{Capabilities, Rights};

/// `PROC_USER_INIT_INO` (`include/linux/proc_ns.h`): the first user namespace of the machine.
const FIRST_USER_NAMESPACE: &str = "user:[4026531837]";

/// Its rights as they are now.
pub(super) fn own(root: &Path) -> Rights {
    let effective = capabilities(None).map(|sets| sets.effective.bits());
    // What is in reserve is in effect where it is needed.
    let effective = effective.map(|bits| bits | privileges::in_reserve());
    let user_namespace = std::fs::read_link(proc_root::own(root).join("ns/user"));
    let (known, bounding) = known_and_bounding();
    Rights {
        uid: geteuid().as_raw(),
        known,
        // The call does not fail for the own process.
        effective: Capabilities(effective.unwrap_or_default()),
        bounding,
        no_new_privileges: no_new_privs().unwrap_or(false),
        first_user_namespace: user_namespace
            .ok()
            .map(|link| link.as_os_str() == FIRST_USER_NAMESPACE),
    }
}

fn known_and_bounding() -> (Capabilities, Capabilities) {
    let (mut known, mut bounding) = (Capabilities::default(), Capabilities::default());
    for number in 0..u64::BITS {
        let capability = Capabilities(1 << number);
        // The first number that the kernel does not know is an error.
        match capability_is_in_bounding_set(CapabilitySet::from_bits_retain(capability.0)) {
            Ok(true) => bounding = bounding.and(capability),
            Ok(false) => {}
            Err(_) => break,
        }
        known = known.and(capability);
    }
    (known, bounding)
}
