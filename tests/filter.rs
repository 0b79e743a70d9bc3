//! ss's filter language against ss itself, on one mixed population; what the kernel filters; and that
//! no filter makes a queue look other than it is.
//!
//! `src/expression/test_parse.rs` has the language as tables of cases, without a kernel.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

mod support;

use std::any::Any;
use std::collections::BTreeSet;
use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use serde_json::Value;

use support::clock::eventually;
use support::command::{Outcome, run, tcpleak};
use support::scan::{Directory, every_socket};
use support::sockets::{connection_from, hear_only_syns, listen_at};
use support::{cannot_run, in_own_namespace};
use tcpleak::collect::{Entries, Request, SourceChoice, collect};
use tcpleak::expression;
use tcpleak::model::{Expression, TcpState};

const SERVICES: &str = "/etc/services";

/// Expressions that select the same rows in both programs. None selects all rows and only the first
/// and those marked as such select none, so that each is seen to do something.
const SAME: &[&str] = &[
    "",
    "sport = :80",
    "sport = 80",
    "sport :80",
    "sport 80",
    "sport == :80",
    "sport eq :80",
    "sport = 0x50",
    "sport != :80",
    "sport ne 80",
    "sport neq :80",
    "dport = :8080",
    "sport < :80",
    "sport lt :8080",
    "sport <= :80",
    "sport le :80",
    "sport leq :80",
    "sport > :8080",
    "dport gt :80",
    "sport >= :8080",
    "dport ge 5432",
    "dport geq :5432",
    "sport >= :80 and sport <= :5432",
    "sport = inet:80",
    "sport = inet6:5432",
    "sport = inet::80 or dport = inet:80",
    "dst 127.0.0.5",
    "dst = 127.0.0.5",
    "dst == 127.0.0.5",
    "dst eq 127.0.0.5",
    "dst 127.0.0.7",
    "dst 127.0.0.0/8",
    "dst 127/8",
    "dst 127.0/16",
    "dst 127.0.0.4/30",
    "dst 127.0.0.0/255.0.0.0",
    "dst 0.0.0.0/0",
    "dst 0/0",
    "dst ::/0",
    "dst [::/0]",
    "dst *:8080",
    "dst :8080",
    "src :80",
    "src 0.0.0.0",
    "src [::]",
    "src 127.0.0.1:8080",
    "src 127.0.0.0/8:8080",
    "src 127.0.0.0/8:*",
    "dst [::1]",
    "dst [::1]:40003",
    "dst [::1/128]",
    "dst [::1/128]:40003",
    "dst [127.0.0.6]",
    "dst [::ffff:127.0.0.7]",
    "dst [::ffff:127.0.0.7]:40004",
    "dst [::ffff:0:0/96]",
    "dst ::ffff:0:0/96",
    "dst inet6:[::1]",
    "dst inet:127.0.0.1",
    "not dst inet:127.0.0.1",
    "dev = 1",
    "dev 1",
    "dev != 1",
    "not dev 1 and sport = :8080",
    "not sport = :80",
    "! sport = :80",
    "not not sport = :80",
    "not dst 127.0.0.0/8 and not sport = :80",
    "sport = :80 or sport = :8080",
    "sport = :80 | dport = :80",
    "sport = :80 || dport = :80",
    "sport = :8080 and dst 127.0.0.5",
    "sport = :8080 && dst 127.0.0.5",
    "sport = :8080 & dst 127.0.0.5",
    "sport = :8080 dst 127.0.0.5",
    "( sport = :80 or dport = :80 )",
    "( ( sport = :80 ) )",
    "! ( sport = :80 or dport = :80 ) dst 127.0.0.1",
    "not ( not sport = :80 and not ( dport = :80 or dst [::1] ) )",
    r"\( sport = :80 \)",
    // Without precedence, from left to right.
    "sport = :8080 or dport = :8080 and dst 127.0.0.5",
    "sport = :8080 or dport = :8080 dst 127.0.0.5",
    "dst 127.0.0.5 and sport = :8080 or sport = :80",
    "sport = :80 dst 127.0.0.6 or dst 127.0.0.5",
    "state established",
    "state close-wait",
    "state CLOSE-WAIT",
    "state fin-wait-2",
    "state time-wait",
    "state syn-sent",
    "state syn-recv",
    "state syn-rcv",
    "state listening",
    "state established state close-wait",
    "state connected",
    "state synchronized",
    "state bucket",
    "state big",
    "state connected exclude established",
    "exclude listening",
    "excl established exclude listening",
    "state close-wait ( sport = :8080 or dport = :5432 )",
    "state established ( dport = :80 or sport = :80 ) and not dst 127.0.0.6",
    "exclude listening sport = :5432",
];

