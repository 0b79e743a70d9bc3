//! Measures several things in turns.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// What one turn took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    /// By the clock on the wall.
    pub(crate) wall: Duration,
    /// On a processor, of all threads of this process.
    pub(crate) cpu: Duration,
}

/// Measures each of `things` `rounds` times, in turns, after a first round that does not count.
/// Gives the turns of each.
pub(crate) fn in_turns<const N: usize>(
    rounds: usize,
    mut things: [&mut dyn FnMut(); N],
) -> [Vec<Turn>; N] {
    let mut turns = [const { Vec::new() }; N];
    for round in 0..=rounds {
        for (thing, turns) in things.iter_mut().zip(&mut turns) {
            let (started, cpu) = (Instant::now(), cpu_time());
            thing();
            let turn = Turn {
                wall: started.elapsed(),
                cpu: cpu_time() - cpu,
            };
            if round > 0 {
                turns.push(turn);
            }
        }
    }
    turns
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).expect("time that has passed")
}

/// The middle one, in milliseconds.
pub(crate) fn median_ms(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        (values[middle - 1] + values[middle]) / 2.0
    }
}

pub(crate) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

pub(crate) fn wall_ms(turns: &[Turn]) -> f64 {
    median_ms(turns.iter().map(|turn| ms(turn.wall)))
}

pub(crate) fn cpu_ms(turns: &[Turn]) -> f64 {
    median_ms(turns.iter().map(|turn| ms(turn.cpu)))
}
