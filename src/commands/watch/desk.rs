//! What waits for the thread that draws. A terminal that takes nothing must not stop the watch, nor
//! fill its memory: of looks only the newest waits, and of events so many.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::screen::{Entry, Key, Look};

/// Entries of the log that wait; more than are kept on the screen are of no use.
const ENTRIES_AT_MOST: usize = 1_000;

/// What wakes the thread that draws.
#[derive(Debug)]
pub(super) enum Message {
    Key(Key),
    /// The terminal has another size.
    Resized,
    /// There is mail.
    News,
    /// The program is to be stopped for a while.
    Suspend,
    /// The program was stopped, and goes on.
    Continued,
    /// The recording that is replayed is over; whoever looks at it ends the program.
    Over,
    /// It is time to give the terminal back.
    End,
}

/// What is new since the thread has looked.
#[derive(Debug, Default)]
pub(super) struct Mail {
    pub(super) look: Option<Arc<Look>>,
    pub(super) entries: VecDeque<Entry>,
    /// The thread knows that there is something.
    is_told: bool,
    /// Nobody reads it any more.
    is_closed: bool,
}

/// Where mail is left.
#[derive(Debug)]
pub(super) struct Desk {
    mail: Mutex<Mail>,
    messages: Sender<Message>,
}

impl Desk {
    pub(super) fn new(messages: Sender<Message>) -> Desk {
        Desk {
            mail: Mutex::default(),
            messages,
        }
    }

    pub(super) fn look(&self, look: Look) {
        self.leave(|mail| mail.look = Some(Arc::new(look)));
    }

    pub(super) fn entry(&self, entry: Entry) {
        self.leave(|mail| {
            if mail.entries.len() == ENTRIES_AT_MOST {
                mail.entries.pop_front();
            }
            mail.entries.push_back(entry);
        });
    }

    /// Says something on the screen; on standard error when that is not up any more.
    pub(super) fn note(&self, text: &str) {
        if self.mail().is_closed {
            let _ = writeln!(io::stderr(), "tcpleak: {text}");
        } else {
            self.entry(Entry::note(text, None));
        }
    }

    pub(super) fn send(&self, message: Message) {
        // The thread may have ended.
        let _ = self.messages.send(message);
    }

    /// Everything that is new.
    pub(super) fn take(&self) -> Mail {
        std::mem::take(&mut *self.mail())
    }

    /// The screen is down.
    pub(super) fn close(&self) {
        self.mail().is_closed = true;
    }

    fn leave(&self, put: impl FnOnce(&mut Mail)) {
        let mut mail = self.mail();
        if mail.is_closed {
            return;
        }
        put(&mut mail);
        if !std::mem::replace(&mut mail.is_told, true) {
            self.send(Message::News);
        }
    }

    fn mail(&self) -> MutexGuard<'_, Mail> {
        // A thread that panicked with it in hand has left it whole: every change is one step.
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_reader_is_told_once_and_gets_the_newest() {
        let (send, receive) = channel();
        let desk = Desk::new(send);
        for number in 0..ENTRIES_AT_MOST + 5 {
            desk.note(&number.to_string());
        }
        assert_eq!(receive.try_iter().count(), 1);
        assert_eq!(desk.take().entries.len(), ENTRIES_AT_MOST);
        assert_eq!(desk.take().entries.len(), 0);
        desk.note("again");
        assert_eq!(receive.try_iter().count(), 1);
        desk.take();
        desk.close();
        desk.entry(Entry::note("nobody", None));
        assert_eq!(
            (desk.take().entries.len(), receive.try_iter().count()),
            (0, 0)
        );
    }
}
