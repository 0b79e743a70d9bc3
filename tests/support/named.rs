//! Network namespaces with names, as `ip netns` makes them, in a `/run` of the test's own: the thread
//! that they were made for has mounts of its own, and with it they are gone.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use super::command::{Outcome, run};

/// Runs `test` in a thread in a new network namespace without any socket, and with those that are
/// `named` beside it, their loopback devices up. Says why, where that cannot be made.
pub(crate) fn with_namespaces(named: &[&str], test: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let Some(_own) = super::in_own_namespace() else {
                return;
            };
            let made = own_mounts()
                .map_err(|error| error.to_string())
                .and_then(|()| tool("mount --make-rprivate /"))
                .and_then(|()| tool("mount -t tmpfs tmpfs /run"))
                .and_then(|()| named.iter().try_for_each(|name| add(name)));
            match made {
                Ok(()) => test(),
                Err(why) => super::cannot_run(&format!("needs named network namespaces: {why}")),
            }
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

#[expect(unsafe_code, reason = "rustix has no safe form of unshare(2)")]
fn own_mounts() -> io::Result<()> {
    // SAFETY: the call is unsafe for CLONE_FILES only, which is not asked for.
    Ok(unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }?)
}

fn add(name: &str) -> Result<(), String> {
    tool(&format!("ip netns add {name}"))?;
    tool(&format!("ip -n {name} link set lo up"))
}

/// A cable between two of them: 10.9.0.1 at the first end, 10.9.0.2 at the other.
pub(crate) fn join_by_cable(one: &str, other: &str) -> Result<(), String> {
    tool(&format!(
        "ip link add cable netns {one} type veth peer name cable netns {other}"
    ))?;
    for (name, address) in [(one, "10.9.0.1/24"), (other, "10.9.0.2/24")] {
        tool(&format!("ip -n {name} address add {address} dev cable"))?;
        tool(&format!("ip -n {name} link set cable up"))?;
    }
    Ok(())
}

/// Runs a command to its end, which has to be a good one.
pub(crate) fn tool(command: &str) -> Result<(), String> {
    let mut words = command.split_whitespace();
    let program = words.next().unwrap_or_default();
    let found = Command::new(program).arg("-V").output();
    found.map_err(|error| format!("{program}: {error}"))?;
    let Outcome { status, stderr, .. } = run(Command::new(program).args(words));
    match status {
        0 => Ok(()),
        _ => Err(format!("{command}: {}", stderr.trim())),
    }
}

/// Does `inside` in the namespace with that name, and comes back.
pub(crate) fn inside<T>(name: &str, inside: impl FnOnce() -> T) -> T {
    let here = File::open("/proc/thread-self/ns/net").unwrap();
    go_to(&File::open(format!("/run/netns/{name}")).unwrap());
    let done = inside();
    go_to(&here);
    done
}

/// Moves this thread to a namespace.
pub(crate) fn go_to(namespace: &File) {
    let kind = Some(LinkNameSpaceType::Network);
    move_into_link_name_space(namespace.as_fd(), kind).unwrap();
}
