//! What was typed, resolved against the terminal, the environment and the defaults.

use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use crate::cli;
use crate::collect::{self, Entries, Request, SourceChoice};
use crate::diagnose::Thresholds;
use crate::expression::{self, Mistake, Regrouped};
use crate::join::Filter;
use crate::model::{Focus, NetnsChoice, Severity, TcpState};
use crate::render::Layout;
use crate::screen::Theme;

/// Where `/proc` is, as a rule.
const PROC_ROOT: &str = "/proc";

impl cli::Scan {
    /// What to collect.
    pub fn request(&self) -> Request {
        let entries = if self.all {
            Entries::SuspectsAndAllListeners
        } else {
            Entries::Suspects
        };
        let netns = self.filter.netns.clone();
        Request {
            proc_root: self.proc.root.clone(),
            ..request(self.source, entries, netns, self.thresholds(), self.settle)
        }
    }

    /// From when on something is a finding.
    pub fn thresholds(&self) -> Thresholds {
        (&self.ages).into()
    }

    /// How to lay out the report.
    pub fn layout(&self) -> Layout {
        Layout {
            sockets: self.sockets,
            all_listeners: self.all,
            ..self.output.layout()
        }
    }
}

impl cli::Watch {
    /// What to collect in each look.
    pub fn request(&self) -> Request {
        Request {
            proc_root: self.proc.root.clone(),
            ..request(
                self.source,
                Entries::Suspects,
                self.filter.netns.clone(),
                self.thresholds(),
                self.settle,
            )
        }
    }

    /// From when on something is a finding.
    pub fn thresholds(&self) -> Thresholds {
        (&self.ages).into()
    }

    /// Whether it is shown on a screen: standard output is a terminal that can do more than print
    /// lines, and that is wanted.
    pub fn screen(&self) -> bool {
        let stdout = std::io::stdout();
        let is_taken = self
            .save
            .as_ref()
            .is_some_and(|path| path.as_os_str() == "-");
        // A serial line has no size until somebody sets it (man 1 stty).
        let can = !is_taken && !is_dumb() && width(&stdout).is_some();
        can && !self.plain && !self.output.json
    }

    /// What the screen may be drawn with.
    pub fn theme(&self) -> Theme {
        Theme {
            color: self.output.layout().color,
            unicode: is_utf8(),
        }
    }

    /// The program of `--exec` and its arguments; `None` if none is given or it is blank.
    pub fn program(&self) -> Option<(OsString, Vec<OsString>)> {
        words(self.exec.as_ref()?)
    }
}

impl cli::List {
    /// What to collect.
    pub fn request(&self, filter: &Filter) -> Request {
        let mut states: Vec<TcpState> = match (self.listening, &self.state[..]) {
            (true, _) => vec![TcpState::Listen],
            (false, []) => TcpState::all().collect(),
            (false, states) => states.to_vec(),
        };
        let mut condition = None;
        // The kernel leaves out what would be dropped anyway. Where holders decide it does not: those
        // of a connection that waits to be accepted are its listener's, which need not pass itself.
        if !filter.asks_for_holders() {
            condition = filter.condition();
            if let Some(expression) = &filter.expression {
                states.retain(|state| expression.states.contains(*state));
            }
        }
        let entries = Entries::InStates { states, condition };
        let netns = self.filter.netns.clone();
        let thresholds = Thresholds::default();
        Request {
            proc_root: self.proc.root.clone(),
            ..request(self.source, entries, netns, thresholds, Duration::ZERO)
        }
    }
}

impl cli::Inspect {
    /// What to collect.
    pub fn request(&self) -> Request {
        let entries = Entries::Focus(self.subject);
        let netns = self.netns.clone();
        Request {
            proc_root: self.proc.root.clone(),
            ..request(
                cli::Source::Auto,
                entries,
                netns,
                self.thresholds(),
                self.settle,
            )
        }
    }

    /// From when on something is a finding.
    pub fn thresholds(&self) -> Thresholds {
        Thresholds::default()
    }

    /// Width and colour for standard output as it is.
    pub fn layout(&self) -> Layout {
        layout(self.color)
    }
}

impl cli::Probe {
    /// What to collect about the listener, however young its queue: the experiment itself shows
    /// that it does not move.
    pub fn request(&self) -> Request {
        const SETTLE: Duration = Duration::from_millis(250);
        let entries = Entries::Focus(Focus::Port(self.target.port()));
        request(
            cli::Source::SockDiag,
            entries,
            vec![NetnsChoice::Own],
            self.thresholds(),
            SETTLE,
        )
    }

    /// From when on something is a finding.
    pub fn thresholds(&self) -> Thresholds {
        Thresholds {
            accept_age: Duration::ZERO,
            ..Thresholds::default()
        }
    }
}

impl cli::Doctor {
    /// Where processes are read.
    pub fn proc_root(&self) -> PathBuf {
        self.proc.root.clone()
    }
}

impl cli::Output {
    /// Width and colour for standard output as it is.
    pub fn layout(&self) -> Layout {
        layout(self.color)
    }
}

impl cli::Explain {
    /// Width and colour for standard output as it is.
    pub fn layout(&self) -> Layout {
        layout(self.color)
    }

