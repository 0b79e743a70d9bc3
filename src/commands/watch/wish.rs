//! What somebody wants of a watch while it goes on.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, sync_channel};
use std::time::Duration;

use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;

use super::desk::Message;
use super::terminal;

/// How long the same signal, sent twice, is one wish to end.
const ECHO: Duration = Duration::from_millis(300);

/// What a watch can be asked for between two looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// To end, with its summary.
    End,
}

/// Where wishes are made.
#[derive(Debug, Clone)]
pub(super) struct Wishes {
    to: SyncSender<Wish>,
    is_ending: Arc<AtomicBool>,
}

impl Wishes {
    pub(super) fn new() -> (Wishes, Receiver<Wish>) {
        let (to, wishes) = sync_channel(1);
        let is_ending = Arc::default();
        (Wishes { to, is_ending }, wishes)
    }

    /// Wishes for the end, and says whether that is the first time.
    pub(super) fn end(&self) -> bool {
        // The watch may be over already, or may know.
        let _ = self.to.try_send(Wish::End);
        !self.is_ending.swap(true, Ordering::SeqCst)
    }
}

/// Makes SIGINT and SIGTERM the wish to end. If there was one already they end the program at once,
/// as ever.
///
/// With a `screen` so does SIGHUP, and the screen gives the terminal back at once, as it does while
/// the program is stopped.
pub(super) fn at_signals(wishes: Wishes, screen: Option<Sender<Message>>) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    if screen.is_some() {
        for signal in [SIGHUP, SIGTSTP, SIGCONT] {
            signals.add_signal(signal)?;
        }
    }
    let tell = move |message| {
        // The screen may be down already.
        let _ = screen.as_ref().map(|screen| screen.send(message));
    };
    let wait = move || {
        while let Some(signal) = signals.forever().next() {
            match signal {
                SIGTSTP => tell(Message::Suspend),
                SIGCONT => tell(Message::Continued),
                _ if wishes.end() => {
                    tell(Message::End);
                    // `timeout` sends a signal to the process and then to its group, which is no
                    // second wish.
                    std::thread::sleep(ECHO);
                    signals.pending().for_each(drop);
                }
                _ => {
                    terminal::leave();
                    let _ = signal_hook::low_level::emulate_default_handler(signal);
                }
            }
        }
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(wait)?;
    Ok(())
}
