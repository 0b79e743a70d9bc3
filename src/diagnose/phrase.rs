//! Phrases that several findings share.

use std::collections::HashMap;
use std::time::Duration;

use crate::join::{FarEnd, Holder, Listener, SocketTable};
use crate::model::{
    Evidence, Fact, Netns, Process, ProcessId, Runtime, SocketEntry, SocketSource, Unknown,
    count_of, human_duration, printable,
};

/// `server (pid 4866, fd 3)`, `nginx (pids 12, 13, 14)`; what is known when there is none.
pub(super) fn holders(listener: &Listener<'_>, table: &SocketTable<'_>) -> String {
    const NAMED: usize = 4;
    let holders = &listener.holders;
    let names = match &holders[..] {
        [] => return nobody([listener.entry].into_iter(), table),
        [one] => holder(one),
        several => {
            let mut names: Vec<String> = several.iter().take(NAMED).map(holder).collect();
            if several.len() > NAMED {
                names.push(format!("{} more", several.len() - NAMED));
            }
            join_words(&names)
        }
    };
    format!("held by {names}{}", place(holders))
}

/// ` in nginx.service`, ` in docker container 3726184226f5`; nothing if they are not all in the same,
/// or that has no name.
pub(super) fn place(holders: &[Holder<'_>]) -> String {
    let services = holders.iter().map(Holder::service);
    let mut known = services.map(Option::unwrap_or_default);
    match known.next() {
        Some(first) if first.has_name() && known.all(|other| other == first) => {
            format!(" in {first}")
        }
        _ => String::new(),
    }
}

/// Which of them run a program whose file is another one by now.
pub(super) fn old_binaries(holders: &[Holder<'_>]) -> Option<Evidence> {
    let is_old = |holder: &&Holder<'_>| holder.process.is_some_and(|p| p.old_binary().is_some());
    let first = holders.iter().find(is_old)?;
    let path = printable(first.process?.old_binary()?);
    let more = match holders.iter().filter(is_old).count() - 1 {
        0 => String::new(),
        more => format!(" (and {} like it)", count_of(more as u64, "holder")),
    };
    Some(Evidence::new(
        format!(
            "{} runs {path}, a file that was deleted or replaced since it was started: after an \
             upgrade, the old binary{more}",
            process(first.process, first.id),
        ),
        format!("/proc/{}/exe", first.id.pid),
    ))
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

/// What may be said about sockets for which no holder was found: the cgroup in which a socket was
/// opened names the service nevertheless.
pub(super) fn nobody<'e>(
    sockets: impl ExactSizeIterator<Item = &'e SocketEntry>,
    table: &SocketTable<'_>,
) -> String {
    let one = sockets.len() == 1;
    let nobody = match (table.owners_complete(), one) {
        (true, true) => "no process holds it",
        (true, false) => "no process holds them",
        (false, true) => "its holder could not be seen",
        (false, false) => "their holder could not be seen",
    };
    let mut services: Vec<String> = sockets
        .filter_map(|socket| table.opened_in(socket))
        .map(|service| service.to_string())
        .collect();
    services.sort();
    services.dedup();
    let (it_was, its) = if one {
        ("it was", "its")
    } else {
        ("they were", "their")
    };
    match services.len() {
        0 => nobody.into(),
        _ => format!(
            "{nobody}; by {its} cgroup {it_was} opened in {}",
            join_words(&services)
        ),
    }
}

/// The cgroups in which sockets without a holder were opened, the first ones.
pub(super) fn opened_in<'e>(
    sockets: impl Iterator<Item = &'e SocketEntry>,
    table: &SocketTable<'_>,
) -> Option<Evidence> {
    const NAMED: usize = 4;
    let mut places: Vec<String> = sockets
        .filter_map(|socket| match table.cgroup_of(socket) {
            Fact::Known(path) => Some(printable(path)),
            Fact::Unknown(Unknown::Vanished) => {
                Some("one that was removed (what ran there has ended)".into())
            }
            Fact::Unknown(_) => None,
        })
        .collect();
    places.sort();
    places.dedup();
    if places.len() > NAMED {
        let more = places.len() - NAMED;
        places.truncate(NAMED);
        places.push(format!("{more} others"));
    }
    let places = (!places.is_empty()).then(|| join_words(&places))?;
    let fact =
        format!("without a holder that was seen; the cgroup in which it was opened: {places}");
    Some(Evidence::new(fact, "sock_diag, INET_DIAG_CGROUP_ID"))
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
