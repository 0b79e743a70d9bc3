//! Conversation with sock_diag over a netlink socket: requests, answers, and what can go wrong.
//!
//! The socket stays in the network namespace in which it was made.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use netlink_sys::{Socket, SocketAddr as KernelAddress, protocols::NETLINK_SOCK_DIAG};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use crate::kernel::sock_diag::{DumpRequest, Messages, Payload, RequestForm, exact_request};
use crate::model::Family;

/// The kernel did not answer as it should.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The socket could not be made: no netlink, or a seccomp filter.
    #[error("socket: {0}")]
    Open(io::Error),
    /// Sending the request failed.
    #[error("send: {0}")]
    Send(io::Error),
    /// Reading the answer failed.
    #[error("receive: {0}")]
    Receive(io::Error),
    /// The kernel refused the request, in NLMSG_ERROR or at the end of the dump.
    #[error("the kernel refused the request: {0}")]
    Refused(io::Error),
    /// A datagram was longer than the kernel's own limit.
    #[error("an answer of {0} bytes was cut short")]
    Truncated(usize),
}

/// Datagrams to the kernel and back; a stand-in takes its place in tests.
pub(super) trait Transport {
    /// Sends one datagram.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Receives one datagram and returns its length, which may exceed the buffer's.
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
}

impl Transport for Socket {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        Socket::send(self, bytes, 0).map(drop)
    }

    fn receive(&mut self, mut buffer: &mut [u8]) -> io::Result<usize> {
        const MSG_TRUNC: i32 = 0x20;
        self.recv(&mut buffer, MSG_TRUNC)
    }
}

/// An open conversation.
pub(super) struct SockDiag<T = Socket> {
    transport: T,
    sequence: u32,
    buffer: Box<[u8]>,
    /// The kernel understands the request for both families; assumed until it says otherwise.
    both_families: bool,
}

/// How a dump ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dumped {
    /// All rows were delivered.
    Whole,
    /// The table kept changing under every attempt: rows may be missing.
    Interrupted,
}

impl SockDiag {
    pub(super) fn open() -> Result<SockDiag, NetlinkError> {
        // The kernel answers a request before `send` returns or as the dump is read; silence is
        // an answer lost, never one that is late.
        const SILENCE: Duration = Duration::from_secs(5);
        let socket = Socket::new(NETLINK_SOCK_DIAG).map_err(NetlinkError::Open)?;
        // Then only the kernel's messages arrive (`netlink_getsockbyportid`, `af_netlink.c`), and
        // nobody else can answer in its place.
        let kernel = KernelAddress::new(0, 0);
        socket.connect(&kernel).map_err(NetlinkError::Open)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(SILENCE))
            .map_err(|error| NetlinkError::Open(error.into()))?;
        Ok(SockDiag::over(socket))
    }
}

impl<T: Transport> SockDiag<T> {
    /// The kernel fills at most this many bytes a datagram (`netlink_dump`).
    const DATAGRAM: usize = 32 * 1024;
    const ATTEMPTS: u32 = 3;
    /// Answers to single requests queue up in the socket, so only some are asked for at once.
    const REQUESTS_AT_ONCE: usize = 32;

    pub(super) fn over(transport: T) -> SockDiag<T> {
        let buffer = vec![0; Self::DATAGRAM].into_boxed_slice();
        SockDiag {
            transport,
            sequence: 0,
            buffer,
            both_families: true,
        }
    }

    /// Dumps the table; `on_row` gets each row's bytes, some of them more than once when the dump
    /// had to be repeated.
    pub(super) fn dump(
        &mut self,
        request: &DumpRequest,
        on_row: &mut dyn FnMut(&[u8]),
    ) -> Result<Dumped, NetlinkError> {
        if self.both_families {
            match self.dump_form(request, RequestForm::BothFamilies, on_row) {
                Err(NetlinkError::Refused(_)) => self.both_families = false,
                other => return other,
            }
        }
        let v4 = self.dump_form(request, RequestForm::OneFamily(Family::V4), on_row)?;
        match self.dump_form(request, RequestForm::OneFamily(Family::V6), on_row) {
            Ok(v6) => Ok(if v4 == Dumped::Whole { v6 } else { v4 }),
            // A kernel without IPv6 refuses the family; it has no such sockets either.
            Err(NetlinkError::Refused(error)) if no_such_family(&error) => Ok(v4),
            Err(error) => Err(error),
        }
    }

