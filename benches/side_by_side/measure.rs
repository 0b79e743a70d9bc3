//! Measures several things in turns.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// What one turn took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    /// By the clock on the wall.
    pub(crate) wall: Duration,
    /// On a processor: of all threads of this process and of the commands that it started.
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
    let own = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(own).expect("time that has passed") + cpu_time_of_children()
}

/// Of those that have ended: fields 16 and 17 of `/proc/self/stat`, in ticks (`man 5
/// proc_pid_stat`), of which all architectures in use have a hundred a second.
fn cpu_time_of_children() -> Duration {
    const TICK: Duration = Duration::from_millis(10);
    let stat = std::fs::read_to_string("/proc/self/stat").expect("a mounted /proc");
    // Field 3 is the first one behind the name.
    let (_, fields) = stat.rsplit_once(") ").expect("a name");
    let ticks = fields.split(' ').skip(16 - 3).take(2);
    TICK * ticks
        .map(|ticks| ticks.parse::<u32>().expect("a number"))
        .sum::<u32>()
}

/// The middle one.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
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
    median(turns.iter().map(|turn| ms(turn.wall)))
}

pub(crate) fn cpu_ms(turns: &[Turn]) -> f64 {
    median(turns.iter().map(|turn| ms(turn.cpu)))
}

/// The turn that was disturbed the least.
pub(crate) fn fastest_ms(turns: &[Turn]) -> f64 {
    ms(turns.iter().map(|turn| turn.wall).min().unwrap_or_default())
}
