//! `inspect`: one page with everything that is known about one subject, and what could not be read.

use std::fmt::Display;
use std::io::{self, Write};

use super::Layout;
use super::style::{Style, paint};
use super::text::{write_finding, write_labelled};
use crate::join::{CloseWait, FarEnd, Holder, Listener, SocketTable, service_of};
use crate::model::{
    DescriptorUse, EpollRegistration, EpollSet, Fact, Focus, IoUring, Namespace, Process,
    ProcessDetail, Queues, Service, SocketEntry, SystemCall, Thread, Unknown, count_of,
    human_duration, printable,
};
use crate::report::Report;

/// Sockets, threads and registrations of which each gets its lines; of more, the number is said.
const SHOWN: usize = 24;

/// Writes what `report` knows about `focus`.
pub fn write_inspection(
    to: &mut dyn Write,
    report: &Report<'_>,
    focus: Focus,
    layout: Layout,
) -> io::Result<()> {
    let table = &report.table;
    let rows: Vec<&SocketEntry> = table
        .rows
        .iter()
        .copied()
        .filter(|row| is_asked(row, focus, table))
        .collect();
    let what = format!("{focus}: {}", count_of(rows.len() as u64, "TCP socket"));
    writeln!(to, "{}", paint(&what, Style::Strong, layout.color))?;
    for finding in &report.findings {
        writeln!(to)?;
        write_finding(to, finding, layout)?;
    }
    for row in rows.iter().take(SHOWN) {
        writeln!(to)?;
        write_socket(to, row, table, layout)?;
    }
    if rows.len() > SHOWN {
        writeln!(to, "\n{}; tcpleak list shows all", more(rows.len() - SHOWN))?;
    }
    for process in holders(&rows, table) {
        writeln!(to)?;
        write_process(to, process, &rows, layout)?;
    }
    Ok(())
}

fn is_asked(row: &SocketEntry, focus: Focus, table: &SocketTable<'_>) -> bool {
    let held = |is: &dyn Fn(&Holder<'_>) -> bool| table.holders_of(row).iter().any(is);
    match focus {
        Focus::Process(pid) => held(&|holder| holder.id.pid == pid),
        Focus::Descriptor { pid, fd } => {
            held(&|holder| holder.id.pid == pid && holder.fds.contains(&fd))
        }
        _ => focus.takes(row),
    }
}

/// The processes that hold any of `rows`, each once, in the order of pids.
fn holders<'a>(rows: &[&SocketEntry], table: &SocketTable<'a>) -> Vec<&'a Process> {
    let mut processes: Vec<&Process> = rows
        .iter()
        .flat_map(|row| table.holders_of(row))
        .filter_map(|holder| holder.process)
        .collect();
    processes.sort_by_key(|process| process.id);
    processes.dedup_by_key(|process| process.id);
    processes
}

/// Lines `name  value` under a heading.
struct Page<'w> {
    to: &'w mut dyn Write,
    layout: Layout,
}

impl Page<'_> {
    fn heading(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.to, "{}", paint(text, Style::Strong, self.layout.color))
    }

    fn line(&mut self, name: &str, value: &str) -> io::Result<()> {
        write_labelled(
            self.to,
            &format!("  {name:<12}"),
            Style::Dim,
            value,
            self.layout,
        )
    }

    fn fact<T>(
        &mut self,
        name: &str,
        fact: &Fact<T>,
        show: impl Fn(&T) -> String,
    ) -> io::Result<()> {
        match fact {
            Fact::Known(value) => self.line(name, &show(value)),
            Fact::Unknown(reason) => self.line(name, &not_known(*reason)),
        }
    }

    fn optional<T: Display>(&mut self, name: &str, value: Option<T>) -> io::Result<()> {
        value.map_or(Ok(()), |value| self.line(name, &value.to_string()))
    }
}

fn not_known(reason: Unknown) -> String {
    format!("not known: {reason}")
}

