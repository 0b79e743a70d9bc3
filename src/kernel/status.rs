//! `/proc/PID/status` (`man 5 proc_pid_status`): users, capabilities and namespaces of a process.

use super::{decimal, lines, words};
use crate::model::Capabilities;

/// The effective user: the second number of the line `Uid:`.
pub fn effective_uid(status: &[u8]) -> Option<u32> {
    u32::try_from(decimal(words(line(status, b"Uid:")?).nth(1)?)?).ok()
}

/// The capabilities that the process may use (`CapPrm:`, hexadecimal).
pub fn permitted(status: &[u8]) -> Option<Capabilities> {
    let digits = words(line(status, b"CapPrm:")?).next()?;
    let digits = std::str::from_utf8(digits).ok()?;
    u64::from_str_radix(digits, 16).ok().map(Capabilities)
}

/// In how many pid namespaces the process has a pid, from that of the `/proc` it is read in on
/// (`NSpid:`, since Linux 4.1).
pub fn pid_namespaces(status: &[u8]) -> Option<usize> {
    Some(words(line(status, b"NSpid:")?).count())
}

/// Whether a seccomp filter watches the system calls: mode 1 or 2 of `Seccomp:`.
pub fn has_seccomp(status: &[u8]) -> Option<bool> {
    Some(decimal(words(line(status, b"Seccomp:")?).next()?)? > 0)
}

fn line<'a>(status: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    lines(status).find_map(|line| line.strip_prefix(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_by_name() {
        let text = b"Name:\tUid: 7 7\nUid:\t1000\t33\t1000\t33\nNSpid:\t4866\t17\n\
            CapPrm:\t00000000a80425fb\nCapEff:\t0000000000000000\nSeccomp:\t2\n";
        assert_eq!(effective_uid(text), Some(33));
        assert_eq!(permitted(text), Some(Capabilities(0xa804_25fb)));
        assert_eq!(pid_namespaces(text), Some(2));
        assert_eq!(has_seccomp(text), Some(true));
        assert_eq!(has_seccomp(b"Seccomp:\t0\n"), Some(false));
        for broken in [&b""[..], b"Uid:\nCapPrm:\tx\nSeccomp:\t\n", b"Uid:\t1\n"] {
            assert_eq!(effective_uid(broken), None);
            assert_eq!(permitted(broken), None);
            assert_eq!(has_seccomp(broken), None);
        }
        assert_eq!(pid_namespaces(b"Name:\tx\n"), None);
    }
}
