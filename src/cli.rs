//! What can be typed, literally. What it means here is `options`' business.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::join::RemotePattern;
use crate::model::{Focus, NetnsChoice, TcpState};

/// Finds leaked TCP sockets and stuck accept queues, who holds them, and why.
#[derive(Debug, Parser)]
#[command(name = "tcpleak", version, max_term_width = 100)]
#[command(
    after_help = "Exit status: 0 nothing found, 1 something found, 2 could not run, \
    3 nothing found and not everything could be seen (--strict)."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Take one look and say what leaks, who holds it, since when and why.
    Scan(Scan),
    /// Look again and again: what appears, grows, drains and recovers.
    Watch(Watch),
    /// Print the socket table with holders, one socket a line, in ss's columns.
    List(List),
    /// Print everything that is known about one socket, descriptor, port or process.
    Inspect(Inspect),
    /// Print the reference page of a finding or cause.
    Explain(Explain),
    /// Reproduce a case on loopback with a real server, and scan it.
    Demo(Demo),
    /// Open one connection to a listener of this machine, and say what moves.
    #[command(after_help = PROBE_STATUS)]
    Probe(Probe),
    /// Print what can be seen from here, what is missing, and what would grant it.
    #[command(after_help = DOCTOR_STATUS)]
    Doctor(Doctor),
}

const DOCTOR_STATUS: &str = "Exit status: 0 a run sees everything it needs, 2 not run, \
    3 something is missing.";

const PROBE_STATUS: &str = "Not passive: a program sees one connection that sends nothing. \
    Exit status: 0 it accepts, 1 it does not or too late, 2 not run, 3 nothing was decided.";

/// Options of `scan`.
#[derive(Debug, Args)]
pub struct Scan {
    /// From when on something is a finding.
    #[command(flatten)]
    pub ages: Ages,
    /// Time between two looks at suspect queues; 0 for one look.
    #[arg(long, value_name = "DURATION", default_value = "250ms", value_parser = parse_duration)]
    pub settle: std::time::Duration,
    /// Show every CLOSE_WAIT socket, not only groups.
    #[arg(long)]
    pub sockets: bool,
    /// Show every listener, not only those with a queue.
    #[arg(long)]
    pub all: bool,
    /// Exit with 1 from this severity on.
    #[arg(long, value_name = "SEVERITY", default_value = "warning")]
    pub fail_on: FailOn,
    /// Exit with 3 if nothing was found and not everything could be seen.
    #[arg(long)]
    pub strict: bool,
    /// Write what was read to FILE (- for standard output, instead of the report).
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
    /// Look at a file written by --save, not at this machine.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["save", "source", "proc"])]
    pub from: Option<PathBuf>,
    /// What to keep.
    #[command(flatten)]
    pub filter: Filter,
    /// How to print it.
    #[command(flatten)]
    pub output: Output,
    /// Where socket entries are read.
    #[arg(long, value_name = "SOURCE", default_value = "auto")]
    pub source: Source,
    /// Where processes are read.
    #[command(flatten)]
    pub proc: Proc,
}

/// Options of `watch`.
#[derive(Debug, Args)]
pub struct Watch {
    /// Time from the beginning of one look to that of the next.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_interval)]
    pub interval: std::time::Duration,
    /// End after this time.
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    pub time: Option<std::time::Duration>,
    /// End after so many looks.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// End when there is a finding, or none.
    #[arg(long, value_name = "WHAT")]
    pub until: Option<Until>,
    /// What counts as a finding for --until, --exec and the exit status.
    #[arg(long, value_name = "SEVERITY", default_value = "warning")]
    pub fail_on: FailOn,
    /// Run a program for each new finding, with the event as JSON on its standard input; the words
    /// are separated by spaces, and no shell reads them.
    #[arg(long, value_name = "COMMAND")]
    pub exec: Option<std::ffi::OsString>,
    /// One line an event, also on a terminal, instead of the live screen.
    #[arg(long)]
    pub plain: bool,
    /// With --json, print a full report too, every N looks or every DURATION.
    #[arg(long, value_name = "N|DURATION", requires = "json", value_parser = parse_report_every)]
    pub report_every: Option<ReportEvery>,
    /// Write every look to FILE as it is taken (- for standard output, instead of the events).
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
    /// Watch a file written by --save, as fast as it can be read, and not this machine.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["save", "source", "proc", "interval", "exec"])]
    pub from: Option<PathBuf>,
    /// From when on something is a finding.
    #[command(flatten)]
    pub ages: Ages,
    /// Time at least between two reads of a queue that are compared.
    #[arg(long, value_name = "DURATION", default_value = "250ms", value_parser = parse_duration)]
    pub settle: std::time::Duration,
    /// What to keep.
    #[command(flatten)]
    pub filter: Filter,
    /// How to print it.
    #[command(flatten)]
    pub output: Output,
    /// Where socket entries are read.
    #[arg(long, value_name = "SOURCE", default_value = "auto")]
    pub source: Source,
    /// Where processes are read.
    #[command(flatten)]
    pub proc: Proc,
}

