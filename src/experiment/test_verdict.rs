//! Every outcome from hand-made reads, and what is just not one. Times are in milliseconds; ours is
//! opened at 500. A connection's number is its cookie: the lower, the older.

use std::time::Duration;

use super::*;
use crate::join::test_rows::{connection, listener};
use crate::model::{CauseId, CauseVerdict, Confidence, Netns, QueueRead, TcpState};

const OPENED: u64 = 500;
const QUEUED: Option<Place> = Some(Place::Queued);
const ACCEPTED: Option<Place> = Some(Place::Accepted);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn queue(at: u64, waiting: &[u64], ours: Option<Place>) -> QueueSeen {
    let waiting: Vec<Waiting> = waiting
        .iter()
        .map(|number| Waiting {
            cookie: Cookie(*number),
            waited: Some(ms(10_000 - 100 * number)),
        })
        .collect();
    let length = waiting.len() + usize::from(ours == QUEUED);
    QueueSeen {
        at: ms(at),
        length: u32::try_from(length).unwrap(),
        backlog: Some(128),
        full: false,
        waiting,
        accepted: HashSet::new(),
        ours,
    }
}

impl QueueSeen {
    fn with_gone(mut self, gone: u32) -> QueueSeen {
        self.length += gone;
        self
    }

    fn with_accepted(mut self, cookies: &[u64]) -> QueueSeen {
        self.accepted = cookies.iter().map(|number| Cookie(*number)).collect();
        self
    }

    fn full(mut self) -> QueueSeen {
        self.full = true;
        self
    }
}

/// Watched from 0 to 500 with these two looks, and nothing opened yet.
fn watched(first: QueueSeen, last: QueueSeen) -> Experiment {
    let target = "127.0.0.1:80".parse().unwrap();
    let listener = ListenerSeen {
        netns: Netns(1),
        cookie: Some(Cookie(80)),
        inode: None,
        local: target,
    };
    let mut experiment = Experiment::begin(target, listener, 1, first);
    experiment.also_before(last);
    experiment
}

/// These wait and do not move; then ours is opened.
fn with(waiting: &[u64]) -> Experiment {
    opened(watched(
        queue(0, waiting, None),
        queue(OPENED, waiting, None),
    ))
}

fn opened(mut experiment: Experiment) -> Experiment {
    end(&mut experiment, OPENED, End::Connected);
    experiment
}

fn end(experiment: &mut Experiment, at: u64, end: End) {
    experiment.ours(ms(at), "127.0.0.1:4000".parse().unwrap(), end);
}

/// The outcome after these reads; what cannot be told has to say why in these words.
fn check(mut experiment: Experiment, reads: Vec<QueueSeen>, expect: Outcome, says: &str) {
    for read in reads {
        experiment.then(read);
    }
    let verdict = judge(&experiment, None);
    assert_eq!(verdict.outcome, expect, "{verdict:?}");
    assert!(verdict.summary.contains(says), "{says}: {verdict:?}");
}

#[test]
fn an_empty_queue_that_accepts() {
    use Outcome::{Healthy, Slow, Stuck};
    check(with(&[]), vec![queue(520, &[], ACCEPTED)], Healthy, "20 ms");
    let at_limit = vec![queue(520, &[], QUEUED), queue(1500, &[], ACCEPTED)];
    check(with(&[]), at_limit, Healthy, "was empty");
    let late = vec![queue(520, &[], QUEUED), queue(1501, &[], ACCEPTED)];
    check(with(&[]), late, Slow, "1.0 s");
    check(with(&[]), vec![queue(2500, &[], QUEUED)], Stuck, "nobody");
    let mut closed = with(&[]);
    end(&mut closed, 520, End::Closed);
    check(closed, vec![queue(520, &[], None)], Healthy, "closed by");
}

