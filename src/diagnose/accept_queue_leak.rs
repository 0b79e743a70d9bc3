//! `accept-queue-leak`: connections wait for `accept()` and nobody takes them.

use crate::join::{Listener, SocketTable};
use crate::model::{
    Confidence, Evidence, Fact, Finding, FindingId, Severity, count_of, human_duration,
};

use super::accept_queue::{self, QueueState};
use super::queue_cause::{self, Stuck};
use super::{Thresholds, phrase};

pub(super) fn find(table: &SocketTable<'_>, thresholds: &Thresholds) -> Vec<Finding> {
    let stuck = |listener: &&Listener<'_>| {
        matches!(
            accept_queue::state(listener, thresholds),
            Some(QueueState::Stuck { .. })
        )
    };
    table
        .listeners
        .iter()
        .filter(stuck)
        .map(|listener| finding(listener, table))
        .collect()
}

fn finding(listener: &Listener<'_>, table: &SocketTable<'_>) -> Finding {
    let holders = phrase::holders(&listener.holders, table);
    let mut evidence = accept_queue::evidence(listener, table);
    if !listener.holders.is_empty() {
        evidence.push(Evidence::new(
            format!("the listener is {holders}"),
            phrase::descriptor_paths(&listener.holders),
        ));
    }
    let stuck = Stuck::new(listener, table);
    let why = queue_cause::explain(&stuck);
    evidence.extend(why.evidence);
    Finding {
        id: FindingId::AcceptQueueLeak,
        severity: Severity::Critical,
        confidence: match listener.movement {
            Some(_) => Confidence::Certain,
            None => Confidence::Likely,
        },
        summary: format!("{}; {holders}", what(listener)),
        subject: accept_queue::subject(listener),
        count: u64::from(listener.accept_queue),
        oldest: listener.oldest_wait(),
        cause: Some(why.cause),
        other_causes: why.other_causes,
        evidence,
        remedy: why.remedy.unwrap_or_else(|| remedy(listener)),
        confirm: confirm(&stuck),
    }
}

/// The queue, and what its holders wait for.
fn confirm(stuck: &Stuck<'_, '_>) -> Vec<String> {
    let listener = stuck.listener;
    let mut commands = accept_queue::confirm(listener);
    if let Some(judged) = stuck.judged.first() {
        let pid = judged.process.id.pid;
        commands.push(format!("cat /proc/{pid}/task/*/syscall"));
        if let (Some(registered), Some(inode)) =
            (judged.registrations.first(), listener.entry.inode)
        {
            let epoll = registered.epoll;
            commands.push(format!(
                "grep -w ino:{:x} /proc/{pid}/fdinfo/{epoll}",
                inode.0
            ));
        }
    }
    commands
}

fn what(listener: &Listener<'_>) -> String {
    let local = listener.entry.local;
    if listener.only_gone() {
        let slots = count_of(listener.accept_queue.into(), "slot");
        return format!(
            "{slots} in the accept queue of {local} held by connections that were reset, and \
             nobody accepts them"
        );
    }
    let oldest = match (listener.oldest_wait(), listener.accept_queue) {
        (Some(wait), 1) => format!(", for {}", human_duration(wait)),
        (Some(wait), _) => format!(", the oldest for {}", human_duration(wait)),
        (None, _) => String::new(),
    };
    if let Fact::Known(queued) = &listener.queued
        && queued.gone > 0
    {
        return format!(
            "{} in the accept queue of {local} are taken, {} by connections that wait and {} by \
             connections that were reset, and nobody accepts them{oldest}",
            count_of(listener.accept_queue.into(), "slot"),
            queued.established + queued.close_wait,
            queued.gone,
        );
    }
    let connections = count_of(listener.accept_queue.into(), "connection");
    let verb = if listener.accept_queue == 1 {
        "waits"
    } else {
        "wait"
    };
    let them = if listener.accept_queue == 1 {
        "it"
    } else {
        "them"
    };
    format!("{connections} {verb} in the accept queue of {local} and nobody accepts {them}{oldest}")
}

