//! The JSON contract: `tcpleak.report/1` and `tcpleak.list/1` (`docs/json.md`).
//!
//! Fills the types of `v1` from a report or a table. Times are in milliseconds, sizes in bytes,
//! cookies hexadecimal strings.

use std::borrow::Cow;
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde_json::ser::Formatter;

use super::doctor_json::weakens;
use super::v1::{
    CauseV1, CgroupV1, CloseWaitV1, CountersV1, CoverageV1, EndpointV1, EvidenceV1, FarEndV1,
    FindingV1, GapV1, HeadV1, HolderV1, HostV1, ListV1, ListenerV1, MovementV1, NamespaceV1,
    QueuedV1, ReportV1, ServiceV1, SocketV1, SourceV1, StrayV1, SubjectV1, SummaryV1, TimelineV1,
};
use crate::join::{CloseWait, FarEnd, Holder, Listener, SocketTable};
use crate::model::{
    CauseVerdict, Container, Cookie, Direction, Fact, Finding, Namespace, OwnerSource, Queues,
    Service, SocketEntry, SocketSource, Subject, Unknown,
};
use crate::report::Report;

/// Writes a report as one JSON document and a line end; every listener if `all_listeners`.
pub fn write_report(
    to: &mut dyn Write,
    report: &Report<'_>,
    all_listeners: bool,
) -> io::Result<()> {
    let listeners: Vec<ListenerV1> = if all_listeners {
        report
            .table
            .listeners
            .iter()
            .map(|listener| listener_v1(listener, report))
            .collect()
    } else {
        report
            .notable_listeners()
            .map(|listener| listener_v1(listener, report))
            .collect()
    };
    let snapshot = report.table.snapshot;
    let document = ReportV1 {
        schema: "tcpleak.report/1",
        head: head(&report.table),
        listeners,
        close_wait: report
            .table
            .close_wait
            .iter()
            .map(|s| close_wait_v1(s, report))
            .collect(),
        strays: report
            .table
            .strays
            .iter()
            .map(|row| StrayV1 {
                netns: row.netns.0,
                local: endpoint(row.local),
            })
            .collect(),
        findings: report.findings.iter().map(finding_v1).collect(),
        summary: SummaryV1 {
            critical: report.summary.critical,
            warning: report.summary.warning,
            info: report.summary.info,
        },
        counters: snapshot.nearest_namespace().and_then(counters_v1),
    };
    write_line(to, &document)
}

/// Writes the rows of a table as one JSON document and a line end.
pub fn write_list(to: &mut dyn Write, table: &SocketTable<'_>) -> io::Result<()> {
    let document = ListV1 {
        schema: "tcpleak.list/1",
        head: head(table),
        sockets: table.rows.iter().map(|row| socket_v1(row, table)).collect(),
    };
    write_line(to, &document)
}

pub(super) fn write_line(to: &mut dyn Write, document: &impl Serialize) -> io::Result<()> {
    document.serialize(&mut serde_json::Serializer::with_formatter(
        &mut *to, Harmless,
    ))?;
    writeln!(to)
}

/// Compact JSON in which everything is escaped that a terminal would act on: JSON itself wants
/// that only of the characters below the space, and a process chooses its name freely.
struct Harmless;

