//! What somebody wants of a watch while it goes on.

use std::io;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// How long the same signal, sent twice, is one wish to end.
const ECHO: Duration = Duration::from_millis(300);

/// What a watch can be asked for between two looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// To end, with its summary.
    End,
}

/// Makes SIGINT and SIGTERM the wish to end. A second one ends the program at once, as ever.
pub(super) fn at_signals(wish: SyncSender<Wish>) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let wait = move || {
        if signals.forever().next().is_some() {
            // The watch may be over already.
            let _ = wish.send(Wish::End);
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
    Ok(())
}
