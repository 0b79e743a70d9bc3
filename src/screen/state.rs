//! What is shown, chosen, sorted and filtered: a pure function of looks and key presses.

use std::sync::Arc;

use super::layout::{self, Plan};
use super::log::{Entry, Log};
use super::look::Look;
use super::overlay::{Content, Overlay};
use super::panes::{self, Manner, Pane};
use super::table::Table;
use super::theme::Theme;
use crate::model::Snapshot;

/// From this width on there is room for everything.
const WIDE: u16 = 120;

/// A key that was pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the keys")]
pub enum Key {
    Char(char),
    /// A character with Ctrl held.
    Ctrl(char),
    Enter,
    Esc,
    Tab,
    BackTab,
    Backspace,
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    End,
}

/// What a key asks for that the screen cannot do itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// End the watch.
    Quit,
    /// Give the terminal back until somebody continues the program.
    Suspend,
    /// Draw everything anew.
    Redraw,
    /// Save a look in a new file of that name.
    Save(String, Arc<Snapshot>),
}

/// The screen.
#[derive(Debug)]
pub struct State {
    pub(super) theme: Theme,
    /// It is a recording that is replayed.
    pub(super) recorded: bool,
    /// That recording is over.
    pub(super) over: bool,
    pub(super) size: (u16, u16),
    pub(super) newest: Option<Arc<Look>>,
    pub(super) frozen: Option<Frozen>,
    pub(super) log: Log,
    pub(super) focus: Pane,
    places: [Place; 4],
    pub(super) filter: String,
    pub(super) input: Option<Input>,
    pub(super) overlay: Option<Overlay>,
    /// What the last key has led to, until the next one.
    pub(super) message: Option<String>,
}

/// What is shown while it is paused.
#[derive(Debug)]
pub(super) struct Frozen {
    pub(super) look: Arc<Look>,
    /// The end of the log then.
    pub(super) log: u64,
}

/// What is being typed, or waits for an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    Filter(String),
    /// Whether to save under that name.
    Save(String),
}

/// Where somebody is in a pane.
#[derive(Debug, Default)]
struct Place {
    /// The chosen row, and where it was; nothing for the one that is first, or newest.
    chosen: Option<(String, usize)>,
    order: usize,
}

impl State {
    /// A screen on which nothing is shown yet, of this machine or of a recording.
    pub fn new(theme: Theme, recorded: bool) -> State {
        State {
            theme,
            recorded,
            over: false,
            size: (0, 0),
            newest: None,
            frozen: None,
            log: Log::default(),
            focus: Pane::Verdicts,
            places: Default::default(),
            filter: String::new(),
            input: None,
            overlay: None,
            message: None,
        }
    }

    /// The terminal has that many columns and rows now.
    pub fn resize(&mut self, columns: u16, rows: u16) {
        self.size = (columns, rows);
    }

    /// A look was taken.
    pub fn look(&mut self, look: Arc<Look>) {
        self.newest = Some(look);
    }

    /// Something happened: where that is not known, in the newest look.
    pub fn log(&mut self, mut entry: Entry) {
        let newest = self.newest.as_ref().map(|look| look.snapshot.taken_at);
        entry.time = entry.time.or(newest);
        self.log.push(entry);
    }

    /// The recording is over.
    pub fn over(&mut self) {
        self.over = true;
    }

    /// Says what came of an action.
    pub fn say(&mut self, text: impl Into<String>) {
        self.message = Some(text.into());
    }

    /// Does what a key asks for, or says who is to do it.
    pub fn press(&mut self, key: Key) -> Option<Action> {
        self.message = None;
        match key {
            Key::Ctrl('c') => return Some(Action::Quit),
            Key::Ctrl('z') => return Some(Action::Suspend),
            Key::Ctrl('l') => return Some(Action::Redraw),
            _ => {}
        }
        if let Some(input) = self.input.take() {
            return self.answer(input, key);
        }
        if self.overlay.is_some() {
            self.scroll_overlay(key);
            return None;
        }
        match key {
            Key::Char('q') => return Some(Action::Quit),
            Key::Esc if self.filter.is_empty() => return Some(Action::Quit),
            Key::Esc => self.filter.clear(),
            Key::Tab | Key::Right => self.go(1),
            Key::BackTab | Key::Left => self.go(Pane::ALL.len() - 1),
            Key::Up | Key::Char('k') => self.choose(|at, _| at.saturating_sub(1)),
            Key::Down | Key::Char('j') => self.choose(|at, _| at + 1),
            Key::PageUp => self.choose(|at, page| at.saturating_sub(page)),
            Key::PageDown => self.choose(|at, page| at + page),
            Key::Home | Key::Char('g') => self.choose(|_, _| 0),
            Key::End | Key::Char('G') => self.choose(|_, _| usize::MAX),
            Key::Char('s') => self.sort(),
            Key::Char('/') => self.input = Some(Input::Filter(self.filter.clone())),
            Key::Char('p' | ' ') => self.pause(),
            Key::Enter => self.open(),
            Key::Char('S') => match self.shown() {
                Some(look) => self.input = Some(Input::Save(file_name(&look.snapshot))),
                None => self.say("there is no look to save yet"),
            },
            Key::Char('?' | 'h') => self.overlay = Some(Overlay::new("Help", Content::Help)),
            _ => {}
        }
        None
    }