/// `--until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Until {
    /// Something at or above --fail-on is found.
    Finding,
    /// Nothing at or above --fail-on is left.
    Clear,
}

/// `--report-every`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportEvery {
    /// Every so many looks.
    Looks(u64),
    /// Whenever this time has passed.
    Time(std::time::Duration),
}

/// Options of `list`.
#[derive(Debug, Args)]
pub struct List {
    /// Only sockets in this state (repeatable; LISTEN, estab, close-wait, …).
    #[arg(long, value_name = "STATE")]
    pub state: Vec<TcpState>,
    /// Only listeners.
    #[arg(long, short, conflicts_with = "state")]
    pub listening: bool,
    /// What to keep.
    #[command(flatten)]
    pub filter: Filter,
    /// How to print it.
    #[command(flatten)]
    pub output: Output,
    /// Where socket entries are read.
    #[arg(long, value_name = "SOURCE", default_value = "auto")]
    pub source: Source,
    /// Where processes are read.
    #[command(flatten)]
    pub proc: Proc,
}

/// Options of `inspect`.
#[derive(Debug, Args)]
pub struct Inspect {
    /// :PORT, ADDR:PORT, ADDR:PORT-ADDR:PORT, PID, PID/FD, or a cookie (sk:10a4).
    pub subject: Focus,
    /// Network namespace: self, all, a PID, a name of ip netns, or a path (repeatable; all without
    /// it).
    #[arg(long, value_name = "NETNS")]
    pub netns: Vec<NetnsChoice>,
    /// Time between two looks at suspect queues; 0 for one look.
    #[arg(long, value_name = "DURATION", default_value = "250ms", value_parser = parse_duration)]
    pub settle: std::time::Duration,
    /// Where processes are read.
    #[command(flatten)]
    pub proc: Proc,
    /// When to use colour.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
}

/// Options of `explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// Which finding or cause; without it, a list of all.
    pub id: Option<String>,
    /// Print to the terminal directly, however long the page is.
    #[arg(long)]
    pub no_pager: bool,
    /// When to use colour.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
}

/// Options of `demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// Which case; without it, the edge-triggered early return.
    pub id: Option<String>,
    /// List the cases.
    #[arg(long, conflicts_with = "id")]
    pub list: bool,
    /// Leave the case running until Ctrl-C, for practice in a second terminal.
    #[arg(long, conflicts_with = "list")]
    pub keep: bool,
    /// Be the server of the case: what the demo starts.
    #[arg(long, hide = true)]
    pub serve: bool,
    /// How to print the scan.
    #[command(flatten)]
    pub output: Output,
}

/// Options of `probe`.
#[derive(Debug, Args)]
pub struct Probe {
    /// Address and port that a client dials, such as 127.0.0.1:8080.
    #[arg(value_name = "ADDR:PORT")]
    pub target: std::net::SocketAddr,
    /// How long the connection stays open at most: 1s to 60s.
    #[arg(long = "for", value_name = "DURATION", default_value = "2s", value_parser = parse_watch)]
    pub limit: std::time::Duration,
    /// How to print it.
    #[command(flatten)]
    pub output: Output,
}

/// Options of `doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Where processes are read.
    #[command(flatten)]
    pub proc: Proc,
    /// How to print it.
    #[command(flatten)]
    pub output: Output,
}

/// Which `/proc` is read.
#[derive(Debug, Args)]
pub struct Proc {
    /// Read this directory as /proc, such as /host/proc in a debug pod.
    #[arg(id = "proc", long, value_name = "DIR", default_value = "/proc")]
    pub root: PathBuf,
}

/// From when on something is a finding.
#[derive(Debug, Args)]
pub struct Ages {
    /// How long a connection may wait for accept() (500ms, 10s, 5m).
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_duration)]
    pub accept_age: std::time::Duration,
    /// How long a socket may stay in CLOSE_WAIT.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub close_wait_age: std::time::Duration,
}

/// What to keep; a socket has to pass all that are given.
#[derive(Debug, Args, Default)]
pub struct Filter {
    /// Local or remote port, or a range such as 8000-8099 (repeatable).
    #[arg(long, value_name = "PORT", value_parser = parse_ports)]
    pub port: Vec<std::ops::RangeInclusive<u16>>,
    /// Holder's pid (repeatable).
    #[arg(long)]
    pub pid: Vec<u32>,
    /// Holder's command name, or the file name of its executable (repeatable).
    #[arg(long, value_name = "NAME")]
    pub process: Vec<String>,
    /// Remote address, with /LEN and :PORT if wanted (repeatable).
    #[arg(long, value_name = "ADDR[/LEN][:PORT]")]
    pub remote: Vec<RemotePattern>,
    /// Holder's container: its id or the beginning of it, or the name that LXC and systemd-nspawn
    /// give it (repeatable).
    #[arg(long, value_name = "ID", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub container: Vec<String>,
    /// Holder's systemd unit, with or without .service, or a slice (repeatable).
    #[arg(long, value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub unit: Vec<String>,
    /// Holder's Kubernetes pod: its uid or the beginning of it (repeatable).
    #[arg(long, value_name = "UID", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub pod: Vec<String>,
    /// Network namespace: self, all, a PID, a name of ip netns, or a path (repeatable; all without
    /// it).
    #[arg(long, value_name = "NETNS")]
    pub netns: Vec<NetnsChoice>,
    /// What to keep, in ss's filter language.
    ///
    /// Such as: state close-wait '( sport = :8080 or dst 10.0.0.0/8:5432 )'. States come first: state
    /// or exclude, with a state, all, connected, synchronized, bucket or big. Then conditions: src or
    /// dst with ADDR, ADDR/LEN, :PORT or ADDR/LEN:PORT; sport or dport with =, !=, <, <=, > or >= and a
    /// port, its name or a range; dev with an index; combined by not, and, or and parentheses. See
    /// tcpleak(1).
    #[arg(value_name = "EXPRESSION")]
    pub expression: Vec<String>,
}