impl Formatter for Harmless {
    fn write_string_fragment<W>(&mut self, to: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + Write,
    {
        let mut rest = fragment;
        while let Some(at) = rest.find(is_acted_on) {
            let (plain, tail) = rest.split_at(at);
            to.write_all(plain.as_bytes())?;
            let mut chars = tail.chars();
            for unit in chars.next().into_iter().flat_map(utf16) {
                write!(to, "\\u{unit:04x}")?;
            }
            rest = chars.as_str();
        }
        to.write_all(rest.as_bytes())
    }
}

/// `escape_debug` gives a printable character back as it is.
fn is_acted_on(char: char) -> bool {
    !matches!(char, ' '..='~') && char.escape_debug().len() > 1
}

fn utf16(char: char) -> Vec<u16> {
    char.encode_utf16(&mut [0; 2]).to_vec()
}

fn head(table: &SocketTable<'_>) -> HeadV1 {
    let snapshot = table.snapshot;
    let coverage = &snapshot.coverage;
    HeadV1 {
        taken_at: timestamp(snapshot.taken_at),
        duration_ms: ms(snapshot.duration),
        host: HostV1 {
            hostname: snapshot.host.hostname.clone(),
            kernel: snapshot.host.kernel.clone(),
        },
        source: SourceV1 {
            sockets: source(snapshot.socket_source()),
            owners: match snapshot.owner_source {
                OwnerSource::Procfs => "procfs",
                OwnerSource::None => "none",
            },
        },
        coverage: CoverageV1 {
            complete: coverage.is_complete(),
            processes_total: coverage.processes_total,
            processes_read: coverage.processes_read,
            processes_vanished: coverage.processes_vanished,
            netns_total: coverage.netns_total,
            netns_read: coverage.netns_read,
            gaps: coverage
                .gaps
                .iter()
                .map(|gap| GapV1 {
                    weakens: weakens(gap.kind),
                    what: gap.what.clone(),
                    why: gap.why.clone(),
                    needs: gap.needs.clone(),
                    count: gap.count,
                })
                .collect(),
        },
        namespaces: snapshot.namespaces.iter().map(namespace_v1).collect(),
    }
}

fn source(source: SocketSource) -> &'static str {
    match source {
        SocketSource::SockDiag => "sock_diag",
        SocketSource::ProcNetTcp => "proc_net_tcp",
    }
}

fn namespace_v1(namespace: &Namespace) -> NamespaceV1 {
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    // Where no socket is in use there was nothing to read.
    let unread = namespace.source.unknown();
    let unread = unread.filter(|reason| *reason != Unknown::NotCollected);
    NamespaceV1 {
        netns: namespace.id.0,
        own: namespace.own,
        name: namespace.name().map(lossy),
        mounts: namespace.mounts.iter().map(|path| lossy(path)).collect(),
        pid: namespace.process,
        source: namespace.source.known().map(|one| source(*one)),
        unread: unread.map(|reason| reason.to_string()),
        sockets_in_use: namespace.sockets_in_use.known().copied(),
        counters: counters_v1(namespace),
    }
}

fn counters_v1(namespace: &Namespace) -> Option<CountersV1> {
    let counters = namespace.listen_counters.known()?;
    let (syn, settings) = (counters.syn, namespace.syn_settings);
    Some(CountersV1 {
        listen_overflows: counters.overflows,
        listen_drops: counters.drops,
        syn_cookies_sent: syn.map(|syn| syn.cookies_sent),
        syn_cookies_received: syn.map(|syn| syn.cookies_received),
        syn_cookies_failed: syn.map(|syn| syn.cookies_failed),
        syn_queue_full_cookies: syn.map(|syn| syn.full_with_cookies),
        syn_queue_full_drops: syn.map(|syn| syn.full_with_drops),
        tcp_syncookies: settings.map(|settings| settings.cookies),
        tcp_max_syn_backlog: settings.map(|settings| settings.max_backlog),
    })
}

fn listener_v1(listener: &Listener<'_>, report: &Report<'_>) -> ListenerV1 {
    let entry = listener.entry;
    let queued = listener.queued.known();
    ListenerV1 {
        netns: entry.netns.0,
        cookie: cookie(entry.cookie),
        inode: entry.inode.map(|inode| inode.0),
        local: endpoint(entry.local),
        accept_queue: listener.accept_queue,
        backlog: listener.backlog,
        full: listener.is_full(),
        drops: entry.drops,
        syn_recv: listener.syn_recv,
        syn_queue_full: listener.syn_queue_is_full(),
        oldest_wait_ms: listener.oldest_wait().map(ms),
        queued: QueuedV1 {
            established: queued.map(|queued| queued.established),
            close_wait: queued.map(|queued| queued.close_wait),
            gone: queued.map(|queued| queued.gone),
            unknown: listener.queued.unknown().map(|reason| reason.to_string()),
            shared_with: listener.shared_with,
        },
        movement: listener.movement.map(|movement| MovementV1 {
            over_ms: ms(movement.over),
            left: movement.left,
            came: movement.came,
            stayed: movement.stayed,
        }),
        verdict: report.verdict(listener).map(|id| id.as_str()),
        cgroup: cgroup_v1(entry, &report.table),
        holders: listener.holders.iter().map(holder_v1).collect(),
    }
}

