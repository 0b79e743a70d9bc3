//! `/proc/PID/task/TID/syscall` (`man 5 proc_pid_syscall`), with the architecture's own numbers.

use crate::model::SystemCall;

/// Parses the line; `None` if it is in no known form.
///
/// ```text
/// running
/// -1 0x7ffd… 0x7f…
/// 232 0x4 0x7f… 0x400 0xffffffffffffffff 0x0 0x0 0x7ffd… 0x7f…
/// ```
pub fn parse_system_call(line: &[u8]) -> Option<SystemCall> {
    let line = std::str::from_utf8(line).ok()?.trim_end();
    if line == "running" {
        return Some(SystemCall::Running);
    }
    let mut words = line.split(' ');
    let number: i64 = words.next()?.parse().ok()?;
    let Ok(number) = u64::try_from(number) else {
        return Some(SystemCall::NotInCall);
    };
    let mut arguments = [0; 6];
    for argument in &mut arguments {
        *argument = u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok()?;
    }
    Some(SystemCall::In {
        number,
        name: name(number).map(str::to_owned),
        arguments,
    })
}

/// The name of a system call of this architecture, if it is one in which servers sleep.
fn name(number: u64) -> Option<&'static str> {
    NAMES
        .iter()
        .find(|(known, _)| *known == number)
        .map(|(_, name)| *name)
}

/// `arch/x86/entry/syscalls/syscall_64.tbl`
#[cfg(target_arch = "x86_64")]
const NAMES: &[(u64, &str)] = &[
    (0, "read"),
    (1, "write"),
    (7, "poll"),
    (17, "pread64"),
    (19, "readv"),
    (20, "writev"),
    (23, "select"),
    (34, "pause"),
    (35, "nanosleep"),
    (40, "sendfile"),
    (42, "connect"),
    (43, "accept"),
    (44, "sendto"),
    (45, "recvfrom"),
    (46, "sendmsg"),
    (47, "recvmsg"),
    (61, "wait4"),
    (65, "semop"),
    (70, "msgrcv"),
    (72, "fcntl"),
    (73, "flock"),
    (74, "fsync"),
    (75, "fdatasync"),
    (128, "rt_sigtimedwait"),
    (130, "rt_sigsuspend"),
    (202, "futex"),
    (208, "io_getevents"),
    (219, "restart_syscall"),
    (220, "semtimedop"),
    (230, "clock_nanosleep"),
    (232, "epoll_wait"),
    (243, "mq_timedreceive"),
    (247, "waitid"),
    (257, "openat"),
    (270, "pselect6"),
    (271, "ppoll"),
    (275, "splice"),
    (281, "epoll_pwait"),
    (288, "accept4"),
    (299, "recvmmsg"),
    (426, "io_uring_enter"),
    (441, "epoll_pwait2"),
    (449, "futex_waitv"),
    (455, "futex_wait"),
];

/// `include/uapi/asm-generic/unistd.h`, which aarch64 and riscv64 use.
#[cfg(not(target_arch = "x86_64"))]
const NAMES: &[(u64, &str)] = &[
    (4, "io_getevents"),
    (22, "epoll_pwait"),
    (25, "fcntl"),
    (32, "flock"),
    (56, "openat"),
    (63, "read"),
    (64, "write"),
    (65, "readv"),
    (66, "writev"),
    (67, "pread64"),
    (71, "sendfile"),
    (72, "pselect6"),
    (73, "ppoll"),
    (76, "splice"),
    (82, "fsync"),
    (83, "fdatasync"),
    (95, "waitid"),
    (98, "futex"),
    (101, "nanosleep"),
    (115, "clock_nanosleep"),
    (128, "restart_syscall"),
    (133, "rt_sigsuspend"),
    (137, "rt_sigtimedwait"),
    (183, "mq_timedreceive"),
    (188, "msgrcv"),
    (192, "semtimedop"),
    (193, "semop"),
    (202, "accept"),
    (203, "connect"),
    (206, "sendto"),
    (207, "recvfrom"),
    (211, "sendmsg"),
    (212, "recvmsg"),
    (242, "accept4"),
    (243, "recvmmsg"),
    (260, "wait4"),
    (426, "io_uring_enter"),
    (441, "epoll_pwait2"),
    (449, "futex_waitv"),
    (455, "futex_wait"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_three_forms() {
        assert_eq!(parse_system_call(b"running\n"), Some(SystemCall::Running));
        assert_eq!(
            parse_system_call(b"-1 0x7ffd 0x7f00\n"),
            Some(SystemCall::NotInCall)
        );
        let line = b"441 0x4 0x7f0c 0x400 0xffffffffffffffff 0x0 0x8 0x7ffd 0x7f00\n";
        let expect = SystemCall::In {
            number: 441,
            name: Some("epoll_pwait2".into()),
            arguments: [4, 0x7f0c, 0x400, u64::MAX, 0, 8],
        };
        assert_eq!(parse_system_call(line), Some(expect));
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for line in [
            &b""[..],
            b"232",
            b"232 0x4",
            b"232 4 5 6 7 8 9",
            b"x 0x1",
            b"\xff",
        ] {
            assert_eq!(parse_system_call(line), None, "{line:?}");
        }
        let unnamed = parse_system_call(b"9999 0x0 0x0 0x0 0x0 0x0 0x0 0x0 0x0");
        assert!(matches!(
            unnamed,
            Some(SystemCall::In {
                number: 9999,
                name: None,
                ..
            })
        ));
    }

    #[test]
    fn numbers_and_names_are_given_once() {
        for (index, (number, name)) in NAMES.iter().enumerate() {
            let again = NAMES[index + 1..]
                .iter()
                .any(|(n, m)| n == number || m == name);
            assert!(!again, "{number} {name}");
        }
    }
}