#[test]
fn one_in_one_out() {
    use Outcome::{CannotTell, OneInOneOut};
    let out_at = |at, quiet| {
        vec![
            queue(at, &[2, 3], QUEUED),
            queue(at + quiet, &[2, 3], QUEUED),
        ]
    };
    check(with(&[1, 2, 3]), out_at(520, 500), OneInOneOut, "3 wait");
    check(with(&[1, 2, 3]), out_at(520, 499), CannotTell, "--for");
    check(with(&[1, 2, 3]), out_at(750, 500), OneInOneOut, "");
    check(with(&[1, 2, 3]), out_at(751, 500), CannotTell, "by chance");
    let only = vec![queue(520, &[], QUEUED), queue(1020, &[], QUEUED)];
    check(with(&[1]), only, OneInOneOut, "");
    // A slot of the first one, which was reset, is taken in its turn (facts Q6).
    let gone = |at| queue(at, &[2, 3], None).with_gone(1);
    let taken = vec![queue(520, &[2, 3], QUEUED), queue(1020, &[2, 3], QUEUED)];
    check(
        opened(watched(gone(0), gone(OPENED))),
        taken,
        OneInOneOut,
        "",
    );
}

#[test]
fn what_only_looks_like_it() {
    use Outcome::CannotTell;
    let twice = |read: &dyn Fn(u64) -> QueueSeen| vec![read(520), read(1020)];
    let last = twice(&|at| queue(at, &[1, 2], QUEUED));
    check(with(&[1, 2, 3]), last, CannotTell, "not the oldest");
    let two = twice(&|at| queue(at, &[3], QUEUED));
    check(with(&[1, 2, 3]), two, CannotTell, "2 left");
    let another = twice(&|at| queue(at, &[2, 3, 4], QUEUED));
    check(with(&[1, 2, 3]), another, CannotTell, "from elsewhere came");
    let served = twice(&|at| queue(at, &[2, 3], QUEUED).with_accepted(&[9]));
    check(with(&[1, 2, 3]), served, CannotTell, "from elsewhere came");

    let busy = |at| queue(at, &[1, 2, 3], None).with_accepted(&[50, 51]);
    let ended = twice(&|at| queue(at, &[2, 3], QUEUED).with_accepted(&[50, 1]));
    let experiment = opened(watched(busy(0), busy(OPENED)));
    check(experiment, ended, CannotTell, "ended at the same time");

    let mut group = with(&[1, 2, 3]);
    group.sharing = 2;
    let out = twice(&|at| queue(at, &[2, 3], QUEUED));
    check(group, out, CannotTell, "share the address");
}

#[test]
fn who_came_just_before_may_have_let_one_out() {
    let watched = watched(queue(0, &[1, 2], None), queue(OPENED, &[1, 2, 3], None));
    let out = |at| queue(at, &[2, 3], QUEUED);
    let reads = vec![out(520), out(1020)];
    check(
        opened(watched),
        reads,
        Outcome::CannotTell,
        "from elsewhere came",
    );
}

#[test]
fn nothing_moves() {
    use Outcome::Stuck;
    let still = |at| queue(at, &[1, 2, 3], QUEUED);
    check(
        with(&[1, 2, 3]),
        vec![still(520), still(2500)],
        Stuck,
        "3 waited",
    );
    let others = vec![still(520), queue(2500, &[1, 2, 3, 4, 5], QUEUED)];
    check(with(&[1, 2, 3]), others, Stuck, "");
    // Between two rows of one read: ours is visible and not yet counted.
    let mut uncounted = still(520);
    uncounted.length -= 1;
    check(with(&[1, 2, 3]), vec![uncounted, still(2500)], Stuck, "");
    // A client that resets leaves, and frees no slot.
    let reset = queue(2500, &[2, 3], QUEUED).with_gone(1);
    check(with(&[1, 2, 3]), vec![still(520), reset], Stuck, "");
}

