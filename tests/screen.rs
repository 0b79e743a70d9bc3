//! `tcpleak watch` on a terminal: it takes the screen, answers keys, and gives the terminal back as
//! it was, however it ends.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::process::{Pid, Signal};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

use support::clock::eventually;
use support::command::{Ended, wait};
use support::in_own_namespace;
use support::scan::start;

const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";

/// A terminal with a watch on it.
struct Terminal {
    child: Ended,
    /// The end at which a person sits.
    master: File,
    /// The end of the program, to ask for its settings.
    device: File,
    before: Termios,
    shown: Arc<Mutex<Vec<u8>>>,
}

/// A folder of its own, where looks are saved.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

impl Terminal {
    /// `tcpleak watch --netns self ARGUMENTS`, in a session of its own on a terminal of 24 lines by
    /// 80.
    fn run(arguments: &str, folder: &Path) -> Terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        tcsetwinsize(&master, size(24, 80)).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let name = name.to_str().unwrap();
        let device = File::options().read(true).write(true).open(name).unwrap();
        let before = tcgetattr(&device).unwrap();
        let child = Command::new("setsid")
            .args(["--ctty", env!("CARGO_BIN_EXE_tcpleak")])
            .args(["watch", "--netns", "self"])
            .args(arguments.split_whitespace())
            .env("TERM", "xterm")
            .env("LC_ALL", "C.UTF-8")
            .current_dir(folder)
            .stdin(device.try_clone().unwrap())
            .stdout(device.try_clone().unwrap())
            .stderr(device.try_clone().unwrap())
            .spawn()
            .unwrap();
        let master = File::from(master);
        let mut terminal = Terminal {
            child: Ended(child),
            master,
            device,
            before,
            shown: Arc::default(),
        };
        terminal.read();
        terminal
    }

    /// Somebody has to read what is shown, or the program would wait for it.
    fn read(&mut self) {
        let mut master = self.master.try_clone().unwrap();
        let shown = Arc::clone(&self.shown);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            // When nobody has the terminal open any more that is EIO (man 4 pts).
            while let Ok(length @ 1..) = master.read(&mut buffer) {
                shown.lock().unwrap().extend(&buffer[..length]);
            }
        });
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    /// Waits until `text` is on the screen.
    fn until(&self, text: &str) {
        eventually(text, || screen(&self.shown()).contains(text).then_some(()));
    }

    fn until_sent(&self, sequence: &str) {
        eventually("a sequence", || {
            self.shown().contains(sequence).then_some(())
        });
    }

    fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    fn child(&mut self) -> &mut Child {
        &mut self.child.0
    }

    fn send(&mut self, signal: Signal) {
        let pid = Pid::from_raw(self.child().id().try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for the end; returns the exit status and what stands on the terminal afterwards.
    fn end(mut self) -> (i32, String) {
        let status = wait(self.child());
        // It was written before the end, and may not have been read yet.
        let after = eventually("the last line", || {
            let shown = self.shown();
            let (_, after) = shown.rsplit_once(LEAVE)?;
            after.ends_with("\r\n").then(|| after.to_owned())
        });
        let settings = tcgetattr(&self.device).unwrap();
        assert_eq!(text(&settings), text(&self.before));
        (status, plain(&after))
    }
}

/// What a terminal shows that was sent this: of what a terminal can, as much as a screen is drawn
/// with.
fn screen(sent: &str) -> String {
    let mut cells = vec![[' '; 80]; 24];
    let (mut row, mut column) = (0, 0);
    let mut rest = sent.chars().peekable();
    while let Some(sign) = rest.next() {
        match sign {
            '\r' => column = 0,
            '\n' => row += 1,
            '\x1b' if rest.next_if_eq(&'[').is_some() => {
                let mut parameters = String::new();
                let end = loop {
                    match rest.next() {
                        Some(sign) if !sign.is_ascii_alphabetic() => parameters.push(sign),
                        end => break end,
                    }
                };
                let mut numbers = parameters
                    .split(';')
                    .map(|number| number.parse().unwrap_or(1));
                match end {
                    Some('H') => {
                        row = numbers.next().unwrap_or(1) - 1;
                        column = numbers.next().unwrap_or(1) - 1;
                    }
                    Some('J') => cells.fill([' '; 80]),
                    _ => {}
                }
            }
            _ => {
                if let Some(cell) = cells.get_mut(row).and_then(|row| row.get_mut(column)) {
                    *cell = sign;
                }
                column += 1;
            }
        }
    }
    let lines = cells
        .iter()
        .map(|row| row.iter().collect::<String>() + "\n");
    lines.collect()
}

/// Text without colours.
fn plain(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|sign: char| sign.is_ascii_alphabetic());
        plain += end.map_or("", |end| &part[end + 1..]);
    }
    plain
}