fn remedy(listener: &Listener<'_>) -> String {
    let who = match &listener.holders[..] {
        [one] => phrase::process(one.process, one.id),
        _ => "the program".into(),
    };
    format!(
        "Only accept() empties the queue: {who} must accept again, or be restarted, which resets \
         every waiting client. Destroying the queued sockets (ss -K) frees no slot."
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::test_table::{Case, seconds};

    fn check(case: Case, expect: Option<(u64, Confidence)>) {
        let snapshot = case.snapshot();
        let found = find(&SocketTable::new(&snapshot), &Thresholds::default());
        let seen = found
            .first()
            .map(|finding| (finding.count, finding.confidence));
        assert_eq!(seen, expect, "{case:?}");
    }

    #[test]
    fn old_connections_that_do_not_move() {
        check(
            Case::queue(8).waiting(&[seconds(12); 8]),
            Some((8, Confidence::Likely)),
        );
        let looked_twice = Case::queue(8).waiting(&[seconds(12); 8]).looked_twice(0, 0);
        check(looked_twice, Some((8, Confidence::Certain)));
    }

    #[test]
    fn just_below_the_threshold() {
        check(
            Case::queue(2).waiting(&[seconds(1), seconds(0)]),
            Some((2, Confidence::Likely)),
        );
        let below = seconds(1) - std::time::Duration::from_millis(1);
        check(Case::queue(2).waiting(&[below, seconds(0)]), None);
        check(Case::queue(0), None);
    }

    #[test]
    fn a_queue_that_moves_is_slow_and_no_leak() {
        check(
            Case::queue(8).waiting(&[seconds(3); 8]).looked_twice(2, 2),
            None,
        );
    }

    #[test]
    fn a_client_that_gives_up_is_no_movement() {
        let case = || Case::queue(8).waiting(&[seconds(9); 7]);
        let given_up = case().looked_twice(0, 0).resets(1);
        let snapshot = given_up.snapshot();
        let finding = find(&SocketTable::new(&snapshot), &Thresholds::default()).remove(0);
        let facts: Vec<&str> = finding.evidence.iter().map(|e| e.fact.as_str()).collect();
        let reset = "within 250 ms: 1 left the queue (reset, not accepted: its slot is still \
                     taken), 0 came, 7 stayed";
        assert!(facts.contains(&reset), "{facts:?}");
        check(case().looked_twice(1, 0).resets(1), None);
    }

    #[test]
    fn a_neighbour_that_accepts_does_not_move_this_queue() {
        let young = std::time::Duration::from_millis(3);
        let mut waits = vec![seconds(9); 5];
        waits.push(young);
        // A second member of the group, whose only connection is another one at each look.
        let case = Case::queue(5).waiting(&waits).with_group_member(1);
        let mut snapshot = case.looked_twice(0, 0).snapshot();
        let expect_one = |snapshot: &crate::model::Snapshot| {
            let found = find(&SocketTable::new(snapshot), &Thresholds::default());
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found[0].count, 5);
        };
        let neighbours = |read: &mut crate::model::QueueRead| {
            read.sockets.last_mut().unwrap().cookie = Some(crate::model::Cookie(7_777));
        };
        neighbours(&mut snapshot.queue_reads[0]);
        expect_one(&snapshot);
        // The same, and by now the neighbour's queue is empty.
        let last = &mut snapshot.queue_reads[1].sockets;
        last.pop();
        last[1].queues = crate::model::Queues::Listen {
            accept_queue: 0,
            backlog: Some(511),
        };
        expect_one(&snapshot);
    }

    #[test]
    fn slots_of_reset_connections_are_watched_before_they_are_called_stuck() {
        check(Case::queue(2), None);
        check(Case::queue(2).looked_twice(0, 0), None);
        check(
            Case::queue(2).looked_twice(0, 0).over(seconds(1)),
            Some((2, Confidence::Certain)),
        );
    }

    #[test]
    fn without_ages_only_watching_tells() {
        check(Case::queue(3).without_info(3), None);
        check(Case::queue(3).without_info(3).looked_twice(0, 0), None);
        let watched = Case::queue(3)
            .without_info(3)
            .looked_twice(0, 0)
            .over(seconds(1));
        check(watched, Some((3, Confidence::Certain)));
    }

    #[test]
    fn of_a_group_only_what_must_be_there_counts() {
        // Three old connections: the other queue may hold two of them, this one holds one at least.
        let group = |other| {
            Case::queue(2)
                .waiting(&[seconds(9); 3])
                .with_group_member(other)
        };
        check(group(1), Some((2, Confidence::Likely)));
        let one_old = Case::queue(1)
            .waiting(&[seconds(9), seconds(0)])
            .with_group_member(1);
        check(one_old, None);
    }

    #[test]
    fn the_sentence_says_what_where_and_how_long() {
        let snapshot = Case::queue(8)
            .waiting(&[seconds(12); 8])
            .held_by("server")
            .snapshot();
        let finding = find(&SocketTable::new(&snapshot), &Thresholds::default()).remove(0);
        assert_eq!(
            finding.summary,
            "8 connections wait in the accept queue of 127.0.0.1:8080 and nobody accepts them, \
             the oldest for 12.0 s; held by server (pid 4866, fd 3)"
        );
        assert_eq!(
            finding.evidence[0].fact,
            "accept queue 8 of 511 = 8 ESTABLISHED + 0 CLOSE_WAIT + 0 gone"
        );
    }
}
