//! `/proc/net/tcp` and `/proc/net/tcp6` (`man 5 proc_pid_net`): the second source of sockets.
//!
//! A row has addresses, state, queues, uid and inode; no cookie, no backlog, no `tcp_info`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{ParseError, decimal, words};
use crate::model::{Family, Inode, Netns, Queues, SocketEntry, TcpState, Timer};

/// Parses one row. `line` counts from 1, the heading being line 1.
pub fn parse_row(row: &[u8], line: usize, netns: Netns) -> Result<SocketEntry, ParseError> {
    let fail = |field| ParseError::new(line, field, "missing or malformed");
    let mut words = words(row);
    let _slot = words.next().ok_or(fail("sl"))?;
    let (family, local) = words
        .next()
        .and_then(address)
        .ok_or(fail("local_address"))?;
    let (_, remote) = words.next().and_then(address).ok_or(fail("rem_address"))?;
    let state = words.next().and_then(hex).ok_or(fail("st"))?;
    let state = TcpState::from_number(u8::try_from(state).ok().ok_or(fail("st"))?);
    let queues = words.next().ok_or(fail("tx_queue"))?;
    let mut queues = queues.split(|byte| *byte == b':');
    let send_q = queues.next().and_then(hex).ok_or(fail("tx_queue"))?;
    let recv_q = queues.next().and_then(hex).ok_or(fail("rx_queue"))?;
    let timer = words
        .next()
        .and_then(|word| word.split(|byte| *byte == b':').next());
    let timer = timer
        .and_then(hex)
        .and_then(|number| u8::try_from(number).ok());
    let timer = Timer::from_number(timer.ok_or(fail("tr"))?);
    let _retransmits = words.next();
    let uid = words.next().and_then(decimal).ok_or(fail("uid"))?;
    let inode = words.nth(1).and_then(decimal).ok_or(fail("inode"))?;
    Ok(SocketEntry {
        netns,
        cookie: None,
        inode: Some(inode).filter(|inode| *inode != 0).map(Inode),
        family,
        state,
        local,
        remote,
        bound_device: None,
        uid: u32::try_from(uid).ok().ok_or(fail("uid"))?,
        queues: match state {
            TcpState::Listen => Queues::Listen {
                accept_queue: recv_q,
                backlog: None,
            },
            _ => Queues::Stream { recv_q, send_q },
        },
        timer,
        shutdown: None,
        v6only: None,
        drops: None,
        cgroup_id: None,
        ulp: None,
        info: None,
    })
}

fn hex(bytes: &[u8]) -> Option<u32> {
    if bytes.is_empty() || !bytes.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u32::from_str_radix(std::str::from_utf8(bytes).ok()?, 16).ok()
}

/// `0100007F:1F90`: each 32-bit word of the address is printed as a number of this machine.
fn address(word: &[u8]) -> Option<(Family, SocketAddr)> {
    let mut parts = word.split(|byte| *byte == b':');
    let (ip, port) = (parts.next()?, parts.next()?);
    let port = u16::try_from(hex(port)?).ok()?;
    let (family, ip) = match ip.len() {
        8 => (
            Family::V4,
            IpAddr::V4(Ipv4Addr::from(hex(ip)?.to_ne_bytes())),
        ),
        32 => {
            let mut bytes = [0; 16];
            for (four, digits) in bytes.chunks_exact_mut(4).zip(ip.chunks_exact(8)) {
                four.copy_from_slice(&hex(digits)?.to_ne_bytes());
            }
            (Family::V6, IpAddr::V6(Ipv6Addr::from(bytes)))
        }
        _ => return None,
    };
    Some((family, SocketAddr::new(ip, port)))
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;

    #[test]
    fn reads_a_listener_and_a_queued_connection() {
        let row = b"   0: 0100007F:1F90 00000000:0000 0A 00000000:00000008 00:00000000 00000000  \
            33        0 4026 1 0000000000000000 100 0 0 10 0";
        let entry = parse_row(row, 2, Netns(1)).unwrap();
        assert_eq!(entry.local, "127.0.0.1:8080".parse().unwrap());
        assert_eq!(
            entry.queues,
            Queues::Listen {
                accept_queue: 8,
                backlog: None
            }
        );
        assert_eq!((entry.inode, entry.uid), (Some(Inode(4026)), 33));

        let row = b"   1: 0100007F:1F90 0100007F:A000 08 00000005:0000002E 00:00000000 00000000  \
            0        0 0 1 0000000000000000 20 4 30 10 -1";
        let entry = parse_row(row, 3, Netns(1)).unwrap();
        assert!(entry.is_unaccepted());
        assert_eq!(
            entry.queues,
            Queues::Stream {
                recv_q: 46,
                send_q: 5
            }
        );
    }

    #[test]
    fn reads_ipv6_word_by_word() {
        let row = b"   0: 0000000000000000FFFF00000100007F:0050 \
            00000000000000000000000001000000:1234 01 00000000:00000000 00:00000000 00000000 0 0 7";
        let entry = parse_row(row, 2, Netns(1)).unwrap();
        assert_eq!(entry.local, "[::ffff:127.0.0.1]:80".parse().unwrap());
        assert_eq!(entry.remote, "[::1]:4660".parse().unwrap());
        assert_eq!(entry.family, Family::V6);
    }

    #[test]
    fn says_where_a_row_is_broken() {
        let check = |row: &[u8], field| {
            let error = parse_row(row, 9, Netns(1)).unwrap_err();
            assert_eq!((error.line, error.field), (9, field));
        };
        check(b"", "sl");
        check(b"0: 0100007F", "local_address");
        check(b"0: 0100007F:1F90 01:0", "rem_address");
        check(b"0: 0100007F:1F90 00000000:0000 1FF", "st");
        check(b"0: 0100007F:1F90 00000000:0000 0A 5", "rx_queue");
        check(b"0: 0100007F:1F90 00000000:0000 0A 0:0 0:0 0 x", "uid");
        check(b"0: 0100007F:1F90 00000000:0000 0A 0:0 0:0 0 0 0", "inode");
    }
}