/// Expressions that select nothing in both.
const NONE: &[&str] = &[
    "sport < :0",
    "sport > :65535",
    "sport != *",
    "dst 127.0.0.99",
    "state closed",
    "state last-ack",
    "state listening dport = :80",
];

/// Expressions that both refuse.
const REFUSED: &[&str] = &[
    "sport = :no-such-service",
    "sport =",
    "sport = = :80",
    "sport =< :80",
    "sport :80 or :8080",
    "sport = :80,8080",
    "dst 127.0.0.1 8080",
    "dst > 127.0.0.1",
    "dst 127.0.0.1/33",
    "dst 300.0.0.1",
    "dst ::1",
    "dst [::1",
    "( sport = :80",
    "sport = :80 )",
    "( )",
    "not",
    "or sport = :80",
    "sport = :80 or",
    "SPORT = :80",
    "sport = :80 AND dport = :80",
    "state no-such-state",
    "state close-wait or sport = :80",
    "sport = :80 state established",
];

/// Expressions that ss takes, and this program does not: they are no ports, or have two meanings, or
/// would have to be looked up (`src/expression/mod.rs`).
const REFUSED_HERE: &[&str] = &[
    "sport = :70000",
    "sport = :-1",
    "sport = :010",
    "dst 127.0.0",
    "dst 8080",
    "dst ::1:40003",
    "dst localhost",
    "dev lo",
    "state close-wait exclude close-wait",
    "sport = inet:80 or sport = inet6:5432",
];

/// Expressions that only this program takes, or takes rightly, each with what ss calls it.
const OTHERWISE: &[(&str, &str)] = &[
    (
        "(sport=:80||dport=:80)&&dst!=127.0.0.6",
        "( sport = :80 or dport = :80 ) and not dst 127.0.0.6",
    ),
    ("sport = :80-8080", "sport >= :80 and sport <= :8080"),
    ("sport != 80-8080", "sport < :80 or sport > :8080"),
    ("dst [::1]/128", "dst [::1/128]"),
    ("state estab", "state established"),
    // ss compares families in two ways, of which one never holds: no row passes both.
    ("not dst ::/0", "sport = inet:*"),
];

/// A connection whose ends live as long as this: the client's, and the accepted one.
type Ends = (TcpStream, TcpStream);

