//! Histories of a few looks, one second apart: what each verdict needs, what is just not enough,
//! and what cannot be told.

use std::time::Duration;

use super::EventKind;
use super::test_watch::{SECOND, Watch, aged, close_wait, cookie_of, kinds, texts};
use crate::diagnose::test_table::process;
use crate::model::{
    CauseId, Confidence, Cookie, CookieSet, DescriptorUse, Fact, FindingId, Inode, ListenCounters,
    Process, ProcessId, Severity,
};

const MISSED: CauseId = CauseId::EdgeTriggeredMissedWakeup;
const LEAK: FindingId = FindingId::AcceptQueueLeak;

#[test]
fn the_same_connections_look_after_look_do_not_move() {
    let mut watch = Watch::stuck(&[10, 11, 12]);
    watch.see(&[10, 11, 12], &[]);
    assert_eq!(
        watch.open(),
        Some((LEAK, Some((MISSED, Confidence::Likely))))
    );
    // Filling up is not moving either.
    watch.see(&[10, 11, 12, 104], &[]);
    assert_eq!(
        watch.open(),
        Some((LEAK, Some((MISSED, Confidence::Likely))))
    );
}

/// One in, one out, `times` times, each after two still looks, of what came in the seconds `came`.
/// The confidence of the missed wake-up after each.
fn exchange(watch: &mut Watch, came: &mut Vec<u32>, times: u32) -> Vec<Confidence> {
    let mut confidences = Vec::new();
    for _ in 0..times {
        watch.see(came, &[]);
        watch.see(came, &[]);
        came.remove(0);
        came.push(100 + u32::try_from(watch.at.as_secs()).unwrap());
        watch.queue(came);
        let (_, cause) = watch.open().unwrap();
        let (cause, confidence) = cause.unwrap();
        assert_eq!(cause, MISSED);
        confidences.push(confidence);
    }
    confidences
}

#[test]
fn one_in_one_out_three_times_is_the_missed_wakeup() {
    use Confidence::{Certain, Likely};
    let mut watch = Watch::stuck(&[10, 20, 30]);
    let events = watch.see(&[20, 30, 103], &["one-in-one-out"]);
    assert_eq!(events[0].severity, Severity::Critical);
    assert!(
        events[0]
            .summary
            .ends_with("; 2 more like this make it certain"),
        "{:?}",
        texts(&events)
    );
    let mut came = vec![20, 30, 103];
    assert_eq!(exchange(&mut watch, &mut came, 2), [Likely, Certain]);
    let finding = watch.history.open().next().unwrap();
    let proof = finding.evidence.last().unwrap();
    assert!(proof.fact.contains("one in, one out, 3 times"), "{proof:?}");
    // The leak goes on, as certain as that.
    assert_eq!(exchange(&mut watch, &mut came, 2), [Certain, Certain]);
    watch.see(&came, &[]);
    assert_eq!(watch.open(), Some((LEAK, Some((MISSED, Certain)))));
}

/// On a busy machine one that was queued first is established last, if both came at once.
#[test]
fn of_those_that_came_together_each_may_be_the_oldest() {
    let check = |late: u64, expect: &[&str]| {
        let mut watch = Watch::new();
        watch.stamped_late = Some((10, SECOND + Duration::from_millis(late)));
        watch.see(&[10, 11, 30], &["appeared"]);
        watch.see(&[10, 11, 30], &[]);
        watch.see(&[10, 11, 30], &["not-moving"]);
        watch.see(&[11, 30, 103], expect);
    };
    check(12, &["one-in-one-out"]);
    check(100, &["one-in-one-out"]);
    check(101, &["changed"]);
}

#[test]
fn after_a_long_time_one_exchange_is_enough() {
    let check = |still: u32, expect: Confidence| {
        let mut watch = Watch::new();
        watch.see(&[10, 20, 30], &["appeared"]);
        for _ in 0..still {
            watch.queue(&[10, 20, 30]);
        }
        let second = 100 + u32::try_from(watch.at.as_secs()).unwrap();
        let events = watch.see(&[20, 30, second], &["one-in-one-out"]);
        let cause = events[0].finding.as_ref().unwrap().cause.as_ref().unwrap();
        assert_eq!((cause.id, cause.confidence), (MISSED, expect), "{still}");
        let is_open = events[0].summary.contains("2 more like this");
        assert_eq!(
            is_open,
            expect == Confidence::Likely,
            "{:?}",
            texts(&events)
        );
    };
    check(19, Confidence::Likely);
    check(20, Confidence::Certain);
}

