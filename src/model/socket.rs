//! One row of the kernel's TCP socket table.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use super::human_duration;

/// A network namespace, named by the inode of its `nsfs` file (`readlink /proc/PID/ns/net`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Netns(pub u64);

/// The kernel's identity of a socket, unique within its namespace for as long as the machine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cookie(pub u64);

/// Inode number of a socket's file, unique over the whole machine (facts O8). Never zero: a socket
/// entry without one has no file, and so no descriptor (facts Q3, Q4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Inode(pub u64);

/// Address family of the socket itself. An IPv6 socket that talks IPv4 has v4-mapped addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// `AF_INET`
    V4,
    /// `AF_INET6`
    V6,
}

/// TCP states by the kernel's numbers (`include/net/tcp_states.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are the kernel's own")]
pub enum TcpState {
    Established,
    SynSent,
    SynRecv,
    FinWait1,
    FinWait2,
    TimeWait,
    Close,
    CloseWait,
    LastAck,
    Listen,
    Closing,
    /// A number that this version does not know.
    Unknown(u8),
}

/// The two queue numbers of a row, which mean different things for listeners (facts Q1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queues {
    /// A listener's.
    Listen {
        /// Connections that wait for `accept()`.
        accept_queue: u32,
        /// The limit of that queue; `/proc/net/tcp` does not tell.
        backlog: Option<u32>,
    },
    /// Any other socket's.
    Stream {
        /// Bytes not read by the program; an unread FIN counts one (facts W1).
        recv_q: u32,
        /// Bytes not acknowledged by the far end.
        send_q: u32,
    },
}

/// The timer that is armed (`idiag_timer`; `tr` in `/proc/net/tcp`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// None.
    Off,
    /// Data waits for an acknowledgement.
    Retransmit,
    /// Keepalive; its answers make `since_ack_received` younger than the FIN.
    Keepalive,
    /// TIME_WAIT.
    TimeWait,
    /// The far end's window is full.
    ZeroWindow,
    /// A number that this version does not know.
    Unknown(u8),
}

impl Timer {
    /// From the kernel's number.
    pub fn from_number(number: u8) -> Timer {
        match number {
            0 => Timer::Off,
            1 => Timer::Retransmit,
            2 => Timer::Keepalive,
            3 => Timer::TimeWait,
            4 => Timer::ZeroWindow,
            other => Timer::Unknown(other),
        }
    }
}

/// Which halves of the connection are shut down (facts W5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shutdown(pub u8);

/// Who opened a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// The far end did; this side accepted it or still has to.
    Inbound,
    /// This side called `connect()`.
    Outbound,
}

/// The part of `struct tcp_info` that diagnosis uses. A field is `None` where the kernel's
/// struct is too short to have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TcpInfo {
    /// `tcpi_options`: `TCPI_OPT_*` bits.
    pub options: u8,
    /// `tcpi_rtt`, in microseconds.
    pub rtt_us: u32,
    /// `tcpi_unacked`: segments in flight.
    pub unacked: u32,
    /// `tcpi_last_data_sent`: since this side last sent data; since the creation of the socket
    /// if it never did (facts Q5).
    pub since_data_sent: Duration,
    /// `tcpi_last_data_recv`: since data last arrived.
    pub since_data_received: Duration,
    /// `tcpi_last_ack_recv`: since an ACK last arrived. The FIN carries one (facts W3).
    pub since_ack_received: Duration,
    /// `tcpi_bytes_acked`, 4.1 and later. Counts the SYN of a socket that called `connect()`.
    pub bytes_acked: Option<u64>,
    /// `tcpi_bytes_received`, 4.1 and later.
    pub bytes_received: Option<u64>,
    /// `tcpi_bytes_sent`, 4.19 and later. Counts what was sent again.
    pub bytes_sent: Option<u64>,
    /// `tcpi_bytes_retrans`, 4.19 and later.
    pub bytes_retransmitted: Option<u64>,
}

