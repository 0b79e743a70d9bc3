//! What the program costs on a full machine, beside the tools that are used instead of it and
//! beside the bare system calls that its answer needs. Writes `docs/performance.md`.
//!
//! `cargo bench --bench side_by_side` measures and prints; with `-- --write` the page is written.
//! With `-- scan` or `-- details` only that part is measured, and nothing is written.
//! Everything that is compared is measured in one run, in turns, so that a machine that is busy
//! with other things is so for all of them.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads clocks")]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that prints its result"
)]

mod bare;
mod details;
mod holder;
mod measure;
#[path = "../../tests/support/namespace.rs"]
mod namespace;
mod page;
mod population;
mod scan;

use std::path::Path;
use std::process::ExitCode;

use page::Page;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    if arguments.first().is_some_and(|word| word == holder::HOLD) {
        holder::run(&arguments[1..]);
        return ExitCode::SUCCESS;
    }
    // `cargo bench` says so; `cargo test --benches` wants to know only whether this still builds.
    if !has("--bench") {
        println!("nothing is measured without --bench");
        return ExitCode::SUCCESS;
    }
    let Some(namespace) = namespace::in_own_namespace() else {
        return ExitCode::FAILURE;
    };
    let mut page = Page::begin();
    if !has("details") {
        scan::measure(&mut page);
    }
    if !has("scan") {
        details::measure(&mut page);
    }
    drop(namespace);
    let page = page.end();
    print!("{page}");
    if has("--write") && !has("details") && !has("scan") {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/performance.md");
        std::fs::write(path, page).expect("the page can be written");
    }
    ExitCode::SUCCESS
}

/// Said by `namespace`.
fn cannot_run(why: &str) {
    eprintln!("cannot measure here: this {why}; run it as root");
}
