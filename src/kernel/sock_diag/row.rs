//! One row: `struct inet_diag_msg` (`include/uapi/linux/inet_diag.h`) and its attributes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use netlink_packet_sock_diag::constants::{
    AF_INET, AF_INET6, INET_DIAG_INFO, INET_DIAG_SHUTDOWN, INET_DIAG_SKMEMINFO, INET_DIAG_SKV6ONLY,
};

use super::{parse_tcp_info, u32_at, u64_at};
use crate::model::{Cookie, Family, Inode, Netns, Queues, Shutdown, SocketEntry, TcpState, Timer};

/// Attributes that `netlink-packet-sock-diag` 0.5 has no constants for.
const INET_DIAG_ULP_INFO: u16 = 19;
const INET_DIAG_CGROUP_ID: u16 = 21;
const INET_ULP_INFO_NAME: u16 = 1;
/// Index of `SK_MEMINFO_DROPS` in the array of `INET_DIAG_SKMEMINFO`.
const SK_MEMINFO_DROPS: usize = 8;

/// A row that could not be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// Shorter than `struct inet_diag_msg`.
    #[error("row of {0} bytes is shorter than struct inet_diag_msg (72)")]
    Short(usize),
    /// Neither AF_INET nor AF_INET6.
    #[error("row of address family {0}")]
    Family(u8),
}

/// The fixed part of a row, cheap to read: enough to decide whether the rest is wanted.
#[derive(Debug, Clone, Copy)]
pub struct RowHead<'a> {
    bytes: &'a [u8],
    family: Family,
}

const HEAD: usize = 72;

impl<'a> RowHead<'a> {
    /// Checks length and family.
    pub fn new(bytes: &'a [u8]) -> Result<RowHead<'a>, RowError> {
        if bytes.len() < HEAD {
            return Err(RowError::Short(bytes.len()));
        }
        let family = match bytes[0] {
            AF_INET => Family::V4,
            AF_INET6 => Family::V6,
            other => return Err(RowError::Family(other)),
        };
        Ok(RowHead { bytes, family })
    }

    /// `idiag_state`.
    pub fn state(&self) -> TcpState {
        TcpState::from_number(self.bytes[1])
    }

    /// `idiag_sport`.
    pub fn local_port(&self) -> u16 {
        u16::from_be_bytes([self.bytes[4], self.bytes[5]])
    }

    /// `idiag_inode`.
    pub fn inode(&self) -> Option<Inode> {
        Some(u64::from(self.u32(68)))
            .filter(|inode| *inode != 0)
            .map(Inode)
    }

    /// `idiag_cookie`, stored as two words, low half first.
    pub fn cookie(&self) -> Cookie {
        Cookie(u64::from(self.u32(44)) | u64::from(self.u32(48)) << 32)
    }

    fn u32(&self, offset: usize) -> u32 {
        u32_at(self.bytes, offset).unwrap_or(0)
    }

    fn address(&self, address: usize, port: usize) -> SocketAddr {
        let bytes = &self.bytes[address..address + 16];
        let ip = match self.family {
            Family::V4 => IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3])),
            Family::V6 => IpAddr::V6(Ipv6Addr::from(*bytes.first_chunk().unwrap_or(&[0; 16]))),
        };
        SocketAddr::new(
            ip,
            u16::from_be_bytes([self.bytes[port], self.bytes[port + 1]]),
        )
    }
}

/// Reads a row of the table of namespace `netns`: head and attributes.
///
/// An attribute that is missing or too short leaves its field `None`; the row is kept.
pub fn parse_row(bytes: &[u8], netns: Netns) -> Result<SocketEntry, RowError> {
    let head = RowHead::new(bytes)?;
    let state = head.state();
    let (rqueue, wqueue) = (head.u32(56), head.u32(60));
    let mut entry = SocketEntry {
        netns,
        cookie: Some(head.cookie()),
        inode: head.inode(),
        family: head.family,
        state,
        local: head.address(8, 4),
        remote: head.address(24, 6),
        bound_device: Some(head.u32(40)).filter(|index| *index != 0),
        uid: head.u32(64),
        queues: match state {
            TcpState::Listen => Queues::Listen {
                accept_queue: rqueue,
                backlog: Some(wqueue),
            },
            _ => Queues::Stream {
                recv_q: rqueue,
                send_q: wqueue,
            },
        },
        timer: Timer::from_number(bytes[2]),
        shutdown: None,
        v6only: None,
        drops: None,
        cgroup_id: None,
        ulp: None,
        info: None,
    };
    for (kind, value) in Attributes(&bytes[HEAD..]) {
        match kind {
            INET_DIAG_INFO => entry.info = parse_tcp_info(value),
            INET_DIAG_SHUTDOWN => entry.shutdown = value.first().copied().map(Shutdown),
            INET_DIAG_SKV6ONLY => entry.v6only = value.first().map(|flag| *flag != 0),
            INET_DIAG_SKMEMINFO => entry.drops = u32_at(value, SK_MEMINFO_DROPS * 4),
            INET_DIAG_CGROUP_ID => entry.cgroup_id = u64_at(value, 0),
            INET_DIAG_ULP_INFO => entry.ulp = ulp_name(value),
            _ => {}
        }
    }
    Ok(entry)
}

