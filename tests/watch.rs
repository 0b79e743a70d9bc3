//! `tcpleak watch` on the real kernel: what it says over time of servers that leak, stall, recover
//! and are well.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

mod support;

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::process::{Pid, Signal};
use serde_json::Value;

use support::clock::{EndWithOwner, Moment, eventually};
use support::command::{Ended, at_port, tcpleak, wait};
use support::in_own_namespace;
use support::scan::{Directory, start};
use support::sockets::{LOOPBACK, connect, connection, listen_at, read_to_end};

/// A watch that runs beside the test.
struct Watch {
    child: Ended,
    stdout: BufReader<ChildStdout>,
    seen: Vec<Value>,
}

impl Watch {
    /// `tcpleak watch --json --interval 100ms ARGUMENTS`
    fn start(arguments: &str) -> Watch {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tcpleak"))
            .args(["watch", "--netns", "self", "--json", "--interval", "100ms"])
            .args(arguments.split_whitespace())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Watch {
            child: Ended(child),
            stdout,
            seen: Vec::new(),
        }
    }

    /// The next event of that kind, which has to come.
    fn until(&mut self, kind: &str) -> Value {
        loop {
            let event = self
                .next()
                .unwrap_or_else(|| panic!("no {kind}: {:#?}", self.seen));
            if event["kind"] == kind {
                return event;
            }
        }
    }

    /// Waits for so many looks, of a watch that reports each; and the last report.
    fn looks(&mut self, count: u32) -> Value {
        let mut left = count;
        loop {
            let line = self.next().expect("it goes on");
            left -= u32::from(line["schema"] == "tcpleak.report/1");
            if left == 0 {
                return line;
            }
        }
    }

    fn next(&mut self) -> Option<Value> {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        let event: Value = (!line.is_empty()).then(|| serde_json::from_str(&line).unwrap())?;
        self.seen.push(event.clone());
        Some(event)
    }

    fn child(&mut self) -> &mut Child {
        &mut self.child.0
    }

    /// Ends it with a signal, and returns its exit status and everything it has said.
    fn end(mut self, signal: Signal) -> (i32, Vec<Value>) {
        // As `timeout` does: to the process, and to its group.
        send(self.child().id(), signal);
        send(self.child().id(), signal);
        while self.next().is_some() {}
        let status = wait(self.child());
        (status, self.seen)
    }
}

fn send(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

fn kinds(events: &[Value]) -> Vec<&str> {
    let kinds = events.iter().filter_map(|event| event["kind"].as_str());
    kinds.filter(|kind| *kind != "late").collect()
}

fn events(stdout: &str) -> Vec<Value> {
    let lines = stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn one_in_one_out_makes_the_missed_wakeup_certain() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    const EXCHANGE: &str = "one-in-one-out";
    let case = start("edge-triggered-missed-wakeup");
    let port = at_port(case.address());
    let confidence = |event: &Value| {
        let cause = &event["finding"]["cause"];
        assert_eq!(cause["id"], "edge-triggered-missed-wakeup");
        cause["confidence"].as_str().unwrap().to_owned()
    };
    let mut watch = Watch::start(&format!("--report-every 1 {port}"));
    let appeared = watch.until("appeared");
    assert_eq!(appeared["finding"]["id"], "accept-queue-leak");
    watch.until("not-moving");
    let mut newcomers = Vec::new();
    for expect in ["likely", "likely", "certain"] {
        watch.looks(4);
        newcomers.push(case.connect().unwrap());
        assert_eq!(confidence(&watch.until(EXCHANGE)), expect);
    }
    let (status, seen) = watch.end(Signal::INT);
    assert_eq!(status, 1);
    assert_eq!(
        kinds(&seen),
        [
            "appeared",
            "not-moving",
            EXCHANGE,
            EXCHANGE,
            EXCHANGE,
            "summary"
        ]
    );

    // Of a queue that has not moved for a long time one is enough.
    let mut watch = Watch::start(&format!("--report-every 1 {port}"));
    watch.looks(23);
    newcomers.push(case.connect().unwrap());
    assert_eq!(confidence(&watch.until(EXCHANGE)), "certain");
}

/// A correct server that accepts no more than two at a time, as Go's LimitListener: each client
/// that ends lets one in, and comes again at once. One in, one out, and no wake-up is missed.
#[test]
fn a_limit_on_connections_is_no_missed_wakeup() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    const ROUNDS: usize = 5;
    let listener = listen_at(LOOPBACK).open().unwrap();
    let address = listener.local_addr().unwrap();
    let mut clients: VecDeque<TcpStream> = (0..6).map(|_| connect(address)).collect();
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let server = scope.spawn(|| limited_server(&listener, 2, &ended));
        let end = EndWithOwner(&ended);
        let options = "--accept-age 200ms --report-every 1";
        let mut watch = Watch::start(&format!("{options} {}", at_port(address)));
        watch.until("not-moving");
        let mut lengths = Vec::new();
        for _ in 0..ROUNDS {
            watch.looks(4);
            drop(clients.pop_front());
            clients.push_back(connect(address));
            lengths.push(watch.looks(2)["listeners"][0]["accept_queue"].clone());
        }
        assert_eq!(lengths, [4; ROUNDS], "as long as before, each time");
        let (status, seen) = watch.end(Signal::INT);
        assert_eq!(status, 1);
        drop(end);
        // It sleeps until something comes.
        drop(clients);
        assert!(server.join().unwrap() >= 2 + ROUNDS, "it has accepted");
        for event in &seen {
            assert_ne!(event["kind"], "one-in-one-out", "{event:#}");
            let finding = &event["finding"];
            assert_ne!(finding["cause"]["confidence"], "certain", "{event:#}");
        }
        let last = seen.last().unwrap();
        assert_eq!(last["totals"]["open"][0]["id"], "accept-queue-leak");
    });
}

