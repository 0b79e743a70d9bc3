//! The shape of the code, held: who may use whom, who may touch the system, and what a file is
//! like. ARCHITECTURE.md says why.

mod source;

use std::collections::HashSet;
use std::path::Path;

use source::Source;

/// Which modules of the crate's root a module may name, tests aside. Data flows from the top of
/// this list to the bottom; whoever adds a module gives it a line here.
const MAY_USE: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("kernel", &["model"]),
    ("sight", &["model"]),
    ("collect", &["kernel", "model", "sight"]),
    ("record", &["model"]),
    ("scenario", &["kernel", "model"]),
    ("join", &["kernel", "model"]),
    ("diagnose", &["join", "model"]),
    ("report", &["diagnose", "join", "model"]),
    ("history", &["report", "join", "model"]),
    ("experiment", &["join", "model"]),
    ("probe", &["collect", "experiment", "model"]),
    ("expression", &["model"]),
    ("pages", &[]),
    (
        "render",
        &[
            "experiment",
            "history",
            "pages",
            "report",
            "join",
            "model",
            "sight",
        ],
    ),
    ("screen", &["history", "report", "render", "join", "model"]),
    ("cli", &["join", "model"]),
    (
        "options",
        &[
            "cli",
            "collect",
            "diagnose",
            "expression",
            "join",
            "model",
            "render",
            "screen",
        ],
    ),
    (
        "commands",
        &[
            "cli",
            "collect",
            "diagnose",
            "experiment",
            "history",
            "join",
            "kernel",
            "model",
            "options",
            "pages",
            "probe",
            "record",
            "render",
            "report",
            "scenario",
            "screen",
            "sight",
        ],
    ),
    ("main", &["cli", "commands"]),
];

/// What reaches out of the process: files, the network, other processes, the environment, the
/// terminal.
const SYSTEM: &[&str] = &[
    "netlink_sys",
    "procfs",
    "ratatui::backend::CrosstermBackend",
    "ratatui::crossterm",
    "rustix",
    "std::env",
    "std::fs",
    "std::io::stderr",
    "std::io::stdin",
    "std::io::stdout",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::ToSocketAddrs",
    "std::net::UdpSocket",
    "std::os::unix::fs",
    "std::os::unix::net",
    "std::process",
    "std::thread",
];

/// Modules that may use everything of it. `probe` is here for one connection.
const TOUCHES_SYSTEM: &[&str] = &["collect", "probe", "scenario", "commands", "main"];

/// What opens connections or waits for them.
const CONNECTIONS: &[&str] = &[
    "rustix::net::connect",
    "rustix::net::listen",
    "rustix::net::socket",
    "rustix::net::socket_with",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::UdpSocket",
];

/// Modules that may: all others only read.
const CONNECTS: &[&str] = &["probe", "scenario"];

/// Files of other modules, and the part of it that is their business.
const EXCEPTIONS: &[(&str, &[&str])] = &[
    // A recording is complete on disk or not there at all.
    (
        "src/record/file.rs",
        &["std::fs", "std::os::unix::fs", "std::process::id"],
    ),
    // What was typed is resolved against the terminal and the environment.
    (
        "src/options.rs",
        &["rustix::termios", "std::env", "std::io::stdout"],
    ),
];

/// A file is to be held in the head.
const LONGEST_FILE: usize = 500;

/// Where a rule is broken, and which.
fn broken_rules(sources: &[Source]) -> Vec<String> {
    let test_modules: HashSet<&String> = sources
        .iter()
        .flat_map(|source| &source.test_modules)
        .collect();
    let mut broken = Vec::new();
    for source in sources {
        if !test_modules.contains(&source.path) {
            check_modules(source, &mut broken);
            check_system(source, &mut broken);
        }
        check_form(source, &mut broken);
    }
    // A line that names several things breaks a rule once.
    broken.dedup();
    broken
}

fn check_modules(source: &Source, broken: &mut Vec<String>) {
    let module = source.module();
    let Some(&own) = module.first() else {
        return; // The crate's root declares modules and does nothing.
    };
    let Some((_, may_use)) = MAY_USE.iter().find(|(name, _)| *name == own) else {
        broken.push(format!("{}:1: '{own}' has no line in MAY_USE", source.path));
        return;
    };
    for path in source.paths() {
        let supers = path
            .steps
            .iter()
            .take_while(|step| *step == "super")
            .count();
        let of_root = match path.steps[0].as_str() {
            "crate" | "tcpleak" => path.steps.get(1),
            _ if supers >= module.len() => path.steps.get(supers),
            _ => None,
        };
        let Some(other) = of_root.filter(|other| *other != own) else {
            continue;
        };
        if !may_use.contains(&other.as_str()) {
            let allowed = match may_use {
                [] => "nothing".to_owned(),
                names => names.join(", "),
            };
            broken.push(format!(
                "{}:{}: {own} uses {other}; it may use {allowed}",
                source.path, path.line
            ));
        }
    }
}