fn close_wait_v1(socket: &CloseWait<'_>, report: &Report<'_>) -> CloseWaitV1 {
    let entry = socket.entry;
    let (recv_q, send_q) = entry.stream_queues().unwrap_or((0, 0));
    let far_end = match &socket.far_end {
        Fact::Known(FarEnd::Gone) => Some(FarEndV1 {
            netns: entry.netns.0,
            state: None,
            gone: true,
            holders: Vec::new(),
        }),
        Fact::Known(FarEnd::Here(entry)) => Some(FarEndV1 {
            netns: entry.netns.0,
            state: Some(entry.state.to_string()),
            gone: false,
            holders: report
                .table
                .holders_of(entry)
                .iter()
                .map(holder_v1)
                .collect(),
        }),
        Fact::Unknown(_) => None,
    };
    CloseWaitV1 {
        netns: entry.netns.0,
        cookie: cookie(entry.cookie),
        inode: entry.inode.map(|inode| inode.0),
        local: endpoint(entry.local),
        remote: endpoint(entry.remote),
        recv_q,
        send_q,
        unread_bytes: socket.unread_bytes,
        fin_unread: socket.fin_unread,
        age_ms: socket.age.map(ms),
        timeline: entry.timeline().map(|timeline| TimelineV1 {
            established_ms: timeline.established.map(ms),
            data_received_ms: timeline.data_received.map(ms),
            fin_ms: timeline.fin.map(ms),
            data_sent_ms: timeline.data_sent.map(ms),
        }),
        accepted: socket.accepted,
        direction: socket.direction.map(direction),
        listener: socket.listener.and_then(|listener| cookie(listener.cookie)),
        far_end,
        cgroup: cgroup_v1(entry, &report.table),
        holders: socket.holders.iter().map(holder_v1).collect(),
    }
}

fn socket_v1(row: &SocketEntry, table: &SocketTable<'_>) -> SocketV1 {
    let (recv_q, send_q) = match row.queues {
        Queues::Stream { recv_q, send_q } => (recv_q, Some(send_q)),
        Queues::Listen {
            accept_queue,
            backlog,
        } => (accept_queue, backlog),
    };
    SocketV1 {
        netns: row.netns.0,
        cookie: cookie(row.cookie),
        inode: row.inode.map(|inode| inode.0),
        state: row.state.to_string(),
        local: endpoint(row.local),
        remote: endpoint(row.remote),
        recv_q,
        send_q,
        accepted: !row.is_unaccepted(),
        uid: row.uid,
        cgroup: cgroup_v1(row, table),
        holders: table.holders_of(row).iter().map(holder_v1).collect(),
    }
}

fn holder_v1(holder: &Holder<'_>) -> HolderV1 {
    let process = holder.process;
    let lossy = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
    HolderV1 {
        pid: holder.id.pid,
        start_time: holder.id.start_time,
        comm: process.map(|process| lossy(&process.comm)),
        exe: process.and_then(|process| process.exe.known()).map(lossy),
        user: process.and_then(|process| {
            let number = || process.uid.known().map(u32::to_string);
            process.user.clone().or_else(number)
        }),
        service: service_v1(holder.service()),
        fds: holder.fds.clone(),
    }
}

