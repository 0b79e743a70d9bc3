//! Snapshots for tests: one with every field set, every variant and every awkward value.
//!
//! The structs are written out without `..`, so that a new field is added here too.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::{Duration, SystemTime};

use crate::model::{
    AcceptedOnPort, Cookie, CookieSet, Coverage, CrowdedProcess, DeadSocketSearch, DescriptorKind,
    DescriptorUse, EpollRegistration, EpollSet, Fact, Family, FileTable, FreedSlots, Gap, GapKind,
    HeldDescriptor, Holdings, Host, Inode, IoUring, ListenCounters, Namespace, Netns, OwnerSource,
    Peer, PeerAnswer, Process, ProcessDetail, ProcessId, ProcessState, QueueRead, Queues, Runtime,
    SecondLook, Shutdown, Snapshot, SocketCgroup, SocketEntry, SocketSource, SynCounters,
    SynSettings, SystemCall, TcpInfo, TcpState, Thread, Timer, Unknown,
};

/// Not UTF-8, and hostile to terminals, JSON and line readers.
const BYTES: &[u8] = b"\x1b[2J\xff\0\n\r\"\\\x7f\x80";
/// UTF-8, and as hostile.
const TEXT: &str =
    "\u{1b}]0;x\u{7}\0\n\r\t\"\\/\u{7f}\u{9b}\u{202e}\u{2028}é漢\u{301}\u{1f980} {\"hex\":\"00\"}";

const UNKNOWN: [Unknown; 6] = [
    Unknown::Permission,
    Unknown::Vanished,
    Unknown::Unsupported,
    Unknown::NotCollected,
    Unknown::Malformed,
    Unknown::Moving,
];

const RUNTIMES: [Runtime; 9] = [
    Runtime::Go,
    Runtime::Jvm,
    Runtime::Node,
    Runtime::Python,
    Runtime::Ruby,
    Runtime::DotNet,
    Runtime::Nginx,
    Runtime::Haproxy,
    Runtime::Native,
];

/// Every field, every variant.
pub(super) fn full() -> Snapshot {
    Snapshot {
        taken_at: SystemTime::UNIX_EPOCH + Duration::new(1_785_542_400, 123_456_789),
        duration: Duration::new(0, 1),
        host: Host {
            hostname: "web-1".to_owned(),
            kernel: TEXT.to_owned(),
        },
        namespaces: namespaces(),
        owner_source: OwnerSource::Procfs,
        sockets: sockets(),
        queue_reads: vec![
            QueueRead {
                after: Duration::from_micros(1500),
                sockets: vec![listener(), plain()],
                accepted: Some(vec![AcceptedOnPort {
                    netns: Netns(u64::MAX),
                    port: u16::MAX,
                    set: CookieSet {
                        count: 3,
                        digest: u64::MAX,
                    },
                }]),
                freed: None,
            },
            QueueRead {
                after: Duration::MAX,
                sockets: Vec::new(),
                accepted: None,
                freed: Some(vec![FreedSlots {
                    netns: Netns(u64::MAX),
                    cookie: Some(Cookie(u64::MAX)),
                    local: "[::]:65535".parse().unwrap(),
                    slots: u32::MAX,
                }]),
            },
        ],
        peers: vec![
            peer(PeerAnswer::Found(Box::new(listener()))),
            peer(PeerAnswer::Gone),
        ],
        descriptors: vec![HeldDescriptor {
            process: id(),
            fd: i32::MAX,
            inode: Inode(u64::MAX),
        }],
        processes: processes(),
        crowded: crowded(),
        dead_sockets: vec![HeldDescriptor {
            process: id(),
            fd: 0,
            inode: Inode(1),
        }],
        dead_socket_search: Fact::Known(DeadSocketSearch {
            allocated: u64::MAX,
            in_tables: 1,
            every_table: true,
            watched: Some(Duration::from_millis(250)),
        }),
        cgroups: Some(vec![
            SocketCgroup {
                id: u64::MAX,
                path: Fact::Known(BYTES.to_vec()),
            },
            SocketCgroup {
                id: 1,
                path: Fact::Unknown(Unknown::Vanished),
            },
        ]),
        file_table: Fact::Known(FileTable {
            allocated: 1,
            limit: u64::MAX,
        }),
        coverage: Coverage {
            processes_total: 1,
            processes_read: 2,
            processes_vanished: 5,
            netns_total: 3,
            netns_read: 4,
            gaps: [GapKind::Sockets, GapKind::Owners, GapKind::Details]
                .map(|kind| Gap {
                    kind,
                    what: "descriptors of 12 processes".to_owned(),
                    why: TEXT.to_owned(),
                    needs: (kind == GapKind::Owners).then(|| "CAP_SYS_PTRACE".to_owned()),
                    count: 12,
                })
                .to_vec(),
        },
    }
}

