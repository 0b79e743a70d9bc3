//! Targets of the links in `/proc/PID/fd`.

use super::decimal;
use crate::model::Inode;

/// The target of an epoll descriptor.
pub const EPOLL: &[u8] = b"anon_inode:[eventpoll]";

/// The target of an io_uring descriptor.
pub const IO_URING: &[u8] = b"anon_inode:[io_uring]";

/// The inode in `socket:[4026]`; `None` for any other target.
pub fn socket_inode(target: &[u8]) -> Option<Inode> {
    bracketed(target, b"socket:[")
        .filter(|inode| *inode != 0)
        .map(Inode)
}

/// The inode in `net:[4026531833]`, the target of a link in `/proc/PID/ns`.
pub fn netns_inode(target: &[u8]) -> Option<u64> {
    bracketed(target, b"net:[")
}

fn bracketed(target: &[u8], prefix: &[u8]) -> Option<u64> {
    decimal(target.strip_prefix(prefix)?.strip_suffix(b"]")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sockets_have_a_socket_inode() {
        let check = |target: &[u8], expect| assert_eq!(socket_inode(target), expect);
        check(b"socket:[4026]", Some(Inode(4026)));
        check(b"socket:[0]", None);
        check(b"socket:[]", None);
        check(b"socket:[12", None);
        check(b"socket:[99999999999999999999]", None);
        check(b"/tmp/socket:[7]", None);
        check(b"anon_inode:[eventpoll]", None);
        assert_eq!(netns_inode(b"net:[4026531833]"), Some(4_026_531_833));
    }
}
