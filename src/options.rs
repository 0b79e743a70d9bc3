//! What was typed, resolved against the terminal, the environment and the defaults.

use std::io::IsTerminal;
use std::path::PathBuf;

use crate::cli;
use crate::collect::{Entries, Request, SourceChoice};
use crate::diagnose::Thresholds;
use crate::join::Filter;
use crate::model::{Severity, TcpState};
use crate::render::Layout;

/// Where `/proc` is.
const PROC_ROOT: &str = "/proc";

impl cli::Scan {
    /// What to collect.
    pub fn request(&self) -> Request {
        let entries = if self.all {
            Entries::SuspectsAndAllListeners
        } else {
            Entries::Suspects
        };
        Request {
            source: self.source.into(),
            entries,
            accept_age: self.accept_age,
            close_wait_age: self.close_wait_age,
            settle: self.settle,
            proc_root: PathBuf::from(PROC_ROOT),
        }
    }

    /// From when on something is a finding.
    pub fn thresholds(&self) -> Thresholds {
        Thresholds {
            accept_age: self.accept_age,
            close_wait_age: self.close_wait_age,
        }
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

impl cli::List {
    /// What to collect.
    pub fn request(&self) -> Request {
        let states = match (self.listening, &self.state[..]) {
            (true, _) => vec![TcpState::Listen],
            (false, []) => TcpState::all().collect(),
            (false, states) => states.to_vec(),
        };
        Request {
            source: self.source.into(),
            entries: Entries::InStates(states),
            proc_root: PathBuf::from(PROC_ROOT),
            accept_age: Thresholds::default().accept_age,
            close_wait_age: Thresholds::default().close_wait_age,
            settle: std::time::Duration::ZERO,
        }
    }
}

impl cli::Output {
    /// Width and colour for standard output as it is.
    pub fn layout(&self) -> Layout {
        let stdout = std::io::stdout();
        let terminal = stdout.is_terminal();
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        Layout {
            width: rustix::termios::tcgetwinsize(&stdout)
                .ok()
                .map(|size| usize::from(size.ws_col))
                .filter(|width| terminal && *width > 0),
            color: match self.color {
                cli::Color::Always => true,
                cli::Color::Never => false,
                cli::Color::Auto => terminal && !no_color && !dumb,
            },
            sockets: false,
            all_listeners: false,
        }
    }
}

impl From<&cli::Filter> for Filter {
    fn from(typed: &cli::Filter) -> Filter {
        Filter {
            ports: typed.port.clone(),
            pids: typed.pid.clone(),
            processes: typed.process.clone(),
            remotes: typed.remote.clone(),
        }
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