/// An edge-triggered server that accepts while it has fewer than `limit` connections, whenever one
/// comes or goes. How many it has accepted, once it has `ended`.
fn limited_server(listener: &TcpListener, limit: usize, ended: &AtomicBool) -> usize {
    const LISTENER: u64 = u64::MAX;
    listener.set_nonblocking(true).unwrap();
    let set = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    let add = |member: BorrowedFd<'_>, number: u64| {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&set, member, epoll::EventData::new_u64(number), flags).unwrap();
    };
    add(listener.as_fd(), LISTENER);
    let (mut open, mut accepted) = (HashMap::new(), 0);
    while !ended.load(Ordering::Relaxed) {
        let mut events = Vec::with_capacity(8);
        let wait = || epoll::wait(&set, spare_capacity(&mut events), None);
        rustix::io::retry_on_intr(wait).unwrap();
        // Whatever has come on a connection is its end.
        for event in &events {
            open.remove(&event.data.u64());
        }
        while open.len() < limit
            && let Ok((connection, _)) = listener.accept()
        {
            accepted += 1;
            add(connection.as_fd(), accepted);
            open.insert(accepted, connection);
        }
    }
    usize::try_from(accepted).unwrap()
}

#[test]
fn a_stall_recovers_when_the_server_goes_on() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let case = start("process-stopped");
    let mut watch = Watch::start(&at_port(case.address()));
    let appeared = watch.until("appeared");
    assert_eq!(appeared["finding"]["cause"]["id"], "process-stopped");
    watch.until("not-moving");
    send(case.server_pid(), Signal::CONT);
    watch.until("recovered");
    let (status, seen) = watch.end(Signal::TERM);
    assert_eq!(status, 0, "{seen:#?}");
    let summary = seen.last().unwrap();
    assert_eq!(summary["kind"], "summary");
    assert_eq!(summary["totals"]["open"], serde_json::json!([]));
    assert_eq!(summary["totals"]["gone"], summary["totals"]["appeared"]);
}

#[test]
fn a_server_on_the_same_port_is_another_one() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let listener = listen_at(LOOPBACK).open().unwrap();
    let address = listener.local_addr().unwrap();
    let clients = [connect(address), connect(address)];
    let mut watch = Watch::start(&format!("--accept-age 200ms {}", at_port(address)));
    let first = watch.until("appeared");
    drop(listener);
    drop(clients);
    let listener = eventually("the port to be free", || listen_at(address).open().ok());
    watch.until("closed");
    let _client = connect(address);
    let second = watch.until("appeared");
    let cookie = |event: &Value| event["subject"]["listener"].as_str().unwrap().to_owned();
    assert_ne!(cookie(&first), cookie(&second));
    drop(listener);
    watch.until("closed");
    assert_eq!(watch.end(Signal::INT).0, 0);
}

