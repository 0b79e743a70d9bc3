//! `accept-queue-leak`: connections wait for `accept()` and nobody takes them.

use crate::join::{Listener, SocketTable};
use crate::model::{
    CauseId, Confidence, Evidence, Fact, Finding, FindingId, Severity, count_of, human_duration,
};

use super::accept_queue::{self, LastSaid, QueueState};
use super::queue_cause::{self, Stuck};
use super::{Thresholds, phrase};

pub(super) fn find(table: &SocketTable<'_>, thresholds: &Thresholds) -> Vec<Finding> {
    let stuck = |listener: &&Listener<'_>| {
        matches!(
            accept_queue::state(listener, thresholds),
            Some(QueueState::Stuck)
        )
    };
    let mut said = LastSaid::default();
    table
        .listeners
        .iter()
        .filter(stuck)
        .map(|listener| finding(listener, table, &mut said))
        .collect()
}

fn finding<'a>(
    listener: &Listener<'a>,
    table: &SocketTable<'a>,
    said: &mut LastSaid<'a>,
) -> Finding {
    let holders = phrase::holders(listener, table);
    let mut evidence = accept_queue::evidence(listener, table, said);
    if !listener.holders.is_empty() {
        evidence.push(Evidence::new(
            format!("the listener is {holders}"),
            phrase::descriptor_paths(&listener.holders),
        ));
    }
    let stuck = Stuck::new(listener, table);
    let why = queue_cause::explain(&stuck);
    let confidence = confidence(listener, why.cause.id);
    evidence.extend(why.evidence);
    Finding {
        id: FindingId::AcceptQueueLeak,
        severity: Severity::Critical,
        confidence,
        summary: format!("{}; {holders}", what(listener, table, confidence)),
        subject: accept_queue::subject(listener),
        count: u64::from(listener.accept_queue),
        oldest: listener.oldest_wait(),
        cause: Some(why.cause),
        other_causes: why.other_causes,
        evidence,
        remedy: why.remedy.unwrap_or_else(|| remedy(listener)),
        confirm: confirm(&stuck, table),
    }
}

/// A server that takes a second for each connection takes none in a quarter of one: that nothing
/// was taken is certain to mean that nothing is only if something would have been at the rate at
/// which a slow server empties such a queue, or if the cause says that nobody is about to accept.
/// Where no connection is seen to stay, only the number of slots says that nothing was taken: as
/// many may have come and been reset.
fn confidence(listener: &Listener<'_>, cause: CauseId) -> Confidence {
    /// Of a steady slow server, so many are missed by chance in one case of twenty.
    const WOULD_HAVE_BEEN_TAKEN: f64 = 3.0;
    let Some(movement) = listener.movement else {
        return Confidence::Likely;
    };
    let at_work = [
        CauseId::AcceptorBlocked,
        CauseId::AcceptorBusy,
        CauseId::Unknown,
    ];
    let is_watched_enough = listener.oldest_wait().is_some_and(|wait| {
        let rate = f64::from(listener.accept_queue) / wait.as_secs_f64();
        wait >= movement.over && rate * movement.over.as_secs_f64() >= WOULD_HAVE_BEEN_TAKEN
    });
    if is_watched_enough || !at_work.contains(&cause) {
        Confidence::Certain
    } else {
        Confidence::Likely
    }
}

