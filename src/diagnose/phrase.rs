//! Phrases that several findings share.

use std::collections::HashMap;
use std::time::Duration;

use crate::join::{FarEnd, Holder, SocketTable};
use crate::model::{
    Evidence, Fact, Netns, Process, ProcessId, Runtime, SocketEntry, SocketSource, count_of,
    human_duration, printable,
};

/// `server (pid 4866, fd 3)`, `nginx (pids 12, 13, 14)`; what is known when there is none.
pub(super) fn holders(holders: &[Holder<'_>], table: &SocketTable<'_>) -> String {
    const NAMED: usize = 4;
    match holders {
        [] => nobody(table, 1),
        [one] => format!("held by {}", holder(one)),
        several => {
            let mut names: Vec<String> = several.iter().take(NAMED).map(holder).collect();
            if several.len() > NAMED {
                names.push(format!("{} more", several.len() - NAMED));
            }
            format!("held by {}", join_words(&names))
        }
    }
}

/// `server (pid 4866, fd 3)`
pub(super) fn holder(holder: &Holder<'_>) -> String {
    let fds = match holder.fds[..] {
        [fd] => format!("fd {fd}"),
        _ => count_of(holder.fds.len() as u64, "descriptor"),
    };
    format!("{} (pid {}, {fds})", name(holder.process), holder.id.pid)
}

/// `server (pid 4866) and helper (pid 4870)`; of many the first ones.
pub(super) fn processes(holders: &[Holder<'_>]) -> String {
    const NAMED: usize = 4;
    let mut names: Vec<String> = holders
        .iter()
        .take(NAMED)
        .map(|holder| process(holder.process, holder.id))
        .collect();
    if holders.len() > NAMED {
        names.push(format!("{} more", holders.len() - NAMED));
    }
    join_words(&names)
}

/// `server (pid 4866)`
pub(super) fn process(process: Option<&Process>, id: ProcessId) -> String {
    format!("{} (pid {})", name(process), id.pid)
}

fn name(process: Option<&Process>) -> String {
    process.map_or("a process that has ended".into(), |process| {
        printable(&process.comm)
    })
}

/// What may be said about sockets, so many, for which no holder was found.
pub(super) fn nobody(table: &SocketTable<'_>, sockets: u64) -> String {
    match (table.owners_complete(), sockets) {
        (true, 1) => "no process holds it",
        (true, _) => "no process holds them",
        (false, 1) => "its holder could not be seen",
        (false, _) => "their holder could not be seen",
    }
    .into()
}

/// `a`, `a and b`, `a, b and c`
pub(super) fn join_words(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// Where the socket entries of a namespace were read.
pub(super) fn socket_source(table: &SocketTable<'_>, netns: Netns) -> &'static str {
    let namespace = table.snapshot.namespace(netns);
    match namespace.and_then(|one| Some((one.own, one.source.known()?))) {
        Some((true, SocketSource::ProcNetTcp)) => "/proc/net/tcp, /proc/net/tcp6",
        Some((false, SocketSource::ProcNetTcp)) => "/proc/PID/net/tcp, tcp6",
        Some((_, SocketSource::SockDiag)) | None => "sock_diag",
    }
}

/// `127.0.0.1:80`, and `127.0.0.1:80 in netns web` where the own namespace is not meant.
pub(super) fn address(entry: &SocketEntry, table: &SocketTable<'_>) -> String {
    let place = table.snapshot.in_namespace(entry.netns);
    format!("{}{place}", entry.local)
}

/// A command that looks at sockets of a namespace, as it is to be typed.
pub(super) fn command(command: String, netns: Netns, table: &SocketTable<'_>) -> String {
    let namespace = table.snapshot.namespace(netns);
    namespace.map_or(command.clone(), |namespace| namespace.command(&command))
}

/// `/proc/4866/fd/3` for each holder, the first ones.
pub(super) fn descriptor_paths(holders: &[Holder<'_>]) -> String {
    const NAMED: usize = 3;
    let mut all = holders.iter().flat_map(paths);
    let named: Vec<String> = all.by_ref().take(NAMED).collect();
    let more = if all.next().is_some() { ", …" } else { "" };
    format!("{}{more}", named.join(", "))
}

/// `/proc/4866/fd/3` for each descriptor.
pub(super) fn paths(holder: &Holder<'_>) -> impl Iterator<Item = String> {
    let pid = holder.id.pid;
    holder
        .fds
        .iter()
        .map(move |fd| format!("/proc/{pid}/fd/{fd}"))
}

/// `fd 4`, `fds 4, 5, 6`, `fds 4, 5, 6, 7, 8, 9, … (23)`
pub(super) fn fd_list(fds: &[i32]) -> String {
    const SHOWN: usize = 6;
    let shown: Vec<String> = fds.iter().take(SHOWN).map(i32::to_string).collect();
    match fds.len() {
        1 => format!("fd {}", shown[0]),
        n if n <= SHOWN => format!("fds {}", shown.join(", ")),
        n => format!("fds {}, … ({n} in all)", shown.join(", ")),
    }
}

/// What became of the far ends of `connections`, as far as they were on this machine.
pub(super) fn far_ends<'e>(
    connections: impl Iterator<Item = &'e SocketEntry>,
    table: &SocketTable<'_>,
) -> Option<Evidence> {
    let (mut gone, mut elsewhere, mut here) = (0_u64, 0_u64, HashMap::<String, u64>::new());
    for connection in connections {
        match table.far_end(connection) {
            Fact::Known(FarEnd::Gone) => gone += 1,
            Fact::Known(FarEnd::Here(entry)) => {
                let owner = match &table.holders_of(entry)[..] {
                    [] if entry.inode.is_none() => "no descriptor".to_owned(),
                    [] => "holder not seen".to_owned(),
                    [first, ..] => process(first.process, first.id),
                };
                let what = format!("in {}, {owner}", entry.state);
                *here.entry(what).or_default() += 1;
            }
            Fact::Unknown(_) => elsewhere += 1,
        }
    }
    if gone == 0 && here.is_empty() {
        return None;
    }
    let mut here: Vec<(String, u64)> = here.into_iter().collect();
    here.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let mut parts: Vec<String> = here
        .iter()
        .take(3)
        .map(|(what, count)| format!("{count} {what}"))
        .collect();
    if here.len() > 3 {
        let rest: u64 = here[3..].iter().map(|(_, count)| count).sum();
        parts.push(format!("{rest} others"));
    }
    if gone > 0 {
        parts.push(format!("{gone} in no table of their namespace"));
    }
    if elsewhere > 0 {
        parts.push(format!("{elsewhere} not looked up"));
    }
    Some(Evidence::new(
        format!("far ends: {}", join_words(&parts)),
        "sock_diag, exact look-up",
    ))
}

/// The command that shows where a program is, as its runtime has it.
pub(super) fn stacks(process: &Process, runtime: Option<Runtime>) -> String {
    let pid = process.id.pid;
    match runtime {
        Some(Runtime::Jvm) => format!("`jstack {pid}`"),
        Some(Runtime::Python) => format!("`py-spy dump --pid {pid}`"),
        Some(Runtime::DotNet) => format!("`dotnet-stack report -p {pid}`"),
        _ => format!("`gdb -p {pid} -batch -ex 'thread apply all bt'`"),
    }
}

/// The path of the hierarchy that says most about where a process belongs: the longest.
pub(super) fn last_cgroup_path(cgroup: &[u8]) -> &[u8] {
    let lines = cgroup.split(|byte| *byte == b'\n');
    let paths = lines.filter_map(|line| line.splitn(3, |byte| *byte == b':').nth(2));
    paths.max_by_key(|path| path.len()).unwrap_or_default()
}

/// What happened on the oldest connection, where it can be told.
pub(super) fn timeline(oldest: &SocketEntry) -> Option<Evidence> {
    let timeline = oldest.timeline()?;
    Some(Evidence::new(
        format!("the oldest, far end {}: {timeline}", oldest.remote),
        "sock_diag, tcp_info",
    ))
}

/// `2.0 s to 12.0 s`, or `12.0 s` if both read the same.
pub(super) fn range(least: Duration, most: Duration) -> String {
    let (least, most) = (human_duration(least), human_duration(most));
    if least == most {
        most
    } else {
        format!("{least} to {most}")
    }
}
