//! `/proc/PID/stat` and `/proc/PID/task/TID/stat` (`man 5 proc_pid_stat`).

use super::{ParseError, decimal, words};
use crate::model::ProcessState;

/// What diagnosis uses of a `stat` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// Field 1, the pid or tid.
    pub id: u32,
    /// Field 2, any bytes; may hold spaces and parentheses.
    pub comm: Vec<u8>,
    /// Field 3.
    pub state: ProcessState,
    /// Field 4, the parent's pid.
    pub parent: u32,
    /// Bit `PF_KTHREAD` of field 9: a kernel thread, which has no descriptors.
    pub kernel_thread: bool,
    /// Fields 14 and 15 added up, in clock ticks.
    pub cpu_ticks: u64,
    /// Field 22, in clock ticks since boot.
    pub start_time: u64,
}

/// Parses one `stat` line.
pub fn parse_stat(line: &[u8]) -> Result<Stat, ParseError> {
    const PF_KTHREAD: u64 = 0x0020_0000;
    let missing = |field| ParseError::new(1, field, "missing or not a number");
    // The name may contain anything; the last parenthesis closes it.
    let open = line
        .iter()
        .position(|byte| *byte == b'(')
        .ok_or(missing("comm"))?;
    let close = line
        .iter()
        .rposition(|byte| *byte == b')')
        .ok_or(missing("comm"))?;
    let comm = line.get(open + 1..close).ok_or(missing("comm"))?;
    let id = words(&line[..open])
        .next()
        .and_then(decimal)
        .ok_or(missing("pid"))?;
    let rest = line[close + 1..]
        .strip_suffix(b"\n")
        .unwrap_or(&line[close + 1..]);
    let fields: Vec<&[u8]> = words(rest).collect();
    // Field 3 of the manual is the first one behind the name.
    let number = |field: usize, name| {
        fields
            .get(field - 3)
            .and_then(|word| decimal(word))
            .ok_or(missing(name))
    };
    let state = fields
        .first()
        .and_then(|word| word.first())
        .ok_or(missing("state"))?;
    Ok(Stat {
        id: u32::try_from(id).ok().ok_or(missing("pid"))?,
        comm: comm.to_vec(),
        state: ProcessState(char::from(*state)),
        parent: u32::try_from(number(4, "ppid")?)
            .ok()
            .ok_or(missing("ppid"))?,
        kernel_thread: number(9, "flags")? & PF_KTHREAD != 0,
        cpu_ticks: number(14, "utime")? + number(15, "stime")?,
        start_time: number(22, "starttime")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_look_like_the_rest_of_the_line() {
        let line =
            b"4866 (a) R 1 (\x1b[2J) S 1 4866 4866 0 -1 4194304 100 0 0 0 70 5 0 0 20 0 4 0 \
            123456 1000 10 18446744073709551615 1 1 0 0\n";
        let stat = parse_stat(line).unwrap();
        assert_eq!(
            (stat.id, stat.comm.as_slice()),
            (4866, b"a) R 1 (\x1b[2J".as_slice())
        );
        assert_eq!((stat.state, stat.start_time), (ProcessState('S'), 123_456));
        assert_eq!((stat.cpu_ticks, stat.kernel_thread), (75, false));
    }

    #[test]
    fn says_which_field_is_missing() {
        let check = |line: &[u8], field| {
            assert_eq!(parse_stat(line).map_err(|error| error.field), Err(field));
        };
        check(b"", "comm");
        check(b"12 )x(", "comm");
        check(b"x (y) S 1 2", "pid");
        check(b"1 (y)", "state");
        check(b"1 (y) S", "ppid");
        check(b"1 (y) S 1", "flags");
        check(b"1 (y) S 1 2 3 4 5 0", "utime");
    }
}
