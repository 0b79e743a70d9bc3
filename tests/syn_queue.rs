//! SYN queues on the running kernel: how full they are, what happens to the next SYN, and that a
//! watch says so. Fact Q11.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

mod support;

use std::net::{SocketAddr, TcpListener, TcpStream};

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use serde_json::json;

use support::clock::eventually;
use support::command::{at_port, tcpleak};
use support::in_own_namespace;
use support::scan::{LOWERED, every_socket, only, report, request, scan};
use support::sockets::{LOOPBACK, connection, hear_only_syns, listen_at};
use tcpleak::collect::{Session, SourceChoice, collect};
use tcpleak::history::{Event, EventKind, History, SOCKETS_AT_MOST};
use tcpleak::join::Filter;
use tcpleak::model::{Severity, Snapshot, SynCounters, SynSettings, TcpState};
use tcpleak::report::Report;

const LIMIT: u16 = 2;

fn deaf_listener() -> TcpListener {
    let listener = listen_at(LOOPBACK).backlog(LIMIT.into()).open().unwrap();
    hear_only_syns(&listener);
    listener
}

/// Clients that have sent a SYN, and wait for no answer.
fn begin(to: SocketAddr, count: u16) -> Vec<TcpStream> {
    let client = |_| {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (family, kind) = (AddressFamily::INET, SocketType::STREAM);
        let client = rustix::net::socket_with(family, kind, flags, None).unwrap();
        let began = rustix::net::connect(&client, &to);
        assert!(matches!(began, Ok(()) | Err(rustix::io::Errno::INPROGRESS)));
        TcpStream::from(client)
    };
    (0..count).map(client).collect()
}

fn set_cookies(when: &str) {
    std::fs::write("/proc/sys/net/ipv4/tcp_syncookies", when).unwrap();
}

fn counters(snapshot: &Snapshot) -> SynCounters {
    let namespace = snapshot.nearest_namespace().unwrap();
    namespace.listen_counters.known().unwrap().syn.unwrap()
}

fn settings(snapshot: &Snapshot) -> SynSettings {
    snapshot.nearest_namespace().unwrap().syn_settings.unwrap()
}

#[test]
fn it_is_full_at_one_more_than_the_backlog() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let listener = deaf_listener();
    let local = listener.local_addr().unwrap();
    let check = |handshakes: u16, full: Option<bool>| {
        let snapshot = scan();
        let report = report(&snapshot);
        let account = only(report.table.listeners.iter());
        assert_eq!(
            (account.syn_recv, account.syn_queue_is_full()),
            (handshakes.into(), full)
        );
        let notable = report.notable_listeners().count();
        assert_eq!(notable, usize::from(full == Some(true)));
    };
    check(0, Some(false));
    let mut clients = begin(local, LIMIT - 1);
    check(LIMIT - 1, Some(false));
    clients.extend(begin(local, 1));
    check(LIMIT, None);
    clients.extend(begin(local, 1));
    check(LIMIT + 1, Some(true));
}

#[test]
fn the_next_syn_gets_a_cookie_or_is_dropped() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let listener = deaf_listener();
    let local = listener.local_addr().unwrap();
    let _full = begin(local, LIMIT + 1);
    set_cookies("1");
    let before = counters(&scan());
    let _with_cookies = begin(local, 4);
    let snapshot = scan();
    let now = counters(&snapshot);
    assert_eq!(now.cookies_sent - before.cookies_sent, 4);
    assert_eq!(now.full_with_cookies - before.full_with_cookies, 4);
    assert_eq!((settings(&snapshot).cookies, now.full_with_drops), (1, 0));
    assert!(settings(&snapshot).max_backlog > 0);

    set_cookies("0");
    let _dropped = begin(local, 2);
    let snapshot = scan();
    let now = counters(&snapshot);
    // A client tries again.
    assert!(settings(&snapshot).cookies == 0 && now.full_with_drops >= 2);
    assert_eq!(now.cookies_sent - before.cookies_sent, 4);
    let port = at_port(local);
    let json = tcpleak(&format!("scan --json {port}")).json();
    let told = only(json["listeners"].as_array().unwrap().iter());
    assert_eq!(
        (&told["syn_recv"], &told["syn_queue_full"]),
        (&json!(LIMIT + 1), &json!(true))
    );
    assert_eq!(
        json["counters"]["syn_cookies_sent"],
        json!(now.cookies_sent)
    );
    let dropped = json["counters"]["syn_queue_full_drops"].as_u64();
    assert!(dropped >= Some(now.full_with_drops), "{dropped:?}");
    assert_eq!(json["counters"]["tcp_syncookies"], json!(0));
    // The listener counts them too, and says why.
    let evidence = json["findings"][0]["evidence"].to_string();
    let why = "3 handshakes in progress in its SYN queue: it is full, and further SYNs are dropped";
    assert!(evidence.contains(why), "{evidence}");
    assert!(
        evidence.contains("queues were full: 2 SYNs dropped"),
        "{evidence}"
    );

    let page = tcpleak(&format!("inspect {local}")).stdout;
    assert!(
        page.contains("3 handshakes in progress of 2: full"),
        "{page}"
    );
    assert!(
        page.contains("never sent: a full SYN queue drops"),
        "{page}"
    );
    let list = tcpleak(&format!("list --state syn-recv {port}")).stdout;
    assert_eq!(
        list.matches("- (handshake in progress)").count(),
        3,
        "{list}"
    );
}