/// Sockets of both families and of v4-mapped addresses, in several states.
fn population() -> Box<dyn Any> {
    let at = |address: &str| listen_at(address.parse::<SocketAddr>().unwrap());
    let from = |client: &str, listener: &TcpListener, to: &str| -> Ends {
        connection_from(client.parse().unwrap(), listener, to.parse().unwrap())
    };
    let v4 = at("127.0.0.1:8080").open().unwrap();
    let any4 = at("0.0.0.0:80").open().unwrap();
    let v6 = at("[::1]:8081").open().unwrap();
    let any = at("[::]:5432").open().unwrap();
    let bound = at("127.0.0.1:9000").bound_to("lo").open().unwrap();
    let low = at("127.0.0.1:79").open().unwrap();
    let open = vec![
        from("127.0.0.5:40001", &v4, "127.0.0.1:8080"),
        from("127.0.0.6:40002", &any4, "127.0.0.2:80"),
        from("[::1]:40003", &v6, "[::1]:8081"),
        from("127.0.0.7:40004", &any, "127.0.0.1:5432"),
        from("[::1]:40005", &any, "[::1]:5432"),
        from("127.0.0.5:40010", &any4, "127.0.0.1:80"),
    ];
    // CLOSE_WAIT and FIN_WAIT2.
    let half = vec![
        from("127.0.0.8:40006", &v4, "127.0.0.1:8080"),
        from("127.0.0.9:40007", &any, "127.0.0.1:5432"),
        from("[::1]:40008", &any, "[::1]:5432"),
    ];
    for (client, _) in &half {
        client.shutdown(Shutdown::Write).unwrap();
    }
    // TIME_WAIT, at the end that closed first.
    let (client, accepted) = from("127.0.0.5:40011", &any4, "127.0.0.1:80");
    drop(client);
    drop(accepted);
    let (client, accepted) = from("127.0.0.5:40012", &any, "127.0.0.1:5432");
    drop(accepted);
    drop(client);
    // SYN_RECV: a listener that hears SYNs only. SYN_SENT: one whose queue is full.
    let deaf = at("127.0.0.1:81").open().unwrap();
    hear_only_syns(&deaf);
    let full = at("127.0.0.1:82").backlog(0).open().unwrap();
    let started = [&deaf, &full, &full].map(|to| begin(to.local_addr().unwrap()));
    Box::new((
        v4,
        any4,
        v6,
        any,
        bound,
        low,
        open,
        half,
        (deaf, full, started),
    ))
}

/// A client that has sent a SYN, and waits for no answer.
fn begin(to: SocketAddr) -> TcpStream {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (family, kind) = (AddressFamily::INET, SocketType::STREAM);
    let client = rustix::net::socket_with(family, kind, flags, None).unwrap();
    let began = rustix::net::connect(&client, &to);
    assert!(matches!(began, Ok(()) | Err(rustix::io::Errno::INPROGRESS)));
    TcpStream::from(client)
}

fn ss(expression: &str) -> Outcome {
    let words = expression.split_whitespace();
    run(Command::new("ss").arg("-HtaneO").args(words))
}

/// Cookies of the rows.
fn rows_of_ss(expression: &str) -> BTreeSet<String> {
    let outcome = ss(expression);
    assert_eq!(
        (outcome.status, outcome.stderr.as_str()),
        (0, ""),
        "{expression}"
    );
    let cookie = |line: &str| {
        let mut words = line.split_whitespace();
        words.find_map(|word| word.strip_prefix("sk:").map(str::to_owned))
    };
    outcome
        .stdout
        .lines()
        .map(|line| cookie(line).unwrap())
        .collect()
}

/// The rows of a list, each as `of` shows it.
fn rows_of_ours(options: &str, expression: &str, of: fn(&Value) -> String) -> BTreeSet<String> {
    let outcome = tcpleak(&format!("list --json {options} {expression}"));
    assert_eq!(outcome.status, 0, "{expression}: {outcome:?}");
    let json = outcome.json();
    json["sockets"].as_array().unwrap().iter().map(of).collect()
}

fn cookie(row: &Value) -> String {
    row["cookie"].as_str().unwrap().to_owned()
}

/// What `/proc/net/tcp` tells, too.
fn state_and_ends(row: &Value) -> String {
    format!("{} {} {}", row["state"], row["local"], row["remote"])
}

#[test]
fn every_expression_selects_what_it_selects_in_ss() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    if let Err(error) = Command::new("ss").arg("-V").output() {
        return cannot_run(&format!("needs ss of iproute2: {error}"));
    }
    let _population = population();
    let all = eventually("every state", every_state);
    let names = ["sport = :http", "dport = http or sport = :postgresql"];
    let names = names.iter().filter(|_| Path::new(SERVICES).exists());
    for expression in SAME.iter().chain(names) {
        let rows = check(expression, expression);
        let is_something = !rows.is_empty() && (rows.len() < all || expression.is_empty());
        assert!(is_something, "{expression}: {} of {all}", rows.len());
    }
    for expression in NONE {
        assert_eq!(check(expression, expression).len(), 0, "{expression}");
    }
    for (ours, of_ss) in OTHERWISE {
        assert!(!check(ours, of_ss).is_empty(), "{ours}");
    }
    for expression in REFUSED {
        assert_ne!(ss(expression).status, 0, "{expression}");
        refused(expression);
    }
    for expression in REFUSED_HERE {
        assert_eq!(ss(expression).status, 0, "{expression}");
        refused(expression);
    }
}

