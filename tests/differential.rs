//! `tcpleak list` against `ss` and `/proc/net/tcp` on random populations, row by row: states,
//! addresses, queues, inodes, owners, and every descriptor of every holder.
//!
//! Each population comes of a seed, which is printed. `TCPLEAK_SEED=N` begins with that one, and
//! `TCPLEAK_POPULATIONS=N` compares so many instead of a few.
//!
//! Alone in its file: a process that another test starts would, between fork and exec, hold the
//! sockets of this one.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};

use rustix::fd::OwnedFd;
use rustix::io::FdFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use support::clock::eventually;
use support::command::Ended;
use support::random::Random;
use support::rows::{Rows, our_rows, ss_rows};
use support::sockets::{connect, listen_at, reset};
use support::{cannot_run, in_own_namespace, say};

const POPULATIONS: u64 = 6;

#[test]
fn random_populations_are_what_ss_and_proc_say_they_are() {
    if let Err(error) = Command::new("ss").arg("-V").output() {
        return cannot_run(&format!("needs ss of iproute2: {error}"));
    }
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let first = number("TCPLEAK_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let populations = number("TCPLEAK_POPULATIONS").unwrap_or(POPULATIONS);
    say(&format!("seeds {first} and the next ones"));
    let mut compared: BTreeMap<String, usize> = BTreeMap::new();
    let mut held = 0;
    for seed in first..first + populations {
        let Some(_namespace) = in_own_namespace() else {
            return;
        };
        let _population = Population::new(Random::new(seed));
        for row in compare(seed).into_values() {
            held += row.held.len();
            *compared.entry(row.state).or_default() += 1;
        }
    }
    let rows: usize = compared.values().sum();
    say(&format!(
        "{rows} rows with {held} descriptors in {populations} populations: {compared:?}"
    ));
    assert!(rows as u64 > 20 * populations, "{rows}");
}

/// Every row of each, and no other. Some segments may still be on their way.
fn compare(seed: u64) -> Rows {
    let what = format!("the same rows twice, of seed {seed}");
    let (ours, ss, proc) = eventually(&what, || {
        let (before, ss, proc, after) = (our_rows(), ss_rows(), proc_rows(), our_rows());
        (before == after).then_some((before, ss, proc))
    });
    assert!(
        ours.keys().eq(ss.keys()),
        "seed {seed}: {ours:#?} and not {ss:#?}"
    );
    for (cookie, row) in &ours {
        assert_eq!(*row, ss[cookie], "seed {seed}, {cookie}");
    }
    let mut without_cookies: Vec<ProcRow> = ours.values().map(ProcRow::of).collect();
    without_cookies.sort();
    assert_eq!(without_cookies, proc, "seed {seed}");
    ours
}

/// What `/proc/net/tcp` says of a socket.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ProcRow {
    local: (Option<IpAddr>, u16),
    remote: (Option<IpAddr>, u16),
    state: String,
    recv_q: u64,
    /// Of a listener 0, whatever its backlog.
    send_q: u64,
    uid: u64,
    inode: u64,
}

impl ProcRow {
    fn of(row: &support::rows::Row) -> ProcRow {
        let is_listener = row.state == "LISTEN";
        ProcRow {
            local: row.local,
            remote: row.remote,
            state: row.state.clone(),
            recv_q: row.queues.0,
            send_q: if is_listener { 0 } else { row.queues.1 },
            uid: row.uid,
            inode: row.inode,
        }
    }
}

/// In the order of their numbers (include/net/tcp_states.h), with ss's names.
const STATES: [&str; 12] = [
    "ESTAB",
    "SYN-SENT",
    "SYN-RECV",
    "FIN-WAIT-1",
    "FIN-WAIT-2",
    "TIME-WAIT",
    "UNCONN",
    "CLOSE-WAIT",
    "LAST-ACK",
    "LISTEN",
    "CLOSING",
    "NEW-SYN-RECV",
];

