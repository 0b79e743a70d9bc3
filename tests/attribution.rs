//! Which listener a connection waits at, by the kernel's own preference, and how the library tells.
//! Facts Q3, Q9, Q10; the order itself is stated in `join::attribution`.
//!
//! The kernel says nothing of the listener of a queued connection. `accept()` does: each test
//! takes what is queued out again and compares.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

mod support;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use tcpleak::collect::{Request, collect};
use tcpleak::join::{Listener, Queued, SocketTable};
use tcpleak::model::{Cookie, Fact, TcpState, Unknown};

use rustix::net::sockopt::socket_cookie;

use support::clock::eventually;
use support::scan::{accepted, held_by, only, report, request, scan};
use support::sockets::{Listen, connect, listen_at};
use support::{cannot_run, in_own_namespace};

const CLIENTS: usize = 6;

/// A port for all listeners of a test: every test has all ports of a namespace.
const PORT: u16 = 8080;

/// A listener as `ADDRESS[%DEVICE][!6]`, where `!6` is IPV6_V6ONLY; all share the port.
fn parse(text: &str) -> Listen {
    let (text, v6only) = match text.strip_suffix("!6") {
        Some(text) => (text, true),
        None => (text, false),
    };
    let (address, device) = match text.strip_suffix("%lo") {
        Some(address) => (address, Some("lo")),
        None => (text, None),
    };
    let address: IpAddr = address.parse().unwrap();
    let mut listen = listen_at((address, PORT)).sharing_its_port();
    if v6only {
        listen = listen.v6only();
    }
    match device {
        Some(device) => listen.bound_to(device),
        None => listen,
    }
}

/// Clients of one address.
fn clients(address: &str) -> Vec<TcpStream> {
    let address: IpAddr = address.parse().unwrap();
    (0..CLIENTS).map(|_| connect((address, PORT))).collect()
}

/// Everything that a listener has in its queue, by the addresses of the clients; and takes it out.
fn take_out(listener: &TcpListener) -> BTreeSet<SocketAddr> {
    listener.set_nonblocking(true).unwrap();
    let mut taken = BTreeSet::new();
    while let Ok((_, peer)) = listener.accept() {
        taken.insert(peer);
    }
    taken
}

fn of<'t, 's>(table: &'t SocketTable<'s>, listener: &TcpListener) -> &'t Listener<'s> {
    let cookie = Some(Cookie(socket_cookie(listener).unwrap()));
    only(
        table
            .listeners
            .iter()
            .filter(|one| one.entry.cookie == cookie),
    )
}

fn children(listener: &Listener<'_>) -> BTreeSet<SocketAddr> {
    let children = listener.children.iter();
    children.map(|child| child.entry.remote).collect()
}

/// Opens listeners, dials an address, and checks that the one with that number takes all clients
/// and that the library gives them all to it.
fn check(listeners: &[&str], dialled: &str, expect: usize) {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let context = format!("{listeners:?} for {dialled}");
    let open: Vec<TcpListener> = listeners
        .iter()
        .map(|text| {
            parse(text)
                .open()
                .unwrap_or_else(|error| panic!("{text}: {error}"))
        })
        .collect();
    let clients = clients(dialled);
    let table_is_settled = |table: &SocketTable<'_>| {
        let queued: u32 = table.listeners.iter().map(|one| one.accept_queue).sum();
        queued as usize == CLIENTS
    };
    eventually("all clients queued", || {
        table_is_settled(&report(&scan()).table).then_some(())
    });
    let snapshot = scan();
    let table = report(&snapshot).table;
    assert!(table.strays.is_empty(), "{context}");
    let mut winners = Vec::new();
    for (number, listener) in open.iter().enumerate() {
        let told = of(&table, listener);
        assert_eq!(
            told.queued,
            queued(told.accept_queue),
            "{context}: {number}"
        );
        let truth = take_out(listener);
        assert_eq!(children(told), truth, "{context}: {number}");
        assert_eq!(
            truth.len(),
            told.accept_queue as usize,
            "{context}: {number}"
        );
        if !truth.is_empty() {
            winners.push(number);
        }
    }
    assert_eq!(winners, [expect], "{context}");
    drop(clients);
}