#[test]
fn where_an_accepted_connection_ends_it_may_be_a_limit() {
    use Confidence::Likely;
    // Go's LimitListener with clients that come again: one ends, one is let in, and one comes.
    let mut watch = Watch::stuck(&[10, 20, 30]);
    let mut came = vec![10, 20, 30];
    for round in 0..5 {
        watch.see(&came, &[]);
        watch.see(&came, &[]);
        watch.accepted = Some(CookieSet::default().with(cookie_of(came.remove(0))));
        came.push(100 + u32::try_from(watch.at.as_secs()).unwrap());
        watch.see(&came, &[]);
        let expect = Some((LEAK, Some((MISSED, Likely))));
        assert_eq!(watch.open(), expect, "round {round}");
    }
    // What cannot be told is no proof either.
    let mut watch = Watch::stuck(&[10, 20, 30]);
    watch.accepted = None;
    let mut came = vec![10, 20, 30];
    assert_eq!(exchange(&mut watch, &mut came, 4), [Likely; 4]);
    // One has ended while the newcomer waited for its answer.
    let mut watch = Watch::stuck(&[10, 20, 30]);
    watch.accepted = Some(CookieSet::default());
    watch.see(&[10, 20, 30, 103], &[]);
    watch.see(&[20, 30, 103], &[]);
}

#[test]
fn what_is_let_out_may_be_kept() {
    use Confidence::{Certain, Likely};
    let mut watch = Watch::stuck(&[10, 20, 30]);
    let mut came = vec![10, 20, 30];
    let mut confidences = Vec::new();
    for _ in 0..3 {
        watch.see(&came, &[]);
        watch.see(&came, &[]);
        let kept = cookie_of(came.remove(0));
        watch.accepted = watch.accepted.map(|accepted| accepted.with(kept));
        came.push(100 + u32::try_from(watch.at.as_secs()).unwrap());
        watch.see(&came, &["one-in-one-out"]);
        confidences.push(watch.open().unwrap().1.unwrap().1);
    }
    assert_eq!(confidences, [Likely, Likely, Certain]);
}

#[test]
fn the_answer_to_a_newcomer_may_show_in_the_next_look() {
    let mut watch = Watch::stuck(&[10, 20, 30]);
    watch.see(&[10, 20, 30, 102], &[]);
    watch.see(&[20, 30, 102], &["one-in-one-out"]);
}

#[test]
fn a_queue_of_one_is_stuck_whoever_waits_in_it() {
    let mut watch = Watch::stuck(&[10]);
    // The newcomer is young: a single look finds nothing.
    watch.see(&[103], &["one-in-one-out"]);
    let mut came = vec![103];
    exchange(&mut watch, &mut came, 2);
    watch.see(&came, &[]);
    assert_eq!(
        watch.open(),
        Some((LEAK, Some((MISSED, Confidence::Certain))))
    );
}

#[test]
fn what_is_no_proof_of_a_missed_wakeup() {
    // It had not been still for long enough: a slow server, perhaps.
    let mut watch = Watch::new();
    watch.see(&[10, 20], &["appeared"]);
    watch.see(&[10, 20], &[]);
    watch.see(&[20, 101], &[]);
    // Two for two: could be one at a time, could be a server that goes on.
    let mut watch = Watch::stuck(&[10, 20, 30]);
    watch.see(&[30, 101, 102], &[]);
    // Not the oldest left: it was reset, or there is more than one queue.
    let mut watch = Watch::stuck(&[10, 20, 30]);
    let events = watch.queue(&[10, 30, 102]);
    assert!(!kinds(&events).contains(&"one-in-one-out"));
    // Nobody was let out for the newcomer before, with time enough.
    let mut watch = Watch::stuck(&[10, 20, 30]);
    watch.see(&[10, 20, 30, 102], &[]);
    watch.see(&[10, 20, 30, 102], &[]);
    watch.see(&[20, 30, 102], &[]);
    assert!(watch.open().is_some_and(|(id, _)| id == LEAK));
}

#[test]
fn without_ages_nobody_knows_who_was_the_oldest() {
    let mut watch = Watch::new();
    watch.has_ages = false;
    for _ in 0..4 {
        watch.queue(&[10, 20, 30]);
    }
    let events = watch.queue(&[20, 30, 102]);
    assert!(
        !kinds(&events).contains(&"one-in-one-out"),
        "{:?}",
        texts(&events)
    );
}

