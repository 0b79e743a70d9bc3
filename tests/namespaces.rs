//! Several network namespaces at once, as on a machine with containers: each socket stays in its
//! own, all are found, and what cannot be seen is said.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

mod support;

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use support::clock::eventually;
use support::command::{Ended, run, tcpleak};
use support::named::{inside, join_by_cable, tool, with_namespaces};
use support::sockets::{connect, listen_at};

const LOWERED: &str = "scan --json --accept-age 0s --close-wait-age 0s --settle 0s";

/// The same in every namespace.
const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// A connection from `127.0.0.1:PORT`, so that it can be had more than once.
fn connect_from(port: u16) -> TcpStream {
    let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    client
        .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())
        .unwrap();
    client.connect(&SERVER.into()).unwrap();
    client.into()
}

fn inode(path: &str) -> u64 {
    File::open(path).unwrap().metadata().unwrap().ino()
}

fn netns(name: &str) -> Value {
    json!(inode(&format!("/run/netns/{name}")))
}

fn rows<'d>(document: &'d Value, key: &str) -> &'d [Value] {
    document[key].as_array().unwrap()
}

fn start(command: &mut Command, arguments: &[&str]) -> Ended {
    let child = command.args(arguments).stdin(Stdio::null()).spawn();
    Ended(child.unwrap())
}

/// How many rows each namespace has.
fn sockets_by_namespace(list: &Value) -> BTreeMap<u64, usize> {
    let mut rows_of = BTreeMap::new();
    for row in rows(list, "sockets") {
        *rows_of.entry(row["netns"].as_u64().unwrap()).or_default() += 1;
    }
    rows_of
}

#[test]
fn equal_addresses_never_meet() {
    with_namespaces(&["stuck", "healthy", "careless"], || {
        const PORTS: [u16; 3] = [40_001, 40_002, 40_003];
        let listen = || listen_at(SERVER).open().unwrap();
        let accept = |listener: &TcpListener| {
            let accepted = PORTS.map(|_| listener.accept().unwrap().0);
            accepted.map(|stream| (stream.peer_addr().unwrap(), stream))
        };
        // Three listeners at one address, and at each the same three connections.
        let _stuck = inside("stuck", || (listen(), PORTS.map(connect_from)));
        let _healthy = inside("healthy", || {
            let listener = listen();
            (PORTS.map(connect_from), accept(&listener), listener)
        });
        let _careless = inside("careless", || {
            let listener = listen();
            let clients = PORTS.map(connect_from);
            let accepted = accept(&listener);
            drop(clients);
            (accepted, listener)
        });
        let choice = "--netns stuck --netns healthy --netns careless";
        let report = eventually("the ends of files", || {
            let report = tcpleak(&format!("{LOWERED} {choice}")).json();
            (rows(&report, "close_wait").len() == 3).then_some(report)
        });
        let found: BTreeMap<&str, (&Value, &Value)> = rows(&report, "findings")
            .iter()
            .map(|finding| {
                let id = finding["id"].as_str().unwrap();
                (id, (&finding["subject"]["netns"], &finding["count"]))
            })
            .collect();
        let expect = BTreeMap::from([
            ("accept-queue-leak", (netns("stuck"), json!(3))),
            ("close-wait-leak", (netns("careless"), json!(3))),
        ]);
        let expect = expect
            .iter()
            .map(|(id, (netns, count))| (*id, (netns, count)));
        assert_eq!(found, expect.collect(), "{report:#}");
        let listeners = rows(&report, "listeners").iter();
        let waiting: Vec<&Value> = listeners.map(|listener| &listener["netns"]).collect();
        assert_eq!(waiting, [&netns("stuck")]);
        for socket in rows(&report, "close_wait") {
            assert_eq!(socket["netns"], netns("careless"));
            // Its client has closed; those with the same address elsewhere have not.
            assert_eq!(socket["far_end"]["netns"], netns("careless"), "{socket:#}");
            assert_eq!(socket["far_end"]["state"], "FIN_WAIT2", "{socket:#}");
            assert_eq!(socket["far_end"]["holders"], json!([]), "{socket:#}");
        }

        // The text begins with what leaks, and where; its commands can be typed.
        let text = tcpleak(&format!("{} {choice}", LOWERED.replace("--json", ""))).stdout;
        let first = text.lines().next().unwrap();
        assert!(first.starts_with("CRITICAL"), "{text}");
        assert!(
            first.contains("queue of 127.0.0.1:8080 in netns stuck"),
            "{text}"
        );
        let command = "ip netns exec stuck ss -ntlp 'sport = :8080'";
        assert!(text.contains(command), "{text}");
        let by_hand = run(Command::new("sh").args(["-c", command]));
        assert!(by_hand.stdout.contains("127.0.0.1:8080"), "{by_hand:?}");
    });
}