/// Sockets in CLOSE_WAIT that this process holds, one more whenever it is told.
struct Leak {
    listener: TcpListener,
    kept: Vec<TcpStream>,
}

impl Leak {
    fn new() -> Leak {
        Leak {
            listener: listen_at(LOOPBACK).open().unwrap(),
            kept: Vec::new(),
        }
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    fn leak(&mut self) {
        let (client, accepted) = connection(&self.listener);
        drop(client);
        self.kept.push(accepted);
    }
}

#[test]
fn a_leak_grows_by_what_it_grows() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    const EVERY: Duration = Duration::from_millis(50);
    let mut leak = Leak::new();
    let ages = "--close-wait-age 200ms --accept-age 5s";
    let mut watch = Watch::start(&format!("{ages} {}", at_port(leak.address())));
    let ((), lasted) = Moment::of(|| {
        for _ in 0..80 {
            let ((), leaked) = Moment::of(|| leak.leak());
            leaked.wait_until_aged(EVERY);
        }
    });
    // What was leaked in fact: waiting takes longer than was asked for.
    let lasted = lasted.duration();
    let rate = leak.kept.len() as f64 / lasted.as_secs_f64();
    let event = watch.until("growing");
    assert_eq!(event["finding"]["id"], "close-wait-leak");
    let told = event["measures"]["rate_per_s"].as_f64().unwrap();
    assert!((told - rate).abs() < rate / 10.0, "{told}, not {rate}");
    assert!(event["measures"]["time_left_ms"].is_u64(), "{event:#}");
    leak.kept.clear();
    watch.until("recovered");
    let (status, seen) = watch.end(Signal::INT);
    assert_eq!(status, 0);
    let count = |event: &Value, place| event.pointer(place).and_then(Value::as_u64);
    let peak = count(seen.last().unwrap(), "/totals/peak_close_wait/count").unwrap();
    assert!(count(&event, "/measures/count").is_some_and(|count| (1..=peak).contains(&count)));
    assert!(peak <= 80, "{peak}");
}

#[test]
fn a_correct_server_in_a_storm_is_no_news() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let case = start("healthy");
    let end = AtomicBool::new(false);
    let mut watch = Watch::start(&format!("--for 4s {}", at_port(case.address())));
    let address = case.address();
    thread::scope(|scope| {
        let storm = || {
            let mut count = 0;
            // The namespace has 28,000 ports, and each client leaves a TIME_WAIT entry.
            while !end.load(Ordering::Relaxed) && count < 6_000 {
                let mut client = connect(address);
                client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
                // The queue holds no more than there are storms, however slow the machine is: a
                // queue that overflows is no false alarm.
                client.shutdown(Shutdown::Write).unwrap();
                read_to_end(&mut client);
                count += 1;
            }
            count
        };
        let storms: Vec<_> = (0..4).map(|_| scope.spawn(storm)).collect();
        let end = EndWithOwner(&end);
        while watch.next().is_some() {}
        drop(end);
        let clients: u32 = storms.into_iter().map(|storm| storm.join().unwrap()).sum();
        assert!(clients > 1_000, "{clients} clients");
    });
    assert_eq!(wait(watch.child()), 0);
    for event in &watch.seen {
        assert_eq!(event["severity"], "info", "{event:#}");
    }
    let looks = watch.seen.last().unwrap()["totals"]["looks"].as_u64();
    assert!(looks.is_some_and(|looks| looks > 1), "{looks:?}");
}

