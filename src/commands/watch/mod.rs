//! `tcpleak watch`: look after look, and what is new in each.
//!
//! The loop is here: it takes a look from where looks come from (`looks`), folds it into the
//! history, records it (`keeper`), shows it (`view`), and hands new findings to the program of
//! `--exec` (`hook`). What somebody wants meanwhile comes through one channel (`wish`): the end, by
//! a signal or a key.
//!
//! On a terminal it is shown on a screen (`live`), which a thread of its own draws (`terminal`) from
//! what the watch leaves for it (`desk`).

mod desk;
mod hook;
mod keeper;
mod live;
mod looks;
mod terminal;
mod view;
mod wish;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::time::Duration;

use anyhow::Context;

use super::Unprinted;
use crate::cli::{self, Until};
use crate::collect::Session;
use crate::history::{Event, EventKind, History, SOCKETS_AT_MOST};
use crate::join::Filter;
use crate::model::{Coverage, Severity, Snapshot};
use crate::render;
use crate::report::Report;
use hook::Hook;
use keeper::Keeper;
use live::Screen;
use looks::{Live, Looks, Next, Recorded, Taken};
use terminal::Tty;
use view::{Lines, Seen, Silence, View};
use wish::Wishes;

/// So many looks in a row may fail (for want of memory, say) before the watch does.
const FAILURES_AT_MOST: u32 = 2;

pub(super) fn run(options: &cli::Watch) -> anyhow::Result<ExitCode> {
    let (wish, wishes) = Wishes::new();
    // Where the terminal cannot be had, lines are better than nothing.
    let tty = options.screen().then(Tty::enter).and_then(Result::ok);
    let (to_screen, messages) = channel();
    let told = tty.is_some().then(|| to_screen.clone());
    wish::at_signals(wish.clone(), told).context("cannot wait for signals")?;
    let keeper = match &options.save {
        Some(path) => Some(Keeper::create(path, options.interval)?),
        None => None,
    };
    let mut desk = None;
    // Before anything is waited for: from now on keys are read.
    let view: Box<dyn View> = match (&keeper, tty) {
        (Some(keeper), _) if keeper.takes_stdout() => Box::new(Silence),
        (_, Some(tty)) => {
            let screen = Screen::open(options, tty, (to_screen, messages), wish)?;
            desk = Some(screen.desk());
            Box::new(screen)
        }
        (_, None) => Box::new(Lines::new(options)),
    };
    let looks: Box<dyn Looks> = match &options.from {
        Some(path) => {
            let recording = super::open(path)?;
            Box::new(Recorded::new(recording, super::shown(path), wishes))
        }
        None => Box::new(Live::new(
            Session::begin(options.request()),
            options.interval,
            wishes,
        )),
    };
    let hook = match options.program() {
        Some((program, arguments)) => Some(Hook::new(program, arguments, desk)?),
        None => None,
    };
    let mut filter = Filter::from(&options.filter);
    if options.from.is_some() {
        filter.netns.clone_from(&options.filter.netns);
    }
    let mut watch = Watch {
        options,
        filter,
        looks,
        history: History::new(options.ages.close_wait_age, SOCKETS_AT_MOST),
        keeper,
        view,
        hook,
        noted: BTreeSet::new(),
    };
    let ended = watch.looks();
    if let Some(keeper) = watch.keeper.take() {
        // What is recorded is whole, also if the watch has failed.
        keeper.end(*ended.as_ref().unwrap_or(&watch.looks.ended()))?;
    }
    let end = ended?;
    if let Some(remark) = watch.looks.remark() {
        watch.view.note(&remark);
    }
    if options.from.is_some() {
        watch.view.over()?;
    }
    let summary = watch.history.summary(end);
    let shown = watch.view.event(&summary, &watch.history);
    shown.map_err(Unprinted::from)?;
    if let Some(hook) = watch.hook.take() {
        hook.end();
    }
    Ok(if watch.finds() {
        ExitCode::from(1)
    } else {
        ExitCode::SUCCESS
    })
}

struct Watch<'a> {
    options: &'a cli::Watch,
    filter: Filter,
    looks: Box<dyn Looks>,
    history: History,
    keeper: Option<Keeper>,
    view: Box<dyn View + 'a>,
    hook: Option<Hook>,
    /// Why something was not seen, as far as that was said.
    noted: BTreeSet<(String, Option<String>)>,
}

impl Watch<'_> {
    /// Looks until the end that was asked for, or a signal; and when that was.
    fn looks(&mut self) -> anyhow::Result<Duration> {
        let mut failures = 0;
        loop {
            let look = match self.looks.next(self.options.time)? {
                Next::Look(look) => look,
                Next::End(end) => return Ok(end),
            };
            let at = look.at;
            let took = match look.taken {
                Taken::Snapshot(snapshot) => {
                    failures = 0;
                    let thresholds = self.options.thresholds();
                    let mut report = Report::new(&snapshot, &thresholds, &self.filter);
                    let events = self.history.look(at, &mut report);
                    let took = self.looks.took();
                    self.keep(at, took, Ok(&snapshot))?;
                    let shown = self.view.look(&Seen {
                        at,
                        interval: self.looks.interval(),
                        snapshot: &snapshot,
                        report: &report,
                        events: &events,
                        history: &self.history,
                    });
                    shown.map_err(Unprinted::from)?;
                    self.hand_on(&events)?;
                    self.note_new_gaps(snapshot.coverage.clone());
                    took
                }
                Taken::Failed(error) => {
                    let took = self.looks.took();
                    self.keep(at, took, Err(&format!("{error:#}")))?;
                    // Not the first one, nor too many in a row.
                    if self.history.totals().looks == 0 || failures == FAILURES_AT_MOST {
                        return Err(error);
                    }
                    failures += 1;
                    self.view.note(&format!("a look failed: {error:#}"));
                    took
                }
            };
            let interval = self.looks.interval();
            if took > interval
                && let Some(late) = self.history.late(at, took, interval)
            {
                let shown = self.view.event(&late, &self.history);
                shown.map_err(Unprinted::from)?;
            }
            let looks = self.history.totals().looks;
            if self.is_reached() || self.options.count.is_some_and(|count| looks >= count) {
                return Ok(at + took);
            }
        }
    }

    /// Records a look. A recording that fails ends the watch, and has no end line then.
    fn keep(
        &mut self,
        at: Duration,
        took: Duration,
        taken: Result<&Snapshot, &str>,
    ) -> anyhow::Result<()> {
        if let Some(mut keeper) = self.keeper.take() {
            keeper.look(at, took, taken)?;
            self.keeper = Some(keeper);
        }
        Ok(())
    }

    /// Says once for each reason what could not be seen; how much that is may change with every look.
    fn note_new_gaps(&mut self, mut coverage: Coverage) {
        coverage
            .gaps
            .retain(|gap| self.noted.insert((gap.why.clone(), gap.needs.clone())));
        if !coverage.gaps.is_empty() {
            self.view.gaps(&coverage);
        }
    }

    /// Hands new findings to the program of `--exec`.
    fn hand_on(&mut self, events: &[Event]) -> anyhow::Result<()> {
        let Some(hook) = &mut self.hook else {
            return Ok(());
        };
        let fail_on: Severity = self.options.fail_on.into();
        for event in events {
            if event.kind == EventKind::Appeared && event.severity >= fail_on {
                let mut document = Vec::new();
                let time = self.history.wall_clock(event.at);
                render::write_event_json(&mut document, event, time, &self.history)?;
                hook.give(document);
            }
        }
        Ok(())
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