/// The queue, and what its holders wait for.
fn confirm(stuck: &Stuck<'_, '_>, table: &SocketTable<'_>) -> Vec<String> {
    let listener = stuck.listener;
    let mut commands = accept_queue::confirm(listener, table);
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

fn what(listener: &Listener<'_>, table: &SocketTable<'_>, confidence: Confidence) -> String {
    let local = phrase::address(listener.entry, table);
    let queue = listener.accept_queue;
    let (wait, them, none) = if queue == 1 {
        ("waits", "it", "it was not")
    } else {
        ("wait", "them", "none was")
    };
    // One look does not show that nobody does, and a short one not where somebody may be slow.
    let nobody = match listener.movement {
        Some(_) if confidence == Confidence::Certain => format!(" and nobody accepts {them}"),
        Some(movement) => format!(" and {none} taken within {}", human_duration(movement.over)),
        None => String::new(),
    };
    let oldest = match (listener.oldest_wait(), queue) {
        (Some(wait), 1) => format!(", for {}", human_duration(wait)),
        (Some(wait), _) => format!(", the oldest for {}", human_duration(wait)),
        (None, _) => String::new(),
    };
    if listener.only_gone() {
        return format!(
            "{} in the accept queue of {local} {} taken by connections that are in no table of \
             this port, most likely reset,{nobody}",
            count_of(queue.into(), "slot"),
            if queue == 1 { "is" } else { "are" },
        );
    }
    if let Fact::Known(queued) = &listener.queued
        && queued.gone > 0
    {
        let waiting = queued.established + queued.close_wait;
        return format!(
            "{} in the accept queue of {local} are taken, {waiting} by {} and {} by {} reset,\
             {nobody}{oldest}",
            count_of(queue.into(), "slot"),
            match waiting {
                1 => "a connection that waits",
                _ => "connections that wait",
            },
            queued.gone,
            match queued.gone {
                1 => "one that was",
                _ => "connections that were",
            },
        );
    }
    let visible = listener.children.len();
    if listener.shared_with == 0 && visible < queue as usize {
        return format!(
            "{} in the accept queue of {local} {} taken, {visible} by connections that can be \
             seen,{nobody}{oldest}",
            count_of(queue.into(), "slot"),
            if queue == 1 { "is" } else { "are" },
        );
    }
    let connections = count_of(queue.into(), "connection");
    format!("{connections} {wait} in the accept queue of {local}{nobody}{oldest}")
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
    fn a_short_look_does_not_tell_a_slow_server_from_a_dead_one() {
        // Cause unknown: nothing was read of the holder.
        let watched = |queue: u32, wait| {
            let waits = vec![seconds(wait); queue as usize];
            Case::queue(queue)
                .waiting(&waits)
                .held_by("server")
                .looked_twice(0, 0)
        };
        check(watched(4, 2), Some((4, Confidence::Likely)));
        check(watched(24, 2), Some((24, Confidence::Certain)));
        check(
            watched(4, 2).over(seconds(2)),
            Some((4, Confidence::Certain)),
        );
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
    fn what_came_while_the_first_look_was_taken_hides_no_movement() {
        let slow = |left| {
            Case::queue(9)
                .waiting(&[seconds(2); 9])
                .looked_twice(left, 1)
        };
        check(slow(1).came_while_read(1), None);
        check(slow(0).came_while_read(1), Some((9, Confidence::Certain)));
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
    fn slots_of_reset_connections_that_are_taken_and_come_again_are_no_leak() {
        let watched = || {
            let case = Case::queue(84).held_by("server");
            case.looked_twice(0, 0).over(seconds(1))
        };
        check(watched(), Some((84, Confidence::Likely)));
        check(watched().freed(1), None);
        // Beside others that can be seen, too.
        let old = watched().waiting(&[seconds(1)]);
        check(old.clone(), Some((84, Confidence::Certain)));
        check(old.freed(1), None);
    }

    #[test]
    fn a_client_that_has_just_come_hides_no_dead_slots() {
        let young = std::time::Duration::from_millis(300);
        // Five slots of connections that were reset, and a client that came while they were watched.
        let case = Case::queue(6).waiting(&[young]).looked_twice(0, 1);
        check(case.clone(), None);
        let watched = case.over(seconds(1));
        let snapshot = watched.snapshot();
        let finding = find(&SocketTable::new(&snapshot), &Thresholds::default()).remove(0);
        assert!(
            finding.summary.starts_with(
                "6 slots in the accept queue of 127.0.0.1:8080 are taken, 1 by connections that \
                 can be seen, and nobody accepts them"
            ),
            "{}",
            finding.summary
        );
        check(watched, Some((6, Confidence::Certain)));
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
        let case = Case::queue(8).waiting(&[seconds(12); 8]).held_by("server");
        let finding = |case: &Case| {
            find(&SocketTable::new(&case.snapshot()), &Thresholds::default()).remove(0)
        };
        assert_eq!(
            finding(&case).summary,
            "8 connections wait in the accept queue of 127.0.0.1:8080, the oldest for 12.0 s; held \
             by server (pid 4866, fd 3)"
        );
        let twice = case.looked_twice(0, 0);
        assert_eq!(
            finding(&twice).summary,
            "8 connections wait in the accept queue of 127.0.0.1:8080 and none was taken within \
             250 ms, the oldest for 12.0 s; held by server (pid 4866, fd 3)"
        );
        let finding = finding(&twice.over(seconds(10)));
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