fn more(count: usize) -> String {
    format!("and {count} more")
}

fn write_socket(
    to: &mut dyn Write,
    row: &SocketEntry,
    table: &SocketTable<'_>,
    layout: Layout,
) -> io::Result<()> {
    let mut page = Page { to, layout };
    page.heading(&match row.queues {
        Queues::Listen { .. } => format!("{} {}", row.state, row.local),
        Queues::Stream { .. } => format!("{} {} - {}", row.state, row.local, row.remote),
    })?;
    let cookie = row
        .cookie
        .map_or("not known".into(), |cookie| format!("sk:{cookie}"));
    let inode = row
        .inode
        .map_or("0: no descriptor refers to it".into(), |inode| {
            inode.0.to_string()
        });
    page.line(
        "identity",
        &format!("cookie {cookie}, inode {inode}, netns {}", row.netns.0),
    )?;
    let namespace = table.snapshot.namespace(row.netns);
    page.optional(
        "namespace",
        namespace.filter(|one| !one.own).map(Namespace::title),
    )?;
    let listener = table
        .listeners
        .iter()
        .find(|listener| std::ptr::eq(listener.entry, row));
    if let Some(listener) = listener {
        write_queue(&mut page, listener)?;
    }
    if let Some((recv_q, send_q)) = row.stream_queues() {
        page.line("queues", &format!("{recv_q} in Recv-Q, {send_q} in Send-Q"))?;
    }
    let close_wait = table
        .close_wait
        .iter()
        .find(|socket| std::ptr::eq(socket.entry, row));
    if let Some(socket) = close_wait {
        write_close_wait(&mut page, socket)?;
    }
    page.optional("timeline", row.timeline())?;
    page.optional(
        "device",
        row.bound_device
            .map(|index| format!("bound to interface {index}")),
    )?;
    page.optional(
        "ulp",
        row.ulp.as_deref().map(|ulp| printable(ulp.as_bytes())),
    )?;
    page.line("created by", &format!("uid {}", row.uid))?;
    if let Some(id) = row.cgroup_id {
        let path = table.cgroup_of(row);
        let path = path.known().map(|path| format!(", {}", printable(path)));
        let opened_in = table.opened_in(row).map(|service| format!(": {service}"));
        let text = [Some(format!("id {id}")), path, opened_in];
        page.line("opened in", &text.into_iter().flatten().collect::<String>())?;
    }
    if let Fact::Known(far_end) = table.far_end(row) {
        page.line(
            "far end",
            &match far_end {
                FarEnd::Gone => "was on this machine, and is in no table any more".into(),
                FarEnd::Here(entry) => {
                    let place = table.snapshot.seen_from(row.netns, entry.netns);
                    format!(
                        "{}{place}, {}",
                        entry.state,
                        holder_names(&table.holders_of(entry), entry, table)
                    )
                }
            },
        )?;
    }
    page.line("held by", &holder_names(&table.holders_of(row), row, table))
}

fn write_queue(page: &mut Page<'_>, listener: &Listener<'_>) -> io::Result<()> {
    let limit = listener
        .backlog
        .map_or("an unknown limit".into(), |limit| limit.to_string());
    page.line(
        "accept queue",
        &format!("{} of {limit}", listener.accept_queue),
    )?;
    page.fact("consists of", &listener.queued, |queued| {
        format!(
            "{} ESTABLISHED, {} CLOSE_WAIT, {} gone",
            queued.established, queued.close_wait, queued.gone
        )
    })?;
    page.optional("oldest wait", listener.oldest_wait().map(human_duration))?;
    page.optional(
        "movement",
        listener.movement.map(|movement| {
            format!(
                "within {}: {} left, {} came, {} stayed",
                human_duration(movement.over),
                movement.left,
                movement.came,
                movement.stayed
            )
        }),
    )?;
    page.line(
        "SYN queue",
        &count_of(listener.syn_recv.into(), "connection"),
    )?;
    page.optional("dropped", listener.entry.drops)
}

