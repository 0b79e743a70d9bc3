//! The test's own clock, to hold against what the kernel measures; and waiting for a state.
#![expect(
    clippy::disallowed_methods,
    reason = "a test has a clock of its own, to hold against the kernel's"
)]

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How far a time that the kernel tells may be off. It counts in jiffies, of 4 ms or 10 ms.
pub(crate) const TOLERANCE: Duration = Duration::from_millis(50);

/// Longer than anything here takes on a machine whose cores are all busy.
pub(crate) const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Between two looks at something that is being waited for.
pub(crate) const PAUSE: Duration = Duration::from_millis(5);

/// When something was done: not before the first and not after the second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    began: Instant,
    ended: Instant,
}

impl Moment {
    /// Does it, and notes when.
    pub(crate) fn of<T>(action: impl FnOnce() -> T) -> (T, Moment) {
        let began = Instant::now();
        let done = action();
        let ended = Instant::now();
        (done, Moment { began, ended })
    }

    /// How long it took.
    pub(crate) fn duration(self) -> Duration {
        self.ended.saturating_duration_since(self.began)
    }

    /// What may be told, at some time within `read`, of how long ago this was.
    pub(crate) fn age_at(self, read: Moment) -> RangeInclusive<Duration> {
        let least = read.began.saturating_duration_since(self.ended);
        let most = read.ended.saturating_duration_since(self.began);
        least.saturating_sub(TOLERANCE)..=most + TOLERANCE
    }

    /// Whether it is `age` ago.
    pub(crate) fn is_aged(self, age: Duration) -> bool {
        self.ended.elapsed() >= age
    }

    /// Sleeps until it is `age` ago: ageing is what is tested, and nothing else shows that it is
    /// done.
    pub(crate) fn wait_until_aged(self, age: Duration) {
        thread::sleep((self.ended + age).saturating_duration_since(Instant::now()));
    }
}

/// Waits until `look` finds what it looks for; fails with `what` if it does not in time.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + TIME_LIMIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not seen in time: {what}");
        thread::sleep(PAUSE);
    }
}

/// Raises a flag at its end, also when the test fails: what runs beside the test has to stop then.
pub(crate) struct EndWithOwner<'a>(pub(crate) &'a AtomicBool);

impl Drop for EndWithOwner<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