/// One row of the socket table, whatever its state.
///
/// A field is `None` where the row's source does not carry it: `/proc/net/tcp` has no cookie,
/// no `tcp_info`, no attributes; a request socket (SYN_RECV) has few.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketEntry {
    /// The namespace whose table was read.
    pub netns: Netns,
    /// `idiag_cookie`.
    pub cookie: Option<Cookie>,
    /// `idiag_inode`; `None` if it was zero.
    pub inode: Option<Inode>,
    /// `idiag_family`.
    pub family: Family,
    /// `idiag_state`.
    pub state: TcpState,
    /// `idiag_src`, `idiag_sport`.
    pub local: SocketAddr,
    /// `idiag_dst`, `idiag_dport`.
    pub remote: SocketAddr,
    /// `idiag_if`: index of the device the socket is bound to.
    pub bound_device: Option<u32>,
    /// `idiag_uid`: the user who created the socket.
    pub uid: u32,
    /// `idiag_rqueue`, `idiag_wqueue`.
    pub queues: Queues,
    /// `idiag_timer`.
    pub timer: Timer,
    /// `INET_DIAG_SHUTDOWN`.
    pub shutdown: Option<Shutdown>,
    /// `INET_DIAG_SKV6ONLY`, for IPv6 listeners.
    pub v6only: Option<bool>,
    /// `SK_MEMINFO_DROPS` of `INET_DIAG_SKMEMINFO` (facts Q7).
    pub drops: Option<u32>,
    /// `INET_DIAG_CGROUP_ID`.
    pub cgroup_id: Option<u64>,
    /// `INET_ULP_INFO_NAME` of `INET_DIAG_ULP_INFO`: `tls`, `mptcp`, …
    pub ulp: Option<String>,
    /// `INET_DIAG_INFO`.
    pub info: Option<TcpInfo>,
}

impl SocketEntry {
    /// True for a connection that no program has accepted yet (facts Q3, Q4).
    ///
    /// A TCP Fast Open child is queued while still in SYN_RECV; unlike a request socket it is a
    /// full socket and so has `tcp_info`.
    pub fn is_unaccepted(&self) -> bool {
        self.inode.is_none()
            && match self.state {
                TcpState::Established | TcpState::CloseWait => true,
                TcpState::SynRecv => self.info.is_some(),
                _ => false,
            }
    }

    /// `(recv_q, send_q)` of a connection; a listener has none.
    pub fn stream_queues(&self) -> Option<(u32, u32)> {
        match self.queues {
            Queues::Stream { recv_q, send_q } => Some((recv_q, send_q)),
            Queues::Listen { .. } => None,
        }
    }

    /// How long an unaccepted connection has waited (facts Q5).
    pub fn wait(&self) -> Option<Duration> {
        self.info.map(|info| info.since_data_sent)
    }

    /// Lower bound of the time since the FIN arrived, for a socket in CLOSE_WAIT (facts W3).
    pub fn close_wait_age(&self) -> Option<Duration> {
        self.info.map(|info| info.since_ack_received)
    }

    /// Whether a socket in CLOSE_WAIT may have been in it for `age`. True where that cannot be told.
    ///
    /// The answer to a keepalive probe is an ACK like that of the FIN, and makes the socket look as
    /// young as itself: with Go's probes, one every 15 s, never older than that. So with such a
    /// timer it is enough that no data has moved for `age`, and that the last ACK is no news.
    pub fn may_be_in_close_wait_for(&self, age: Duration) -> bool {
        const NEWS: Duration = Duration::from_secs(1);
        self.info.is_none_or(|info| {
            let idle = info.since_data_sent.min(info.since_data_received);
            info.since_ack_received >= age
                || self.timer == Timer::Keepalive && idle >= age && info.since_ack_received >= NEWS
        })
    }
}

/// What happened on a connection, as times before now: what a capture of its packets would show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeline {
    /// The handshake was done; known as long as this side has sent nothing (facts Q5).
    pub established: Option<Duration>,
    /// Data last arrived; `None` if none ever did.
    pub data_received: Option<Duration>,
    /// The far end closed its side, at the latest (facts W3); `None` if it has not.
    pub fin: Option<Duration>,
    /// This side last sent data; `None` if it never did.
    pub data_sent: Option<Duration>,
}

