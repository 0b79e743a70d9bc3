//! `dead-socket-leak`: descriptors of TCP sockets that are in no table.

use std::time::Duration;

use crate::join::{DeadSockets, SocketTable};
use crate::model::{
    Confidence, DeadSocketSearch, Evidence, Fact, Finding, FindingId, Severity, Subject, count_of,
    human_duration,
};

use super::{Thresholds, phrase};

/// Fewer could as well be sockets that are kept ready, made and not connected yet.
const MANY: usize = 10;
/// A program that does look at its sockets closes a dead one within less.
const LONG_ENOUGH: Duration = Duration::from_millis(100);

pub(super) fn find(table: &SocketTable<'_>, _thresholds: &Thresholds) -> Vec<Finding> {
    let Fact::Known(search) = table.snapshot.dead_socket_search else {
        return Vec::new();
    };
    table
        .dead_sockets
        .iter()
        .filter(|dead| dead.sockets.len() >= DeadSocketSearch::FEWEST)
        .map(|dead| finding(dead, &search, table))
        .collect()
}

fn finding(dead: &DeadSockets<'_>, search: &DeadSocketSearch, table: &SocketTable<'_>) -> Finding {
    let holder = &dead.holder;
    let count = holder.fds.len() as u64;
    let confidence = confidence(dead, search);
    let what = match confidence {
        Confidence::Possible => "it may have left them open after their connections ended",
        _ => "their connections have ended, and it has not closed them",
    };
    let pid = holder.id.pid;
    let example = dead.sockets.first().map_or(0, |inode| inode.0);
    Finding {
        id: FindingId::DeadSocketLeak,
        severity: Severity::Warning,
        confidence,
        summary: format!(
            "{} holds {} of TCP sockets that are in no table: {what}",
            phrase::process(holder.process, holder.id),
            count_of(count, "descriptor"),
        ),
        subject: Subject::Process(holder.id),
        count,
        // Nothing that can be read from outside tells since when.
        oldest: None,
        cause: None,
        other_causes: Vec::new(),
        evidence: evidence(dead, search, table),
        remedy: "In the program: close the socket on errors too (ECONNRESET, EPIPE, a timeout), \
                 and after shutdown(). Until then a restart of the process is the only thing that \
                 releases the descriptors; ss -K finds no row to close."
            .into(),
        confirm: vec![
            format!("lsof -nP -a -p {pid} | grep -c 'protocol: TCP'"),
            format!("ls -l /proc/{pid}/fd | grep 'socket:\\[{}\\]'", example),
            format!("nsenter -t {pid} -n ss -tanOe | grep -cw 'ino:{}'", example),
        ],
    }
}

/// Never certain: a socket that was never connected looks the same from outside.
fn confidence(dead: &DeadSockets<'_>, search: &DeadSocketSearch) -> Confidence {
    let watched = search.watched.is_some_and(|watched| watched >= LONG_ENOUGH);
    if search.every_table && watched && dead.sockets.len() >= MANY {
        Confidence::Likely
    } else {
        Confidence::Possible
    }
}

fn evidence(
    dead: &DeadSockets<'_>,
    search: &DeadSocketSearch,
    table: &SocketTable<'_>,
) -> Vec<Evidence> {
    let pid = dead.holder.id.pid;
    let (tables, source) = if search.every_table {
        let nearest = table.snapshot.nearest_namespace();
        let source = nearest.map_or("sock_diag", |one| phrase::socket_source(table, one.id));
        ("no table", source)
    } else {
        (
            "none of the tables that could be read",
            "the tables of all namespaces in reach",
        )
    };
    let twice = match search.watched {
        Some(watched) if watched >= LONG_ENOUGH => {
            format!(", now and {} ago", human_duration(watched))
        }
        _ => String::new(),
    };
    vec![
        Evidence::new(
            format!("{} of TCP sockets", phrase::fd_list(&dead.holder.fds)),
            format!("/proc/{pid}/fd, system.sockprotoname"),
        ),
        Evidence::new(
            format!(
                "they are in {tables}{twice}; sockets that were made and never connected look the \
                 same, but their number does not grow"
            ),
            source,
        ),
        Evidence::new(
            format!(
                "the machine has {}, {} of them in the tables that were seen",
                count_of(search.allocated, "TCP socket"),
                search.in_tables
            ),
            "/proc/net/sockstat, sockstat6",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::test_table::{HOLDER, held, process, snapshot};
    use crate::model::{Inode, Snapshot, Unknown};

    const SEARCH: DeadSocketSearch = DeadSocketSearch {
        allocated: 40,
        in_tables: 28,
        every_table: true,
        watched: Some(Duration::from_millis(250)),
    };

    fn case(descriptors: i32, search: DeadSocketSearch) -> Snapshot {
        let fd = |number: i32| {
            held(
                HOLDER,
                4 + number,
                Inode(9_000 + u64::from(number.unsigned_abs())),
            )
        };
        Snapshot {
            dead_sockets: (0..descriptors).map(fd).collect(),
            dead_socket_search: Fact::Known(search),
            processes: vec![process("server")],
            ..snapshot(Vec::new())
        }
    }

    fn found(snapshot: &Snapshot) -> Option<Finding> {
        let mut findings = find(&SocketTable::new(snapshot), &Thresholds::default());
        assert!(findings.len() <= 1);
        findings.pop()
    }

    #[test]
    fn twelve_are_likely_a_leak() {
        let finding = found(&case(12, SEARCH)).unwrap();
        assert_eq!(finding.confidence, Confidence::Likely);
        assert_eq!((finding.severity, finding.count), (Severity::Warning, 12));
        assert_eq!(finding.subject, Subject::Process(HOLDER));
        assert_eq!(
            finding.summary,
            "server (pid 4866) holds 12 descriptors of TCP sockets that are in no table: their \
             connections have ended, and it has not closed them"
        );
    }

    #[test]
    fn few_may_be_fresh_ones() {
        let fewest = i32::try_from(DeadSocketSearch::FEWEST).unwrap();
        assert_eq!(found(&case(fewest - 1, SEARCH)), None);
        let confidence = |count| found(&case(count, SEARCH)).unwrap().confidence;
        assert_eq!(confidence(fewest), Confidence::Possible);
        assert_eq!(confidence(9), Confidence::Possible);
        assert_eq!(confidence(10), Confidence::Likely);
    }

    #[test]
    fn descriptors_of_one_socket_are_one_socket() {
        let mut snapshot = case(12, SEARCH);
        for held in &mut snapshot.dead_sockets {
            held.inode = Inode(9_000);
        }
        assert_eq!(found(&snapshot), None);
    }

    #[test]
    fn an_unread_table_or_a_single_look_weakens_it() {
        let unread = DeadSocketSearch {
            every_table: false,
            ..SEARCH
        };
        let finding = found(&case(500, unread)).unwrap();
        assert_eq!(finding.confidence, Confidence::Possible);
        assert!(finding.evidence[1].fact.contains("that could be read"));
        let hasty = DeadSocketSearch {
            watched: Some(Duration::from_millis(3)),
            ..SEARCH
        };
        let finding = found(&case(500, hasty)).unwrap();
        assert_eq!(finding.confidence, Confidence::Possible);
        assert!(
            finding.summary.contains("it may have left"),
            "{}",
            finding.summary
        );
    }

    #[test]
    fn without_a_search_nothing_is_said() {
        let snapshot = Snapshot {
            dead_socket_search: Fact::Unknown(Unknown::NotCollected),
            ..case(12, SEARCH)
        };
        assert_eq!(found(&snapshot), None);
    }
}
