//! The screen of a watch: a thread that draws it and answers keys, so that no look makes a key wait.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ratatui::crossterm::style::force_color_output;
use rustix::process::{Signal, kill_current_process_group};

use super::desk::{Desk, Message};
use super::terminal::{self, Tty};
use super::view::{Lines, Seen, View};
use super::wish::Wishes;
use crate::cli;
use crate::collect::saving;
use crate::history::{Event, EventKind, History};
use crate::model::{Coverage, Snapshot, printable};
use crate::record;
use crate::screen::{Action, Entry, Look, State};

/// Between two frames at least: a watch may look a thousand times a second.
const FRAME: Duration = Duration::from_millis(20);

/// A watch on a screen.
pub(super) struct Screen<'a> {
    options: &'a cli::Watch,
    desk: Arc<Desk>,
    drawing: Option<JoinHandle<io::Result<()>>>,
}

impl<'a> Screen<'a> {
    /// Shows the watch on `tty`. What is typed there that is no business of the screen becomes a
    /// wish.
    pub(super) fn open(
        options: &'a cli::Watch,
        tty: Tty,
        (to_me, messages): (Sender<Message>, Receiver<Message>),
        wishes: Wishes,
    ) -> io::Result<Screen<'a>> {
        let theme = options.theme();
        // What was asked for is settled: crossterm would follow NO_COLOR by itself.
        force_color_output(theme.color);
        let desk = Arc::new(Desk::new(to_me.clone()));
        let drawing = Drawing {
            tty,
            state: State::new(theme, options.from.is_some()),
            messages,
            desk: desk.clone(),
            wishes,
        };
        let drawing = thread::Builder::new()
            .name("screen".into())
            .spawn(move || drawing.run())?;
        // It waits for keys until the program ends.
        thread::Builder::new()
            .name("keys".into())
            .spawn(move || terminal::read_keys(&to_me))?;
        Ok(Screen {
            options,
            desk,
            drawing: Some(drawing),
        })
    }

    /// What says what others have to say: there is no place for it beside the screen.
    pub(super) fn desk(&self) -> Arc<Desk> {
        self.desk.clone()
    }

    /// Says the last thing to the thread that draws, and waits for its end.
    fn join(&mut self, last: Message) -> io::Result<()> {
        self.desk.send(last);
        match self.drawing.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(ended)) => ended,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        }
    }
}

impl View for Screen<'_> {
    fn look(&mut self, seen: &Seen<'_>) -> io::Result<()> {
        for event in seen.events {
            self.event(event, seen.history)?;
        }
        let snapshot = seen.snapshot.clone();
        let look = Look::new(seen.at, seen.interval, seen.report, seen.history, snapshot);
        self.desk.look(look);
        Ok(())
    }

    fn event(&mut self, event: &Event, history: &History) -> io::Result<()> {
        if event.kind == EventKind::Summary {
            self.join(Message::End)?;
            return Lines::new(self.options).event(event, history);
        }
        let time = history.wall_clock(event.at);
        self.desk.entry(Entry::event(event, time));
        Ok(())
    }

    fn note(&mut self, text: &str) {
        self.desk.note(text);
    }

    fn gaps(&mut self, coverage: &Coverage) {
        for entry in Entry::gaps(coverage, None) {
            self.desk.entry(entry);
        }
    }

    fn over(&mut self) -> io::Result<()> {
        self.join(Message::Over)
    }
}

impl Drop for Screen<'_> {
    /// The watch has failed: its error is what is to be seen.
    fn drop(&mut self) {
        self.desk.send(Message::End);
        if let Some(drawing) = self.drawing.take() {
            let _ = drawing.join();
        }
    }
}

/// The thread that draws.
struct Drawing {
    tty: Tty,
    state: State,
    messages: Receiver<Message>,
    desk: Arc<Desk>,
    wishes: Wishes,
}

impl Drawing {
    /// Draws until the watch ends, or somebody wants it to.
    fn run(mut self) -> io::Result<()> {
        self.tty.redraw()?;
        loop {
            self.tty.draw(&mut self.state)?;
            thread::sleep(FRAME);
            let Ok(message) = self.messages.recv() else {
                return Ok(());
            };
            let mut due = vec![message];
            due.extend(self.messages.try_iter());
            due.reverse();
            while let Some(message) = due.pop() {
                match message {
                    Message::End => return Ok(()),
                    Message::Resized => {}
                    Message::News => self.read_mail(),
                    Message::Over => self.state.over(),
                    Message::Continued => self.tty.take_again()?,
                    Message::Suspend => {
                        let meanwhile = self.tty.suspend(&self.messages)?;
                        due.splice(0..0, meanwhile.into_iter().rev());
                    }
                    Message::Key(key) => match self.state.press(key) {
                        None => {}
                        Some(Action::Quit) => return Ok(()),
                        Some(Action::Redraw) => self.tty.redraw()?,
                        // As the terminal does without raw mode; it comes back as `Suspend`.
                        Some(Action::Suspend) => kill_current_process_group(Signal::TSTP)?,
                        Some(Action::Save(name, snapshot)) => self.save(&name, &snapshot),
                    },
                }
            }
        }
    }

    fn read_mail(&mut self) {
        let mail = self.desk.take();
        if let Some(look) = mail.look {
            self.state.look(look);
        }
        for entry in mail.entries {
            self.state.log(entry);
        }
    }

    fn save(&mut self, name: &str, snapshot: &Snapshot) {
        let saved = saving(|| record::save_new(snapshot, Path::new(name)));
        let folder = std::env::current_dir().unwrap_or_default();
        let folder = printable(folder.as_os_str().as_encoded_bytes());
        self.state.say(match saved {
            Ok(()) => format!("saved as {name} in {folder}"),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                format!("not saved: {name} is there already")
            }
            Err(error) => format!("not saved in {folder}: {error}"),
        });
    }
}

impl Drop for Drawing {
    /// However it ends, there is no screen any more, and no reason to go on without one.
    fn drop(&mut self) {
        terminal::leave();
        self.desk.close();
        self.wishes.end();
    }
}