#[test]
fn exit_statuses() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let mut leak = Leak::new();
    let port = at_port(leak.address());
    let check = |arguments: &str, expect: i32| {
        let outcome = tcpleak(&format!(
            "watch --interval 20ms --close-wait-age 0 {arguments} {port}"
        ));
        assert_eq!(outcome.status, expect, "{arguments}: {outcome:?}");
    };
    check("--count 2", 0);
    check("--until finding --for 100ms", 0);
    check("--until clear --for 5s", 0);
    check("--interval 0", 2);
    check("--count 0", 2);
    check("--report-every 2", 2);
    leak.leak();
    check("--count 2", 1);
    check("--count 2 --fail-on critical", 0);
    check("--until finding", 1);
    check("--until finding --fail-on critical --count 3", 0);
    check("--until clear --for 100ms", 1);
}

#[test]
fn lines_for_people() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let mut leak = Leak::new();
    leak.leak();
    let port = at_port(leak.address());
    let outcome = tcpleak(&format!(
        "watch --plain --interval 20ms --close-wait-age 0 --count 2 {port}"
    ));
    // How long a look takes is the machine's business.
    let is_late = |line: &&str| line.contains(" late ");
    let lines: Vec<&str> = outcome.stdout.lines().filter(|l| !is_late(l)).collect();
    let [appeared, summary] = lines[..] else {
        panic!("{outcome:?}");
    };
    assert!(
        appeared.contains("Z WARNING  appeared       "),
        "{appeared}"
    );
    assert!(appeared.contains("[close-wait-leak, "), "{appeared}");
    assert!(
        summary.contains("Z INFO     summary        watched for "),
        "{summary}"
    );
    // RFC 3339, of one width.
    for line in lines {
        let (time, _) = line.split_once(' ').unwrap();
        assert!(time.len() == 24 && time.as_bytes()[10] == b'T', "{time}");
    }
}

#[test]
fn lines_for_programs_are_as_the_schemas_say() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let mut leak = Leak::new();
    leak.leak();
    let port = at_port(leak.address());
    let looks = "--interval 20ms --close-wait-age 0 --count 5 --report-every 2";
    let outcome = tcpleak(&format!("watch --json {looks} {port}"));
    let validator = |name: &str| {
        let path = format!("{}/docs/{name}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        jsonschema::draft202012::new(&serde_json::from_str(&text).unwrap()).unwrap()
    };
    let (event, report) = (
        validator("event.schema.json"),
        validator("report.schema.json"),
    );
    let (mut events_seen, mut reports_seen) = (0, 0);
    for line in events(&outcome.stdout) {
        let (validator, count) = match line["schema"].as_str().unwrap() {
            "tcpleak.event/1" => (&event, &mut events_seen),
            _ => (&report, &mut reports_seen),
        };
        *count += 1;
        let errors: Vec<String> = validator
            .iter_errors(&line)
            .map(|e| e.to_string())
            .collect();
        assert!(errors.is_empty(), "{errors:?} in {line:#}");
    }
    // In the looks 1, 3 and 5.
    assert_eq!(reports_seen, 3, "{}", outcome.stdout);
    assert!(events_seen >= 2, "{}", outcome.stdout);
}

#[test]
fn a_program_runs_for_each_new_finding() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let directory = Directory::new("exec");
    let file = directory.0.join("finding.json");
    let mut leak = Leak::new();
    leak.leak();
    let looks = "--interval 20ms --close-wait-age 0 --count 5";
    let port = at_port(leak.address());
    let outcome = run_with_exec(
        &format!("tee {}", file.display()),
        &format!("{looks} {port}"),
    );
    assert_eq!(outcome.status, 1, "{outcome:?}");
    let given = events(&std::fs::read_to_string(&file).unwrap());
    assert_eq!(given.len(), 1, "one finding, one run");
    assert_eq!(given[0]["finding"]["id"], "close-wait-leak");
    // Its output is not among the events.
    assert_eq!(kinds(&events(&outcome.stdout)), ["appeared", "summary"]);
    let outcome = run_with_exec("/no/such/program", &format!("{looks} {port}"));
    assert_eq!(outcome.status, 1);
    assert!(
        outcome.stderr.contains("cannot run /no/such/program"),
        "{outcome:?}"
    );
}

fn run_with_exec(command: &str, arguments: &str) -> support::command::Outcome {
    support::command::run(
        Command::new(env!("CARGO_BIN_EXE_tcpleak"))
            .args(["watch", "--netns", "self", "--json", "--exec", command])
            .args(arguments.split_whitespace()),
    )
}