#[test]
fn all_go_out() {
    use Outcome::{CannotTell, Drained};
    check(
        with(&[1, 2]),
        vec![queue(520, &[], ACCEPTED)],
        Drained,
        "2 waited",
    );
    let late = vec![queue(520, &[1, 2], QUEUED), queue(900, &[], ACCEPTED)];
    check(with(&[1, 2]), late, CannotTell, "by chance");
    let others = vec![queue(520, &[7], ACCEPTED)];
    check(with(&[1, 2]), others, CannotTell, "from elsewhere");
    let left_behind = vec![queue(520, &[1, 2], ACCEPTED)];
    check(with(&[1, 2]), left_behind, CannotTell, "another queue");
}

#[test]
fn what_moves_without_ours() {
    use Outcome::{CannotTell, Healthy, MovesByItself};
    // Looks at 0, at 250 and at 500; what leaves before 250 may be the effect of one who came
    // before the first look.
    let looks = |first: &[u64], second: &[u64], last: &[u64]| {
        let mut experiment = watched(queue(0, first, None), queue(250, second, None));
        experiment.also_before(queue(OPENED, last, None));
        opened(experiment)
    };
    let before = || looks(&[1, 2, 3], &[1, 2, 3], &[2, 3]);
    let at_first = looks(&[1, 2, 3], &[2, 3], &[2, 3]);
    check(
        at_first,
        vec![queue(2500, &[2, 3], QUEUED)],
        CannotTell,
        "1 left",
    );
    check(
        before(),
        vec![queue(2500, &[3], QUEUED)],
        MovesByItself,
        "1 left",
    );
    check(
        before(),
        vec![queue(1400, &[], ACCEPTED)],
        Healthy,
        "moves by itself",
    );
    check(
        before(),
        vec![queue(1600, &[], ACCEPTED)],
        MovesByItself,
        "",
    );
    // One for each newcomer: an overload looks like that, and one in, one out in traffic.
    let traffic = || looks(&[1, 2], &[1, 2], &[2, 3]);
    check(
        traffic(),
        vec![queue(900, &[3, 4], QUEUED)],
        CannotTell,
        "1 connection came",
    );
    check(
        traffic(),
        vec![queue(900, &[4, 5], ACCEPTED)],
        CannotTell,
        "1 connection came",
    );
}

#[test]
fn what_never_joins_the_queue() {
    use Outcome::{CannotTell, Full, Refused, Reset};
    let full = |at| queue(at, &[1, 2], None).full();
    let pointless = watched(full(0), full(OPENED));
    assert!(pointless.is_pointless() && pointless.is_decided());
    check(pointless, vec![], Full, "proves nothing");

    let ending = |how| {
        let mut experiment = with(&[1, 2]);
        end(&mut experiment, 520, how);
        experiment
    };
    check(ending(End::Connecting), vec![full(2500)], Full, "");
    check(ending(End::Connected), vec![full(2500)], Full, "");
    let as_before = || vec![queue(2500, &[1, 2], None)];
    check(
        ending(End::Connecting),
        as_before(),
        CannotTell,
        "nothing answered",
    );
    check(
        ending(End::Connected),
        as_before(),
        CannotTell,
        "in no table",
    );
    let deferred = vec![queue(2500, &[1, 2], Some(Place::Handshake))];
    check(
        ending(End::Connected),
        deferred,
        CannotTell,
        "TCP_DEFER_ACCEPT",
    );
    check(ending(End::Refused), vec![], Refused, "");
    check(ending(End::Reset), as_before(), Reset, "");
}

