//! `tcpleak watch`: look after look, and what is new in each.

use std::collections::BTreeSet;
use std::io::{self, StdoutLock, Write};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::hook::Hook;
use crate::cli::{self, ReportEvery, Until};
use crate::collect::{CollectError, Session};
use crate::history::{Event, EventKind, History, SOCKETS_AT_MOST};
use crate::join::Filter;
use crate::model::{Coverage, Severity};
use crate::render::{self, Layout};
use crate::report::Report;

/// So many looks in a row may fail (for want of memory, say) before the watch does.
const FAILURES_AT_MOST: u32 = 2;
/// How long the same signal, sent twice, is one wish to end.
const ECHO: Duration = Duration::from_millis(300);

pub(super) fn run(options: &cli::Watch) -> anyhow::Result<ExitCode> {
    let signals = signals().context("cannot wait for signals")?;
    let hook = match options.program() {
        Some((program, arguments)) => Some(Hook::new(program, arguments)?),
        None => None,
    };
    let mut watch = Watch {
        options,
        filter: (&options.filter).into(),
        session: Session::begin(options.request()),
        history: History::new(options.ages.close_wait_age, SOCKETS_AT_MOST),
        output: Output {
            stdout: io::stdout().lock(),
            json: options.output.json,
            layout: options.output.layout(),
        },
        hook,
        reported: None,
        noted: BTreeSet::new(),
    };
    watch.looks(&signals)?;
    let end = watch.session.elapsed();
    let summary = watch.history.summary(end);
    let time = watch.history.wall_clock(end);
    watch.output.event(&summary, time, &watch.history)?;
    if let Some(hook) = watch.hook.take() {
        hook.end();
    }
    Ok(if watch.finds() {
        ExitCode::from(1)
    } else {
        ExitCode::SUCCESS
    })
}

/// SIGINT and SIGTERM, as messages. A second one ends the program at once, as ever.
fn signals() -> io::Result<Receiver<()>> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let (send, receive) = sync_channel(1);
    let wait = move || {
        if signals.forever().next().is_some() {
            // The watch may be over already.
            let _ = send.send(());
        }
        // `timeout` sends a signal to the process and then to its group, which is no second wish.
        std::thread::sleep(ECHO);
        signals.pending().for_each(drop);
        if let Some(signal) = signals.forever().next() {
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(wait)?;
    Ok(receive)
}

struct Watch<'a> {
    options: &'a cli::Watch,
    filter: Filter,
    session: Session,
    history: History,
    output: Output,
    hook: Option<Hook>,
    /// Look and time of the last full report.
    reported: Option<(u64, Duration)>,
    /// Why something was not seen, as far as that was said on standard error.
    noted: BTreeSet<(String, Option<String>)>,
}

impl Watch<'_> {
    /// Looks until the end that was asked for, or a signal.
    fn looks(&mut self, signals: &Receiver<()>) -> anyhow::Result<()> {
        let interval = self.options.interval;
        let mut failures = 0;
        loop {
            let began = self.session.elapsed();
            match self.look(began) {
                Ok(()) => failures = 0,
                Err(error) if self.may_go_on(&error, failures) => {
                    failures += 1;
                    // If standard error is closed, nobody wants to know.
                    let _ = writeln!(io::stderr(), "tcpleak: a look failed: {error:#}");
                }
                Err(error) => return Err(error),
            }
            let took = self.session.elapsed().saturating_sub(began);
            if took > interval {
                let late = self.history.late(began, took, interval);
                self.tell(late.as_slice())?;
            }
            let looks = self.history.totals().looks;
            if self.is_reached() || self.options.count.is_some_and(|count| looks >= count) {
                return Ok(());
            }
            // A late look delays the next one; none is made up for.
            let next = (began + interval).max(self.session.elapsed());
            let end = self.options.time.filter(|end| *end < next);
            let pause = end.unwrap_or(next).saturating_sub(self.session.elapsed());
            match signals.recv_timeout(pause) {
                Err(RecvTimeoutError::Timeout) if end.is_none() => {}
                // The end of the time, or a signal.
                _ => return Ok(()),
            }
        }
    }

    /// A look failed, and not the first one, nor too many in a row.
    fn may_go_on(&self, error: &anyhow::Error, failures: u32) -> bool {
        error.is::<CollectError>() && self.history.totals().looks > 0 && failures < FAILURES_AT_MOST
    }

    fn look(&mut self, at: Duration) -> anyhow::Result<()> {
        let snapshot = self.session.look()?;
        let mut report = Report::new(&snapshot, &self.options.thresholds(), &self.filter);
        let events = self.history.look(at, &mut report);
        self.tell(&events)?;
        if self.is_report_due(at) {
            self.reported = Some((self.history.totals().looks, at));
            self.output.report(&report)?;
        }
        self.note_new_gaps(snapshot.coverage);
        Ok(())
    }

    /// Says once for each reason what could not be seen; how much that is may change with every look.
    fn note_new_gaps(&mut self, mut coverage: Coverage) {
        coverage
            .gaps
            .retain(|gap| self.noted.insert((gap.why.clone(), gap.needs.clone())));
        if !coverage.gaps.is_empty() {
            super::note(&coverage);
        }
    }

    /// Prints events, and hands new findings to the program of `--exec`.
    fn tell(&mut self, events: &[Event]) -> io::Result<()> {
        let fail_on: Severity = self.options.fail_on.into();
        for event in events {
            let time = self.history.wall_clock(event.at);
            self.output.event(event, time, &self.history)?;
            let is_new = event.kind == EventKind::Appeared && event.severity >= fail_on;
            if let Some(hook) = self.hook.as_mut().filter(|_| is_new) {
                let mut document = Vec::new();
                render::write_event_json(&mut document, event, time, &self.history)?;
                hook.give(document);
            }
        }
        Ok(())
    }

    fn is_report_due(&self, at: Duration) -> bool {
        let (look, time) = self.reported.unwrap_or_default();
        match self.options.report_every {
            None => false,
            Some(_) if self.reported.is_none() => true,
            Some(ReportEvery::Looks(looks)) => self.history.totals().looks - look >= looks,
            Some(ReportEvery::Time(every)) => at.saturating_sub(time) >= every,
        }
    }

    /// Something at or above `--fail-on` is open.
    fn finds(&self) -> bool {
        let fail_on = self.options.fail_on.into();
        self.history.worst().is_some_and(|worst| worst >= fail_on)
    }

    fn is_reached(&self) -> bool {
        match self.options.until {
            Some(Until::Finding) => self.finds(),
            Some(Until::Clear) => !self.finds(),
            None => false,
        }
    }
}

/// Standard output, flushed after each event: whoever reads it acts on it.
struct Output {
    stdout: StdoutLock<'static>,
    json: bool,
    layout: Layout,
}

impl Output {
    fn event(
        &mut self,
        event: &Event,
        time: Option<SystemTime>,
        history: &History,
    ) -> io::Result<()> {
        // One write a line: several programs may write to one file.
        let mut line = Vec::new();
        if self.json {
            render::write_event_json(&mut line, event, time, history)?;
        } else {
            render::write_event(&mut line, event, time, self.layout)?;
        }
        self.write(&line)
    }

    fn report(&mut self, report: &Report<'_>) -> io::Result<()> {
        let mut line = Vec::new();
        render::write_report_json(&mut line, report, false)?;
        self.write(&line)
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        self.stdout.write_all(line)?;
        self.stdout.flush()
    }
}