    /// Dumps the MPTCP connections, of both families.
    pub(super) fn dump_mptcp(
        &mut self,
        request: &DumpRequest,
        on_row: &mut dyn FnMut(&[u8]),
    ) -> Result<Dumped, NetlinkError> {
        let v4 = self.dump_form(request, RequestForm::Mptcp(Family::V4), on_row)?;
        match self.dump_form(request, RequestForm::Mptcp(Family::V6), on_row) {
            Ok(v6) => Ok(if v4 == Dumped::Whole { v6 } else { v4 }),
            Err(NetlinkError::Refused(error)) if no_such_family(&error) => Ok(v4),
            Err(error) => Err(error),
        }
    }

    fn dump_form(
        &mut self,
        request: &DumpRequest,
        form: RequestForm,
        on_row: &mut dyn FnMut(&[u8]),
    ) -> Result<Dumped, NetlinkError> {
        for _ in 0..Self::ATTEMPTS {
            self.sequence += 1;
            self.send(&request.to_bytes(form, self.sequence))?;
            match self.receive_dump(on_row) {
                Ok(Dumped::Interrupted) => {}
                Err(NetlinkError::Receive(error)) if is(&error, Errno::NOBUFS) => {}
                ended => return ended,
            }
        }
        Ok(Dumped::Interrupted)
    }

    fn receive_dump(&mut self, on_row: &mut dyn FnMut(&[u8])) -> Result<Dumped, NetlinkError> {
        let mut interrupted = false;
        loop {
            let length = self.receive()?;
            for message in Messages::new(&self.buffer[..length]) {
                // Whatever it was, it may have been a row.
                interrupted |= message.payload == Payload::Lost;
                // An answer to a request that was given up before.
                if message.sequence != self.sequence {
                    continue;
                }
                interrupted |= message.interrupted;
                match message.payload {
                    Payload::Row(row) => on_row(row),
                    Payload::Done(0) if interrupted => return Ok(Dumped::Interrupted),
                    Payload::Done(0) => return Ok(Dumped::Whole),
                    Payload::Done(errno) | Payload::Error(errno) => {
                        return Err(NetlinkError::Refused(io::Error::from_raw_os_error(errno)));
                    }
                    Payload::Lost | Payload::Other => {}
                }
            }
        }
    }

    /// Looks up single sockets by `(local, remote)`. `on_answer` gets the position in `pairs` and
    /// the row, or `None` if the kernel has no such socket.
    pub(super) fn look_up(
        &mut self,
        pairs: &[(SocketAddr, SocketAddr)],
        on_answer: &mut dyn FnMut(usize, Option<&[u8]>),
    ) -> Result<(), NetlinkError> {
        for (chunk_index, chunk) in pairs.chunks(Self::REQUESTS_AT_ONCE).enumerate() {
            let first = self.sequence + 1;
            let mut requests = Vec::new();
            for (local, remote) in chunk {
                self.sequence += 1;
                requests.extend(exact_request(*local, *remote, self.sequence));
            }
            self.send(&requests)?;
            let mut left = chunk.len();
            while left > 0 {
                let length = self.receive()?;
                for message in Messages::new(&self.buffer[..length]) {
                    let Some(offset) = message.sequence.checked_sub(first) else {
                        continue;
                    };
                    let index = chunk_index * Self::REQUESTS_AT_ONCE + offset as usize;
                    match message.payload {
                        Payload::Row(row) => on_answer(index, Some(row)),
                        Payload::Error(errno) if errno == Errno::NOENT.raw_os_error() => {
                            on_answer(index, None);
                        }
                        Payload::Error(0) | Payload::Done(_) | Payload::Lost | Payload::Other => {
                            continue;
                        }
                        Payload::Error(errno) => {
                            return Err(NetlinkError::Refused(io::Error::from_raw_os_error(errno)));
                        }
                    }
                    left = left.saturating_sub(1);
                }
            }
        }
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), NetlinkError> {
        retry_interrupted(|| self.transport.send(bytes)).map_err(NetlinkError::Send)
    }

    fn receive(&mut self) -> Result<usize, NetlinkError> {
        let length = retry_interrupted(|| self.transport.receive(&mut self.buffer))
            .map_err(NetlinkError::Receive)?;
        if length > self.buffer.len() {
            return Err(NetlinkError::Truncated(length));
        }
        if length == 0 {
            let closed = io::Error::from(io::ErrorKind::UnexpectedEof);
            return Err(NetlinkError::Receive(closed));
        }
        Ok(length)
    }
}

