//! `/proc/PID/fdinfo/FD` of epoll and io_uring descriptors (`man 5 proc_pid_fdinfo`).

use super::{decimal, fd_link, lines, words};
use crate::model::{EpollRegistration, Inode};

/// The inode of the descriptor's own file (`ino:`), on Linux 5.14 and later.
pub fn own_inode(fdinfo: &[u8]) -> Option<u64> {
    lines(fdinfo).find_map(|line| decimal(line.strip_prefix(b"ino:")?.trim_ascii()))
}

/// The registrations of an epoll descriptor. Lines of another form are passed over.
///
/// ```text
/// tfd:        3 events: 80000019 data: 2a  pos:0 ino:223c sdev:9
/// ```
pub fn epoll_registrations(fdinfo: &[u8]) -> Vec<EpollRegistration> {
    lines(fdinfo).filter_map(registration).collect()
}

fn registration(line: &[u8]) -> Option<EpollRegistration> {
    let mut words = words(line.strip_prefix(b"tfd:")?);
    let fd = i32::try_from(decimal(words.next()?)?).ok()?;
    words.find(|word| *word == b"events:")?;
    let events = u32::try_from(hex(words.next()?)?).ok()?;
    // `ino` came with Linux 4.2; without it the descriptor number is all there is.
    let inode = words
        .find_map(|word| hex(word.strip_prefix(b"ino:")?))
        .unwrap_or(0);
    Some(EpollRegistration { fd, events, inode })
}

fn hex(digits: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// The sockets among an io_uring's registered files, and how many accepts are pending in it.
///
/// ```text
/// UserFiles:  2
///     0: socket:[24355]
/// PollList:
///   op=13, task_works=0
/// ```
pub fn io_uring(fdinfo: &[u8]) -> (Vec<Inode>, u32) {
    const IORING_OP_ACCEPT: u64 = 13;
    let (mut sockets, mut accepts) = (Vec::new(), 0);
    for line in lines(fdinfo) {
        let line = line.trim_ascii_start();
        if let Some(operation) = line.strip_prefix(b"op=") {
            let digits = operation
                .split(|byte| *byte == b',')
                .next()
                .unwrap_or_default();
            accepts += u32::from(decimal(digits) == Some(IORING_OP_ACCEPT));
        } else if let Some(colon) = line.iter().position(|byte| *byte == b':')
            && decimal(&line[..colon]).is_some()
        {
            sockets.extend(fd_link::socket_inode(line[colon + 1..].trim_ascii()));
        }
    }
    (sockets, accepts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registrations_are_matched_by_inode_in_hex() {
        let text = b"pos:\t0\nflags:\t02\nmnt_id:\t15\nino:\t26\n\
            tfd:        3 events: 80000019 data: ffffffff00000003  pos:0 ino:223c sdev:9\n\
            tfd:        7 events: 40000000 data: 7 pos:0 ino:6c9d sdev:9\ntfd: x events: 1\n";
        assert_eq!((own_inode(text), own_inode(b"pos:\t0\n")), (Some(26), None));
        let seen = epoll_registrations(text);
        assert_eq!(seen.len(), 2);
        assert_eq!((seen[0].fd, seen[0].inode), (3, 0x223c));
        assert!(seen[0].edge_triggered() && seen[0].wants_input() && !seen[0].is_spent());
        assert_eq!(seen[0].to_string(), "EPOLLIN|EPOLLET");
        assert!(seen[1].is_spent());
        assert_eq!(seen[1].to_string(), "EPOLLONESHOT");
        assert_eq!(
            epoll_registrations(b"tfd: 5 events: 19 data: 5\n")[0].inode,
            0
        );
    }

    #[test]
    fn rings_have_registered_files_and_pending_accepts() {
        let text = b"SqMask:\t0x7\nUserFiles:\t3\n    0: socket:[24355]\n    2: /dev/null\n\
            \x20   3: socket:[24356]\nUserBufs:\t0\nPollList:\n  op=13, task_works=0\n  op=6, \
            task_works=0\n";
        assert_eq!(io_uring(text), (vec![Inode(24_355), Inode(24_356)], 1));
        assert_eq!(io_uring(b""), (Vec::new(), 0));
    }
}
