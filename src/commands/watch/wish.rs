//! What somebody wants of a watch while it goes on.

use std::io;
use std::sync::mpsc::{Sender, SyncSender};
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

/// Makes SIGINT and SIGTERM the wish to end. A second one ends the program at once, as ever.
///
/// With a `screen` so does SIGHUP, and the screen gives the terminal back at once, as it does while
/// the program is stopped.
pub(super) fn at_signals(
    wish: SyncSender<Wish>,
    screen: Option<Sender<Message>>,
) -> io::Result<()> {
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
        let mut is_ending = false;
        while let Some(signal) = signals.forever().next() {
            match signal {
                SIGTSTP => tell(Message::Suspend),
                SIGCONT => tell(Message::Continued),
                _ if is_ending => {
                    terminal::leave();
                    let _ = signal_hook::low_level::emulate_default_handler(signal);
                }
                _ => {
                    is_ending = true;
                    tell(Message::End);
                    // The watch may be over already, or may know.
                    let _ = wish.try_send(Wish::End);
                    // `timeout` sends a signal to the process and then to its group, which is no
                    // second wish.
                    std::thread::sleep(ECHO);
                    signals.pending().for_each(drop);
                }
            }
        }
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(wait)?;
    Ok(())
}
