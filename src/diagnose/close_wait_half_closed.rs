//! `close-wait-half-closed`: CLOSE_WAIT, and still being served, which is legal.

use std::collections::BTreeMap;

use crate::join::{CloseWait, SocketTable};
use crate::model::{
    Confidence, Evidence, Finding, FindingId, Netns, Severity, Subject, count_of, human_duration,
};

use super::{Thresholds, phrase};

pub(super) fn find(table: &SocketTable<'_>, thresholds: &Thresholds) -> Vec<Finding> {
    let mut groups: BTreeMap<(Netns, u16), Vec<&CloseWait<'_>>> = BTreeMap::new();
    for socket in &table.close_wait {
        if socket.accepted && socket.is_being_served(thresholds.close_wait_age) {
            let key = (socket.entry.netns, socket.entry.local.port());
            groups.entry(key).or_default().push(socket);
        }
    }
    groups
        .into_iter()
        .map(|((netns, port), sockets)| finding(netns, port, &sockets, table))
        .collect()
}

fn finding(
    netns: Netns,
    port: u16,
    sockets: &[&CloseWait<'_>],
    table: &SocketTable<'_>,
) -> Finding {
    let count = sockets.len() as u64;
    let waiting: u64 = sockets
        .iter()
        .filter_map(|socket| socket.entry.stream_queues())
        .map(|(_, send_q)| u64::from(send_q))
        .sum();
    let mut evidence = vec![Evidence::new(
        format!(
            "{} waiting to be sent or acknowledged",
            count_of(waiting, "byte")
        ),
        format!("{}, Send-Q", phrase::socket_source(table, netns)),
    )];
    let last_sent = sockets
        .iter()
        .filter_map(|s| s.entry.info)
        .map(|info| info.since_data_sent)
        .min();
    if let Some(ago) = last_sent {
        evidence.push(Evidence::new(
            format!("data last sent {} ago", human_duration(ago)),
            "sock_diag, tcpi_last_data_sent",
        ));
    }
    let holder = sockets[0].holders.first();
    let who = match holder {
        Some(holder) => phrase::process(holder.process, holder.id),
        None => "its holder".into(),
    };
    Finding {
        id: FindingId::CloseWaitHalfClosed,
        severity: Severity::Info,
        confidence: Confidence::Likely,
        summary: format!(
            "{} on local port {port}{} in CLOSE_WAIT, to which {who} still sends: half-closed, and \
             no leak",
            count_of(count, "socket"),
            table.snapshot.in_namespace(netns),
        ),
        subject: Subject::Connections {
            netns,
            holder: holder.map(|holder| holder.id),
            direction: sockets[0].direction,
            endpoint: format!(":{port}"),
        },
        count,
        oldest: None,
        cause: None,
        other_causes: Vec::new(),
        evidence,
        remedy: "Nothing: the far end has closed its sending side only, and is still being served."
            .into(),
        confirm: vec![phrase::command(
            format!("ss -nti state close-wait 'sport = :{port}'"),
            netns,
            table,
        )],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::test_close_wait::CloseWaitCase;
    use crate::diagnose::test_table::seconds;

    fn check(case: CloseWaitCase, expect: bool) {
        let snapshot = case.snapshot();
        let found = find(&SocketTable::new(&snapshot), &Thresholds::default());
        assert_eq!(!found.is_empty(), expect, "{case:?}");
    }

    #[test]
    fn sending_or_having_sent_since() {
        check(CloseWaitCase::sockets(1).send_q(5), true);
        let ms = std::time::Duration::from_millis;
        check(
            CloseWaitCase::sockets(1)
                .age(ms(90))
                .sent_and_received(ms(90), seconds(2)),
            true,
        );
    }

    #[test]
    fn a_close_in_progress_and_silence_are_not() {
        let ms = std::time::Duration::from_millis;
        check(
            CloseWaitCase::sockets(1)
                .age(ms(5))
                .sent_and_received(ms(6), ms(8)),
            false,
        );
        check(CloseWaitCase::sockets(1).age(seconds(30)), false);
        check(CloseWaitCase::sockets(1).unaccepted().age(ms(90)), false);
        check(CloseWaitCase::sockets(1).without_info(), false);
    }
}
