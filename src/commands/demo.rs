//! `tcpleak demo`: a case with real sockets on loopback, and the real scan of it.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;

use crate::cli::{self, Cli, Command};
use crate::collect::collect;
use crate::scenario::{self, Running, Scenario};

const FIRST_CASE: &str = "edge-triggered-missed-wakeup";
/// What the demo's scan calls old; long enough to be seen, short enough to wait for.
const OLD_ENOUGH: Duration = Duration::from_secs(1);

pub(super) fn run(options: &cli::Demo) -> anyhow::Result<ExitCode> {
    if options.list {
        return list();
    }
    let id = options.id.as_deref().unwrap_or(FIRST_CASE);
    if options.serve {
        scenario::serve(id, &mut io::stdout()).context("the demo's server failed")?;
        return Ok(ExitCode::SUCCESS);
    }
    let case = scenario::find(id).with_context(|| {
        format!("there is no case '{id}'; 'tcpleak demo --list' shows those there are")
    })?;
    show(case, options)
}

fn list() -> anyhow::Result<ExitCode> {
    super::print(|to| {
        let mut cases = scenario::ALL.iter().filter(|case| case.demo);
        cases.try_for_each(|case| writeln!(to, "{:<30} {}", case.id, case.summary))
    })?;
    Ok(ExitCode::SUCCESS)
}

fn show(case: &'static Scenario, options: &cli::Demo) -> anyhow::Result<ExitCode> {
    let exe = std::env::current_exe().context("cannot find this program's own file")?;
    let mut stderr = io::stderr().lock();
    writeln!(stderr, "demo {}: {}", case.id, case.summary)?;
    let running = Running::start(&exe, case).context("the case could not be set up")?;
    let scan = scan_of(&running, options);
    writeln!(
        stderr,
        "server: pid {}, {}; waiting {} for its sockets to age, then:",
        running.server_pid(),
        running.address(),
        crate::model::human_duration(OLD_ENOUGH),
    )?;
    writeln!(stderr, "$ tcpleak {}\n", scan.join(" "))?;
    drop(stderr);
    std::thread::sleep(OLD_ENOUGH);
    let arguments = ["tcpleak".to_owned()].into_iter().chain(scan);
    let Command::Scan(mut scan) = Cli::try_parse_from(arguments)?.command else {
        bail!("the demo's command line is not a scan");
    };
    scan.output.color = options.output.color;
    let status = super::scan::show(&collect(&scan.request())?, &scan)?;
    if options.keep {
        writeln!(io::stderr(), "\nThe case stays as it is until Ctrl-C.")?;
        loop {
            std::thread::park();
        }
    }
    drop(running);
    Ok(status)
}

/// The command line that shows the case, as one would type it.
fn scan_of(running: &Running, options: &cli::Demo) -> Vec<String> {
    let scenario = running.scenario();
    let mut words = ["scan", "--netns", "self"].map(str::to_owned).to_vec();
    match scenario.finding {
        // These are about a process, whichever its sockets.
        Some("dead-socket-leak" | "descriptor-exhaustion") => {
            words.extend(["--pid".into(), running.server_pid().to_string()]);
        }
        _ => words.extend(["--port".into(), running.address().port().to_string()]),
    }
    words.extend([
        "--close-wait-age".into(),
        format!("{}s", OLD_ENOUGH.as_secs()),
    ]);
    if options.output.json {
        words.push("--json".into());
    }
    words
}
