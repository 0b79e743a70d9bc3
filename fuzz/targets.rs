//! What is done with the fuzzer's bytes: a function for each thing of which strangers choose the
//! bytes. Each must come back, without a panic, and with what its function promises.
//!
//! `fuzz/fuzz_targets` hands it what libFuzzer makes up, `tests/fuzz.rs` what lies in `fuzz/seeds`.

use std::collections::BTreeSet;

use tcpleak::diagnose::Thresholds;
use tcpleak::expression;
use tcpleak::join::{Filter, RemotePattern};
use tcpleak::kernel::sock_diag::{ByteCode, Messages, Payload, RowHead, parse_row};
use tcpleak::kernel::{
    cgroup, fd_link, fdinfo, mountinfo, netstat, passwd, proc_net_tcp, route, runtime, services,
    stat, syscall,
};
use tcpleak::model::{Focus, Netns, TcpState, printable};
use tcpleak::record::{self, Entry, Recording};
use tcpleak::render::{Layout, write_list, write_report, write_report_json};
use tcpleak::report::Report;

/// A name, and what is done.
type Target = (&'static str, fn(&[u8]));

/// Every target.
pub(crate) const TARGETS: &[Target] = &[
    ("sock_diag", sock_diag),
    ("proc_net_tcp", proc_net_tcp),
    ("fdinfo", fdinfo),
    ("syscall", syscall),
    ("stat", stat),
    ("cgroup", cgroup),
    ("mountinfo", mountinfo),
    ("netstat", netstat),
    ("small", small),
    ("snapshot", snapshot),
    ("recording", recording),
    ("words", words),
    ("expression", expression),
];

/// A datagram from the netlink socket: messages, rows and their attributes.
fn sock_diag(bytes: &[u8]) {
    let messages: Vec<_> = Messages::new(bytes).collect();
    assert!(messages.len() <= bytes.len() / 16 + 1);
    for message in messages {
        let Payload::Row(row) = message.payload else {
            continue;
        };
        let (head, entry) = (RowHead::new(row), parse_row(row, Netns(1)));
        if let (Ok(head), Ok(entry)) = (head, entry) {
            assert_eq!(head.state(), entry.state);
            assert_eq!(head.local_port(), entry.local.port());
            assert_eq!(head.inode(), entry.inode);
            assert_eq!(Some(head.cookie()), entry.cookie);
        }
    }
}

/// Rows of `/proc/net/tcp` and `tcp6`.
fn proc_net_tcp(bytes: &[u8]) {
    for (index, row) in bytes.split(|byte| *byte == b'\n').enumerate() {
        match proc_net_tcp::parse_row(row, index + 1, Netns(1)) {
            Ok(entry) => assert_eq!(entry.cookie, None),
            Err(error) => assert_eq!(error.line, index + 1),
        }
    }
}

/// `/proc/PID/fdinfo/FD` of epoll descriptors, rings and others.
fn fdinfo(bytes: &[u8]) {
    let lines = bytes.split(|byte| *byte == b'\n').count();
    let _ = fdinfo::own_inode(bytes);
    assert!(fdinfo::epoll_registrations(bytes).len() <= lines);
    assert!(fdinfo::io_uring(bytes).0.len() <= lines);
}

/// `/proc/PID/task/TID/syscall`.
fn syscall(bytes: &[u8]) {
    let _ = syscall::parse_system_call(bytes);
}

/// `/proc/PID/stat`.
fn stat(bytes: &[u8]) {
    let _ = stat::parse_stat(bytes);
}

/// `/proc/PID/cgroup`.
fn cgroup(bytes: &[u8]) {
    let paths = cgroup::paths(bytes).count();
    let service = cgroup::service(bytes);
    assert!(paths > 0 || service.is_empty());
    assert!(!service.to_string().chars().any(char::is_control));
    let _ = cgroup::unified_path(bytes);
    let _ = cgroup::controller_path(bytes, b"freezer");
}

/// `/proc/self/mountinfo`.
fn mountinfo(bytes: &[u8]) {
    let lines = bytes.split(|byte| *byte == b'\n').count();
    let _ = mountinfo::cgroup_mounts(bytes);
    assert!(mountinfo::cgroup2_mounts(bytes).len() <= lines);
    assert!(mountinfo::network_namespaces(bytes).len() <= lines);
}

/// `/proc/net/netstat`, `sockstat` and `sockstat6`.
fn netstat(bytes: &[u8]) {
    let _ = netstat::listen_counters(bytes);
    let _ = netstat::sockets_in_use(bytes, b"TCP:");
    let _ = netstat::sockets_in_use(bytes, b"TCP6:");
    let _ = netstat::sockets_allocated(bytes);
}

/// Links, routes, `/etc/passwd`, and whatever else is short.
fn small(bytes: &[u8]) {
    let _ = fd_link::socket_inode(bytes);
    let _ = fd_link::netns_inode(bytes);
    let _ = route::is_local(bytes);
    let _ = passwd::user_name(bytes, 0);
    let _ = services::tcp_port(bytes, "http");
    let _ = runtime::by_exe(bytes);
    let _ = runtime::by_maps(bytes);
    let _ = runtime::is_go(bytes);
    assert!(!printable(bytes).chars().any(char::is_control));
}

/// A recording, and everything that is done with one.
fn snapshot(bytes: &[u8]) {
    let Ok(snapshot) = record::read(bytes) else {
        return;
    };
    let mut written = Vec::new();
    record::write(&snapshot, &mut written).expect("memory takes everything");
    let again = record::read(written.as_slice()).expect("what was written can be read");
    assert_eq!(again, snapshot);

    let report = Report::new(&snapshot, &Thresholds::default(), &Filter::default());
    let layout = Layout {
        width: Some(80),
        color: false,
        sockets: true,
        all_listeners: true,
    };
    let (mut text, mut json) = (Vec::new(), Vec::new());
    write_report(&mut text, &report, layout).expect("memory takes everything");
    write_list(&mut text, &report.table).expect("memory takes everything");
    let text = String::from_utf8(text).expect("text");
    assert!(
        !text.chars().any(|c| c.is_control() && c != '\n'),
        "{text:?}"
    );
    write_report_json(&mut json, &report, true).expect("memory takes everything");
    let json: serde_json::Value = serde_json::from_slice(&json).expect("one document");
    let ids: BTreeSet<&str> = json["findings"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|finding| finding["id"].as_str())
        .collect();
    assert!(ids.iter().all(|id| tcpleak::pages::find(id).is_some()));
}

/// A recorded watch: every look that is whole, and an end.
fn recording(bytes: &[u8]) {
    let Ok(mut recording) = Recording::open(bytes) else {
        return;
    };
    // Each look takes a line at least.
    let at_most = bytes.split(|byte| *byte == b'\n').count();
    for _ in 0..=at_most {
        match recording.entry() {
            Ok(Entry::Look(look)) => assert!(look.at.checked_add(look.took).is_some()),
            Ok(Entry::End(_) | Entry::Cut { .. }) | Err(_) => return,
        }
    }
    panic!("more looks than lines");
}

/// What is typed: subjects, states, remote addresses.
fn words(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(focus) = text.parse::<Focus>() {
        assert_eq!(focus.to_string().parse::<Focus>(), Ok(focus));
    }
    if let Ok(state) = text.parse::<TcpState>() {
        assert_eq!(state.to_string().parse::<TcpState>(), Ok(state));
    }
    let _ = text.parse::<RemotePattern>();
}

/// Trailing words in ss's filter language.
fn expression(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let services = |name: &str| match name {
        "http" => Ok(80),
        _ => Err("no such service".to_owned()),
    };
    match expression::parse(text, &services) {
        Ok(typed) => {
            let row = proc_net_tcp::parse_row(ROW, 2, Netns(1)).expect("a row");
            let _ = typed.expression.takes(&row);
            if let Some(condition) = &typed.expression.condition {
                let _ = condition.takes(&row);
                let _ = ByteCode::of(condition);
            }
        }
        Err(mistake) => {
            let shown = mistake.to_string();
            assert!(shown.ends_with('^'), "{shown:?}");
            assert!(!shown.replace('\n', "").chars().any(char::is_control));
        }
    }
}

/// A connection between 127.0.0.1:8080 and 127.0.0.9:40000.
const ROW: &[u8] =
    b"1: 0100007F:1F90 0900007F:9C40 01 00000000:00000000 00:00000000 00000000 0 0 7";
