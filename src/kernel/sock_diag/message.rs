//! The messages of one netlink datagram, by length (`man 7 netlink`).

use netlink_packet_core::{NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, NLMSG_OVERRUN};
use netlink_packet_sock_diag::constants::SOCK_DIAG_BY_FAMILY;

use super::{TCPDIAG_GETSOCK, u32_at};

/// One message of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// `nlmsg_seq`: which request it answers.
    pub sequence: u32,
    /// `NLM_F_DUMP_INTR`: the table changed under the dump and rows may be missing.
    pub interrupted: bool,
    /// What it says.
    pub payload: Payload<'a>,
}

/// What a message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload<'a> {
    /// A `struct inet_diag_msg` and its attributes.
    Row(&'a [u8]),
    /// The end of a dump. A dump that failed midway says so here, as a positive errno.
    Done(i32),
    /// `NLMSG_ERROR` as a positive errno; 0 is an acknowledgement.
    Error(i32),
    /// Here something is missing: a message with a length that does not fit, or `NLMSG_OVERRUN`.
    Lost,
    /// A message of another kind.
    Other,
}

/// The messages of `datagram`.
#[derive(Debug)]
pub struct Messages<'a>(&'a [u8]);

const HEADER: usize = 16;

impl<'a> Messages<'a> {
    /// Iterates over one datagram as `recv` returned it.
    pub fn new(datagram: &'a [u8]) -> Messages<'a> {
        Messages(datagram)
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        if self.0.is_empty() {
            return None;
        }
        let bytes = std::mem::take(&mut self.0);
        let malformed = Message {
            sequence: 0,
            interrupted: false,
            payload: Payload::Lost,
        };
        let (Some(length), Some(kind_and_flags), Some(sequence)) =
            (u32_at(bytes, 0), u32_at(bytes, 4), u32_at(bytes, 8))
        else {
            return Some(malformed);
        };
        let length = length as usize;
        if length < HEADER || length > bytes.len() {
            return Some(malformed);
        }
        let [kind_low, kind_high, flags_low, flags_high] = kind_and_flags.to_ne_bytes();
        let kind = u16::from_ne_bytes([kind_low, kind_high]);
        let flags = u16::from_ne_bytes([flags_low, flags_high]);
        let body = &bytes[HEADER..length];
        self.0 = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();

        // `NLMSG_ERROR` and the code in `NLMSG_DONE` both carry a negated errno.
        let errno = || u32_at(body, 0).map_or(0, |code| code.cast_signed().saturating_neg());
        let payload = match kind {
            SOCK_DIAG_BY_FAMILY | TCPDIAG_GETSOCK => Payload::Row(body),
            NLMSG_DONE => Payload::Done(errno()),
            NLMSG_ERROR => Payload::Error(errno()),
            NLMSG_OVERRUN => Payload::Lost,
            _ => Payload::Other,
        };
        Some(Message {
            sequence,
            interrupted: flags & NLM_F_DUMP_INTR != 0,
            payload,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(HEADER + body.len())
            .unwrap()
            .to_ne_bytes()
            .to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(7_u32.to_ne_bytes());
        bytes.extend(0_u32.to_ne_bytes());
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn walks_rows_of_odd_length_to_the_end_of_the_dump() {
        let mut datagram = message(SOCK_DIAG_BY_FAMILY, 0, b"abcde");
        datagram.extend(message(TCPDIAG_GETSOCK, NLM_F_DUMP_INTR, b"fghi"));
        datagram.extend(message(NLMSG_DONE, 0, &0_i32.to_ne_bytes()));
        let seen: Vec<_> = Messages::new(&datagram)
            .map(|m| (m.interrupted, m.payload))
            .collect();
        assert_eq!(
            seen,
            [
                (false, Payload::Row(b"abcde")),
                (true, Payload::Row(b"fghi")),
                (false, Payload::Done(0)),
            ]
        );
    }

    #[test]
    fn an_error_is_one_in_either_place() {
        let check = |kind, expect| {
            let datagram = message(kind, 0, &(-22_i32).to_ne_bytes());
            let seen: Vec<_> = Messages::new(&datagram).collect();
            assert_eq!(
                seen,
                [Message {
                    sequence: 7,
                    interrupted: false,
                    payload: expect
                }]
            );
        };
        check(NLMSG_ERROR, Payload::Error(22));
        check(NLMSG_DONE, Payload::Done(22));
    }

    #[test]
    fn a_length_that_does_not_fit_ends_the_walk() {
        let mut long = message(SOCK_DIAG_BY_FAMILY, 0, b"abcd");
        long[0] = 200;
        let mut short = message(SOCK_DIAG_BY_FAMILY, 0, b"abcd");
        short[0] = 3;
        for bytes in [long.as_slice(), short.as_slice(), &[1, 2, 3]] {
            let seen: Vec<_> = Messages::new(bytes).map(|m| m.payload).collect();
            assert_eq!(seen, [Payload::Lost]);
        }
    }
}
