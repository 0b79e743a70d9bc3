//! `tcpleak explain`, as it is piped and as it is seen on a terminal.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Command, ExitStatus, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tcpleak::pages;

const PAGE: &str = "acceptor-blocked";

fn explain(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcpleak"));
    command.arg("explain").args(arguments);
    command.env_remove("NO_COLOR").env_remove("LESS");
    command.env("TERM", "xterm").env_remove("PAGER");
    command
}

fn piped(arguments: &[&str]) -> (ExitStatus, String, String) {
    let output = explain(arguments).output().unwrap();
    (
        output.status,
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

/// What the command shows on a terminal of that size.
fn on_terminal(command: &mut Command, rows: u16, columns: u16) -> (ExitStatus, String) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&master, size).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let terminal = File::options()
        .read(true)
        .write(true)
        .open(name.to_str().unwrap())
        .unwrap();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(terminal)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    command.stdout(Stdio::null()); // The last descriptor of the terminal here: then reading ends.
    let shown = read_all(master);
    (child.wait().unwrap(), shown.replace("\r\n", "\n"))
}

/// A terminal that nobody has open any more is EIO, not an end of file (man 4 pts).
fn read_all(master: OwnedFd) -> String {
    let (mut file, mut text, mut buffer) = (File::from(master), Vec::new(), [0; 4096]);
    while let Ok(length @ 1..) = file.read(&mut buffer) {
        text.extend(&buffer[..length]);
    }
    String::from_utf8(text).unwrap()
}

#[test]
fn a_pipe_gets_the_page_as_it_is() {
    for page in pages::ALL {
        let (status, text, notes) = piped(&[page.id]);
        assert!(status.success() && notes.is_empty(), "{notes}");
        assert_eq!(text, page.text);
    }
}

#[test]
fn without_an_identifier_all_are_listed_one_a_line() {
    let (status, text, _) = piped(&[]);
    assert!(status.success());
    for page in pages::ALL {
        let mut rows = text.lines().filter(|line| {
            line.split_whitespace().next() == Some(page.id) && line.ends_with(page.summary())
        });
        assert_eq!(rows.by_ref().count(), 1, "{}", page.id);
    }
}

#[test]
fn an_unknown_page_is_a_wrong_call() {
    let (status, text, notes) = piped(&["close-wait-leek"]);
    assert_eq!((status.code(), text.as_str()), (Some(2), ""));
    assert!(notes.contains("did you mean close-wait-leak?"), "{notes}");
}

#[test]
fn a_terminal_gets_it_laid_out_to_its_width() {
    let (status, shown) = on_terminal(&mut explain(&["--no-pager", PAGE]), 10, 60);
    assert!(status.success());
    assert!(
        shown.starts_with("\x1b[1macceptor-blocked\x1b[0m\n"),
        "{shown}"
    );
    let widest = |line: &&str| !line.contains('\x1b') && line.len() > 60;
    assert_eq!(shown.lines().find(widest), None);
}

#[test]
fn colour_is_left_out_where_it_is_not_wanted() {
    for command in [
        explain(&["--no-pager", PAGE]).env("NO_COLOR", "1"),
        &mut explain(&["--no-pager", "--color=never", PAGE]),
        explain(&[PAGE]).env("TERM", "dumb"),
    ] {
        let (_, shown) = on_terminal(command, 10, 60);
        assert!(
            shown.starts_with("acceptor-blocked\n\n  No thread"),
            "{shown}"
        );
        assert!(!shown.contains('\x1b'), "{shown}");
    }
    let (_, text, _) = piped(&["--color=always", PAGE]);
    assert!(text.contains('\x1b'));
}

#[test]
fn what_does_not_fit_the_terminal_is_paged() {
    let mut tall = explain(&[PAGE]);
    let (status, shown) = on_terminal(tall.env("PAGER", " grep -c ^ "), 24, 80);
    assert!(status.success());
    assert!(shown.trim().parse::<usize>().unwrap() > 24, "{shown}");

    let mut short = explain(&[]);
    let (_, shown) = on_terminal(short.env("PAGER", "grep -c ^"), 100, 200);
    assert!(shown.contains("Findings"), "{shown}");
}

#[test]
fn less_is_told_what_it_needs_unless_its_user_has() {
    let page = |less: Option<&str>| {
        let mut command = explain(&[PAGE]);
        command.env("PAGER", "printenv LESS");
        command.envs(less.map(|flags| ("LESS", flags)));
        on_terminal(&mut command, 24, 80).1
    };
    assert_eq!(page(None), "FRX\n");
    assert_eq!(page(Some("-S")), "-S\n");
}

#[test]
fn without_a_pager_the_page_is_printed() {
    for pager in ["/nonexistent/pager -x", ""] {
        let mut command = explain(&["--color=never", PAGE]);
        let (status, shown) = on_terminal(command.env("PAGER", pager), 24, 80);
        assert!(status.success());
        assert!(shown.starts_with("acceptor-blocked\n"), "{shown}");
        assert!(shown.lines().count() > 24, "{shown}");
    }
}