#[test]
fn a_program_that_accepts_by_itself_takes_the_proof_back() {
    let mut watch = Watch::stuck(&[10, 20, 30, 40]);
    let mut came = vec![10, 20, 30, 40];
    exchange(&mut watch, &mut came, 3);
    assert_eq!(
        watch.open(),
        Some((LEAK, Some((MISSED, Confidence::Certain))))
    );
    watch.see(&came, &[]);
    came.remove(0);
    watch.see(&came, &["changed"]);
    assert_eq!(watch.open(), Some((FindingId::AcceptQueueBacklog, None)));
    watch.see(&came, &["changed"]);
    assert_eq!(
        watch.open(),
        Some((LEAK, Some((MISSED, Confidence::Likely))))
    );
}

#[test]
fn a_reset_frees_no_slot() {
    let mut watch = Watch::stuck(&[10, 20, 30]);
    // Both are in the reads of this look.
    let events = watch.queue_with_gone(&[20, 30], 1);
    assert_eq!(kinds(&events), [""; 0], "{:?}", texts(&events));
    assert!(watch.open().is_some_and(|(id, _)| id == LEAK));
}

#[test]
fn a_queue_that_drains_has_a_time_to_empty() {
    let all: Vec<u32> = (10..50).collect();
    let mut watch = Watch::stuck(&all);
    watch.see(&all[4..], &["changed"]);
    watch.see(&all[14..], &[]);
    let events = watch.see(&all[24..], &["draining"]);
    let measures = events[0].measures;
    assert_eq!(measures.count, Some(16));
    assert_eq!(measures.rate, Some(-10.0));
    assert_eq!(measures.time_left, Some(SECOND * 8 / 5));
    assert_eq!(events[0].severity, Severity::Info);
    watch.see(&all[34..], &[]);
    let events = watch.see(&[], &["recovered"]);
    assert_eq!(events[0].measures.lasted, Some(SECOND * 7));
    assert_eq!(watch.open(), None);
}

#[test]
fn a_queue_that_grows_has_a_rate() {
    let mut watch = Watch::new();
    let came = |count: u32| -> Vec<u32> { (10..12).chain(99..99 + count).collect() };
    let mut told = Vec::new();
    for look in 0..6 {
        told.extend(watch.queue(&came(look + 1)));
    }
    let growing = told
        .iter()
        .find(|event| event.kind == EventKind::Growing)
        .unwrap();
    let rate = growing.measures.rate.unwrap();
    assert!((0.9..=1.1).contains(&rate), "{rate}");
    // Once, until it has doubled.
    let count = told
        .iter()
        .filter(|event| event.kind == EventKind::Growing)
        .count();
    assert_eq!(count, 1, "{:?}", texts(&told));
}

#[test]
fn young_connections_are_no_leak_any_more() {
    let mut watch = Watch::stuck(&[10, 20, 30]);
    watch.see(&[103], &["recovered"]);
    watch.see(&[], &[]);
}

#[test]
fn a_listener_that_is_opened_anew_is_another_one() {
    let mut watch = Watch::stuck(&[10, 20, 30]);
    watch.listener.cookie = Some(Cookie(9_999));
    watch.listener.inode = Some(Inode(9_999));
    watch.before = None;
    let events = watch.see(&[], &["closed"]);
    assert!(
        events[0]
            .summary
            .contains("a new listener has the address now")
    );
    assert_eq!(events[0].severity, Severity::Info);
}

#[test]
fn drops_are_told_when_they_begin() {
    let mut watch = Watch::new();
    let mut check = |own: u32, drops: u64, overflows: u64, expect: Option<Severity>| {
        watch.listener.drops = Some(own);
        watch.counters = ListenCounters {
            overflows,
            drops,
            syn: None,
        };
        let events = watch.queue(&[]);
        // A past drop is a finding of its own.
        let mut told = events
            .iter()
            .filter(|event| event.kind == EventKind::Dropping);
        let told = told.next().map(|event| event.severity);
        assert_eq!(told, expect, "{own} {drops} {overflows}");
    };
    check(7, 7, 7, None);
    check(7, 7, 7, None);
    check(9, 9, 9, Some(Severity::Warning));
    check(12, 12, 12, None);
    check(12, 12, 12, None);
    // The queue was not full: another reason.
    check(13, 13, 12, Some(Severity::Info));
    // Counted by the listener alone: no connection was dropped (TCP_DEFER_ACCEPT).
    check(13, 13, 12, None);
    check(99, 13, 12, None);
}