fn service_v1(service: Option<Service>) -> ServiceV1 {
    let service = service.unwrap_or_default();
    let container = service.container();
    ServiceV1 {
        unit: service.unit().map(str::to_owned),
        slice: service.slice().map(str::to_owned),
        container: container.and_then(Container::id).map(str::to_owned),
        container_name: container.and_then(Container::name).map(str::to_owned),
        runtime: container.and_then(|container| Some(container.runtime?.as_str())),
        pod: service.pod,
    }
}

fn cgroup_v1(row: &SocketEntry, table: &SocketTable<'_>) -> Option<CgroupV1> {
    let path = table.cgroup_of(row);
    let path = path.known().map(|path| String::from_utf8_lossy(path));
    Some(CgroupV1 {
        id: row.cgroup_id?,
        path: path.map(Cow::into_owned),
        service: service_v1(table.opened_in(row)),
    })
}

pub(super) fn finding_v1(finding: &Finding) -> FindingV1 {
    FindingV1 {
        id: finding.id.as_str(),
        severity: finding.severity.to_string(),
        confidence: finding.confidence.to_string(),
        summary: finding.summary.clone(),
        subject: subject_v1(&finding.subject),
        count: finding.count,
        oldest_ms: finding.oldest.map(ms),
        cause: finding.cause.as_ref().map(cause_v1),
        other_causes: finding.other_causes.iter().map(cause_v1).collect(),
        evidence: finding
            .evidence
            .iter()
            .map(|evidence| EvidenceV1 {
                fact: evidence.fact.clone(),
                source: evidence.source.clone(),
            })
            .collect(),
        remedy: finding.remedy.clone(),
        confirm: finding.confirm.clone(),
    }
}

pub(super) fn subject_v1(subject: &Subject) -> SubjectV1 {
    match subject {
        Subject::Listener {
            netns,
            cookie: id,
            inode,
            local,
        } => SubjectV1 {
            netns: Some(netns.0),
            listener: cookie(*id),
            inode: inode.map(|inode| inode.0),
            local: Some(endpoint(*local)),
            ..SubjectV1::default()
        },
        Subject::Connections {
            netns,
            holder,
            direction: opened,
            endpoint,
        } => SubjectV1 {
            netns: Some(netns.0),
            pid: holder.map(|id| id.pid),
            start_time: holder.map(|id| id.start_time),
            direction: opened.map(direction),
            endpoint: Some(endpoint.clone()),
            ..SubjectV1::default()
        },
        Subject::Process(id) => SubjectV1 {
            pid: Some(id.pid),
            start_time: Some(id.start_time),
            ..SubjectV1::default()
        },
    }
}

pub(super) fn cause_v1(cause: &CauseVerdict) -> CauseV1 {
    CauseV1 {
        id: cause.id.as_str(),
        confidence: cause.confidence.to_string(),
        summary: cause.summary.clone(),
    }
}

fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Inbound => "inbound",
        Direction::Outbound => "outbound",
    }
}

pub(super) fn cookie(cookie: Option<Cookie>) -> Option<String> {
    cookie.map(|cookie| cookie.to_string())
}

pub(super) fn endpoint(address: std::net::SocketAddr) -> EndpointV1 {
    EndpointV1 {
        addr: address.ip().to_string(),
        port: address.port(),
    }
}

pub(super) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn timestamp(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|_error| String::new(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_string_moves_a_terminal() {
        let check = |text: &str, expect: &str| {
            let mut written = Vec::new();
            write_line(&mut written, &text).unwrap();
            assert_eq!(written, format!("\"{expect}\"\n").as_bytes());
            assert_eq!(serde_json::from_slice::<String>(&written).unwrap(), text);
        };
        check("nginx: worker \"1\" \\", r#"nginx: worker \"1\" \\"#);
        check("日本 ü €", "日本 ü €");
        check("\u{1b}[2J\n", r"\u001b[2J\n");
        check("a\u{7f}\u{9b}2J\u{202e}b", r"a\u007f\u009b2J\u202eb");
        check("\u{e0041}", r"\udb40\udc41");
    }
}