/// How many rows there are, once there is one in each of the states.
fn every_state() -> Option<usize> {
    let states = rows_of_ours("", "", |row| row["state"].as_str().unwrap().to_owned());
    let expect = [
        "CLOSE_WAIT",
        "ESTABLISHED",
        "FIN_WAIT2",
        "LISTEN",
        "SYN_RECV",
        "SYN_SENT",
        "TIME_WAIT",
    ];
    let rows = || rows_of_ours("", "", cookie).len();
    states.iter().eq(expect).then(rows)
}

/// Ours selects what ss selects, whatever the rows are read from. Returns them.
fn check(ours: &str, of_ss: &str) -> BTreeSet<String> {
    let rows = rows_of_ours("", ours, cookie);
    assert_eq!(rows, rows_of_ss(of_ss), "{ours}");
    // A device is not in /proc/net/tcp.
    if !ours.contains("dev") {
        let from_proc = rows_of_ours("--source proc", ours, state_and_ends);
        assert_eq!(from_proc, rows_of_ours("", ours, state_and_ends), "{ours}");
    }
    rows
}

fn refused(expression: &str) {
    let outcome = tcpleak(&format!("list {expression}"));
    assert_eq!(
        (outcome.status, outcome.stdout.as_str()),
        (2, ""),
        "{expression}"
    );
    let lines: Vec<&str> = outcome.stderr.lines().collect();
    let [said, text, marks] = lines[..] else {
        panic!("{outcome:?}");
    };
    assert!(said.starts_with("tcpleak: filter: expected "), "{said}");
    assert_eq!(text.trim(), expression);
    assert_eq!(marks.trim().trim_matches('^'), "", "{marks}");
    assert!(!marks.trim().is_empty(), "{marks}");
}

fn parsed(expression: &str) -> Expression {
    let no_services = |_: &str| Err("not here".to_owned());
    expression::parse(expression, &no_services)
        .unwrap()
        .expression
}

/// What is read is what the condition takes already: the kernel has left out the rest.
#[test]
fn what_the_kernel_can_filter_it_filters() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let _population = population();
    let all = collect(&every_socket(SourceChoice::SockDiag)).unwrap();
    let mut fewer = 0;
    for text in SAME.iter().chain(NONE).filter(|text| !text.contains("dev")) {
        let condition = parsed(text).condition;
        let takes = |row: &&_| condition.as_ref().is_none_or(|one| one.takes(row));
        let expect = all.sockets.iter().filter(takes).count();
        let entries = Entries::InStates {
            states: TcpState::all().collect(),
            condition: condition.clone(),
        };
        let request = Request {
            entries,
            ..every_socket(SourceChoice::SockDiag)
        };
        let read = collect(&request).unwrap();
        assert_eq!(read.sockets.len(), expect, "{text}");
        fewer += usize::from(expect < all.sockets.len());
    }
    assert!(fewer > 60, "only {fewer} expressions leave anything out");
}

/// The listener of this scan, as `(queue, established, close_wait, gone)`.
fn queues(scan: &Value) -> Vec<[u64; 4]> {
    let queue = |listener: &Value| {
        let queued = &listener["queued"];
        [
            &listener["accept_queue"],
            &queued["established"],
            &queued["close_wait"],
            &queued["gone"],
        ]
        .map(|number| number.as_u64().unwrap())
    };
    scan["listeners"]
        .as_array()
        .unwrap()
        .iter()
        .map(queue)
        .collect()
}