fn write_close_wait(page: &mut Page<'_>, socket: &CloseWait<'_>) -> io::Result<()> {
    let fin = if socket.fin_unread { "unread" } else { "read" };
    let bytes = count_of(socket.unread_bytes.into(), "byte");
    page.line("unread", &format!("{bytes}; the end of file is {fin}"))?;
    page.line(
        "accepted",
        if socket.accepted {
            "yes"
        } else {
            "no: it waits in an accept queue"
        },
    )?;
    page.line(
        "age",
        &socket.age.map_or("not known".into(), |age| {
            format!("{} at least", human_duration(age))
        }),
    )?;
    let direction = socket
        .direction
        .map_or("not known".into(), |direction| direction.to_string());
    page.line("direction", &direction)
}

fn holder_names(holders: &[Holder<'_>], row: &SocketEntry, table: &SocketTable<'_>) -> String {
    if holders.is_empty() {
        return match row.inode {
            None if row.is_unaccepted() => "nobody: no program has accepted it",
            None => "the kernel alone: no program has a descriptor for it any more",
            Some(_) if table.owners_complete() => "no process",
            Some(_) => "not seen: not every process could be read",
        }
        .into();
    }
    let name = |holder: &Holder<'_>| {
        let comm = holder
            .process
            .map_or("?".into(), |process| printable(&process.comm));
        let fds: Vec<String> = holder.fds.iter().map(i32::to_string).collect();
        format!("{comm} (pid {}, fd {})", holder.id.pid, fds.join(", "))
    };
    holders.iter().map(name).collect::<Vec<String>>().join("; ")
}

fn write_process(
    to: &mut dyn Write,
    process: &Process,
    rows: &[&SocketEntry],
    layout: Layout,
) -> io::Result<()> {
    let mut page = Page { to, layout };
    page.heading(&format!(
        "process {} {}",
        process.id.pid,
        printable(&process.comm)
    ))?;
    page.fact("command", &process.command_line, |words| {
        words
            .iter()
            .map(|word| printable(word))
            .collect::<Vec<String>>()
            .join(" ")
    })?;
    page.fact("exe", &process.exe, |exe| match process.old_binary() {
        Some(path) => format!(
            "{}: deleted or replaced since it was started; after an upgrade, the old binary",
            printable(path)
        ),
        None => printable(exe),
    })?;
    page.fact("user", &process.uid, |uid| match &process.user {
        Some(name) => format!("{} (uid {uid})", printable(name.as_bytes())),
        None => format!("uid {uid}"),
    })?;
    page.fact("cgroup", &process.cgroup, |cgroup| {
        let lines: Vec<String> = cgroup
            .split(|b| *b == b'\n')
            .filter(|line| !line.is_empty())
            .map(printable)
            .collect();
        lines.join(" ")
    })?;
    if let Some(service) = service_of(process) {
        write_service(&mut page, &service)?;
    }
    page.line(
        "state",
        &format!(
            "{}, parent {}, started {} ticks after boot",
            process.state.0, process.parent, process.id.start_time
        ),
    )?;
    page.fact("descriptors", &process.descriptors, descriptors)?;
    match &process.detail {
        Fact::Known(detail) => write_detail(&mut page, detail, rows),
        Fact::Unknown(reason) => page.line("waits for", &not_known(*reason)),
    }
}

fn write_service(page: &mut Page<'_>, service: &Service) -> io::Result<()> {
    let shown = |name: Option<&str>| name.map(|name| printable(name.as_bytes()));
    page.optional("unit", shown(service.unit()))?;
    page.optional("slice", shown(service.slice()))?;
    // All of them, each whole: an id is there to be copied.
    for container in &service.containers {
        let runtime = container.runtime.map(|runtime| format!(" ({runtime})"));
        let called = printable(container.called.as_bytes());
        page.line("container", &(called + &runtime.unwrap_or_default()))?;
    }
    page.optional("pod", service.pod.as_deref())
}