#[test]
fn the_far_end_is_found_in_another_namespace() {
    with_namespaces(&["front", "back", "alone"], || {
        if let Err(why) = join_by_cable("front", "back") {
            return support::cannot_run(&format!("needs veth devices: {why}"));
        }
        let address = SocketAddr::from(([10, 9, 0, 1], 8080));
        let listener = inside("front", || listen_at(address).open().unwrap());
        // Whoever has the same address and no cable has nothing to do with it.
        let _alone = inside("alone", || {
            tool("ip address add 10.9.0.1/24 dev lo").unwrap();
            tool("ip address add 10.9.0.2/24 dev lo").unwrap();
            listen_at(address).open().unwrap()
        });
        let client = inside("back", || connect(address));
        let (_accepted, from) = listener.accept().unwrap();
        assert_eq!(from, client.local_addr().unwrap());
        client.shutdown(std::net::Shutdown::Write).unwrap();

        let look = |choice: &str| {
            eventually("a socket in CLOSE_WAIT", || {
                let report = tcpleak(&format!("{LOWERED} {choice}")).json();
                (rows(&report, "close_wait").len() == 1).then_some(report)
            })
        };
        let report = look("--netns front --netns back --netns alone");
        let socket = &report["close_wait"][0];
        assert_eq!(socket["netns"], netns("front"));
        assert_eq!(socket["direction"], "inbound");
        let far_end = &socket["far_end"];
        assert_eq!(far_end["netns"], netns("back"), "{socket:#}");
        assert_eq!(far_end["state"], "FIN_WAIT2", "{socket:#}");
        assert_eq!(far_end["holders"][0]["pid"], json!(std::process::id()));

        // Where nobody looks, nothing is known.
        let report = look("--netns front --netns alone");
        assert_eq!(report["close_wait"][0]["far_end"], Value::Null);
    });
}

#[test]
fn every_choice_takes_what_it_says() {
    with_namespaces(&["web", "empty"], || {
        let listen = || listen_at(SERVER).open().unwrap();
        let _listeners = [listen(), inside("web", listen)];
        let child = inside("web", || start(&mut Command::new("sleep"), &["600"]));
        let pid = child.0.id();

        let own = inode("/proc/thread-self/ns/net");
        let web = netns("web").as_u64().unwrap();
        let list = |choice: &str| tcpleak(&format!("list --json --port 8080 {choice}"));
        let check = |choice: &str, expect: &[u64]| {
            let outcome = list(choice);
            assert_eq!(outcome.status, 0, "{choice}: {outcome:?}");
            let rows = sockets_by_namespace(&outcome.json());
            let expect = expect.iter().map(|netns| (*netns, 1)).collect();
            assert_eq!(rows, expect, "{choice}");
        };
        check("--netns self", &[own]);
        check("--netns web", &[web]);
        check("--netns /run/netns/web", &[web]);
        check(&format!("--netns {pid}"), &[web]);
        check(&format!("--netns /proc/{pid}/ns/net"), &[web]);
        check("--netns empty", &[]);
        check("--netns self --netns web", &[own, web]);
        check("--netns web --netns /run/netns/web", &[web]);
        let everywhere = sockets_by_namespace(&list("--netns all").json());
        assert_eq!([everywhere[&own], everywhere[&web]], [1, 1]);
        let unless_told =
            run(Command::new(env!("CARGO_BIN_EXE_tcpleak"))
                .args(["list", "--json", "--port", "8080"]));
        let unless_told = sockets_by_namespace(&unless_told.json());
        assert_eq!([unless_told[&own], unless_told[&web]], [1, 1]);

        let document = list("--netns web").json();
        let [told] = rows(&document, "namespaces") else {
            panic!("{document:#}");
        };
        assert_eq!(told["name"], "web");
        assert_eq!(told["mounts"], json!(["/run/netns/web"]));
        assert_eq!(told["pid"], json!(pid));

        let refused = |choice: &str, why: &str| {
            let outcome = list(&format!("--netns {choice}"));
            assert_eq!(
                (outcome.status, outcome.stdout.as_str()),
                (2, ""),
                "{choice}"
            );
            let line = format!("tcpleak: no network namespace {choice}: {why}");
            assert_eq!(outcome.stderr.lines().next(), Some(&*line), "{choice}");
        };
        std::fs::write("/run/netns/file", "").unwrap();
        std::fs::write("/run/host", "").unwrap();
        tool("mount --bind /proc/self/ns/uts /run/host").unwrap();
        let other_kind = "it is no network namespace";
        refused("file", other_kind);
        refused("/run/host", other_kind);
        refused("/proc/self/ns/uts", other_kind);
        refused("nowhere", "No such file or directory (os error 2)");
        refused("4294967295", "no such process");
    });
}

#[test]
fn a_namespace_is_found_where_nobody_lives_and_nobody_here_has_mounted_it() {
    with_namespaces(&["lost"], || {
        let _listener = inside("lost", || listen_at(SERVER).open().unwrap());
        let lost = inode("/run/netns/lost");
        let list = |choice: &str| tcpleak(&format!("list --json --port 8080 {choice}"));
        let document = list("--netns all").json();
        let told = rows(&document, "namespaces").iter();
        let told: Vec<&Value> = told.filter(|told| told["netns"] == json!(lost)).collect();
        assert_eq!(told.len(), 1);
        assert_eq!(told[0]["pid"], Value::Null);
        let listener = rows(&document, "sockets").iter();
        let mut listener = listener.filter(|row| row["netns"] == json!(lost));
        let holder = &listener.next().unwrap()["holders"][0];
        assert_eq!(holder["pid"], json!(std::process::id()));

        // From now on only another process sees it mounted: it is in no list, and has a path.
        std::fs::write("/run/place", "").unwrap();
        let mount = "mount --bind /run/netns/lost /run/place && exec sleep 600";
        let keeper = start(
            &mut Command::new("unshare"),
            &["--mount", "sh", "-c", mount],
        );
        let path = format!("/proc/{}/root/run/place", keeper.0.id());
        eventually("a mount", || (inode(&path) == lost).then_some(()));
        tool("ip netns delete lost").unwrap();
        assert!(!sockets_by_namespace(&list("--netns all").json()).contains_key(&lost));
        let document = list(&format!("--netns {path}")).json();
        assert_eq!(sockets_by_namespace(&document), BTreeMap::from([(lost, 1)]));
    });
}