#[test]
fn a_full_history_says_so_and_claims_nothing() {
    let mut watch = Watch::of(2);
    watch.see(&[10, 20, 30], &["appeared", "limit-reached"]);
    for _ in 0..3 {
        watch.see(&[10, 20, 30], &[]);
    }
    let events = watch.queue(&[20, 30, 103]);
    assert!(!kinds(&events).contains(&"one-in-one-out"));
}

#[test]
fn a_leak_that_grows_has_a_rate_and_a_time_left() {
    let mut watch = Watch::new();
    let mut holder = process("server");
    let mut told = Vec::new();
    for look in 0..20 {
        let count = 10 + look * 5;
        holder.descriptors = Fact::Known(DescriptorUse {
            open: count + 10,
            soft_limit: Some(1024),
            exhausted: false,
        });
        told.extend(watch.take(&close_wait(&holder, &aged(1..count + 1))));
    }
    assert_eq!(kinds(&told), ["appeared", "growing", "growing", "growing"]);
    for growing in &told[1..] {
        let rate = growing.measures.rate.unwrap();
        assert!((4.5..=5.5).contains(&rate), "{rate}");
    }
    let last = told.last().unwrap();
    let (count, left) = (
        last.measures.count.unwrap(),
        last.measures.time_left.unwrap(),
    );
    assert_eq!(left.as_secs(), (1024 - count - 10) / 5);
    assert!(
        last.summary
            .contains("of server (pid 4866) on local port 8080"),
        "{}",
        last.summary
    );
}

#[test]
fn sockets_that_stay_do_not_grow() {
    let mut watch = Watch::new();
    let looks = close_wait(&process("server"), &aged(1..30));
    let mut told = Vec::new();
    for _ in 0..10 {
        told.extend(watch.take(&looks));
    }
    assert_eq!(kinds(&told), ["appeared"]);
}

#[test]
fn a_leak_has_recovered_when_its_sockets_are_gone() {
    let mut watch = Watch::new();
    let holder = process("server");
    let expect = |watch: &mut Watch, ages: &[(u64, Duration)], expect: &[&str]| {
        let events = watch.take(&close_wait(&holder, ages));
        assert_eq!(kinds(&events), expect, "{:?}", texts(&events));
    };
    expect(
        &mut watch,
        &[(1, SECOND * 20), (2, SECOND * 30)],
        &["appeared"],
    );
    // The answer to a keepalive probe makes them young, and they are the same.
    expect(&mut watch, &[(1, SECOND), (2, SECOND)], &[]);
    expect(&mut watch, &[(2, SECOND * 9)], &[]);
    // Others in CLOSE_WAIT are no leak yet.
    expect(&mut watch, &[(3, SECOND)], &["recovered"]);
}

#[test]
fn a_pid_that_is_used_again_is_another_process() {
    let mut watch = Watch::new();
    let first = process("server");
    let second = Process {
        id: ProcessId {
            start_time: first.id.start_time + 1,
            ..first.id
        },
        ..first.clone()
    };
    watch.take(&close_wait(&first, &aged(1..4)));
    let events = watch.take(&close_wait(&second, &aged(11..14)));
    assert_eq!(kinds(&events), ["appeared", "recovered"]);
}

#[test]
fn a_late_look_is_told_and_counted() {
    let mut watch = Watch::new();
    watch.see(&[], &[]);
    let mut told = 0;
    for _ in 0..5 {
        told += watch
            .history
            .late(watch.at, SECOND * 2, SECOND)
            .into_iter()
            .count();
    }
    assert_eq!((told, watch.history.totals().late), (3, 5));
}

#[test]
fn the_summary_says_what_was_seen() {
    let mut watch = Watch::stuck(&[10, 20, 30]);
    watch.see(&[], &["recovered"]);
    let end = watch.history.summary(SECOND * 4);
    assert_eq!(
        end.summary,
        "watched for 4.0 s, 4 looks; 1 finding appeared, 1 gone, 0 open; longest accept queue 3 at \
         127.0.0.1:8080"
    );
    let began = std::time::SystemTime::UNIX_EPOCH;
    assert_eq!(
        watch.history.wall_clock(SECOND * 5),
        Some(began + SECOND * 2)
    );
    assert_eq!(watch.history.worst(), None);
}
