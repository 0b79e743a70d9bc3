//! `tcpleak inspect` on the running kernel: each form of subject, and what is not there.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

mod support;

use std::process::{Command, Output};

use tcpleak::model::TcpState;

use support::in_own_namespace;
use support::scan::start;

fn inspect(subject: &str) -> Output {
    let program = env!("CARGO_BIN_EXE_tcpleak");
    Command::new(program)
        .args(["inspect", "--netns", "self", "--settle", "0", subject])
        .output()
        .unwrap()
}

fn page(subject: &str) -> String {
    let output = inspect(subject);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_form_of_subject_leads_to_its_sockets() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let running = start("edge-triggered-missed-wakeup");
    let (address, pid) = (running.address(), running.server_pid());
    let rows = running.sockets().unwrap();
    let waiting = rows
        .iter()
        .find(|row| row.state == TcpState::CloseWait)
        .unwrap();

    let port = page(&format!(":{}", address.port()));
    // The listener, the accepted client, and eight that wait.
    assert!(
        port.starts_with(&format!(":{}: 10 TCP sockets\n", address.port())),
        "{port}"
    );
    assert!(
        port.contains("0 ESTABLISHED, 8 CLOSE_WAIT, 0 gone"),
        "{port}"
    );
    assert!(
        port.contains(&format!("process {pid} demo-server")),
        "{port}"
    );
    assert!(
        port.contains("with events 80000019, EPOLLIN|EPOLLET"),
        "{port}"
    );
    assert!(port.contains("epoll_pwait(0x4"), "{port}");

    assert!(page(&address.to_string()).contains("10 TCP sockets"));
    let connection = page(&format!("{}-{}", waiting.local, waiting.remote));
    assert!(connection.contains("1 TCP socket\n"), "{connection}");
    assert!(
        connection.contains("45 bytes; the end of file is unread"),
        "{connection}"
    );
    assert!(
        connection.contains("nobody: no program has accepted it"),
        "{connection}"
    );

    let process = page(&pid.to_string());
    assert!(process.contains("2 TCP sockets\n"), "{process}");
    let descriptor = page(&format!("{pid}/3"));
    assert!(descriptor.contains("1 TCP socket\n"), "{descriptor}");
    assert!(
        descriptor.contains(&format!("LISTEN {address}")),
        "{descriptor}"
    );

    let cookie = port
        .lines()
        .find_map(|line| line.trim().strip_prefix("identity     cookie "));
    let cookie = cookie.unwrap().split(',').next().unwrap();
    assert!(page(cookie).contains("1 TCP socket\n"), "{cookie}");
}

#[test]
fn what_is_not_there_is_said() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    assert!(page(":1").contains("0 TCP sockets"));
    let gone = inspect("4294967295");
    assert_eq!(gone.status.code(), Some(2));
    let message = String::from_utf8(gone.stderr).unwrap();
    assert!(
        message.contains("/proc/4294967295/fd: No such file"),
        "{message}"
    );
    let nonsense = inspect("nonsense");
    assert_eq!(nonsense.status.code(), Some(2));
    let message = String::from_utf8(nonsense.stderr).unwrap();
    assert!(message.contains("ADDR:PORT-ADDR:PORT"), "{message}");
}