fn check_system(source: &Source, broken: &mut Vec<String>) {
    let own = source.module().first().copied().unwrap_or_default();
    if TOUCHES_SYSTEM.contains(&own) {
        if !CONNECTS.contains(&own) {
            check_connections(source, broken);
        }
        return;
    }
    let excepted = EXCEPTIONS.iter().find(|(path, _)| *path == source.path);
    let excepted = excepted.map_or(&[][..], |(_, parts)| parts);
    for path in source.paths() {
        if among(SYSTEM, &path.steps) && !among(excepted, &path.steps) {
            broken.push(format!(
                "{}:{}: {} is for {} only",
                source.path,
                path.line,
                path.steps.join("::"),
                TOUCHES_SYSTEM.join(", ")
            ));
        }
    }
}

fn check_connections(source: &Source, broken: &mut Vec<String>) {
    for path in source.paths() {
        if among(CONNECTIONS, &path.steps) {
            broken.push(format!(
                "{}:{}: {}: only {} open connections",
                source.path,
                path.line,
                path.steps.join("::"),
                CONNECTS.join(" and ")
            ));
        }
    }
}

/// Whether a path leads to one of `parts`.
fn among(parts: &[&str], steps: &[String]) -> bool {
    let begins = |part: &&str| {
        let mut part = part.split("::");
        // A glob brings in everything below it.
        steps
            .iter()
            .all(|step| part.next().is_none_or(|at| step == "*" || at == step))
            && (part.next().is_none() || steps.last().is_some_and(|step| step == "*"))
    };
    parts.iter().any(begins)
}

fn check_form(source: &Source, broken: &mut Vec<String>) {
    let lines = source.text.lines().count();
    if lines >= LONGEST_FILE && source.path.starts_with("src/") {
        broken.push(format!(
            "{}:{LONGEST_FILE}: {lines} lines; a file has fewer than {LONGEST_FILE}",
            source.path
        ));
    }
    if !source.text.starts_with("//!") {
        broken.push(format!(
            "{}:1: no header that says what the file owns",
            source.path
        ));
    }
    for (index, line) in source.text.lines().enumerate() {
        let line = line.trim_start();
        // Each test program uses a part of `tests/support`: what one expects, another fulfils.
        let shared = source.path.starts_with("tests/support/");
        if !shared && (line.starts_with("#[allow(") || line.starts_with("#![allow(")) {
            broken.push(format!(
                "{}:{}: #[expect(…, reason = …)] instead of #[allow(…)]",
                source.path,
                index + 1
            ));
        }
    }
}

#[test]
fn the_code_keeps_its_shape() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Source::below(root, "src");
    assert!(
        sources.len() > 50,
        "only {} files were found",
        sources.len()
    );
    let broken = broken_rules(&sources);
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));

    sources.retain(|source| !source.path.starts_with("src/"));
    sources.extend(Source::below(root, "tests"));
    sources.extend(Source::below(root, "benches"));
    let mut broken = Vec::new();
    for source in &sources {
        check_form(source, &mut broken);
    }
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn every_line_and_exception_is_about_something() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = Source::below(root, "src");
    for (name, may_use) in MAY_USE {
        for name in may_use.iter().chain([name]) {
            let is_there = |source: &Source| source.module().first() == Some(name);
            assert!(sources.iter().any(is_there), "there is no module '{name}'");
        }
    }
    for (path, parts) in EXCEPTIONS {
        let source = sources.iter().find(|source| source.path == *path);
        let paths = source.expect(path).paths();
        for part in *parts {
            let used = paths
                .iter()
                .any(|path| path.steps.join("::").starts_with(part));
            assert!(used, "{path} does not need {part} any more");
        }
    }
}

mod self_test {
    use super::*;

    fn check(path: &str, code: &str, expect: &[&str]) {
        let source = Source::new(path, &format!("//! Header.\n{code}"));
        assert_eq!(broken_rules(&[source]), expect, "{code}");
    }

    #[test]
    fn a_use_of_what_stands_behind_is_found() {
        check(
            "src/model/socket.rs",
            "use crate::kernel::decimal;",
            &["src/model/socket.rs:2: model uses kernel; it may use nothing"],
        );
        check(
            "src/join/mod.rs",
            "use std::fmt;\nuse crate::{\n    model::{Fact, Inode},\n    report::Report,\n};",
            &["src/join/mod.rs:5: join uses report; it may use kernel, model"],
        );
        check(
            "src/render/text.rs",
            "fn f() {\n    crate::kernel::cgroup::systemd_unit(b\"\");\n}",
            &[
                "src/render/text.rs:3: render uses kernel; it may use experiment, history, pages, report, join, model, sight",
            ],
        );
        check(
            "src/record/file.rs",
            "use super::super::commands;",
            &["src/record/file.rs:2: record uses commands; it may use model"],
        );
        check(
            "src/report.rs",
            "use super::render as show;",
            &["src/report.rs:2: report uses render; it may use diagnose, join, model"],
        );
        check(
            "src/main.rs",
            "fn main() { tcpleak::collect::collect(); }",
            &["src/main.rs:2: main uses collect; it may use cli, commands"],
        );
        check(
            "src/forecast.rs",
            "",
            &["src/forecast.rs:1: 'forecast' has no line in MAY_USE"],
        );
    }

