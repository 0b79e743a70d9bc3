//! The truth suite: every case of `scenario`, in random mixes, many at once and with churn beside
//! them, and each report held against what is known to be true.
//!
//! Each mix runs in a pid namespace and network namespaces of its own, so that everybody in it is
//! known and mixes may run side by side. `cargo test` runs a few. More:
//!
//! ```text
//! cargo test --test truth -- --seconds 3600
//! cargo test --test truth -- --mixes 1000 --jobs 4
//! cargo test --test truth -- --mix SEED        one again, as a disagreement names it
//! ```
//!
//! A program of its own rather than `#[test]`s: it has arguments, and is in turn every process of
//! a mix.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]
#![expect(
    clippy::disallowed_methods,
    reason = "limits how long all mixes may take"
)]
#![expect(clippy::print_stdout, reason = "a program that prints its result")]

mod churn;
mod mix;
mod states;
#[path = "../support/mod.rs"]
mod support;
mod tally;
mod variants;

use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use support::command::Ended;
use tally::Tally;

/// The one name under which `cargo test NAME` finds this.
const NAME: &str = "reports_of_random_mixes_are_true";

/// Of the short form.
const MIXES: u64 = 8;
/// Mixes at once. Most of the time of one is waiting for its sockets to become old.
const JOBS: usize = 3;
/// What `unshare` is asked for: nobody else is in sight, and all ends with the first process.
const OWN: [&str; 4] = ["--pid", "--fork", "--kill-child", "--mount-proc"];

/// What was asked for.
struct Asked {
    seed: u64,
    mixes: u64,
    seconds: Option<u64>,
    jobs: usize,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let number = |word: &str| -> u64 {
        let number = word.parse();
        number.unwrap_or_else(|_| panic!("'{word}' is no number"))
    };
    match words[..] {
        ["--churn", name, seed] => churn::run(name, number(seed)),
        ["--variant", name] => variants::run(name),
        ["--client", address] => variants::come_and_go(address.parse().unwrap()),
        ["--in-own-namespaces", seed] => println!("{}", mix::run(number(seed)).to_json()),
        _ => return run(&words, number),
    }
    ExitCode::SUCCESS
}

/// As a program of `#[test]`s does, as far as anybody asks for it.
fn run(words: &[&str], number: impl Fn(&str) -> u64) -> ExitCode {
    let mut asked = Asked {
        seed: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
        mixes: MIXES,
        seconds: None,
        jobs: JOBS,
    };
    let (mut filters, mut exact, mut list) = (Vec::new(), false, false);
    let mut words = words.iter().copied();
    while let Some(word) = words.next() {
        let mut value = || number(words.next().expect("a number behind the option"));
        match word {
            "--seed" => asked.seed = value(),
            "--mixes" => asked.mixes = value(),
            "--seconds" => asked.seconds = Some(value()),
            "--jobs" => asked.jobs = usize::try_from(value()).unwrap(),
            "--mix" => (asked.seed, asked.mixes) = (value(), 1),
            "--list" => list = true,
            "--exact" => exact = true,
            // Of libtest, and without a meaning here.
            option if option.starts_with('-') => {}
            filter => filters.push(filter),
        }
    }
    if list {
        println!("{NAME}: test");
        return ExitCode::SUCCESS;
    }
    let wanted = |filter: &&str| match exact {
        true => NAME == *filter,
        false => NAME.contains(*filter),
    };
    if !filters.is_empty() && !filters.iter().any(wanted) {
        conclude(true, 0, 1);
        return ExitCode::SUCCESS;
    }
    println!("\nrunning 1 test");
    let right = !may_run() || holds(&asked);
    println!("test {NAME} ... {}", if right { "ok" } else { "FAILED" });
    conclude(right, 1, 0);
    if right {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The line that is counted, as libtest prints it.
fn conclude(right: bool, run: u64, filtered_out: u64) {
    let (word, passed, failed) = match right {
        true => ("ok", run, 0),
        false => ("FAILED", 0, run),
    };
    println!(
        "\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured; \
         {filtered_out} filtered out"
    );
}

fn may_run() -> bool {
    let mut unshare = Command::new("unshare");
    unshare.args(OWN).arg("true").stderr(Stdio::piped());
    let why = match unshare.output() {
        Ok(output) if output.status.success() => return true,
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => format!("'unshare' of util-linux: {error}"),
    };
    support::cannot_run(&format!("needs root and its own namespaces: {why}"));
    false
}

/// Runs the mixes and prints what came of them.
fn holds(asked: &Asked) -> bool {
    println!("seeds {} and the next ones", asked.seed);
    let deadline = asked
        .seconds
        .map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let (next, sum) = (AtomicU64::new(0), Mutex::new(Tally::default()));
    thread::scope(|scope| {
        for _ in 0..asked.jobs {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let go_on = match deadline {
                        Some(deadline) => Instant::now() < deadline,
                        None => index < asked.mixes,
                    };
                    if !go_on {
                        return;
                    }
                    let tally = in_own_namespaces(asked.seed.wrapping_add(index));
                    // Said at once: an hour is long.
                    for said in &tally.disagreements {
                        println!("{said}");
                    }
                    sum.lock().unwrap().add(tally);
                }
            });
        }
    });
    let sum = sum.into_inner().unwrap();
    println!("\n{sum}\n");
    sum.is_right()
}

/// Runs one mix, by this program as the first process of a pid namespace.
fn in_own_namespaces(seed: u64) -> Tally {
    /// Many times what the slowest has taken.
    const LIMIT: Duration = Duration::from_secs(180);
    let failed = |why: String| Tally {
        mixes: 1,
        disagreements: vec![format!("seed {seed}: {why}")],
        ..Tally::default()
    };
    let child = Command::new("unshare")
        .args(OWN)
        .arg(std::env::current_exe().unwrap())
        .args(["--in-own-namespaces", &seed.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = Ended(child.unwrap());
    let mut stdout = child.0.stdout.take().unwrap();
    let said = thread::spawn(move || std::io::read_to_string(&mut stdout));
    let deadline = Instant::now() + LIMIT;
    while !said.is_finished() && Instant::now() < deadline {
        thread::sleep(support::clock::PAUSE);
    }
    if !said.is_finished() {
        return failed(format!("not ended within {LIMIT:?}"));
    }
    let text = said.join().unwrap().unwrap_or_default();
    Tally::from_json(&text).unwrap_or_else(|| failed(format!("ended early: {text}")))
}