/// Nothing but what must be there; with the other variants of what is there once.
pub(super) fn empty() -> Snapshot {
    Snapshot {
        taken_at: SystemTime::UNIX_EPOCH - Duration::new(1, 5),
        duration: Duration::ZERO,
        host: Host {
            hostname: String::new(),
            kernel: String::new(),
        },
        namespaces: Vec::new(),
        owner_source: OwnerSource::None,
        sockets: Vec::new(),
        queue_reads: Vec::new(),
        peers: Vec::new(),
        descriptors: Vec::new(),
        processes: Vec::new(),
        crowded: Vec::new(),
        dead_sockets: Vec::new(),
        dead_socket_search: Fact::Known(DeadSocketSearch {
            allocated: 0,
            in_tables: 0,
            every_table: false,
            watched: None,
        }),
        cgroups: None,
        file_table: Fact::Unknown(Unknown::Vanished),
        coverage: Coverage::default(),
    }
}

/// One listener.
pub(super) fn small() -> Snapshot {
    Snapshot {
        sockets: vec![listener()],
        ..empty()
    }
}

fn namespaces() -> Vec<Namespace> {
    let known = Namespace {
        id: Netns(4_026_531_840),
        own: true,
        mounts: vec![b"/run/netns/web".to_vec(), BYTES.to_vec()],
        process: Some(u32::MAX),
        source: Fact::Known(SocketSource::SockDiag),
        sockets_in_use: Fact::Known(7),
        listen_counters: Fact::Known(ListenCounters {
            overflows: (1 << 53) - 1,
            drops: 1 << 53,
            syn: Some(SynCounters {
                cookies_sent: u64::MAX,
                cookies_received: 1,
                cookies_failed: 2,
                full_with_cookies: 3,
                full_with_drops: 4,
            }),
        }),
        ephemeral_ports: Fact::Known((32_768, u16::MAX)),
        syn_settings: Some(SynSettings {
            cookies: 1,
            max_backlog: 2048,
        }),
    };
    let mut namespaces = vec![known];
    namespaces.push(Namespace {
        source: Fact::Known(SocketSource::ProcNetTcp),
        ..namespaces[0].clone()
    });
    namespaces.extend(UNKNOWN.map(|reason| Namespace {
        id: Netns(u64::MAX),
        own: false,
        mounts: Vec::new(),
        process: None,
        source: Fact::Unknown(reason),
        sockets_in_use: Fact::Unknown(reason),
        listen_counters: Fact::Unknown(reason),
        ephemeral_ports: Fact::Unknown(reason),
        syn_settings: None,
    }));
    namespaces
}

fn sockets() -> Vec<SocketEntry> {
    let states = TcpState::all().chain([TcpState::Unknown(1), TcpState::Unknown(255)]);
    let in_all_states = states.map(|state| SocketEntry { state, ..plain() });
    let timers = [
        Timer::Retransmit,
        Timer::TimeWait,
        Timer::ZeroWindow,
        Timer::Unknown(0),
        Timer::Unknown(255),
    ];
    let with_all_timers = timers.map(|timer| SocketEntry { timer, ..plain() });
    let link_local = SocketAddrV6::new(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1), 80, 0, 2);
    let flow = SocketAddrV6::new(Ipv6Addr::LOCALHOST, 80, 7, 3);
    let others = [
        listener(),
        SocketEntry {
            local: "[::ffff:10.0.0.1]:443".parse().unwrap(),
            remote: SocketAddr::V6(link_local),
            ..listener()
        },
        SocketEntry {
            local: SocketAddr::V6(flow),
            cookie: Some(Cookie(0)),
            ..listener()
        },
    ];
    in_all_states.chain(with_all_timers).chain(others).collect()
}

/// Everything optional is there.
fn listener() -> SocketEntry {
    SocketEntry {
        netns: Netns(4_026_531_840),
        cookie: Some(Cookie(u64::MAX)),
        inode: Some(Inode(81_234)),
        family: Family::V6,
        state: TcpState::Listen,
        local: "[::]:8080".parse().unwrap(),
        remote: "[::]:0".parse().unwrap(),
        bound_device: Some(2),
        uid: 1000,
        queues: Queues::Listen {
            accept_queue: 8,
            backlog: Some(511),
        },
        timer: Timer::Off,
        shutdown: Some(Shutdown(3)),
        v6only: Some(false),
        drops: Some(u32::MAX),
        cgroup_id: Some(u64::MAX - 1),
        ulp: Some("tls".to_owned()),
        info: Some(TcpInfo {
            options: 255,
            rtt_us: 1,
            unacked: 2,
            since_data_sent: Duration::from_millis(u64::from(u32::MAX)),
            since_data_received: Duration::from_millis(45),
            since_ack_received: Duration::from_secs(3),
            bytes_acked: Some(1),
            bytes_received: Some(u64::MAX),
            bytes_sent: Some(3),
            bytes_retransmitted: Some(4),
        }),
    }
}