/// Read without the library.
fn proc_rows() -> Vec<ProcRow> {
    let mut rows = Vec::new();
    for table in ["tcp", "tcp6"] {
        let text = std::fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap();
        rows.extend(text.lines().skip(1).map(proc_row));
    }
    rows.sort();
    rows
}

fn proc_row(line: &str) -> ProcRow {
    let words: Vec<&str> = line.split_whitespace().collect();
    let hex = |word: &str| u64::from_str_radix(word, 16).unwrap();
    let (send_q, recv_q) = words[4].split_once(':').unwrap();
    ProcRow {
        local: proc_address(words[1]),
        remote: proc_address(words[2]),
        state: STATES[usize::try_from(hex(words[3])).unwrap() - 1].to_owned(),
        recv_q: hex(recv_q),
        send_q: hex(send_q),
        uid: words[7].parse().unwrap(),
        inode: words[9].parse().unwrap(),
    }
}

/// Words of 32 bits in the machine's order, whose bytes are in the network's.
fn proc_address(text: &str) -> (Option<IpAddr>, u16) {
    let (address, port) = text.split_once(':').unwrap();
    let words = (0..address.len() / 8).map(|index| &address[8 * index..8 * index + 8]);
    let bytes: Vec<u8> = words
        .flat_map(|word| u32::from_str_radix(word, 16).unwrap().to_ne_bytes())
        .collect();
    let address = match <[u8; 4]>::try_from(&bytes[..]) {
        Ok(bytes) => IpAddr::from(bytes),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(&bytes[..]).unwrap()),
    };
    let concrete = Some(address).filter(|address| !address.is_unspecified());
    (concrete, u16::from_str_radix(port, 16).unwrap())
}

/// Random sockets, held by this process and by children that inherited some of them.
#[derive(Default)]
struct Population {
    children: Vec<Ended>,
    listeners: Vec<TcpListener>,
    ends: Vec<TcpStream>,
    /// Sockets that are being connected.
    further: Vec<OwnedFd>,
}

impl Population {
    fn new(mut random: Random) -> Population {
        let mut population = Population::default();
        for _ in 0..random.between(1, 6) {
            population.listen(&mut random);
        }
        for _ in 0..random.between(10, 80) {
            population.connect(&mut random);
        }
        population.fill_a_queue();
        for _ in 0..random.between(0, 3) {
            population.share(&mut random);
        }
        population
    }

    fn listen(&mut self, random: &mut Random) {
        let address: IpAddr = *random.choose(&[
            Ipv4Addr::LOCALHOST.into(),
            Ipv4Addr::new(127, 1, 2, 3).into(),
            Ipv4Addr::UNSPECIFIED.into(),
            Ipv6Addr::LOCALHOST.into(),
            Ipv6Addr::UNSPECIFIED.into(),
        ]);
        let mut listen = listen_at((address, 0)).backlog(*random.choose(&[100, 128, 511, 4096]));
        if address.is_ipv6() && random.one_in(3) {
            listen = listen.v6only();
        }
        if random.one_in(4) {
            listen = listen.bound_to("lo");
        }
        if random.one_in(3) {
            listen = listen.sharing_its_port();
        }
        let first = listen.open().unwrap();
        let is_shared = socket2::SockRef::from(&first).reuse_port().unwrap();
        if is_shared {
            let port = first.local_addr().unwrap().port();
            let second = listen_at((address, port)).sharing_its_port();
            // Its options may differ in a way that the kernel does not let share.
            self.listeners.extend(second.open());
        }
        self.listeners.push(first);
    }

