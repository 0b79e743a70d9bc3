//! Parse, resolve, run, map the outcome to an exit status.
fn main() {}