/// How to print.
#[derive(Debug, Args)]
pub struct Output {
    /// Print JSON (docs/json.md).
    #[arg(long)]
    pub json: bool,
    /// When to use colour.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
}

/// `--color`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Color {
    Auto,
    Always,
    Never,
}

/// `--source`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Source {
    /// sock_diag, or /proc/net/tcp where it cannot be had.
    Auto,
    /// sock_diag over netlink, or fail.
    #[value(name = "sock_diag")]
    SockDiag,
    /// /proc/net/tcp and tcp6: no ages, no backlogs, no cookies.
    Proc,
}

/// `--fail-on`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the names say it")]
pub enum FailOn {
    Info,
    Warning,
    Critical,
}

/// `500ms`, `10s`, `5m`, `2h`, `1d`; a bare `0` is zero.
fn parse_duration(text: &str) -> Result<std::time::Duration, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number
        .parse()
        .map_err(|_error| "expected a number and a unit, such as 500ms, 10s or 5m")?;
    let factor = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "" if number == 0 => 1,
        "" => return Err("a unit is missing: ms, s, m, h or d".into()),
        other => return Err(format!("'{other}' is not a unit: ms, s, m, h or d")),
    };
    let ms = number.checked_mul(factor).ok_or("too long")?;
    Ok(std::time::Duration::from_millis(ms))
}

/// As `parse_duration`, from 1 ms on.
fn parse_interval(text: &str) -> Result<std::time::Duration, String> {
    match parse_duration(text)? {
        std::time::Duration::ZERO => Err("looks need some time in between".into()),
        interval => Ok(interval),
    }
}

/// `10` or `10s`.
fn parse_report_every(text: &str) -> Result<ReportEvery, String> {
    match text.parse() {
        Ok(0) => Err("0 is never".into()),
        Ok(looks) => Ok(ReportEvery::Looks(looks)),
        Err(_) => parse_interval(text).map(ReportEvery::Time),
    }
}

/// A duration from one second, within which a healthy listener accepts, to a minute.
fn parse_watch(text: &str) -> Result<std::time::Duration, String> {
    let duration = parse_duration(text)?;
    match duration.as_millis() {
        1_000..=60_000 => Ok(duration),
        _ => Err("from 1s to 60s".into()),
    }
}

/// `8080` or `8000-8099`.
fn parse_ports(text: &str) -> Result<std::ops::RangeInclusive<u16>, String> {
    let port = |text: &str| {
        text.parse::<u16>()
            .map_err(|_error| format!("'{text}' is not a port (0 to 65535)"))
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(text)?, port(text)?),
    };
    if first > last {
        return Err(format!("{first} is above {last}"));
    }
    Ok(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_have_units() {
        let check = |text: &str, expect| {
            assert_eq!(
                parse_duration(text).ok().map(|d| d.as_millis()),
                expect,
                "{text}"
            );
        };
        check("500ms", Some(500));
        check("10s", Some(10_000));
        check("5m", Some(300_000));
        check("0", Some(0));
        check("10", None);
        check("1w", None);
        check("s", None);
        check("99999999999999999999s", None);
        check("9999999999999999999d", None);
        assert!(parse_watch("1s").is_ok() && parse_watch("60s").is_ok());
        assert!(parse_watch("999ms").is_err() && parse_watch("61s").is_err());
    }

    #[test]
    fn intervals_and_reports() {
        assert!(parse_interval("0").is_err() && parse_interval("0ms").is_err());
        assert!(parse_interval("1ms").is_ok());
        assert_eq!(parse_report_every("10"), Ok(ReportEvery::Looks(10)));
        let second = std::time::Duration::from_secs(1);
        assert_eq!(parse_report_every("1s"), Ok(ReportEvery::Time(second)));
        assert!(parse_report_every("0").is_err() && parse_report_every("x").is_err());
    }

    #[test]
    fn ports_and_ranges() {
        assert_eq!(parse_ports("80"), Ok(80..=80));
        assert_eq!(parse_ports("8000-8099"), Ok(8000..=8099));
        assert!(parse_ports("9-8").is_err() && parse_ports("70000").is_err());
    }
}
