//! Accepted sockets in CLOSE_WAIT on the real kernel: how many, which descriptors, what is unread,
//! since when, who opened them. Facts W1 to W4.
//!
//! The test holds both ends of every connection itself and so knows each descriptor and each
//! moment. Nothing in this file may start a process: between fork and exec a child has every
//! descriptor of its parent.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;

use tcpleak::join::CloseWait;
use tcpleak::model::{Direction, FindingId, Subject};

use support::clock::{Moment, eventually};
use support::in_own_namespace;
use support::scan::{OLD, accepted, findings, findings_here, held_by, only, report, scan};
use support::sockets::{LOOPBACK, LOOPBACK6, connection, listen_at, read_to_end, transfer};

const SOCKETS: usize = 23;
const REQUEST: &[u8; 10] = b"GET /file\n";

/// An accepted connection whose client has closed.
struct Left {
    accepted: TcpStream,
    closed: Moment,
}

/// By the client's address.
type AllLeft = BTreeMap<SocketAddr, Left>;

/// Clients send ten bytes and close; `serve` gets each connection before and after that.
fn leave(
    address: impl Into<SocketAddr>,
    serve: impl Fn(&mut TcpStream, &mut TcpStream),
    finish: impl Fn(&mut TcpStream),
) -> AllLeft {
    let listener = listen_at(address).open().unwrap();
    let mut left = AllLeft::new();
    for _ in 0..SOCKETS {
        let (mut client, mut accepted) = connection(&listener);
        serve(&mut client, &mut accepted);
        let address = client.local_addr().unwrap();
        let ((), closed) = Moment::of(|| drop(client));
        finish(&mut accepted);
        left.insert(address, Left { accepted, closed });
    }
    for one in left.values() {
        one.closed.wait_until_aged(OLD);
    }
    left
}

/// Checks everything that a scan says of those.
fn check(left: &AllLeft, recv_q: u32) {
    let (snapshot, read) = Moment::of(scan);
    let report = report(&snapshot);
    let sockets = accepted(&report.table);
    assert_eq!(
        (sockets.len(), report.table.close_wait.len()),
        (SOCKETS, SOCKETS)
    );
    for socket in &sockets {
        let truth = &left[&socket.entry.remote];
        assert_eq!(socket.entry.stream_queues(), Some((recv_q, 0)));
        assert_eq!(socket.unread_bytes, recv_q.saturating_sub(1));
        assert_eq!(socket.fin_unread, recv_q > 0);
        assert_eq!(socket.direction, Some(Direction::Inbound));
        let fd = truth.accepted.as_raw_fd();
        assert_eq!(held_by(&socket.holders), [(std::process::id(), vec![fd])]);
        let (age, range) = (socket.age.unwrap(), truth.closed.age_at(read));
        assert!(range.contains(&age), "{age:?} is not in {range:?}");
    }
    let finding = only(findings_here(&report, &[]).into_iter());
    assert_eq!(finding.id, FindingId::CloseWaitLeak);
    assert_eq!(finding.count, SOCKETS as u64);
    assert_eq!(
        finding.oldest,
        sockets.iter().filter_map(|socket| socket.age).max()
    );
    let port = sockets[0].entry.local.port();
    let Subject::Connections {
        holder,
        direction,
        endpoint,
        ..
    } = &finding.subject
    else {
        panic!("{:?}", finding.subject);
    };
    assert_eq!(holder.unwrap().pid, std::process::id());
    assert_eq!(*direction, Some(Direction::Inbound));
    assert_eq!(*endpoint, format!(":{port}"));
}

#[test]
fn everything_was_read_and_nothing_closed() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let left = leave(
        LOOPBACK,
        |client, _| client.write_all(REQUEST).unwrap(),
        read_to_end,
    );
    check(&left, 0);
}

#[test]
fn only_the_end_of_file_is_unread() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let left = leave(
        LOOPBACK,
        |client, accepted| transfer(client, accepted, 10),
        |_| {},
    );
    check(&left, 1);
}

#[test]
fn data_and_end_of_file_are_unread() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let left = leave(
        LOOPBACK6,
        |client, _| client.write_all(REQUEST).unwrap(),
        |_| {},
    );
    check(&left, 11);
}

#[test]
fn a_socket_that_was_duplicated_has_all_of_its_descriptors() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let listener = listen_at(LOOPBACK).open().unwrap();
    let (client, accepted) = connection(&listener);
    let copies = [accepted.try_clone().unwrap(), accepted.try_clone().unwrap()];
    drop(client);
    let snapshot = scan();
    let report = report(&snapshot);
    let socket = only(report.table.close_wait.iter());
    let mut fds = vec![accepted.as_raw_fd()];
    fds.extend(copies.iter().map(AsRawFd::as_raw_fd));
    fds.sort_unstable();
    assert_eq!(held_by(&socket.holders), [(std::process::id(), fds)]);
}

/// Who opened a connection is told by its own counters, whatever it has carried (facts in
/// `TcpInfo::direction`): both ports are ephemeral here and would not tell.
#[test]
fn direction_is_told_by_the_counters() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    const BYTES: usize = 300_000;
    for address in [SocketAddr::from(LOOPBACK), SocketAddr::from(LOOPBACK6)] {
        for (upload, download) in [(0, 0), (BYTES, 0), (0, BYTES), (BYTES, 7)] {
            let listener = listen_at(address).open().unwrap();
            let talk = || {
                let (mut client, mut accepted) = connection(&listener);
                transfer(&mut client, &mut accepted, upload);
                transfer(&mut accepted, &mut client, download);
                (client, accepted)
            };
            // One connection is closed by its client, one by its server: both leave a half.
            let (client, inbound) = talk();
            drop(client);
            let (outbound, accepted) = talk();
            drop(accepted);
            drop(listener);
            let case = format!("{address}, {upload} up, {download} down");
            let direction_of = |end: &TcpStream| {
                eventually("both halves", || {
                    let snapshot = scan();
                    let table = report(&snapshot).table;
                    let address = end.local_addr().unwrap();
                    let here = |socket: &&CloseWait<'_>| socket.entry.local == address;
                    let socket = table.close_wait.iter().find(here)?;
                    assert!(socket.accepted, "{case}");
                    // Once everything is acknowledged.
                    let from_counters = socket.entry.info?.direction()?;
                    assert_eq!(socket.direction, Some(from_counters), "{case}");
                    Some(from_counters)
                })
            };
            assert_eq!(direction_of(&inbound), Direction::Inbound, "{case}");
            assert_eq!(direction_of(&outbound), Direction::Outbound, "{case}");
        }
    }
}

#[test]
fn a_half_closed_connection_that_is_served_is_no_leak() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let listener = listen_at(LOOPBACK).open().unwrap();
    // The server sends more than the client, who does not read, can take: it waits to be sent.
    let (client, accepted) = connection(&listener);
    client.shutdown(Shutdown::Write).unwrap();
    accepted.set_nonblocking(true).unwrap();
    let fill = || while (&accepted).write(&[0; 65536]).is_ok() {};
    eventually("a far end that takes no more", || {
        fill();
        let snapshot = scan();
        let (_, send_q) = only(report(&snapshot).table.close_wait.iter())
            .entry
            .stream_queues()?;
        (send_q > 0).then_some(())
    });
    let ((), filled) = Moment::of(fill);
    filled.wait_until_aged(OLD);
    let snapshot = scan();
    let report = report(&snapshot);
    assert!(findings(&report, FindingId::CloseWaitLeak).is_empty());
    assert_eq!(findings(&report, FindingId::CloseWaitHalfClosed).len(), 1);
}