    /// The look that is on the screen.
    pub(super) fn shown(&self) -> Option<&Arc<Look>> {
        let frozen = self.frozen.as_ref().map(|frozen| &frozen.look);
        frozen.or(self.newest.as_ref())
    }

    /// Looks that were taken since what is shown.
    pub(super) fn behind(&self) -> u64 {
        let number = |look: Option<&Arc<Look>>| look.map_or(0, |look| look.number);
        number(self.newest.as_ref()).saturating_sub(number(self.shown()))
    }

    pub(super) fn order(&self, pane: Pane) -> &'static str {
        pane.orders()[self.places[pane as usize].order]
    }

    /// The rows of a pane, sorted and filtered.
    pub(super) fn table(&self, pane: Pane) -> Table {
        let Some(look) = self.shown() else {
            return Table {
                columns: Vec::new(),
                rows: Vec::new(),
                of: 0,
            };
        };
        let manner = Manner {
            theme: self.theme,
            wide: self.size.0 >= WIDE,
            order: self.places[pane as usize].order,
        };
        let mut table = match pane {
            Pane::Verdicts => panes::verdicts(look, manner),
            Pane::Listeners => panes::listeners(look, manner),
            Pane::Holders => panes::holders(look, manner),
            Pane::Events => {
                let end = self.frozen.as_ref().map_or(self.log.end(), |at| at.log);
                panes::events(&self.log, end, look.snapshot.taken_at, manner)
            }
        };
        let filter = match &self.input {
            Some(Input::Filter(text)) => text,
            _ => &self.filter,
        };
        table.filter(filter);
        table
    }

    /// Which of these rows is chosen: the same one as before, wherever it is now.
    pub(super) fn chosen(&self, pane: Pane, table: &Table) -> usize {
        let place = &self.places[pane as usize];
        let last = table.rows.len().saturating_sub(1);
        match &place.chosen {
            Some((key, index)) => {
                let found = table.rows.iter().position(|row| row.key == *key);
                found.unwrap_or(*index).min(last)
            }
            None if self.is_newest_last(pane) => last,
            None => 0,
        }
    }

    fn is_newest_last(&self, pane: Pane) -> bool {
        pane == Pane::Events && self.places[pane as usize].order == 0
    }

    fn go(&mut self, by: usize) {
        let index = (self.focus as usize + by) % Pane::ALL.len();
        self.focus = Pane::ALL[index];
    }

    /// Chooses another row: from the index of this one and the rows on a page to its own.
    fn choose(&mut self, to: impl Fn(usize, usize) -> usize) {
        let pane = self.focus;
        let table = self.table(pane);
        let last = table.rows.len().saturating_sub(1);
        let page = match layout::plan(self) {
            Plan::Panes(areas) => areas
                .iter()
                .find(|(of, _)| *of == pane)
                .map_or(1, |(_, area)| usize::from(area.height.max(2)) - 1),
            Plan::TooSmall => 1,
        };
        let index = to(self.chosen(pane, &table), page).min(last);
        // At that end the pane follows what comes.
        let follows = if self.is_newest_last(pane) { last } else { 0 };
        let row = table.rows.get(index).filter(|_| index != follows);
        self.places[pane as usize].chosen = row.map(|row| (row.key.clone(), index));
    }

    fn sort(&mut self) {
        let place = &mut self.places[self.focus as usize];
        place.order = (place.order + 1) % self.focus.orders().len();
        place.chosen = None;
    }

    fn pause(&mut self) {
        self.frozen = match (&self.frozen, &self.newest) {
            (None, Some(look)) => Some(Frozen {
                look: look.clone(),
                log: self.log.end(),
            }),
            _ => None,
        };
    }

    fn answer(&mut self, input: Input, key: Key) -> Option<Action> {
        self.input = match (input, key) {
            (Input::Filter(_), Key::Esc) => None,
            (Input::Filter(text), Key::Enter) => {
                self.filter = text;
                None
            }
            (Input::Filter(mut text), Key::Backspace) => {
                text.pop();
                Some(Input::Filter(text))
            }
            (Input::Filter(_), Key::Ctrl('u')) => Some(Input::Filter(String::new())),
            (Input::Filter(mut text), Key::Char(character)) => {
                text.push(character);
                Some(Input::Filter(text))
            }
            (Input::Filter(text), _) => Some(Input::Filter(text)),
            (Input::Save(name), Key::Enter | Key::Char('y')) => {
                let look = self.shown()?;
                return Some(Action::Save(name, look.snapshot.clone()));
            }
            (Input::Save(_), _) => {
                self.say("not saved");
                None
            }
        };
        None
    }

    /// Opens what there is about the chosen row.
    fn open(&mut self) {
        let pane = self.focus;
        let table = self.table(pane);
        let Some(row) = table.rows.get(self.chosen(pane, &table)) else {
            return;
        };
        let Some(look) = self.shown() else { return };
        let verdict = match pane {
            Pane::Verdicts => look
                .verdicts
                .iter()
                .position(|verdict| verdict.key == row.key),
            Pane::Listeners => {
                let queue = look.queues.iter().find(|queue| queue.key == row.key);
                queue.and_then(|queue| queue.verdict)
            }
            Pane::Holders => {
                let holding = look.holders.iter().find(|holding| holding.key == row.key);
                holding.and_then(|holding| holding.verdict)
            }
            Pane::Events => {
                let number = row.key.parse().ok();
                let entry = number.and_then(|number| self.log.entry(number));
                self.overlay = entry.map(|entry| {
                    let time = panes::clock(entry.time, look.snapshot.taken_at);
                    let content = Content::Event(entry.text.clone(), entry.finding.clone());
                    Overlay::new(format!("{} at {time}", entry.kind), content)
                });
                return;
            }
        };
        let verdict = verdict.and_then(|index| look.verdicts.get(index));
        match verdict {
            Some(verdict) => {
                let now = look.snapshot.taken_at;
                let title = format!(
                    "{} as seen at {}, open since {}",
                    verdict.finding.id,
                    panes::clock(Some(now), now),
                    panes::clock(verdict.since_time, now)
                );
                let content = Content::Finding(Box::new(verdict.finding.clone()));
                self.overlay = Some(Overlay::new(title, content));
            }
            None => {
                let name = row.cells.first().map_or("", |cell| &cell.text);
                self.say(format!("nothing is open about {name}"));
            }
        }
    }

    fn scroll_overlay(&mut self, key: Key) {
        let (width, height) = layout::overlay(self.size);
        let Some(overlay) = &mut self.overlay else {
            return;
        };
        let last = overlay.lines(width).len().saturating_sub(height);
        let at = overlay.scroll.min(last);
        overlay.scroll = match key {
            Key::Up | Key::Char('k') => at.saturating_sub(1),
            Key::Down | Key::Char('j') => (at + 1).min(last),
            Key::PageUp | Key::Char('b') => at.saturating_sub(height),
            Key::PageDown | Key::Char(' ') => (at + height).min(last),
            Key::Home | Key::Char('g') => 0,
            Key::End | Key::Char('G') => last,
            Key::Esc | Key::Enter | Key::Char('q' | '?' | 'h') => {
                self.overlay = None;
                return;
            }
            _ => at,
        };
    }
}

/// `tcpleak-HOST-20261122T140211Z.tcpleak`: of a host's name what no shell minds.
fn file_name(snapshot: &Snapshot) -> String {
    let is_plain = |character: &char| character.is_ascii_alphanumeric() || *character == '-';
    let host: String = snapshot.host.hostname.chars().filter(is_plain).collect();
    let time = jiff::Timestamp::try_from(snapshot.taken_at);
    let time = time.map_or_else(
        |_error| String::new(),
        |time| time.strftime("-%Y%m%dT%H%M%SZ").to_string(),
    );
    format!("tcpleak-{host}{time}.tcpleak")
}
