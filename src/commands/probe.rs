//! `tcpleak probe`: one connection to a listener of this machine, and what it proves.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;

use crate::cli;
use crate::collect::{CollectError, collect};
use crate::experiment::{Outcome, judge};
use crate::join::Filter;
use crate::model::{CauseVerdict, Coverage, Focus, Subject, human_duration};
use crate::probe::Probe;
use crate::render;
use crate::report::Report;

pub(super) fn run(options: &cli::Probe) -> anyhow::Result<ExitCode> {
    let request = options.request();
    let mut probe = Probe::prepare(options.target, options.limit, &request)
        .context("no connection was opened")?;
    // If standard error is closed nobody wants to know.
    let _ = writeln!(
        io::stderr(),
        "probe: opens one TCP connection to {}, sends nothing, closes it after at most {}",
        probe.experiment.target,
        human_duration(options.limit),
    );
    // A queue's cause is read before ours is in it; where only ours waits, while it does.
    let mut cause = match probe.experiment.before.length {
        0 => None,
        _ => Some(cause_of(&probe, options)?),
    };
    probe.run()?;
    let waits = judge(&probe.experiment, None).outcome == Outcome::Stuck;
    if cause.is_none() && waits {
        cause = Some(cause_of(&probe, options)?);
    }
    let run = render::ProbeRun {
        taken_at: probe.watch().began_at(),
        duration: probe.watch().elapsed(),
        host: probe.watch().host(),
    };
    let experiment = probe.experiment.clone();
    drop(probe); // Closes the connection.
    let (cause, coverage) = cause.unwrap_or_default();
    let verdict = judge(&experiment, cause.as_ref());

    super::print(|to| match options.output.json {
        true => render::write_experiment_json(to, &run, &experiment, &verdict),
        false => render::write_experiment(to, &experiment, &verdict, options.output.layout()),
    })?;
    if let Some(coverage) = coverage {
        super::note(&coverage);
    }
    Ok(match verdict.outcome.is_problem() {
        Some(false) => ExitCode::SUCCESS,
        Some(true) => ExitCode::from(1),
        None => ExitCode::from(3),
    })
}

/// What the normal scan takes for the cause of the listener's queue, and how much it could see.
fn cause_of(
    probe: &Probe,
    options: &cli::Probe,
) -> Result<(Option<CauseVerdict>, Option<Coverage>), CollectError> {
    let snapshot = collect(&options.request())?;
    let filter = Filter::about(Focus::Port(options.target.port()), &snapshot.sockets);
    let report = Report::new(&snapshot, &options.thresholds(), &filter);
    let ours = probe.experiment.listener;
    let cause = report.findings.into_iter().find_map(|finding| {
        let of_ours = matches!(
            finding.subject,
            Subject::Listener { netns, cookie, inode, .. }
                if (netns, cookie, inode) == (ours.netns, ours.cookie, ours.inode)
        );
        finding.cause.filter(|_| of_ours)
    });
    Ok((cause, Some(snapshot.coverage)))
}
