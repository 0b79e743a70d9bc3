//! The terminal while the screen is up, and how it is given back on every way out: also when the
//! program panics, is told twice to end, or is suspended.
//!
//! In raw mode no key makes a signal: Ctrl-C and Ctrl-Z come as keys (man 3 termios, ISIG).

use std::io::{self, BufWriter, Stdout};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::terminal::{disable_raw_mode, enable_raw_mode};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, getpid, kill_process};

use super::desk::Message;
use crate::screen::{self, Key, State};

/// The alternate screen (xterm's 1049, which saves the cursor too), without a cursor.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l";
const LEAVE: &[u8] = b"\x1b[0m\x1b[?25h\x1b[?1049l";
/// A frame in one write, as far as that goes.
const FRAME: usize = 1 << 16;
/// How long a stop takes to reach all threads at most, where one comes at all.
const STOP: Duration = Duration::from_millis(200);

/// The terminal is the screen's.
static UP: AtomicBool = AtomicBool::new(false);

/// The terminal, until it is dropped.
pub(super) struct Tty {
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
}

impl Tty {
    /// Takes the terminal. Fails where no keys can be read from it.
    pub(super) fn enter() -> io::Result<Tty> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            // The message of a panic has to stand on the screen that is seen afterwards.
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                leave();
                before(panic);
            }));
        });
        take()?;
        let stdout = BufWriter::with_capacity(FRAME, io::stdout());
        match Terminal::new(CrosstermBackend::new(stdout)) {
            Ok(terminal) => Ok(Tty { terminal }),
            Err(error) => {
                leave();
                Err(error)
            }
        }
    }

    /// Draws what has changed, in the size that the terminal has now.
    pub(super) fn draw(&mut self, state: &mut State) -> io::Result<()> {
        if !UP.load(Ordering::SeqCst) {
            // Somebody else has given it back, and the program ends.
            return Ok(());
        }
        self.terminal.draw(|frame| {
            state.resize(frame.area().width, frame.area().height);
            screen::draw(frame, state);
        })?;
        Ok(())
    }

    /// Draws everything with the next frame.
    pub(super) fn redraw(&mut self) -> io::Result<()> {
        // Not `clear()`, which asks the terminal where its cursor is: the thread that reads keys
        // would get the answer.
        let size = self.terminal.size()?;
        self.terminal.resize(size.into())
    }

    /// Gives the terminal back and stops the program, until somebody continues it; returns what came
    /// meanwhile.
    pub(super) fn suspend(&mut self, messages: &Receiver<Message>) -> io::Result<Vec<Message>> {
        leave();
        // Not SIGSTOP, which would stop a program that no shell is there to continue: like SIGTSTP,
        // which is caught, SIGTTOU is ignored then (kernel/signal.c, get_signal()).
        kill_process(getpid(), Signal::TTOU)?;
        let mut meanwhile = Vec::new();
        loop {
            match messages.recv_timeout(STOP) {
                Ok(Message::Continued) | Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => break,
                Ok(message) => meanwhile.push(message),
            }
        }
        take()?;
        self.redraw()?;
        Ok(meanwhile)
    }

    /// The program was stopped without being asked and goes on: whatever the terminal is like now.
    pub(super) fn take_again(&mut self) -> io::Result<()> {
        leave();
        take()?;
        self.redraw()
    }
}

impl Drop for Tty {
    fn drop(&mut self) {
        leave();
    }
}

fn take() -> io::Result<()> {
    enable_raw_mode()?;
    UP.store(true, Ordering::SeqCst);
    write(ENTER)
}

/// Gives the terminal back, if that was not done yet. From any thread.
pub(super) fn leave() {
    if !UP.swap(false, Ordering::SeqCst) {
        return;
    }
    // Nothing can be done about a terminal that is gone.
    let _ = write(LEAVE);
    let _ = disable_raw_mode();
}

/// Straight to the terminal, since another thread may hold the lock of standard output; and not at
/// all to one that takes nothing, such as that of a connection that is dead.
fn write(mut bytes: &[u8]) -> io::Result<()> {
    const PATIENCE: Timespec = Timespec {
        tv_sec: 0,
        tv_nsec: 200_000_000,
    };
    let stdout = rustix::stdio::stdout();
    while !bytes.is_empty() {
        if poll(&mut [PollFd::new(&stdout, PollFlags::OUT)], Some(&PATIENCE))? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let written = rustix::io::write(stdout, bytes)?;
        bytes = &bytes[written..];
    }
    Ok(())
}

/// Sends on what is typed, until nobody listens any more.
pub(super) fn read_keys(to: &Sender<Message>) {
    loop {
        let message = match event::read() {
            Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => match known(key) {
                Some(key) => Message::Key(key),
                None => continue,
            },
            Ok(Event::Resize(..)) => Message::Resized,
            Ok(_) => continue,
            Err(_) => Message::End,
        };
        let is_over = matches!(message, Message::End);
        if to.send(message).is_err() || is_over {
            return;
        }
    }
}

fn known(key: KeyEvent) -> Option<Key> {
    let with_ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
    Some(match key.code {
        KeyCode::Char(character) if with_ctrl => Key::Ctrl(character.to_ascii_lowercase()),
        KeyCode::Char(_) if key.modifiers.contains(KeyModifiers::ALT) => return None,
        KeyCode::Char(character) => Key::Char(character),
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Esc,
        KeyCode::Tab => Key::Tab,
        KeyCode::BackTab => Key::BackTab,
        KeyCode::Backspace => Key::Backspace,
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::Left => Key::Left,
        KeyCode::Right => Key::Right,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::F(1) => Key::Char('?'),
        _ => return None,
    })
}
