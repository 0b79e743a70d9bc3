//! What shows a watch: here a line an event, for people or for programs; `live` is the other one.

use std::io::{self, StdoutLock, Write};
use std::sync::Arc;
use std::time::Duration;

use crate::cli::{self, ReportEvery};
use crate::history::{Event, History};
use crate::model::{Coverage, Snapshot};
use crate::render::{self, Layout};
use crate::report::Report;

/// What shows a watch while it goes on. Dropping it ends that, also when the watch fails.
pub(super) trait View {
    /// Shows a look, and what is new with it.
    fn look(&mut self, seen: &Seen<'_>) -> io::Result<()>;

    /// Shows what belongs to no look: that one was late, and the summary, which is the last.
    fn event(&mut self, event: &Event, history: &History) -> io::Result<()>;

    /// The recording that is replayed is over: shows what it has come to as long as somebody wants
    /// to see it.
    fn over(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Says something that is no event. Whether anybody could read it is not asked.
    fn note(&mut self, text: &str) {
        let _ = writeln!(io::stderr(), "tcpleak: {text}");
    }

    /// Says what could not be seen, and was not said before.
    fn gaps(&mut self, coverage: &Coverage) {
        crate::commands::note(coverage);
    }
}

/// Shows nothing: standard output is for something else.
pub(super) struct Silence;

impl View for Silence {
    fn look(&mut self, _: &Seen<'_>) -> io::Result<()> {
        Ok(())
    }

    fn event(&mut self, _: &Event, _: &History) -> io::Result<()> {
        Ok(())
    }
}

/// A look that was understood.
pub(super) struct Seen<'a> {
    /// When it began, since the watch did.
    pub(super) at: Duration,
    /// From one look to the next.
    pub(super) interval: Duration,
    /// What was read.
    pub(super) snapshot: &'a Arc<Snapshot>,
    /// What it has to say, with what the history knows beyond it.
    pub(super) report: &'a Report<'a>,
    /// What is new.
    pub(super) events: &'a [Event],
    /// Everything so far, this look included.
    pub(super) history: &'a History,
}

/// Standard output, flushed after each event: whoever reads it acts on it.
pub(super) struct Lines {
    stdout: StdoutLock<'static>,
    json: bool,
    layout: Layout,
    report_every: Option<ReportEvery>,
    /// Look and time of the last full report.
    reported: Option<(u64, Duration)>,
}

impl Lines {
    pub(super) fn new(options: &cli::Watch) -> Lines {
        Lines {
            stdout: io::stdout().lock(),
            json: options.output.json,
            layout: options.output.layout(),
            report_every: options.report_every,
            reported: None,
        }
    }

    fn is_report_due(&self, look: u64, at: Duration) -> bool {
        let (last, time) = self.reported.unwrap_or_default();
        match self.report_every {
            None => false,
            Some(_) if self.reported.is_none() => true,
            Some(ReportEvery::Looks(looks)) => look - last >= looks,
            Some(ReportEvery::Time(every)) => at.saturating_sub(time) >= every,
        }
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        self.stdout.write_all(line)?;
        self.stdout.flush()
    }
}

impl View for Lines {
    fn look(&mut self, seen: &Seen<'_>) -> io::Result<()> {
        for event in seen.events {
            self.event(event, seen.history)?;
        }
        let look = seen.history.totals().looks;
        if self.is_report_due(look, seen.at) {
            self.reported = Some((look, seen.at));
            let mut line = Vec::new();
            render::write_report_json(&mut line, seen.report, false)?;
            self.write(&line)?;
        }
        Ok(())
    }

    fn event(&mut self, event: &Event, history: &History) -> io::Result<()> {
        let time = history.wall_clock(event.at);
        // One write a line: several programs may write to one file.
        let mut line = Vec::new();
        if self.json {
            render::write_event_json(&mut line, event, time, history)?;
        } else {
            render::write_event(&mut line, event, time, self.layout)?;
        }
        self.write(&line)
    }
}
