//! The socket table as `tcpleak list` tells it, and as `ss` does, row by row.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::process::Command;

use serde_json::Value;

use super::command::{run, tcpleak};

/// What both programs say of a socket; the key is its cookie.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) state: String,
    pub(crate) queues: (u64, u64),
    pub(crate) local: (Option<IpAddr>, u16),
    pub(crate) remote: (Option<IpAddr>, u16),
    pub(crate) inode: u64,
    pub(crate) uid: u64,
    pub(crate) held: BTreeSet<(u64, i64)>,
}

pub(crate) type Rows = BTreeMap<String, Row>;

/// A wildcard is no address: ss writes `*`, `0.0.0.0` or `[::]`, and `*` for port 0.
fn concrete(address: IpAddr) -> Option<IpAddr> {
    Some(address).filter(|address| !address.is_unspecified())
}

/// `ADDRESS[%DEVICE]:PORT` of ss.
pub(crate) fn ss_address(text: &str) -> (Option<IpAddr>, u16) {
    let (host, port) = text.rsplit_once(':').unwrap();
    let host = host.split('%').next().unwrap();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let address = (host != "*").then(|| host.parse().unwrap());
    let port = if port == "*" {
        0
    } else {
        port.parse().unwrap()
    };
    (address.and_then(concrete), port)
}

/// The value behind `key`, up to the next space.
pub(crate) fn field<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let word = |word: &'a str| word.strip_prefix(key);
    line.split_whitespace().find_map(word)
}

pub(crate) fn ss(options: &str) -> Vec<String> {
    let outcome = run(Command::new("ss").arg(options));
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
    outcome.stdout.lines().map(str::to_owned).collect()
}

pub(crate) fn ss_rows() -> Rows {
    let rows = ss("-HntapeO");
    let row = |line: &String| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let mut held = BTreeSet::new();
        for user in line.split("pid=").skip(1) {
            let (pid, rest) = user.split_once(",fd=").unwrap();
            let fd = rest.split(')').next().unwrap();
            held.insert((pid.parse().unwrap(), fd.parse().unwrap()));
        }
        let number = |key| field(line, key).map_or(0, |value| value.parse().unwrap());
        let row = Row {
            state: columns[0].to_owned(),
            queues: (columns[1].parse().unwrap(), columns[2].parse().unwrap()),
            local: ss_address(columns[3]),
            remote: ss_address(columns[4]),
            inode: number("ino:"),
            uid: number("uid:"),
            held,
        };
        (field(line, "sk:").unwrap().to_owned(), row)
    };
    rows.iter().map(row).collect()
}

pub(crate) fn our_rows() -> Rows {
    let json = tcpleak("list --json").json();
    let address = |end: &Value| {
        let address: IpAddr = end["addr"].as_str().unwrap().parse().unwrap();
        let port = end["port"].as_u64().unwrap();
        (concrete(address), u16::try_from(port).unwrap())
    };
    let row = |row: &Value| {
        let holders = row["holders"].as_array().unwrap().iter();
        let held = holders.flat_map(|holder| {
            let fds = holder["fds"].as_array().unwrap().iter();
            fds.map(|fd| (holder["pid"].as_u64().unwrap(), fd.as_i64().unwrap()))
        });
        let name = row["state"].as_str().unwrap();
        let state = match name {
            "ESTABLISHED" => "ESTAB".to_owned(),
            "FIN_WAIT1" => "FIN-WAIT-1".to_owned(),
            "FIN_WAIT2" => "FIN-WAIT-2".to_owned(),
            other => other.replace('_', "-"),
        };
        let value = Row {
            state,
            queues: (
                row["recv_q"].as_u64().unwrap(),
                row["send_q"].as_u64().unwrap(),
            ),
            local: address(&row["local"]),
            remote: address(&row["remote"]),
            inode: row["inode"].as_u64().unwrap_or(0),
            uid: row["uid"].as_u64().unwrap(),
            held: held.collect(),
        };
        (row["cookie"].as_str().unwrap().to_owned(), value)
    };
    json["sockets"]
        .as_array()
        .unwrap()
        .iter()
        .map(row)
        .collect()
}