#[test]
fn the_scan_and_the_experiment_together() {
    let cause = |id, confidence| CauseVerdict {
        id,
        confidence,
        summary: "S".into(),
    };
    let missed = CauseId::EdgeTriggeredMissedWakeup;
    let check = |reads: &[QueueSeen], cause: Option<&CauseVerdict>, confidence, expect| {
        let mut experiment = with(&[1, 2, 3]);
        for read in reads {
            experiment.then(read.clone());
        }
        let verdict = judge(&experiment, cause);
        let seen = verdict.cause.map(|cause| cause.id);
        assert_eq!(
            (verdict.confidence, seen),
            (confidence, expect),
            "{cause:?}"
        );
        verdict.meaning
    };
    use Confidence::{Certain, Likely, Possible};
    let out = [queue(520, &[2, 3], QUEUED), queue(1020, &[2, 3], QUEUED)];
    check(&out, Some(&cause(missed, Likely)), Certain, Some(missed));
    check(&out, Some(&cause(missed, Possible)), Likely, Some(missed));
    check(
        &out,
        Some(&cause(CauseId::Unknown, Possible)),
        Likely,
        Some(missed),
    );
    check(&out, None, Likely, Some(missed));
    check(
        &out,
        Some(&cause(CauseId::AcceptorBusy, Likely)),
        Possible,
        None,
    );

    let still = [queue(2500, &[1, 2, 3], QUEUED)];
    let stopped = CauseId::ProcessStopped;
    check(
        &still,
        Some(&cause(stopped, Certain)),
        Certain,
        Some(stopped),
    );
    let meaning = check(&still, Some(&cause(missed, Likely)), Certain, None);
    assert!(meaning.contains("connection limit"), "{meaning}");
}

#[test]
fn waiting_ends_when_there_is_nothing_to_learn() {
    let decided = |waiting: &[u64], reads: &[QueueSeen]| {
        let mut experiment = with(waiting);
        for read in reads {
            experiment.then(read.clone());
        }
        experiment.is_decided()
    };
    assert!(decided(&[], &[queue(520, &[], ACCEPTED)]));
    assert!(!decided(&[], &[queue(2000, &[], QUEUED)]));
    assert!(!decided(&[1, 2], &[queue(2000, &[1, 2], QUEUED)]));
    let out = queue(520, &[2], QUEUED);
    assert!(!decided(&[1, 2], &[out.clone(), queue(1019, &[2], QUEUED)]));
    assert!(decided(&[1, 2], &[out, queue(1020, &[2], QUEUED)]));
    let empty = watched(queue(0, &[], None), queue(1, &[], None));
    assert!(empty.is_prepared());
    assert!(!watched(queue(0, &[1], None), queue(499, &[1], None)).is_prepared());
}

#[test]
fn a_read_is_of_the_listener_that_takes_the_connection() {
    let queued = |remote: &str, number: u64| {
        let mut row = connection("127.0.0.1:80", TcpState::Established);
        (row.remote, row.cookie) = (remote.parse().unwrap(), Some(Cookie(number)));
        row
    };
    let mut accepted = queued("127.0.0.1:7", 7);
    accepted.inode = Some(crate::model::Inode(7));
    let mut handshake = queued("127.0.0.1:8", 8);
    (handshake.state, handshake.info) = (TcpState::SynRecv, None);
    let rows = vec![
        listener("127.0.0.1:80", 3),
        listener("0.0.0.0:80", 9),
        queued("127.0.0.1:5", 5),
        queued("127.0.0.1:6", 6),
        accepted,
        handshake,
        connection("10.0.0.1:80", TcpState::Established),
    ];
    let read = QueueRead {
        after: ms(5),
        sockets: rows,
        accepted: None,
        freed: None,
    };
    let target = "127.0.0.1:80".parse().unwrap();
    let ours = |text: &str| {
        let ours = Some(text.parse().unwrap());
        QueueSeen::of(&read, Netns(1), target, ours).unwrap()
    };
    let (listener, sharing, seen) = ours("127.0.0.1:6");
    assert_eq!((listener.local, sharing, seen.length), (target, 1, 3));
    assert_eq!(seen.waiting.len(), 1);
    assert_eq!(seen.accepted, HashSet::from([Cookie(7)]));
    assert_eq!(seen.ours, QUEUED);
    assert_eq!(ours("127.0.0.1:7").2.ours, ACCEPTED);
    assert_eq!(ours("127.0.0.1:8").2.ours, Some(Place::Handshake));
    assert_eq!(ours("127.0.0.1:9").2.ours, None);
    let nobody = "127.0.0.1:81".parse().unwrap();
    assert!(QueueSeen::of(&read, Netns(1), nobody, None).is_none());
}