/// Nothing optional is there.
fn plain() -> SocketEntry {
    SocketEntry {
        netns: Netns(1),
        cookie: None,
        inode: None,
        family: Family::V4,
        state: TcpState::CloseWait,
        local: "127.0.0.1:8080".parse().unwrap(),
        remote: "255.255.255.255:65535".parse().unwrap(),
        bound_device: None,
        uid: 0,
        queues: Queues::Stream {
            recv_q: 46,
            send_q: u32::MAX,
        },
        timer: Timer::Keepalive,
        shutdown: None,
        v6only: None,
        drops: None,
        cgroup_id: None,
        ulp: None,
        info: None,
    }
}

fn peer(answer: PeerAnswer) -> Peer {
    Peer {
        netns: Netns(4_026_531_840),
        local: "127.0.0.1:8080".parse().unwrap(),
        remote: "127.0.0.1:50000".parse().unwrap(),
        answer,
    }
}

fn id() -> ProcessId {
    ProcessId {
        pid: 4866,
        start_time: 123_456,
    }
}

fn processes() -> Vec<Process> {
    let known = Process {
        id: id(),
        comm: BYTES.to_vec(),
        parent: 1,
        state: ProcessState('t'),
        command_line: Fact::Known(vec![
            BYTES.to_vec(),
            TEXT.into(),
            b"/bin/x".to_vec(),
            vec![],
        ]),
        exe: Fact::Known(BYTES.to_vec()),
        uid: Fact::Known(u32::MAX),
        user: Some(TEXT.to_owned()),
        cgroup: Fact::Known(b"0::/system.slice/\xff.service\n".to_vec()),
        descriptors: Fact::Known(DescriptorUse {
            open: 900,
            soft_limit: Some(1024),
            exhausted: false,
        }),
        detail: Fact::Known(detail(Fact::Known(Runtime::Go))),
    };
    let mut processes = vec![known];
    processes.extend(UNKNOWN.map(|reason| Process {
        id: id(),
        comm: Vec::new(),
        parent: u32::MAX,
        state: ProcessState('\u{ff}'),
        command_line: Fact::Unknown(reason),
        exe: Fact::Unknown(reason),
        uid: Fact::Unknown(reason),
        user: None,
        cgroup: Fact::Unknown(reason),
        descriptors: Fact::Known(DescriptorUse {
            open: 0,
            soft_limit: None,
            exhausted: true,
        }),
        detail: Fact::Unknown(reason),
    }));
    for runtime in RUNTIMES {
        let detail = Fact::Known(ProcessDetail {
            threads: Fact::Unknown(Unknown::Vanished),
            epoll_sets: Fact::Known(Vec::new()),
            ..detail(Fact::Known(runtime))
        });
        processes.push(Process {
            detail,
            ..processes[1].clone()
        });
    }
    processes
}

fn crowded() -> Vec<CrowdedProcess> {
    let process = |holds| CrowdedProcess {
        process: id(),
        soft_limit: 1024,
        holds,
    };
    vec![
        process(Fact::Known(Holdings {
            open: 900,
            below_limit: u64::MAX,
            looked_at: 899,
            sockets: 3,
            listeners: vec![Inode(1), Inode(u64::MAX)],
            close_wait: 2,
            kinds: vec![DescriptorKind {
                link: BYTES.to_vec(),
                count: 800,
            }],
        })),
        process(Fact::Unknown(Unknown::Permission)),
    ]
}

fn detail(runtime: Fact<Runtime>) -> ProcessDetail {
    ProcessDetail {
        threads: Fact::Known(threads()),
        epoll_sets: Fact::Known(vec![EpollSet {
            fd: 3,
            inode: Some(26),
            registrations: vec![EpollRegistration {
                fd: -1,
                events: u32::MAX,
                inode: u64::MAX,
            }],
        }]),
        io_urings: Fact::Known(vec![IoUring {
            fd: 5,
            registered_sockets: vec![Inode(81_234), Inode(1)],
            pending_accepts: 2,
        }]),
        frozen: Fact::Known(true),
        runtime,
    }
}

fn threads() -> Vec<Thread> {
    let calls = [
        Fact::Known(SystemCall::Running),
        Fact::Known(SystemCall::NotInCall),
        Fact::Known(SystemCall::In {
            number: 232,
            name: Some("epoll_wait".to_owned()),
            arguments: [0, 1, 0x7fff_dead_beef, 1 << 53, (1 << 53) - 1, u64::MAX],
        }),
        Fact::Known(SystemCall::In {
            number: u64::MAX,
            name: None,
            arguments: [0; 6],
        }),
        Fact::Unknown(Unknown::Moving),
    ];
    let thread = |system_call: Fact<SystemCall>| Thread {
        tid: 4867,
        comm: BYTES.to_vec(),
        state: ProcessState('S'),
        cpu_ticks: 75,
        second_look: system_call.known().map(|_| SecondLook {
            state: ProcessState('S'),
            cpu_ticks: 2,
        }),
        system_call,
        wait_channel: Fact::Known("ep_poll".to_owned()),
    };
    calls.map(thread).to_vec()
}