fn descriptors(used: &DescriptorUse) -> String {
    let exhausted = if used.exhausted { ", none free" } else { "" };
    match used.soft_limit {
        Some(limit) => format!("{} of {limit}{exhausted}", used.open),
        None => format!("{}, no limit", used.open),
    }
}

fn write_detail(
    page: &mut Page<'_>,
    detail: &ProcessDetail,
    rows: &[&SocketEntry],
) -> io::Result<()> {
    page.fact("runtime", &detail.runtime, |runtime| runtime.to_string())?;
    page.fact("frozen", &detail.frozen, |frozen| {
        if *frozen { "yes" } else { "no" }.into()
    })?;
    match &detail.threads {
        Fact::Known(threads) => {
            for thread in threads.iter().take(SHOWN) {
                page.line(&format!("thread {}", thread.tid), &thread_text(thread))?;
            }
            if threads.len() > SHOWN {
                page.line("", &more(threads.len() - SHOWN))?;
            }
        }
        Fact::Unknown(reason) => page.line("threads", &not_known(*reason))?,
    }
    match &detail.epoll_sets {
        Fact::Known(sets) => {
            for set in sets {
                write_epoll_set(page, set, rows)?;
            }
        }
        Fact::Unknown(reason) => page.line("epoll sets", &not_known(*reason))?,
    }
    match &detail.io_urings {
        Fact::Known(rings) => {
            for ring in rings {
                page.line(&format!("io_uring {}", ring.fd), &io_uring(ring))?;
            }
            Ok(())
        }
        Fact::Unknown(reason) => page.line("io_urings", &not_known(*reason)),
    }
}

fn thread_text(thread: &Thread) -> String {
    let call = match &thread.system_call {
        Fact::Known(SystemCall::Running) => "running".into(),
        Fact::Known(SystemCall::NotInCall) => "in no system call".into(),
        Fact::Known(SystemCall::In {
            number,
            name,
            arguments,
        }) => {
            let name = name
                .clone()
                .unwrap_or_else(|| format!("system call {number}"));
            format!("{name}({:#x}, {:#x}, …)", arguments[0], arguments[1])
        }
        Fact::Unknown(reason) => format!("system call {}", not_known(*reason)),
    };
    let place = match &thread.wait_channel {
        Fact::Known(place) if !place.is_empty() => format!(", in {}", printable(place.as_bytes())),
        _ => String::new(),
    };
    format!(
        "{} state {}, {call}{place}",
        printable(&thread.comm),
        thread.state.0
    )
}

/// The registrations of the sockets asked about first, and how many others there are.
fn write_epoll_set(page: &mut Page<'_>, set: &EpollSet, rows: &[&SocketEntry]) -> io::Result<()> {
    let asked = |inode: u64| {
        rows.iter()
            .any(|row| row.inode.is_some_and(|own| own.0 == inode))
    };
    let (ours, others): (Vec<&EpollRegistration>, Vec<&EpollRegistration>) = set
        .registrations
        .iter()
        .partition(|registration| asked(registration.inode));
    let name = format!("epoll {}", set.fd);
    page.line(
        &name,
        &count_of(set.registrations.len() as u64, "registration"),
    )?;
    for registration in ours.iter().take(SHOWN) {
        let text = format!(
            "fd {} with events {:x}, {registration}",
            registration.fd, registration.events
        );
        page.line("", &text)?;
    }
    match others.len() + ours.len().saturating_sub(SHOWN) {
        0 => Ok(()),
        rest => page.line("", &more(rest)),
    }
}

fn io_uring(ring: &IoUring) -> String {
    format!(
        "{} registered, {} pending",
        count_of(ring.registered_sockets.len() as u64, "socket"),
        count_of(ring.pending_accepts.into(), "accept")
    )
}