fn queued(established: u32) -> Fact<Queued> {
    Fact::Known(Queued {
        established,
        close_wait: 0,
        gone: 0,
    })
}

#[test]
fn listener_preference_by_address() {
    check(&["0.0.0.0", "127.0.0.1"], "127.0.0.1", 1);
    check(&["127.0.0.1", "0.0.0.0"], "127.0.0.1", 0);
    check(&["0.0.0.0", "127.0.0.1"], "127.0.0.2", 0);
    check(&["::", "::1"], "::1", 1);
    check(&["::1", "::!6"], "::1", 0);
}

#[test]
fn listener_preference_by_device() {
    check(&["0.0.0.0", "0.0.0.0%lo"], "127.0.0.1", 1);
    check(&["0.0.0.0%lo", "127.0.0.1"], "127.0.0.1", 1);
    check(&["127.0.0.1", "127.0.0.1%lo"], "127.0.0.1", 1);
    check(
        &["0.0.0.0", "0.0.0.0%lo", "127.0.0.1", "127.0.0.1%lo"],
        "127.0.0.1",
        3,
    );
    check(&["::%lo", "::"], "::1", 0);
    check(&["::%lo", "::1"], "::1", 1);
}

#[test]
fn listener_preference_by_family() {
    check(&["0.0.0.0", "::"], "127.0.0.1", 0);
    check(&["::", "0.0.0.0"], "127.0.0.1", 1);
    check(&["::", "0.0.0.0"], "::1", 0);
    check(&["0.0.0.0", "::!6"], "127.0.0.1", 0);
    check(&["0.0.0.0", "::!6"], "::1", 1);
    check(&["0.0.0.0", "::ffff:127.0.0.1"], "127.0.0.1", 1);
    check(&["127.0.0.1", "::ffff:127.0.0.1"], "127.0.0.1", 0);
    check(&["::", "::ffff:127.0.0.1"], "127.0.0.1", 1);
}

#[test]
fn listener_preference_by_family_and_device() {
    check(&["::%lo", "0.0.0.0"], "127.0.0.1", 1);
    check(&["0.0.0.0", "::%lo"], "127.0.0.1", 0);
    check(&["::%lo", "127.0.0.1"], "127.0.0.1", 1);
    check(&["::%lo", "0.0.0.0%lo"], "127.0.0.1", 1);
    check(&["::%lo", "::"], "127.0.0.1", 0);
    check(&["::ffff:127.0.0.1%lo", "127.0.0.1"], "127.0.0.1", 1);
    check(&["::ffff:127.0.0.1%lo", "0.0.0.0%lo"], "127.0.0.1", 0);
}

/// The kernel shares clients out among equals by hash, and does not say how (facts Q9).
#[test]
fn of_a_group_with_several_queues_only_the_whole_is_told() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let members: Vec<_> = (0..2).map(|_| parse("127.0.0.1").open().unwrap()).collect();
    let other = listen_at(([127, 0, 0, 1], PORT + 1)).open().unwrap();
    let connect_all = || -> Vec<TcpStream> { (0..4).flat_map(|_| clients("127.0.0.1")).collect() };
    let clients = connect_all();
    let all: BTreeSet<SocketAddr> = clients
        .iter()
        .map(|one| one.local_addr().unwrap())
        .collect();
    let snapshot = eventually("all clients queued", || {
        let snapshot = scan();
        let queued: u32 = report(&snapshot)
            .table
            .listeners
            .iter()
            .map(|one| one.accept_queue)
            .sum();
        (queued as usize == all.len()).then_some(snapshot)
    });
    let table = report(&snapshot).table;
    assert_eq!(of(&table, &other).accept_queue, 0);
    let told: Vec<_> = members.iter().map(|member| of(&table, member)).collect();
    for (member, other) in [(told[0], told[1]), (told[1], told[0])] {
        // That all went to one of them happens once in eight million times.
        assert!(member.accept_queue > 0);
        assert_eq!(member.queued, Fact::Unknown(Unknown::Unsupported));
        assert_eq!(
            (children(member), member.shared_with),
            (all.clone(), other.accept_queue)
        );
    }
    // With one queue empty, the rest is known again.
    let taken = take_out(&members[0]);
    let snapshot = scan();
    let table = report(&snapshot).table;
    let rest = of(&table, &members[1]);
    assert_eq!(
        rest.queued,
        queued(u32::try_from(all.len() - taken.len()).unwrap())
    );
    assert_eq!(children(rest), take_out(&members[1]));
}