/// All settings of a terminal.
fn text(settings: &Termios) -> String {
    format!("{settings:?}")
}

#[test]
fn a_key_ends_it_and_the_terminal_is_as_it_was() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let folder = Folder::new("screen-keys");
    for key in ["q", "\x1b", "\x03"] {
        let mut terminal = Terminal::run("", &folder.0);
        terminal.until("nothing leaks");
        terminal.press(key);
        let (status, after) = terminal.end();
        assert_eq!(status, 0, "{after}");
        assert!(after.contains("summary        watched for"), "{after}");
    }
}

#[test]
fn so_it_is_after_a_signal() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let folder = Folder::new("screen-signals");
    let case = start("edge-triggered-missed-wakeup");
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut terminal = Terminal::run("", &folder.0);
        terminal.until("edge-triggered-missed-wakeup");
        terminal.send(signal);
        let (status, after) = terminal.end();
        assert_eq!(status, 1, "{signal:?}: {after}");
        assert!(after.contains("1 finding appeared"), "{after}");
    }
    drop(case);
}

#[test]
fn so_it_is_at_the_end_that_was_asked_for_and_at_an_error() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let folder = Folder::new("screen-ends");
    let (status, after) = Terminal::run("--interval 10ms --count 3", &folder.0).end();
    assert_eq!(status, 0, "{after}");
    assert!(after.contains("3 looks"), "{after}");
    let (status, after) = Terminal::run("--from /nowhere", &folder.0).end();
    assert_eq!(status, 2, "{after}");
    assert!(
        after.starts_with("tcpleak: cannot read /nowhere"),
        "{after}"
    );
}

/// Where no shell could continue it, as here, a stop is no stop; the terminal was given back for it.
#[test]
fn a_stop_gives_the_terminal_back_for_a_while() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let folder = Folder::new("screen-stop");
    let mut terminal = Terminal::run("", &folder.0);
    terminal.until("nothing leaks");
    terminal.press("\x1a");
    terminal.until_sent(LEAVE);
    terminal.until_sent(&format!("{LEAVE}{ENTER}"));
    terminal.press("q");
    assert_eq!(terminal.end().0, 0);
}

#[test]
fn no_look_makes_a_key_wait() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let folder = Folder::new("screen-waits");
    let mut terminal = Terminal::run("--interval 1h", &folder.0);
    terminal.until("nothing leaks");
    terminal.press("?");
    terminal.until("Ctrl-Z");
    tcsetwinsize(&terminal.master, size(4, 30)).unwrap();
    terminal.until("terminal too small: 30x4");
    tcsetwinsize(&terminal.master, size(24, 80)).unwrap();
    terminal.press("qS");
    terminal.until("Enter: yes");
    terminal.press("\r");
    terminal.until("saved as tcpleak-");
    terminal.press("S\r");
    terminal.until("is there already");
    terminal.press("q");
    assert_eq!(terminal.end().0, 0);
    let saved: Vec<_> = std::fs::read_dir(&folder.0).unwrap().collect();
    assert_eq!(saved.len(), 1, "{saved:?}");
    let path = saved[0].as_ref().unwrap().path();
    let snapshot = File::open(path).unwrap();
    assert!(tcpleak::record::read(std::io::BufReader::new(snapshot)).is_ok());
}

#[test]
fn a_recording_stays_on_the_screen_until_somebody_has_seen_it() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let folder = Folder::new("screen-replay");
    let recorded = Terminal::run("--interval 10ms --count 3 --save w.tcpleak", &folder.0);
    assert_eq!(recorded.end().0, 0);
    let mut terminal = Terminal::run("--from w.tcpleak", &folder.0);
    terminal.until("read to its end");
    terminal.press("q");
    let (status, after) = terminal.end();
    assert_eq!(status, 0, "{after}");
    assert!(after.contains("3 looks"), "{after}");
}

#[test]
fn lines_are_for_those_who_want_them() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let folder = Folder::new("screen-lines");
    for arguments in ["--plain --count 1", "--json --count 1"] {
        let mut terminal = Terminal::run(arguments, &folder.0);
        assert_eq!(wait(terminal.child()), 0);
        terminal.until_sent("summary");
        assert!(!terminal.shown().contains(ENTER), "{}", terminal.shown());
    }
}
