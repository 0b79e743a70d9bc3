//! A number over time, and how fast it changes.

use std::collections::VecDeque;
use std::time::Duration;

/// As many of the newest samples are kept: two minutes at the default interval.
const SAMPLES_AT_MOST: usize = 120;
/// Samples, and the time they span, from which on growth is told from chance.
const SAMPLES_AT_LEAST: usize = 3;
const SPAN_AT_LEAST: Duration = Duration::from_secs(2);
/// Less growth than this is chance.
const GROWTH_AT_LEAST: u64 = 3;

/// The newest samples of a number, in the order of time.
#[derive(Debug, Clone, Default)]
pub(super) struct Series {
    samples: VecDeque<(Duration, u64)>,
}

impl Series {
    pub(super) fn push(&mut self, at: Duration, value: u64) {
        if self.samples.len() == SAMPLES_AT_MOST {
            self.samples.pop_front();
        }
        self.samples.push_back((at, value));
    }

    /// The newest sample.
    pub(super) fn last(&self) -> Option<u64> {
        self.samples.back().map(|(_, value)| *value)
    }

    /// The values of the newest `at_most` samples, the oldest first.
    pub(super) fn newest(&self, at_most: usize) -> impl Iterator<Item = u64> {
        let skipped = self.samples.len().saturating_sub(at_most);
        self.samples.iter().skip(skipped).map(|(_, value)| *value)
    }

    /// Growth per second, if the number grows: the newest sample is the largest, over a time that
    /// tells.
    pub(super) fn growth(&self) -> Option<f64> {
        let (first, last) = (self.samples.front()?, self.samples.back()?);
        let enough = self.samples.len() >= SAMPLES_AT_LEAST
            && last.0.saturating_sub(first.0) >= SPAN_AT_LEAST
            && last.1 >= first.1 + GROWTH_AT_LEAST;
        let is_largest = self.samples.iter().all(|(_, value)| *value <= last.1);
        if !enough || !is_largest {
            return None;
        }
        slope(self.samples.iter()).filter(|rate| *rate > 0.0)
    }

    /// Shrinking per second, if the number has gone down, three times at least and just now, and not
    /// up in between. The first time does not count: it began somewhere between two samples.
    pub(super) fn decline(&self) -> Option<f64> {
        let (mut drops, mut begin) = (0, self.samples.len());
        for newer in (1..self.samples.len()).rev() {
            let (before, after) = (self.samples[newer - 1].1, self.samples[newer].1);
            if before < after || before == after && drops == 0 {
                break;
            }
            if before > after {
                drops += 1;
                begin = newer;
            }
        }
        let declining = self.samples.iter().skip(begin);
        slope(declining).filter(|_| drops >= 3).map(|rate| -rate)
    }
}

/// The slope of the line that fits best by least squares; `None` if all samples are of one moment.
fn slope<'a>(samples: impl Iterator<Item = &'a (Duration, u64)> + Clone) -> Option<f64> {
    let count = samples.clone().count() as f64;
    let mean = |of: fn(&(Duration, u64)) -> f64| samples.clone().map(of).sum::<f64>() / count;
    let mean_at = mean(|(at, _)| at.as_secs_f64());
    let mean_value = mean(|(_, value)| *value as f64);
    let (mut both, mut squares) = (0.0, 0.0);
    for (at, value) in samples {
        let off = at.as_secs_f64() - mean_at;
        both += off * (*value as f64 - mean_value);
        squares += off * off;
    }
    (squares > 0.0).then(|| both / squares)
}

/// How long `amount` lasts at `rate` per second.
pub(super) fn time_for(amount: u64, rate: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(amount as f64 / rate).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(interval: Duration, values: impl IntoIterator<Item = u64>) -> Series {
        let mut series = Series::default();
        for (index, value) in values.into_iter().enumerate() {
            series.push(interval * u32::try_from(index).unwrap(), value);
        }
        series
    }

    const SECOND: Duration = Duration::from_secs(1);
    const TENTH: Duration = Duration::from_millis(100);

    fn near(rate: Option<f64>, expect: f64) {
        let rate = rate.expect("a rate");
        assert!(
            (rate - expect).abs() <= expect / 10.0,
            "{rate}, not {expect}"
        );
    }

    #[test]
    fn a_steady_leak_has_its_rate() {
        near(series(SECOND, [0, 5, 10, 15]).growth(), 5.0);
        // Every third look sees one more.
        near(
            series(TENTH, (0..40).map(|look| look / 3)).growth(),
            10.0 / 3.0,
        );
        // Longer than what is kept.
        near(series(SECOND, (0..500).map(|look| look * 2)).growth(), 2.0);
        // By fits and starts, eight a second.
        near(series(SECOND, [0, 8, 15, 25, 32, 40, 48, 56]).growth(), 8.0);
    }

    #[test]
    fn what_is_no_growth() {
        assert_eq!(series(SECOND, [7; 10]).growth(), None);
        assert_eq!(
            series(SECOND, [0, 9, 2, 8, 1, 7]).growth(),
            None,
            "up and down"
        );
        assert_eq!(series(SECOND, [9, 6, 3]).growth(), None, "down");
    }

    #[test]
    fn too_early_or_too_little_to_tell() {
        assert_eq!(series(SECOND, [0, 100]).growth(), None);
        assert_eq!(series(TENTH, [0, 10, 20]).growth(), None);
        assert_eq!(series(SECOND, [4, 5, 6]).growth(), None);
        assert!(series(SECOND, [4, 5, 7]).growth().is_some());
        assert_eq!(series(Duration::ZERO, [0, 10, 20]).growth(), None);
    }

    #[test]
    fn a_queue_that_drains_has_a_time_to_empty() {
        // When it began to drain nobody saw: the first step may be a part of one.
        near(series(SECOND, [40, 40, 39, 29, 19]).decline(), 10.0);
        near(
            series(TENTH, [9, 9, 9, 8, 8, 8, 7, 7, 7, 6]).decline(),
            10.0 / 3.0,
        );
        near(series(SECOND, [10, 50, 40, 30, 20]).decline(), 10.0);
        assert_eq!(series(SECOND, [50, 40, 30]).decline(), None, "two steps");
        assert_eq!(
            series(SECOND, [50, 40, 40]).decline(),
            None,
            "it has stopped"
        );
        assert_eq!(series(SECOND, [50, 40, 41]).decline(), None);
        assert_eq!(time_for(30, 10.0), Some(SECOND * 3));
        assert_eq!(time_for(1, 0.0), None);
    }
}
