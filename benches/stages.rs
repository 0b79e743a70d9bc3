//! What each pure stage costs: parsers, join, recordings, rendering. `cargo bench --bench stages`.
//!
//! Everything is made up here and nothing is read from the machine, so that two runs differ only in
//! the code and in how busy the machine was. What the whole program costs is in `side_by_side`.

use std::fmt::Write as _;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, UNIX_EPOCH};

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use tcpleak::diagnose::Thresholds;
use tcpleak::join::{Filter, SocketTable};
use tcpleak::kernel::sock_diag::RowHead;
use tcpleak::kernel::{fdinfo, proc_net_tcp, sock_diag, stat, syscall};
use tcpleak::model::{
    Cookie, Coverage, Fact, Family, HeldDescriptor, Host, Inode, Namespace, Netns, OwnerSource,
    Process, ProcessId, ProcessState, QueueRead, Queues, Shutdown, Snapshot, SocketEntry,
    SocketSource, TcpInfo, TcpState, Timer, Unknown,
};
use tcpleak::record;
use tcpleak::render::{self, Layout};
use tcpleak::report::Report;

fn main() {
    divan::main();
}

mod parse {
    use super::*;

    /// `struct inet_diag_msg` of a connection in CLOSE_WAIT, and the attributes that are asked for.
    fn sock_diag_row() -> Vec<u8> {
        const AF_INET: u8 = 2;
        const CLOSE_WAIT: u8 = 8;
        let mut row = vec![AF_INET, CLOSE_WAIT, 0, 0];
        row.extend([0x1f, 0x90, 0xa0, 0]); // source and destination port, network order
        row.extend([127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        row.extend([127, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        for word in [0_u32, 0x11, 0x22, 0, 46, 0, 33, 4026] {
            row.extend(word.to_ne_bytes()); // if, cookie, expires, rqueue, wqueue, uid, inode
        }
        // INET_DIAG_INFO, _SKMEMINFO, _CGROUP_ID, _SHUTDOWN.
        for (kind, length) in [(2_u16, 248_u16), (7, 36), (21, 8), (8, 1)] {
            row.extend((4 + length).to_ne_bytes());
            row.extend(kind.to_ne_bytes());
            row.resize(row.len() + usize::from(length).next_multiple_of(4), 0);
        }
        row
    }

    #[divan::bench]
    fn sock_diag_head(bencher: Bencher<'_, '_>) {
        let row = sock_diag_row();
        bencher.bench(|| RowHead::new(black_box(&row)).map(|head| (head.state(), head.cookie())));
    }

    #[divan::bench]
    fn sock_diag_with_attributes(bencher: Bencher<'_, '_>) {
        let row = sock_diag_row();
        bencher.bench(|| sock_diag::parse_row(black_box(&row), Netns(1)));
    }

    #[divan::bench]
    fn proc_net_tcp(bencher: Bencher<'_, '_>) {
        let row = b"   1: 0100007F:1F90 0100007F:A000 08 00000005:0000002E 00:00000000 00000000  \
            0        0 0 1 0000000000000000 20 4 30 10 -1";
        bencher.bench(|| proc_net_tcp::parse_row(black_box(row), 2, Netns(1)));
    }

    #[divan::bench]
    fn stat(bencher: Bencher<'_, '_>) {
        let line = b"4866 (worker-17) S 1 4866 4866 0 -1 4194304 100 0 0 0 70 5 0 0 20 0 1000 0 \
            123456 106786816 512 18446744073709551615 94 94 140 0 0 0 0 4096 0 1 0 0 17 1 0 0 0 0 \
            0 94 94 94 140 140 140 140 0\n";
        bencher.bench(|| stat::parse_stat(black_box(line)));
    }

    #[divan::bench]
    fn system_call(bencher: Bencher<'_, '_>) {
        let line = b"232 0x4 0x7f0c3c000b70 0x400 0xffffffffffffffff 0x0 0x0 0x7f0c43ffe5a8 \
            0x7f0c4412a0e6\n";
        bencher.bench(|| syscall::parse_system_call(black_box(line)));
    }

    #[divan::bench(args = [100, 10_000])]
    fn epoll_registrations(bencher: Bencher<'_, '_>, registrations: u64) {
        let mut text = String::from("pos:\t0\nflags:\t02\nmnt_id:\t15\nino:\t26\n");
        for fd in 5..5 + registrations {
            let inode = 0x223c + fd;
            let line = "tfd:";
            writeln!(
                text,
                "{line} {fd:8} events: 80002019 data: {fd:16x}  pos:0 ino:{inode:x} sdev:9"
            )
            .expect("text grows");
        }
        bencher
            .counter(BytesCount::of_str(&text))
            .bench(|| fdinfo::epoll_registrations(black_box(text.as_bytes())));
    }
}

/// Linear means that the items a second do not fall: from 1,000 to 100,000 only the processor's
/// caches are felt.
mod join {
    use super::*;

    const LISTENERS: u16 = 1_000;

    #[divan::bench(args = [1_000, 10_000, 100_000], sample_count = 20)]
    fn queued_children(bencher: Bencher<'_, '_>, children: u32) {
        let snapshot = queued(LISTENERS, children);
        bencher
            .counter(ItemsCount::new(children))
            .bench(|| SocketTable::new(black_box(&snapshot)).listeners.len());
    }

    /// The same with the diagnosis of every queue.
    #[divan::bench(args = [1_000, 10_000, 100_000], sample_count = 20)]
    fn queued_children_diagnosed(bencher: Bencher<'_, '_>, children: u32) {
        let snapshot = queued(LISTENERS, children);
        bencher
            .counter(ItemsCount::new(children))
            .bench(|| report(black_box(&snapshot)).findings.len());
    }

    #[divan::bench(args = [1_000, 10_000, 100_000], sample_count = 20)]
    fn close_wait_of_one_process(bencher: Bencher<'_, '_>, sockets: u32) {
        let snapshot = close_wait(sockets);
        bencher
            .counter(ItemsCount::new(sockets))
            .bench(|| report(black_box(&snapshot)).findings.len());
    }
}

mod recording {
    use super::*;

    const SOCKETS: u32 = 10_000;

    fn recorded() -> Vec<u8> {
        let mut file = Vec::new();
        record::write(&close_wait(SOCKETS), &mut file).expect("memory takes everything");
        file
    }

    #[divan::bench(sample_count = 20)]
    fn write_10_000_sockets(bencher: Bencher<'_, '_>) {
        let snapshot = close_wait(SOCKETS);
        bencher
            .counter(BytesCount::new(recorded().len()))
            .bench(|| record::write(black_box(&snapshot), &mut io::sink()));
    }

    #[divan::bench(sample_count = 20)]
    fn read_10_000_sockets(bencher: Bencher<'_, '_>) {
        let file = recorded();
        bencher
            .counter(BytesCount::new(file.len()))
            .bench(|| record::read(black_box(&file[..])).expect("it was just written"));
    }
}

mod render_10_000_close_wait {
    use super::*;

    const SOCKETS: u32 = 10_000;

    fn text(bencher: Bencher<'_, '_>, width: Option<usize>) {
        let snapshot = close_wait(SOCKETS);
        let report = report(&snapshot);
        let layout = Layout {
            width,
            color: false,
            sockets: true,
            all_listeners: false,
        };
        bencher
            .counter(ItemsCount::new(SOCKETS))
            .bench(|| render::write_report(&mut io::sink(), black_box(&report), layout));
    }

    #[divan::bench(sample_count = 20)]
    fn text_with_all_sockets(bencher: Bencher<'_, '_>) {
        text(bencher, None);
    }

    #[divan::bench(sample_count = 20)]
    fn text_with_all_sockets_on_80_columns(bencher: Bencher<'_, '_>) {
        text(bencher, Some(80));
    }

    #[divan::bench(sample_count = 20)]
    fn json(bencher: Bencher<'_, '_>) {
        let snapshot = close_wait(SOCKETS);
        let report = report(&snapshot);
        bencher
            .counter(ItemsCount::new(SOCKETS))
            .bench(|| render::write_report_json(&mut io::sink(), black_box(&report), false));
    }
}

fn report(snapshot: &Snapshot) -> Report<'_> {
    Report::new(snapshot, &Thresholds::default(), &Filter::default())
}

const HOUR: Duration = Duration::from_secs(3600);
const PROCESS: ProcessId = ProcessId {
    pid: 4866,
    start_time: 123_456,
};

/// `children` connections in the queues of `listeners` listeners, the same in two looks.
fn queued(listeners: u16, children: u32) -> Snapshot {
    let length = children / u32::from(listeners);
    let mut rows: Vec<SocketEntry> = (0..listeners)
        .map(|index| SocketEntry {
            inode: Some(Inode(u64::from(index) + 1)),
            queues: Queues::Listen {
                accept_queue: length,
                backlog: Some(4096),
            },
            remote: (Ipv4Addr::UNSPECIFIED, 0).into(),
            ..row(u32::from(index), TcpState::Listen, port(index))
        })
        .collect();
    let mut snapshot = snapshot();
    snapshot.descriptors = held(&rows);
    snapshot.sockets = rows.clone();
    rows.extend((0..children).map(|index| {
        let listener = index % u32::from(listeners);
        let port = port(u16::try_from(listener).expect("a port"));
        SocketEntry {
            inode: None,
            ..row(u32::from(listeners) + index, TcpState::Established, port)
        }
    }));
    snapshot.queue_reads = [1, 251]
        .map(|ms| QueueRead {
            after: Duration::from_millis(ms),
            sockets: rows.clone(),
            accepted: None,
            freed: None,
        })
        .into();
    snapshot
}

/// A process that has `sockets` connections in CLOSE_WAIT, each with bytes that it has not read.
fn close_wait(sockets: u32) -> Snapshot {
    let mut snapshot = snapshot();
    let listener = SocketEntry {
        queues: Queues::Listen {
            accept_queue: 0,
            backlog: Some(4096),
        },
        remote: (Ipv4Addr::UNSPECIFIED, 0).into(),
        ..row(0, TcpState::Listen, port(0))
    };
    let connections = (1..=sockets).map(|index| row(index, TcpState::CloseWait, port(0)));
    snapshot.sockets = [listener].into_iter().chain(connections).collect();
    snapshot.descriptors = held(&snapshot.sockets);
    snapshot
}

fn port(index: u16) -> u16 {
    10_000 + index
}

/// A connection that came in on `port`, an hour ago.
fn row(index: u32, state: TcpState, port: u16) -> SocketEntry {
    let [_, high, middle, low] = index.to_be_bytes();
    SocketEntry {
        netns: Netns(4_026_531_833),
        cookie: Some(Cookie(u64::from(index) + 1)),
        inode: Some(Inode(u64::from(index) + 1)),
        family: Family::V4,
        state,
        local: SocketAddr::from(([10, 0, 0, 7], port)),
        remote: SocketAddr::from(([10, 1 + high, middle, low], 40_000)),
        bound_device: None,
        uid: 33,
        queues: Queues::Stream {
            recv_q: 46,
            send_q: 0,
        },
        timer: Timer::Off,
        shutdown: Some(Shutdown(1)),
        v6only: None,
        drops: Some(0),
        cgroup_id: Some(77),
        ulp: None,
        info: Some(TcpInfo {
            since_data_sent: HOUR,
            since_data_received: HOUR,
            since_ack_received: HOUR,
            bytes_acked: Some(0),
            bytes_received: Some(45),
            bytes_sent: Some(0),
            bytes_retransmitted: Some(0),
            ..TcpInfo::default()
        }),
    }
}

fn held(rows: &[SocketEntry]) -> Vec<HeldDescriptor> {
    let inodes = rows.iter().filter_map(|row| row.inode);
    inodes
        .zip(5..)
        .map(|(inode, fd)| HeldDescriptor {
            process: PROCESS,
            fd,
            inode,
        })
        .collect()
}

fn snapshot() -> Snapshot {
    let not_collected = Unknown::NotCollected;
    Snapshot {
        taken_at: UNIX_EPOCH,
        duration: Duration::from_millis(260),
        host: Host {
            hostname: "bench".into(),
            kernel: "6.18.0".into(),
        },
        namespaces: vec![Namespace {
            id: Netns(4_026_531_840),
            own: true,
            mounts: Vec::new(),
            process: None,
            source: Fact::Known(SocketSource::SockDiag),
            sockets_in_use: Fact::Known(100_000),
            listen_counters: Fact::Unknown(not_collected),
            ephemeral_ports: Fact::Known((32_768, 60_999)),
            syn_settings: None,
        }],
        owner_source: OwnerSource::Procfs,
        sockets: Vec::new(),
        queue_reads: Vec::new(),
        peers: Vec::new(),
        descriptors: Vec::new(),
        processes: vec![Process {
            id: PROCESS,
            comm: b"server".to_vec(),
            parent: 1,
            state: ProcessState('S'),
            command_line: Fact::Known(vec![b"/usr/bin/server".to_vec()]),
            exe: Fact::Known(b"/usr/bin/server".to_vec()),
            uid: Fact::Known(33),
            user: Some("www-data".into()),
            cgroup: Fact::Known(b"0::/system.slice/server.service\n".to_vec()),
            descriptors: Fact::Unknown(not_collected),
            detail: Fact::Unknown(not_collected),
        }],
        crowded: Vec::new(),
        dead_sockets: Vec::new(),
        dead_socket_search: Fact::Unknown(not_collected),
        cgroups: None,
        file_table: Fact::Unknown(not_collected),
        coverage: Coverage {
            processes_total: 1,
            processes_read: 1,
            netns_total: 1,
            netns_read: 1,
            ..Coverage::default()
        },
    }
}
