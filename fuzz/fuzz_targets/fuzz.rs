//! libFuzzer's entry. Which target runs is said by `TCPLEAK_FUZZ_TARGET`, so that one build, with
//! all of the program's code instrumented, serves all of them.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

#[path = "../targets.rs"]
mod targets;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let wanted = std::env::var("TCPLEAK_FUZZ_TARGET").unwrap_or_default();
    let mut targets = targets::TARGETS.iter();
    let (_, target) = targets
        .find(|(name, _)| *name == wanted)
        .expect("TCPLEAK_FUZZ_TARGET names a target");
    *target
});

fuzz_target!(|bytes: &[u8]| TARGET(bytes));