impl SocketEntry {
    /// The connection's history, from one sample; `None` for a listener, without `tcp_info`, or if
    /// that is too short to tell what was sent and received.
    pub fn timeline(&self) -> Option<Timeline> {
        let info = self.info.filter(|_| self.state != TcpState::Listen)?;
        let closed = self.state == TcpState::CloseWait;
        // The FIN takes a sequence number and is counted as a byte received.
        let received = info.bytes_received? > u64::from(closed);
        let sent = info.bytes_sent? > 0;
        Some(Timeline {
            established: (!sent).then_some(info.since_data_sent),
            data_received: received.then_some(info.since_data_received),
            fin: closed.then_some(info.since_ack_received),
            data_sent: sent.then_some(info.since_data_sent),
        })
    }
}

impl fmt::Display for Timeline {
    /// `established 4.1 s ago, data received 4.0 s ago, FIN 3.9 s ago, nothing sent`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ago = |what: &str, time: Duration| format!("{what} {} ago", human_duration(time));
        let mut parts = Vec::new();
        parts.extend(self.established.map(|time| ago("established", time)));
        parts.push(match self.data_received {
            Some(time) => ago("data received", time),
            None => "no data received".into(),
        });
        parts.extend(self.fin.map(|time| ago("FIN", time)));
        parts.push(match self.data_sent {
            Some(time) => ago("data sent", time),
            None => "nothing sent".into(),
        });
        f.write_str(&parts.join(", "))
    }
}

impl TcpInfo {
    const OPT_SYN_DATA: u8 = 32;

    /// Who opened the connection, from one sample, where the counters tell.
    ///
    /// `bytes_acked` counts from the SYN on the side that called `connect()` and from behind it
    /// on the side that accepted (`tcp_create_openreq_child` sets `snd_una` past the SYN-ACK,
    /// `net/ipv4/tcp_minisocks.c`). With nothing in flight it exceeds the bytes sent once by one
    /// on the first and by none on the second. Seen on Linux 6.18, kept by a kernel test.
    pub fn direction(&self) -> Option<Direction> {
        if self.unacked != 0 || self.options & Self::OPT_SYN_DATA != 0 {
            return None;
        }
        let sent_once = self.bytes_sent?.checked_sub(self.bytes_retransmitted?)?;
        match self.bytes_acked?.checked_sub(sent_once)? {
            0 => Some(Direction::Inbound),
            1 => Some(Direction::Outbound),
            _ => None,
        }
    }
}

impl Shutdown {
    /// The receiving half is shut down: a FIN has arrived.
    pub fn receive(self) -> bool {
        self.0 & 1 != 0
    }

    /// The sending half is shut down: this side has sent its FIN.
    pub fn send(self) -> bool {
        self.0 & 2 != 0
    }
}

impl TcpState {
    const NAMED: [(u8, TcpState, &'static str); 11] = [
        (1, TcpState::Established, "ESTABLISHED"),
        (2, TcpState::SynSent, "SYN_SENT"),
        (3, TcpState::SynRecv, "SYN_RECV"),
        (4, TcpState::FinWait1, "FIN_WAIT1"),
        (5, TcpState::FinWait2, "FIN_WAIT2"),
        (6, TcpState::TimeWait, "TIME_WAIT"),
        (7, TcpState::Close, "CLOSE"),
        (8, TcpState::CloseWait, "CLOSE_WAIT"),
        (9, TcpState::LastAck, "LAST_ACK"),
        (10, TcpState::Listen, "LISTEN"),
        (11, TcpState::Closing, "CLOSING"),
    ];

    /// Every state with a name, in the kernel's order.
    pub fn all() -> impl Iterator<Item = TcpState> {
        Self::NAMED.iter().map(|(_, state, _)| *state)
    }

    /// From the kernel's number. `TCP_NEW_SYN_RECV` (12) is a request socket, shown as SYN_RECV.
    pub fn from_number(number: u8) -> TcpState {
        match number {
            12 => TcpState::SynRecv,
            _ => Self::NAMED
                .iter()
                .find(|(known, ..)| *known == number)
                .map_or(TcpState::Unknown(number), |(_, state, _)| *state),
        }
    }

    /// The kernel's number.
    pub fn number(self) -> u8 {
        match self {
            TcpState::Unknown(number) => number,
            named => Self::NAMED
                .iter()
                .find(|(_, state, _)| *state == named)
                .map_or(0, |(number, ..)| *number),
        }
    }
}

impl fmt::Display for TcpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMED.iter().find(|(_, state, _)| state == self) {
            Some((.., name)) => f.pad(name),
            None => f.pad(&format!("STATE_{}", self.number())),
        }
    }
}