#[test]
fn a_filter_shows_a_queue_whole_or_not_at_all() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let listener = listen_at("127.0.0.1:8080".parse::<SocketAddr>().unwrap());
    let listener = listener.open().unwrap();
    let address = listener.local_addr().unwrap();
    let client = |from: &str| support::sockets::connect_from(from.parse().unwrap(), address);
    let _stays = client("127.0.0.5:40001");
    let mut gone: Vec<_> = ["127.0.0.6:40002", "127.0.0.7:40003"].map(client).into();
    for client in &mut gone {
        client.write_all(b"request").unwrap();
    }
    drop(gone);
    let whole = [3, 1, 2, 0];
    let options = "scan --json --settle 0 --accept-age 0";
    eventually("two that have closed", || {
        let scan = tcpleak(&format!("{options} state close-wait")).json();
        (scan["close_wait"].as_array().unwrap().len() == 2).then_some(())
    });

    let folder = Directory::new("filter");
    let file = folder.0.join("saved.tcpleak");
    let file = file.to_str().unwrap();
    tcpleak(&format!("scan --settle 0 --save {file}"));
    // Whether the queue is shown, and how many of the connections in CLOSE_WAIT.
    let check = |expression: &str, shown: bool, close_wait: usize| {
        for source in ["", &format!("--from {file}")] {
            let outcome = tcpleak(&format!("{options} {source} {expression}"));
            let scan = outcome.json();
            let expect = if shown { vec![whole] } else { Vec::new() };
            assert_eq!(queues(&scan), expect, "{source} {expression}");
            let sockets = scan["close_wait"].as_array().unwrap().len();
            assert_eq!(sockets, close_wait, "{source} {expression}");
            let finding = scan["findings"][0]["id"].as_str();
            assert_eq!(
                finding.is_some(),
                shown,
                "{source} {expression}: {finding:?}"
            );
            assert_eq!(outcome.status, i32::from(shown), "{source} {expression}");
        }
    };
    check("", true, 2);
    check("sport = :8080", true, 2);
    check("sport = :8081", false, 0);
    check("sport != :8080", false, 0);
    check("state close-wait", true, 2);
    check("state close-wait dst 127.0.0.6", true, 1);
    check("dst 127.0.0.5", true, 0);
    check("state established", true, 0);
    check("dst 127.0.0.99", false, 0);
    check("state listening", true, 0);
    check(
        "exclude listening exclude close-wait dst 127.0.0.6",
        false,
        0,
    );
    let watch = tcpleak(&format!(
        "watch --json --from {file} --accept-age 0 dst 127.0.0.99"
    ));
    assert_eq!(
        (watch.status, watch.stdout.contains(r#""kind":"appeared""#)),
        (0, false),
        "{watch:?}"
    );
    let watch = tcpleak(&format!(
        "watch --json --from {file} --accept-age 0 dst 127.0.0.5"
    ));
    assert_eq!(
        (watch.status, watch.stdout.contains(r#""kind":"appeared""#)),
        (1, true),
        "{watch:?}"
    );
}

#[test]
fn with_holders_asked_for_a_waiting_connection_is_found_by_its_listener() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let listener = listen_at("127.0.0.1:8080".parse::<SocketAddr>().unwrap());
    let listener = listener.open().unwrap();
    let from = "127.0.0.5:40001".parse().unwrap();
    let _waiting = support::sockets::connect_from(from, listener.local_addr().unwrap());
    let own = std::process::id();
    let check = |pid: u32, expression: &str, count: usize| {
        let rows = rows_of_ours(&format!("--pid {pid}"), expression, cookie);
        assert_eq!(rows.len(), count, "{pid} {expression}");
    };
    check(own, "dst 127.0.0.5", 1);
    check(own, "state established sport = :8080", 1);
    check(own, "", 3);
    check(1, "dst 127.0.0.5", 0);
}

#[test]
fn what_may_have_been_meant_otherwise_is_said() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let check = |expression: &str, expect: bool| {
        let outcome = tcpleak(&format!("list {expression}"));
        assert_eq!(outcome.status, 0, "{outcome:?}");
        let said = outcome.stderr.contains("read from left to right");
        assert_eq!(said, expect, "{outcome:?}");
    };
    check("sport = :80 or sport = :81 and dst 127.0.0.1", true);
    check("( sport = :80 or sport = :81 ) and dst 127.0.0.1", false);
    check("sport = :80 and sport = :81 or dst 127.0.0.1", false);
}