/// Connections stay where they were queued, also when a listener is opened that suits them better.
#[test]
fn a_better_listener_that_came_later_has_nothing_of_what_was_queued_before() {
    for (first, later, dialled) in [
        ("0.0.0.0", "127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "0.0.0.0%lo", "127.0.0.1"),
        ("::", "0.0.0.0", "127.0.0.1"),
        ("::", "::1", "::1"),
    ] {
        let Some(_namespace) = in_own_namespace() else {
            return;
        };
        let context = format!("{later} after {first}");
        let first = parse(first).open().unwrap();
        let clients = clients(dialled);
        let later = parse(later).open().unwrap();
        // Looked at twice: what two looks miss is said to be gone.
        let twice = Request {
            accept_age: Duration::ZERO,
            settle: Duration::from_millis(30),
            ..request()
        };
        let snapshot = eventually("all clients queued", || {
            let snapshot = collect(&twice).unwrap();
            let queue = of(&report(&snapshot).table, &first).accept_queue;
            (queue as usize == CLIENTS).then_some(snapshot)
        });
        let table = report(&snapshot).table;
        let told = of(&table, &first);
        assert_eq!(told.queued, queued(told.accept_queue), "{context}");
        assert_eq!(told.movement.unwrap().stayed as usize, CLIENTS, "{context}");
        assert_eq!(children(told), take_out(&first), "{context}");
        assert!(of(&table, &later).children.is_empty(), "{context}");
        drop(clients);
    }
}

/// An MPTCP listener takes plain TCP too; both kinds wait in its queue.
#[test]
fn an_mptcp_listener_and_both_kinds_of_clients() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let listener = match listen_at(([127, 0, 0, 1], PORT)).mptcp().open() {
        Ok(listener) => listener,
        Err(error) => return cannot_run(&format!("this kernel has no MPTCP: {error}")),
    };
    let address = listener.local_addr().unwrap();
    let plain = connect(address);
    let multipath = support::sockets::connect_mptcp(address);
    let queue = |established, close_wait| {
        let queued = Fact::Known(Queued {
            established,
            close_wait,
            gone: 0,
        });
        eventually(&format!("{queued:?}"), || {
            let snapshot = scan();
            let table = report(&snapshot).table;
            // Its cookie is the MPTCP socket's, not that of the row, which is the first subflow's.
            let told = only(table.listeners.iter());
            assert_eq!(told.entry.ulp.as_deref(), Some("mptcp"));
            let held = held_by(&told.holders);
            assert!(held.contains(&(std::process::id(), vec![listener.as_raw_fd()])));
            (told.queued == queued).then_some(())
        });
    };
    queue(2, 0);
    drop(plain);
    queue(1, 1);
    // The close of an MPTCP connection does not show in the TCP table.
    drop(multipath);
    queue(1, 1);
    let (accepted_ends, _) = (0..2)
        .map(|_| listener.accept().unwrap())
        .unzip::<_, _, Vec<TcpStream>, Vec<SocketAddr>>();
    let snapshot = scan();
    let table = report(&snapshot).table;
    let left = only(accepted(&table).into_iter());
    assert_eq!(left.entry.state, TcpState::CloseWait);
    let fds: Vec<i32> = accepted_ends.iter().map(AsRawFd::as_raw_fd).collect();
    let [(pid, fd)] = &held_by(&left.holders)[..] else {
        panic!("{:?}", left.holders)
    };
    assert_eq!(*pid, std::process::id());
    assert!(fds.contains(&fd[0]));
}