fn ulp_name(nested: &[u8]) -> Option<String> {
    let (_, name) = Attributes(nested).find(|(kind, _)| *kind == INET_ULP_INFO_NAME)?;
    let name = name.split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(name).into_owned())
}

/// Netlink attributes, by length. Ends at the first one that does not fit.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        const NLA_TYPE_MASK: u16 = 0x3fff;
        let bytes = std::mem::take(&mut self.0);
        let length = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        let kind = u16::from_ne_bytes(*bytes.get(2..)?.first_chunk()?);
        let value = bytes.get(4..length)?;
        self.0 = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & NLA_TYPE_MASK, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = u16::try_from(4 + value.len())
            .unwrap()
            .to_ne_bytes()
            .to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    /// A listener on 10.0.0.7:8080 as the kernel lays it out, field by field.
    fn listener() -> Vec<u8> {
        let mut row = vec![
            AF_INET, 10, 0, 0, // family, state, timer, retrans
            0x1f, 0x90, 0, 0, // source and destination port, network order
            10, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // source
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // destination
        ];
        for word in [3_u32, 0x11, 0x22, 0, 8, 511, 33, 4026] {
            row.extend(word.to_ne_bytes()); // if, cookie, expires, rqueue, wqueue, uid, inode
        }
        row
    }

    #[test]
    fn reads_a_listener() {
        let mut row = listener();
        row.extend(attribute(INET_DIAG_SHUTDOWN, &[0]));
        let mut memory = [0_u8; 36];
        memory[32] = 5;
        row.extend(attribute(INET_DIAG_SKMEMINFO, &memory));
        row.extend(attribute(INET_DIAG_CGROUP_ID, &77_u64.to_ne_bytes()));
        let nested = attribute(INET_ULP_INFO_NAME, b"mptcp\0");
        row.extend(attribute(INET_DIAG_ULP_INFO | 0x8000, &nested));
        let entry = parse_row(&row, Netns(1)).unwrap();
        assert_eq!(entry.local, "10.0.0.7:8080".parse().unwrap());
        assert_eq!(
            entry.queues,
            Queues::Listen {
                accept_queue: 8,
                backlog: Some(511)
            }
        );
        assert_eq!((entry.inode, entry.uid), (Some(Inode(4026)), 33));
        assert_eq!(entry.cookie, Some(Cookie(0x22_0000_0011)));
        assert_eq!(entry.bound_device, Some(3));
        assert_eq!((entry.drops, entry.cgroup_id), (Some(5), Some(77)));
        assert_eq!(entry.ulp.as_deref(), Some("mptcp"));
        assert_eq!(entry.info, None);
    }

    #[test]
    fn short_and_odd_attributes_cost_their_field_and_no_more() {
        let mut row = listener();
        row.extend(attribute(INET_DIAG_SKMEMINFO, &[0; 32])); // before SK_MEMINFO_DROPS (4.7)
        row.extend(attribute(INET_DIAG_INFO, &[0; 20]));
        row.extend(attribute(999, b"from the future"));
        row.extend(attribute(INET_DIAG_SHUTDOWN, &[1]));
        row.extend([200, 0, 8, 0, 1]); // claims 200 bytes
        let entry = parse_row(&row, Netns(1)).unwrap();
        assert_eq!((entry.drops, entry.info), (None, None));
        assert_eq!(entry.shutdown, Some(Shutdown(1)));
    }

    #[test]
    fn refuses_what_is_no_row() {
        assert_eq!(parse_row(&[2; 71], Netns(1)), Err(RowError::Short(71)));
        let mut row = listener();
        row[0] = 1;
        assert_eq!(parse_row(&row, Netns(1)), Err(RowError::Family(1)));
    }
}