    /// The pager for what does not fit the terminal; `None` where none is wanted or can be.
    pub fn pager(&self) -> Option<Pager> {
        let stdout = std::io::stdout();
        if self.no_pager || is_dumb() || !stdout.is_terminal() {
            return None;
        }
        let screen = rustix::termios::tcgetwinsize(&stdout).ok()?;
        let typed = std::env::var_os("PAGER").unwrap_or_else(|| "less".into());
        let (program, arguments) = words(&typed)?;
        Some(Pager {
            program,
            arguments,
            // What less has to be told unless its user has told it something else: leave at once
            // if all fits, let colours through, leave the text on the screen.
            less: std::env::var_os("LESS").is_none().then_some("FRX"),
            rows: screen.ws_row.into(),
            columns: screen.ws_col.into(),
        })
    }
}

/// What shows a text one screen after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pager {
    /// What to run.
    pub program: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// What the environment is to say in `LESS`, if it says nothing.
    pub less: Option<&'static str>,
    /// The terminal's height.
    pub rows: usize,
    /// The terminal's width.
    pub columns: usize,
}

fn layout(color: cli::Color) -> Layout {
    let stdout = std::io::stdout();
    let terminal = stdout.is_terminal();
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    Layout {
        width: width(&stdout),
        color: match color {
            cli::Color::Always => true,
            cli::Color::Never => false,
            cli::Color::Auto => terminal && !no_color && !is_dumb(),
        },
        sockets: false,
        all_listeners: false,
    }
}

/// Columns of `stream`'s terminal; `None` if it is none.
pub fn width(stream: &(impl IsTerminal + AsFd)) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    Some(usize::from(size.ws_col)).filter(|width| stream.is_terminal() && *width > 0)
}

fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|value| value == "dumb")
}

/// The terminal's characters, by the locale (man 7 locale); without one they are ASCII.
fn is_utf8() -> bool {
    let value = |name: &&str| std::env::var_os(name).filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(value);
    locale.is_some_and(|locale| {
        let locale = locale.to_string_lossy().to_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

/// A program and its arguments, split at white space: no shell reads them. `None` if it is blank.
fn words(command: &OsStr) -> Option<(OsString, Vec<OsString>)> {
    let mut words = command
        .as_bytes()
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
        .map(|word| OsStr::from_bytes(word).to_owned());
    Some((words.next()?, words.collect()))
}

/// A request of this machine.
fn request(
    source: cli::Source,
    entries: Entries,
    netns: Vec<NetnsChoice>,
    thresholds: Thresholds,
    settle: Duration,
) -> Request {
    Request {
        source: source.into(),
        entries,
        netns,
        accept_age: thresholds.accept_age,
        close_wait_age: thresholds.close_wait_age,
        settle,
        proc_root: PathBuf::from(PROC_ROOT),
    }
}

impl From<&cli::Ages> for Thresholds {
    fn from(typed: &cli::Ages) -> Thresholds {
        Thresholds {
            accept_age: typed.accept_age,
            close_wait_age: typed.close_wait_age,
        }
    }
}

impl cli::Filter {
    /// What is kept, and where its expression may have been meant otherwise.
    pub fn resolve(&self) -> Result<(Filter, Option<Regrouped>), Mistake> {
        let text = self.expression.join(" ");
        let typed = match text.trim() {
            "" => None,
            _ => Some(expression::parse(&text, &service)?),
        };
        let (expression, regrouped) = match typed {
            Some(typed) => (Some(typed.expression), typed.regrouped),
            None => (None, None),
        };
        let filter = Filter {
            ports: self.port.clone(),
            pids: self.pid.clone(),
            processes: self.process.clone(),
            remotes: self.remote.clone(),
            containers: self.container.clone(),
            units: self.unit.clone(),
            pods: self.pod.clone(),
            // Said before anything is read; of a recording, `commands::scan` finds out which.
            netns: Vec::new(),
            expression,
        };
        Ok((filter, regrouped))
    }
}

/// The port of a service, or why there is none.
fn service(name: &str) -> Result<u16, String> {
    match collect::tcp_port(name) {
        Ok(Some(port)) => Ok(port),
        Ok(None) => Err("/etc/services has no TCP service of that name".to_owned()),
        Err(error) => Err(format!("/etc/services cannot be read: {error}")),
    }
}

impl From<cli::Source> for SourceChoice {
    fn from(typed: cli::Source) -> SourceChoice {
        match typed {
            cli::Source::Auto => SourceChoice::Auto,
            cli::Source::SockDiag => SourceChoice::SockDiag,
            cli::Source::Proc => SourceChoice::Proc,
        }
    }
}

impl From<cli::FailOn> for Severity {
    fn from(typed: cli::FailOn) -> Severity {
        match typed {
            cli::FailOn::Info => Severity::Info,
            cli::FailOn::Warning => Severity::Warning,
            cli::FailOn::Critical => Severity::Critical,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pager_is_a_program_and_its_arguments() {
        let check = |command: &str, expect: Option<(&str, &[&str])>| {
            let expect = expect.map(|(program, arguments)| {
                let arguments = arguments.iter().map(OsString::from).collect();
                (OsString::from(program), arguments)
            });
            assert_eq!(words(command.as_ref()), expect, "{command:?}");
        };
        check("less", Some(("less", &[])));
        check(" less  -R\t-S ", Some(("less", &["-R", "-S"])));
        check("sh -c 'x; y'", Some(("sh", &["-c", "'x;", "y'"])));
        check("", None);
        check(" ", None);
    }
}
