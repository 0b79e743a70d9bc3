//! What a process of the population does: gets hold of sockets and descriptors, says so, and keeps
//! them until its standard input is closed.

use std::io::{self, Read};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;

use rustix::event::{EventfdFlags, epoll};
use rustix::fd::OwnedFd;

/// The word that starts this program as a process of the population.
pub(crate) const HOLD: &str = "hold";

/// What a process of the population is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Role {
    /// Has both ends of established connections to this address.
    Connections { address: Ipv4Addr, count: usize },
    /// Has a listener whose clients are never accepted, and connections that it does not close.
    Leaks { waiting: usize, close_wait: usize },
    /// Has threads that sleep, epoll sets in which its descriptors are registered, and one
    /// connection that it does not close.
    Sleeper {
        threads: usize,
        descriptors: usize,
        epoll_sets: usize,
    },
}

impl Role {
    /// As arguments of this program.
    pub(crate) fn words(self) -> Vec<String> {
        let (name, values) = match self {
            Role::Connections { address, count } => {
                ("connections", vec![u32::from(address) as usize, count])
            }
            Role::Leaks {
                waiting,
                close_wait,
            } => ("leaks", vec![waiting, close_wait]),
            Role::Sleeper {
                threads,
                descriptors,
                epoll_sets,
            } => ("sleeper", vec![threads, descriptors, epoll_sets]),
        };
        let values = values.iter().map(usize::to_string);
        std::iter::once(name.to_owned()).chain(values).collect()
    }

    fn from_words(words: &[String]) -> Role {
        let number = |index: usize| words[index].parse().expect("a number");
        match words[0].as_str() {
            "connections" => Role::Connections {
                address: u32::try_from(number(1)).expect("an address").into(),
                count: number(2),
            },
            "leaks" => Role::Leaks {
                waiting: number(1),
                close_wait: number(2),
            },
            "sleeper" => Role::Sleeper {
                threads: number(1),
                descriptors: number(2),
                epoll_sets: number(3),
            },
            other => panic!("no role is called '{other}'"),
        }
    }
}

/// Plays the role that `words` name.
pub(crate) fn run(words: &[String]) {
    let held = match Role::from_words(words) {
        Role::Connections { address, count } => Held {
            sockets: connections(address, count),
            ..Held::default()
        },
        Role::Leaks {
            waiting,
            close_wait,
        } => leaks(waiting, close_wait),
        Role::Sleeper {
            threads,
            descriptors,
            epoll_sets,
        } => sleeper(threads, descriptors, epoll_sets),
    };
    println!("ready");
    // Ends with whoever holds the other end.
    let _ = io::stdin().read_to_end(&mut Vec::new());
    drop(held);
}

/// Kept open, and not used.
#[derive(Default)]
#[expect(dead_code, reason = "what is held is not used")]
struct Held {
    listeners: Vec<TcpListener>,
    sockets: Vec<TcpStream>,
    descriptors: Vec<OwnedFd>,
}

fn connections(address: Ipv4Addr, count: usize) -> Vec<TcpStream> {
    let listener = TcpListener::bind((address, 0)).expect("a listener");
    let address = listener.local_addr().expect("its address");
    let connection = |_| {
        let client = TcpStream::connect(address).expect("a connection");
        [client, listener.accept().expect("the same").0]
    };
    (0..count).flat_map(connection).collect()
}

fn leaks(waiting: usize, close_wait: usize) -> Held {
    let stuck = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
    let address = stuck.local_addr().expect("its address");
    let mut sockets: Vec<TcpStream> = (0..waiting)
        .map(|_| TcpStream::connect(address).expect("room in the queue"))
        .collect();
    sockets.extend((0..close_wait).map(|_| left_in_close_wait()));
    Held {
        listeners: vec![stuck],
        sockets,
        ..Held::default()
    }
}

/// A connection whose far end has closed.
fn left_in_close_wait() -> TcpStream {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
    let client = TcpStream::connect(listener.local_addr().expect("its address"));
    let (mut accepted, _) = listener.accept().expect("a connection");
    drop(client);
    // Returns when the FIN is there.
    let read = accepted.read(&mut [0]).expect("end of file");
    assert_eq!(read, 0);
    accepted
}

fn sleeper(threads: usize, descriptors: usize, epoll_sets: usize) -> Held {
    let sets: Vec<OwnedFd> = (0..epoll_sets)
        .map(|_| epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll set"))
        .collect();
    let mut descriptors: Vec<OwnedFd> = (0..descriptors)
        .map(|index| {
            let descriptor =
                rustix::event::eventfd(0, EventfdFlags::CLOEXEC).expect("a descriptor");
            let set = &sets[index % sets.len()];
            let data = epoll::EventData::new_u64(index as u64);
            epoll::add(set, &descriptor, data, epoll::EventFlags::IN).expect("a registration");
            descriptor
        })
        .collect();
    // A pool of workers waits for work, as most threads of most servers do.
    for _ in 0..threads {
        thread::Builder::new()
            .stack_size(64 * 1024)
            .spawn(|| {
                loop {
                    thread::park();
                }
            })
            .expect("a thread");
    }
    descriptors.extend(sets);
    Held {
        sockets: vec![left_in_close_wait()],
        descriptors,
        ..Held::default()
    }
}