/// What was typed is no TCP state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a TCP state (LISTEN, ESTABLISHED, CLOSE_WAIT, …)")]
pub struct UnknownState(pub String);

impl FromStr for TcpState {
    type Err = UnknownState;

    /// Takes the kernel's names in any case, with `-` or `_`, and the short forms of ss and
    /// netstat (`estab`, `syn-rcv`, `closed`, `fin-wait-1`).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.to_ascii_uppercase().replace('-', "_");
        let name = match name.as_str() {
            "ESTAB" => "ESTABLISHED",
            "SYN_RCV" => "SYN_RECV",
            "FIN_WAIT_1" => "FIN_WAIT1",
            "FIN_WAIT_2" => "FIN_WAIT2",
            "CLOSED" | "UNCONN" => "CLOSE",
            "LISTENING" => "LISTEN",
            other => other,
        };
        Self::NAMED
            .iter()
            .find(|(.., known)| *known == name)
            .map(|(_, state, _)| *state)
            .ok_or_else(|| UnknownState(text.to_owned()))
    }
}

impl fmt::Display for Cookie {
    /// As in ss's `sk:` column, without the prefix.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Direction::Inbound => "inbound",
            Direction::Outbound => "outbound",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read_as_people_write_them() {
        let check = |text: &str, expect: TcpState| assert_eq!(text.parse(), Ok(expect), "{text}");
        check("CLOSE_WAIT", TcpState::CloseWait);
        check("close-wait", TcpState::CloseWait);
        check("ESTAB", TcpState::Established);
        check("syn-rcv", TcpState::SynRecv);
        check("fin-wait-2", TcpState::FinWait2);
        assert_eq!("open".parse::<TcpState>(), Err(UnknownState("open".into())));
        for state in TcpState::all() {
            check(&state.to_string(), state);
            assert_eq!(TcpState::from_number(state.number()), state);
        }
        assert_eq!(TcpState::from_number(12), TcpState::SynRecv);
        assert_eq!(TcpState::from_number(99), TcpState::Unknown(99));
    }

    #[test]
    fn direction_needs_settled_counters() {
        let info = |acked, sent, retransmitted, unacked| TcpInfo {
            bytes_acked: Some(acked),
            bytes_sent: Some(sent),
            bytes_retransmitted: Some(retransmitted),
            unacked,
            ..TcpInfo::default()
        };
        assert_eq!(info(0, 0, 0, 0).direction(), Some(Direction::Inbound));
        assert_eq!(info(1, 0, 0, 0).direction(), Some(Direction::Outbound));
        assert_eq!(info(101, 130, 30, 0).direction(), Some(Direction::Outbound));
        assert_eq!(info(50, 100, 0, 2).direction(), None, "in flight");
        assert_eq!(info(7, 3, 0, 0).direction(), None, "does not add up");
        assert_eq!(TcpInfo::default().direction(), None, "an old kernel");
    }

    #[test]
    fn a_timeline_is_what_a_capture_would_show() {
        let mut entry = crate::join::test_rows::connection("127.0.0.1:80", TcpState::CloseWait);
        let check = |entry: &SocketEntry, expect: Option<&str>| {
            assert_eq!(entry.timeline().map(|t| t.to_string()).as_deref(), expect);
        };
        check(&entry, None);
        let seconds = Duration::from_secs;
        let stranded = TcpInfo {
            since_data_sent: seconds(4),
            since_data_received: seconds(3),
            since_ack_received: seconds(2),
            bytes_received: Some(46),
            bytes_sent: Some(0),
            ..TcpInfo::default()
        };
        entry.info = Some(stranded);
        let text = "established 4.0 s ago, data received 3.0 s ago, FIN 2.0 s ago, nothing sent";
        check(&entry, Some(text));
        entry.info = Some(TcpInfo {
            bytes_received: Some(1),
            bytes_sent: Some(9),
            ..stranded
        });
        check(
            &entry,
            Some("no data received, FIN 2.0 s ago, data sent 4.0 s ago"),
        );
    }
}
