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
use socket2::{Domain, Socket, Type};

use support::clock::{EndWithOwner, Moment, TIME_LIMIT, eventually};
use support::command::{Ended, at_port, tcpleak, wait};
use support::scan::{Directory, start};
use support::sockets::{LOOPBACK, connect, connection, listen_at, read_to_end, reset};
use support::{in_own_namespace, say};

/// A watch that runs beside the test.
struct Watch {
    child: Ended,
    stdout: BufReader<ChildStdout>,
    seen: Vec<Value>,
}

impl Watch {
    /// `tcpleak watch --json --interval 100ms ARGUMENTS`, which ends by itself if what the test waits
    /// for does not come.
    fn start(arguments: &str) -> Watch {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tcpleak"))
            .args(["watch", "--netns", "self", "--json", "--interval", "100ms"])
            .args(["--for", "60s"])
            .args(arguments.split_whitespace())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
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
            let Some(event) = self.next() else {
                let seen = std::mem::take(&mut self.seen);
                let stderr = self.child().stderr.take().unwrap();
                let said = std::io::read_to_string(stderr).unwrap();
                let status = self.child().wait().unwrap();
                panic!("no {kind}: {seen:#?}\n{status}\n{said}");
            };
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

/// The program goes on, and takes one every 20 ms: how fast that is, and how long it will take.
#[test]
fn a_queue_that_drains_says_when_it_is_empty() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    const WAITING: usize = 250;
    const EVERY: Duration = Duration::from_millis(20);
    let listener = listen_at(LOOPBACK).backlog(511).open().unwrap();
    let address = listener.local_addr().unwrap();
    let _clients: Vec<TcpStream> = (0..WAITING).map(|_| connect(address)).collect();
    let options = "--accept-age 300ms";
    let mut watch = Watch::start(&format!("{options} {}", at_port(address)));
    watch.until("not-moving");
    thread::scope(|scope| {
        let drain = scope.spawn(|| {
            let drain_one = |_| {
                let (accepted, taken) = Moment::of(|| listener.accept().unwrap());
                taken.wait_until_aged(EVERY);
                accepted
            };
            Moment::of(|| (0..WAITING).map(drain_one).collect::<Vec<_>>())
        });
        let event = watch.until("draining");
        assert_eq!(event["severity"], "info");
        let measure = |key: &str| event["measures"][key].as_f64().unwrap();
        let (left, rate) = (measure("count"), -measure("rate_per_s"));
        let time_left = measure("time_left_ms") / 1000.0;
        assert!((time_left - left / rate).abs() < 0.01, "{event:#}");
        watch.until("recovered");
        let (accepted, lasted) = drain.join().unwrap();
        // What was drained in fact: waiting takes longer than was asked for.
        let in_fact = accepted.len() as f64 / lasted.duration().as_secs_f64();
        let near = in_fact * 0.75..in_fact * 1.25;
        assert!(near.contains(&rate), "{rate}, not {in_fact}: {event:#}");
    });
    assert_eq!(watch.end(Signal::INT).0, 0);
}

/// 2,000 short connections a second for 30 seconds. A machine that is busy with other things takes
/// longer for them, and the test says so; it does not do with fewer.
#[test]
fn a_correct_server_in_a_storm_is_no_news() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    const CLIENTS: u8 = 16;
    const EACH: u32 = 3_750;
    const RATE: u32 = 2_000;
    /// After this time the machine cannot do it.
    const TOO_LONG: Duration = Duration::from_secs(150);
    let case = start("healthy");
    let address = case.address();
    let watch = Watch::start(&at_port(address));
    let (counts, lasted) = thread::scope(|scope| {
        let counts = Moment::of(|| {
            let storms: Vec<_> = (0..CLIENTS)
                .map(|client| scope.spawn(move || storm(client, address, EACH, TOO_LONG)))
                .collect();
            let count = |storm: thread::ScopedJoinHandle<'_, u32>| storm.join().unwrap();
            storms.into_iter().map(count).collect::<Vec<u32>>()
        });
        (counts.0, counts.1.duration())
    });
    let total: u32 = counts.iter().sum();
    let rate = f64::from(total) / lasted.as_secs_f64();
    let (status, seen) = watch.end(Signal::INT);
    for event in &seen {
        assert_eq!(event["severity"], "info", "{event:#}");
    }
    assert_eq!(status, 0);
    let looks = seen.last().unwrap()["totals"]["looks"].as_u64().unwrap();
    let said = format!("{total} connections in {lasted:?}: {rate:.0} a second, {looks} looks");
    say(&said);
    assert_eq!(total, u32::from(CLIENTS) * EACH, "{said}");
    assert!(looks > 50, "{said}");
    if rate < f64::from(RATE) * 0.9 {
        say("SLOWER THAN 2,000 a second: this machine has something else to do");
    }
}

/// One connection after the other from an address of its own, 125 a second, and none after
/// `too_long`: read to the end, closed at once, or reset. How many that were.
fn storm(client: u8, server: SocketAddr, count: u32, too_long: Duration) -> u32 {
    const EVERY: Duration = Duration::from_millis(8);
    // With one source address the ports would run out: each client leaves a TIME_WAIT entry.
    let from = SocketAddr::from(([127, 0, 1, client + 1], 0));
    let ((), began) = Moment::of(|| ());
    for number in 0..count {
        if began.is_aged(too_long) {
            return number;
        }
        began.wait_until_aged(EVERY * number);
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&from.into()).unwrap();
        socket.connect(&server.into()).unwrap();
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(TIME_LIMIT)).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        match number % 4 {
            0 => reset(stream),
            1 => drop(stream),
            // The server closes when it has read to the end.
            _ => {
                stream.shutdown(Shutdown::Write).unwrap();
                read_to_end(&mut stream);
            }
        }
    }
    count
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
