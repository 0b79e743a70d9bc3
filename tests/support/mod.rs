//! What the kernel tests stand on: [`namespace`] gives each an empty socket table of its own,
//! [`named`] several with names; [`sockets`] fills it, [`clock`] brackets what the kernel measures,
//! [`scan`] looks at it with the library and [`command`] with the program itself; [`house`] holds
//! processes for less than root, and [`software`] starts what nobody here wrote.
#![allow(
    dead_code,
    unused_imports,
    reason = "each file of tests is a program of its own and uses its part of this"
)]
#![expect(clippy::print_stderr, reason = "a test that cannot run has to say so")]

pub(crate) mod clock;
pub(crate) mod command;
pub(crate) mod house;
pub(crate) mod named;
mod namespace;
pub(crate) mod random;
pub(crate) mod rows;
pub(crate) mod scan;
pub(crate) mod sockets;
pub(crate) mod software;

pub(crate) use namespace::in_own_namespace;

/// Set to `1` where kernel tests have to run: then a test that cannot fails.
const REQUIRED: &str = "TCPLEAK_REQUIRE_KERNEL";

/// Says that a test was not run, and why; fails where it has to be.
pub(crate) fn cannot_run(why: &str) {
    assert!(
        std::env::var_os(REQUIRED).is_none_or(|value| value != "1"),
        "not tested, and {REQUIRED} is set: {why}"
    );
    say(&format!("NOT TESTED: {why}"));
}

/// Tells whoever reads the output of the tests.
pub(crate) fn say(what: &str) {
    eprintln!("{what}");
}