    #[test]
    fn a_touch_of_the_system_is_found() {
        let only = "is for collect, probe, scenario, commands, main only";
        let check = |path: &str, code: &str, expect: &[(usize, &str)]| {
            let line = |(line, what): &(usize, &str)| format!("{path}:{line}: {what} {only}");
            let expect: Vec<String> = expect.iter().map(line).collect();
            let expect: Vec<&str> = expect.iter().map(String::as_str).collect();
            check(path, code, &expect);
        };
        check(
            "src/kernel/stat.rs",
            "fn f() { std::fs::read(\"/proc/stat\"); }",
            &[(2, "std::fs::read")],
        );
        check(
            "src/render/text.rs",
            "use std::io::{self, Write};\nfn f() { io::stdout(); }",
            &[(3, "std::io::stdout")],
        );
        check(
            "src/diagnose/mod.rs",
            "use std::net::{SocketAddr, TcpStream as Stream};\nuse rustix::process::geteuid;",
            &[(2, "std::net::TcpStream"), (3, "rustix::process::geteuid")],
        );
        check(
            "src/model/mod.rs",
            "use std::net::*;",
            &[(2, "std::net::*")],
        );
        check(
            "src/options.rs",
            "use std::env;\nuse rustix::fs;",
            &[(3, "rustix::fs")],
        );
    }

    #[test]
    fn a_connection_from_elsewhere_is_found() {
        let only = "only probe and scenario open connections";
        let found = |path: &str| format!("{path}:2: std::net::TcpStream: {only}");
        let code = "use std::net::{SocketAddr, TcpStream};";
        for path in ["src/collect/peers.rs", "src/commands/scan.rs"] {
            check(path, code, &[&found(path)]);
        }
        check("src/probe.rs", code, &[]);
        check("src/scenario/server.rs", code, &[]);
    }

    #[test]
    fn the_form_of_a_file_is_checked() {
        let broken = |source: Source| broken_rules(&[source]);
        assert_eq!(
            broken(Source::new("src/model/a.rs", "use std::fmt;\n")),
            ["src/model/a.rs:1: no header that says what the file owns"]
        );
        assert_eq!(
            broken(Source::new("src/model/a.rs", &"//!\n".repeat(500))),
            ["src/model/a.rs:500: 500 lines; a file has fewer than 500"]
        );
        assert!(broken(Source::new("src/model/a.rs", &"//!\n".repeat(499))).is_empty());
        check(
            "src/model/a.rs",
            "#[allow(dead_code)]\nfn f() {}",
            &["src/model/a.rs:2: #[expect(…, reason = …)] instead of #[allow(…)]"],
        );
    }

    #[test]
    fn what_only_looks_like_it_is_left_alone() {
        check(
            "src/collect/mod.rs",
            "use crate::kernel;\nuse std::fs;",
            &[],
        );
        check(
            "src/model/a.rs",
            "use crate::model::Fact;\nuse super::Fact;",
            &[],
        );
        check(
            "src/model/a.rs",
            "// use crate::commands;\n/* crate::cli::x /* */ */",
            &[],
        );
        check(
            "src/model/a.rs",
            "/// [`crate::commands::run`]\nfn f() {}",
            &[],
        );
        check(
            "src/model/a.rs",
            "const A: &str = \"a \\\" std::fs::read\";",
            &[],
        );
        check(
            "src/model/a.rs",
            "const A: &str = r#\"\" std::fs::read\"#;",
            &[],
        );
        check(
            "src/model/a.rs",
            "fn f<'a>(x: &'a u8) { ('\"', b'\\'', \"std::fs::read\"); }",
            &[],
        );
        check("src/model/a.rs", "use std::net::{IpAddr, SocketAddr};", &[]);
        check(
            "src/model/a.rs",
            "#[cfg(test)]\nmod tests {\n    use crate::commands;\n    fn f() { std::fs::read(); }\n}",
            &[],
        );
        check("src/model/a.rs", "pub(crate) fn f() { let fs = 1; }", &[]);
        let rules = broken_rules(&[
            Source::new("src/record/mod.rs", "//!\n#[cfg(test)]\nmod sample;\n"),
            Source::new("src/record/sample.rs", "//!\nuse crate::commands;\n"),
        ]);
        assert_eq!(rules, [""; 0]);
    }
}