/// Of listeners that share an address each would take a SYN, and only the kernel knows which has.
#[test]
fn of_a_shared_address_only_the_whole_is_told() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let first = listen_at(LOOPBACK).sharing_its_port().open().unwrap();
    let local = first.local_addr().unwrap();
    let second = listen_at(local).sharing_its_port().open().unwrap();
    let handshakes = || {
        let snapshot = collect(&every_socket(SourceChoice::SockDiag)).unwrap();
        let rows = snapshot.sockets.iter();
        let rows = rows.filter(|row| row.state == TcpState::SynRecv);
        (rows.count(), snapshot)
    };
    hear_only_syns(&first);
    hear_only_syns(&second);
    let _clients = begin(local, 5);
    let snapshot = eventually("five handshakes", || {
        let (count, snapshot) = handshakes();
        (count == 5).then_some(snapshot)
    });
    for account in &report(&snapshot).table.listeners {
        assert_eq!((account.syn_recv, account.syn_queue_is_full()), (5, None));
    }
}

/// A watch that looks when it is told to.
struct Looks {
    session: Session,
    history: History,
}

impl Looks {
    fn look(&mut self) -> Vec<Event> {
        let snapshot = self.session.look().unwrap();
        let mut report = Report::new(&snapshot, &LOWERED, &Filter::default());
        let events = self.history.look(self.session.elapsed(), &mut report);
        let is_it = |event: &Event| event.kind == EventKind::SynQueueFull;
        events.into_iter().filter(is_it).collect()
    }
}

#[test]
fn a_watch_says_when_cookies_begin() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    set_cookies("1");
    let listener = deaf_listener();
    let local = listener.local_addr().unwrap();
    let mut looks = Looks {
        session: Session::begin(request()),
        history: History::new(LOWERED.close_wait_age, SOCKETS_AT_MOST),
    };
    let mut clients = begin(local, LIMIT + 1);
    // Full, and nobody was turned away.
    assert_eq!(looks.look(), []);
    assert_eq!(looks.look(), []);
    clients.extend(begin(local, 3));
    let event = only(looks.look().into_iter());
    assert_eq!(event.severity, Severity::Warning);
    assert_eq!(
        (event.measures.came, event.measures.count),
        (Some(3), Some(3))
    );
    let expect =
        format!("the SYN queue of {local} is full: 3 SYN cookies sent since the last look");
    assert_eq!(event.summary, expect);
    clients.extend(begin(local, 1));
    assert_eq!(looks.look(), [], "it goes on");
}

/// With cookies for everybody, a cookie is no sign of anything.
#[test]
fn a_server_behind_cookies_is_well() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    set_cookies("2");
    let listener = listen_at(LOOPBACK).open().unwrap();
    let mut looks = Looks {
        session: Session::begin(request()),
        history: History::new(LOWERED.close_wait_age, SOCKETS_AT_MOST),
    };
    assert_eq!(looks.look(), []);
    let before = counters(&scan()).cookies_sent;
    let _served: Vec<_> = (0..3).map(|_| connection(&listener)).collect();
    assert_eq!(counters(&scan()).cookies_sent - before, 3);
    assert_eq!(looks.look(), []);
}