    fn connect(&mut self, random: &mut Random) {
        let listener = random.choose(&self.listeners);
        let mut client = connect(reachable(listener.local_addr().unwrap(), random));
        listener.set_nonblocking(true).unwrap();
        let accepted = match random.one_in(4) {
            true => None,
            // Of a group, another one may have got it; then it waits there.
            false => listener.accept().ok(),
        };
        let Some((mut server, _)) = accepted else {
            match random.below(4) {
                0 => reset(client),
                1 => write_some(&mut client, random),
                _ => self.ends.push(client),
            }
            return;
        };
        server.set_nonblocking(false).unwrap();
        write_some(&mut client, random);
        write_some(&mut server, random);
        // The one that was accepted may be an earlier client, and reset by now.
        match random.below(10) {
            0 => drop(client.shutdown(Shutdown::Write)),
            1 => drop(server.shutdown(Shutdown::Write)),
            2 => {
                let _ = client.shutdown(Shutdown::Write);
                let _ = server.shutdown(Shutdown::Write);
            }
            3 => return self.ends.push(server),
            4 => return self.ends.push(client),
            5 => return,
            6 => {
                reset(client);
                return self.ends.push(server);
            }
            _ => {}
        }
        if random.one_in(5) {
            self.ends.push(client.try_clone().unwrap());
        }
        self.ends.extend([client, server]);
    }

    /// A queue that is full, and clients that are not answered.
    fn fill_a_queue(&mut self) {
        let listener = listen_at((Ipv4Addr::LOCALHOST, 0)).backlog(1).open();
        let listener = listener.unwrap();
        let address = listener.local_addr().unwrap();
        self.ends.extend((0..2).map(|_| connect(address)));
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let client =
            rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
        let begun = rustix::net::connect(&client, &address);
        assert_eq!(begun, Err(rustix::io::Errno::INPROGRESS));
        self.further.push(client);
        self.listeners.push(listener);
    }

    /// A child that inherits some of everything.
    fn share(&mut self, random: &mut Random) {
        let inherit = |socket: &dyn rustix::fd::AsFd, flags| {
            rustix::io::fcntl_setfd(socket.as_fd(), flags).unwrap();
        };
        let mut chosen: Vec<&dyn rustix::fd::AsFd> = Vec::new();
        chosen.extend(
            self.listeners
                .iter()
                .map(|one| one as &dyn rustix::fd::AsFd),
        );
        chosen.extend(self.ends.iter().map(|one| one as &dyn rustix::fd::AsFd));
        chosen.retain(|_| random.one_in(3));
        for socket in &chosen {
            inherit(socket, FdFlags::empty());
        }
        let mut child = Command::new("sleep");
        child.arg("600").stdin(Stdio::null()).stdout(Stdio::null());
        // Returns when the child has become that program, and has only what it inherits.
        let child = child.spawn().unwrap();
        for socket in &chosen {
            inherit(socket, FdFlags::CLOEXEC);
        }
        self.children.push(Ended(child));
        // Some of which are then its alone.
        self.ends.retain(|_| !random.one_in(6));
    }
}

/// An address at which a client gets to the listener.
fn reachable(local: SocketAddr, random: &mut Random) -> SocketAddr {
    let address = match local.ip() {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    };
    let by_ipv4 = SocketAddr::from((Ipv4Addr::LOCALHOST, local.port()));
    let takes_both = local.ip() == Ipv6Addr::UNSPECIFIED
        && random.one_in(2)
        && TcpStream::connect(by_ipv4).map(reset).is_ok();
    if takes_both {
        by_ipv4
    } else {
        SocketAddr::from((address, local.port()))
    }
}

/// Up to more than the receiver takes: the rest stays in the send queue.
fn write_some(stream: &mut TcpStream, random: &mut Random) {
    let bytes = match random.below(6) {
        0 | 1 => 0,
        2 | 3 => random.between(1, 2_000),
        4 => random.between(10_000, 100_000),
        _ => 8_000_000,
    };
    stream.set_nonblocking(true).unwrap();
    let mut left = bytes;
    while left > 0 {
        match stream.write(&vec![b'x'; left.min(65_536)]) {
            Ok(written) => left -= written,
            Err(_) => break,
        }
    }
    stream.set_nonblocking(false).unwrap();
}