fn retry_interrupted<R>(mut call: impl FnMut() -> io::Result<R>) -> io::Result<R> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

fn no_such_family(error: &io::Error) -> bool {
    [Errno::NOENT, Errno::AFNOSUPPORT, Errno::OPNOTSUPP]
        .iter()
        .any(|errno| is(error, *errno))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::model::TcpState;

    /// A kernel that gives prepared answers, in which sequence numbers are relative to the last
    /// request.
    #[derive(Default)]
    struct Script {
        answers: VecDeque<io::Result<Vec<u8>>>,
        kinds_sent: Vec<u16>,
        last_sequence: u32,
    }

    impl Transport for Script {
        fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.kinds_sent
                .push(u16::from_ne_bytes([bytes[4], bytes[5]]));
            self.last_sequence = u32::from_ne_bytes(*bytes[8..].first_chunk().unwrap());
            Ok(())
        }

        fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let mut answer = self.answers.pop_front().expect("the script has ended")?;
            let sequences = answer.chunks_exact_mut(24);
            for sequence in sequences.map(|message| &mut message[8..12]) {
                let relative = u32::from_ne_bytes(*sequence.first_chunk().unwrap());
                let absolute = self.last_sequence.wrapping_add(relative);
                sequence.copy_from_slice(&absolute.to_ne_bytes());
            }
            let fits = answer.len().min(buffer.len());
            buffer[..fits].copy_from_slice(&answer[..fits]);
            Ok(answer.len())
        }
    }

    const DONE: u16 = 3;
    const ERROR: u16 = 2;
    const OVERRUN: u16 = 4;
    const ROW: u16 = 20;
    const DUMP_INTR: u16 = 16;

    /// Messages of 24 bytes: kind, flags, first word of the body.
    fn datagram(messages: &[(u16, u16, i32)]) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        for (kind, flags, word) in messages {
            bytes.extend(24_u32.to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(flags.to_ne_bytes());
            bytes.extend([0; 8]);
            bytes.extend(word.to_ne_bytes());
            bytes.extend([0; 4]);
        }
        Ok(bytes)
    }

    fn errno(errno: Errno) -> io::Result<Vec<u8>> {
        Err(errno.into())
    }

    fn dump(answers: Vec<io::Result<Vec<u8>>>) -> (Result<Dumped, String>, usize, Vec<u16>) {
        let script = Script {
            answers: answers.into(),
            ..Script::default()
        };
        let mut sock_diag = SockDiag::over(script);
        let request = DumpRequest {
            states: vec![TcpState::Listen],
            ports: None,
            details: true,
        };
        let mut rows = 0;
        let outcome = sock_diag.dump(&request, &mut |_| rows += 1);
        assert!(
            sock_diag.transport.answers.is_empty(),
            "answers were left unread"
        );
        (
            outcome.map_err(|error| error.to_string()),
            rows,
            sock_diag.transport.kinds_sent,
        )
    }

    #[test]
    fn reads_on_to_the_end_through_interruptions_by_signals() {
        let (outcome, rows, sent) = dump(vec![
            errno(Errno::INTR),
            datagram(&[(ROW, 0, 0), (ROW, 0, 0)]),
            errno(Errno::INTR),
            datagram(&[(ROW, 0, 0), (DONE, 0, 0)]),
        ]);
        assert_eq!((outcome, rows, sent), (Ok(Dumped::Whole), 3, vec![18]));
    }

    #[test]
    fn a_refusal_of_one_walk_leads_to_one_dump_a_family() {
        for refusal in [(ERROR, 0, -95), (DONE, 0, -95)] {
            let (outcome, rows, sent) = dump(vec![
                datagram(&[refusal]),
                datagram(&[(ROW, 0, 0), (DONE, 0, 0)]),
                datagram(&[(ROW, 0, 0), (DONE, 0, 0)]),
            ]);
            assert_eq!(
                (outcome, rows, sent),
                (Ok(Dumped::Whole), 2, vec![18, 20, 20])
            );
        }
    }

    #[test]
    fn a_kernel_without_ipv6_has_no_ipv6_sockets() {
        let (outcome, ..) = dump(vec![
            datagram(&[(ERROR, 0, -95)]),
            datagram(&[(DONE, 0, 0)]),
            datagram(&[(ERROR, 0, -2)]),
        ]);
        assert_eq!(outcome, Ok(Dumped::Whole));
    }

    #[test]
    fn an_error_in_either_place_is_an_error() {
        for refusal in [(ERROR, 0, -1), (DONE, 0, -1)] {
            let (outcome, ..) = dump(vec![datagram(&[refusal]), datagram(&[refusal])]);
            assert!(outcome.is_err_and(|text| text.contains("refused")));
        }
    }

    #[test]
    fn an_interrupted_dump_is_repeated_and_then_said_to_be_so() {
        let interrupted = || datagram(&[(ROW, DUMP_INTR, 0), (DONE, 0, 0)]);
        let whole = || datagram(&[(ROW, 0, 0), (DONE, 0, 0)]);
        assert_eq!(dump(vec![interrupted(), whole()]).0, Ok(Dumped::Whole));
        assert_eq!(
            dump(vec![errno(Errno::NOBUFS), whole()]).0,
            Ok(Dumped::Whole)
        );
        let (outcome, rows, _) = dump(vec![interrupted(), errno(Errno::NOBUFS), interrupted()]);
        assert_eq!((outcome, rows), (Ok(Dumped::Interrupted), 2));
    }

    /// The kernel says so in NLMSG_OVERRUN, or breaks off within a message.
    #[test]
    fn a_dump_with_a_hole_is_repeated_and_then_said_to_be_so() {
        let whole = || datagram(&[(ROW, 0, 0), (DONE, 0, 0)]);
        let overrun = || datagram(&[(ROW, 0, 0), (OVERRUN, 0, 0), (DONE, 0, 0)]);
        let torn = || {
            let mut bytes = datagram(&[(ROW, 0, 0), (ROW, 0, 0)]).unwrap();
            // Longer than all that is left.
            bytes[24] = 200;
            bytes.extend(datagram(&[(ROW, 0, 0)]).unwrap());
            Ok(bytes)
        };
        let done = || datagram(&[(DONE, 0, 0)]);
        let broken_off = || Ok(datagram(&[(ROW, 0, 0), (ROW, 0, 0)]).unwrap()[..40].to_vec());
        for with_hole in [
            vec![overrun()],
            vec![torn(), done()],
            vec![broken_off(), done()],
        ] {
            let repeated = with_hole.into_iter().chain([whole()]).collect();
            let (outcome, _, sent) = dump(repeated);
            assert_eq!((outcome, sent), (Ok(Dumped::Whole), vec![18, 18]));
        }
        let (outcome, rows, _) = dump(vec![overrun(), torn(), done(), overrun()]);
        assert_eq!((outcome, rows), (Ok(Dumped::Interrupted), 3));
    }

    #[test]
    fn answers_to_other_requests_are_none() {
        let mut stale = datagram(&[(ROW, 0, 0), (DONE, 0, 0)]).unwrap();
        for message in stale.chunks_exact_mut(24) {
            message[8..12].copy_from_slice(&(-1_i32).to_ne_bytes());
        }
        let (outcome, rows, _) = dump(vec![
            Ok(stale),
            datagram(&[(ROW, 0, 0), (ROW, 0, 0), (DONE, 0, 0)]),
        ]);
        assert_eq!((outcome, rows), (Ok(Dumped::Whole), 2));
    }

    #[test]
    fn silence_and_truncation_are_errors() {
        let (outcome, ..) = dump(vec![errno(Errno::AGAIN)]);
        assert!(outcome.is_err_and(|text| text.starts_with("receive")));
        // Rows, and no end.
        let (outcome, ..) = dump(vec![datagram(&[(ROW, 0, 0)]), errno(Errno::AGAIN)]);
        assert!(outcome.is_err_and(|text| text.starts_with("receive")));
        let (outcome, ..) = dump(vec![Ok(vec![0; 40_000])]);
        assert!(outcome.is_err_and(|text| text.contains("40000 bytes")));
        let (outcome, ..) = dump(vec![Ok(Vec::new())]);
        assert!(outcome.is_err());
    }

    #[test]
    fn single_look_ups_tell_found_from_gone() {
        let script = Script {
            answers: vec![datagram(&[(ROW, 0, 0)]), datagram(&[(ERROR, 0, -2)])].into(),
            ..Script::default()
        };
        let pair = (
            "127.0.0.1:1".parse().unwrap(),
            "127.0.0.1:2".parse().unwrap(),
        );
        let mut sock_diag = SockDiag::over(script);
        let mut answers = Vec::new();
        for _ in 0..2 {
            let mut note = |index, row: Option<&[u8]>| answers.push((index, row.is_some()));
            sock_diag.look_up(&[pair], &mut note).unwrap();
        }
        assert_eq!(answers, [(0, true), (0, false)]);
    }
}
