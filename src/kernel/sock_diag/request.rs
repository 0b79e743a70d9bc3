//! Requests for a dump of the table, and for one socket by its addresses.

use std::net::SocketAddr;

use netlink_packet_core::{Emitable, NLM_F_DUMP, NLM_F_REQUEST};
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP, SOCK_DIAG_BY_FAMILY};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};

use super::{ByteCode, TCPDIAG_GETSOCK};
use crate::model::{Family, TcpState};

/// Which dump request the kernel is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestForm {
    /// `TCPDIAG_GETSOCK`: IPv4 and IPv6 in one walk of the table.
    BothFamilies,
    /// `SOCK_DIAG_BY_FAMILY`: one walk a family, on every kernel since 3.3.
    OneFamily(Family),
    /// The same for MPTCP connections, each with the inode that its descriptor has; since 5.9.
    Mptcp(Family),
}

/// What to dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DumpRequest {
    /// The states of which rows are wanted.
    pub states: Vec<TcpState>,
    /// Only rows that this takes, if given.
    pub filter: Option<ByteCode>,
    /// With `tcp_info` and the other attributes that have to be asked for.
    pub details: bool,
}

const INET_DIAG_REQ_BYTECODE: u16 = 1;
const INET_DIAG_REQ_PROTOCOL: u16 = 3;
/// `sdiag_protocol` is a byte: this one says that an attribute has the number.
const IPPROTO_RAW: u8 = 255;
const IPPROTO_MPTCP: u32 = 262;

impl DumpRequest {
    /// The request as one netlink message with sequence number `sequence`.
    pub fn to_bytes(&self, form: RequestForm, sequence: u32) -> Vec<u8> {
        let states = self
            .states
            .iter()
            .fold(0, |mask, state| mask | 1_u32 << state.number());
        let states = StateFlags::from_bits_retain(states);
        let extensions = if self.details {
            wanted_extensions()
        } else {
            ExtensionFlags::empty()
        };
        let mut attributes = Vec::new();
        let (kind, body) = match form {
            RequestForm::OneFamily(family) | RequestForm::Mptcp(family) => {
                let protocol = match form {
                    RequestForm::Mptcp(_) => {
                        let number = IPPROTO_MPTCP.to_ne_bytes();
                        push_attribute(&mut attributes, INET_DIAG_REQ_PROTOCOL, &number);
                        IPPROTO_RAW
                    }
                    _ => IPPROTO_TCP,
                };
                let request = InetRequest {
                    family: family_number(family),
                    protocol,
                    extensions,
                    states,
                    socket_id: SocketId::new_v4(),
                };
                (SOCK_DIAG_BY_FAMILY, emit(&request))
            }
            RequestForm::BothFamilies => {
                // struct inet_diag_req: family, src_len, dst_len, ext, id[48], states, dbs.
                let mut body = vec![0, 0, 0, extensions.bits()];
                body.resize(4 + 48, 0);
                body.extend(states.bits().to_ne_bytes());
                body.extend(0_u32.to_ne_bytes());
                (TCPDIAG_GETSOCK, body)
            }
        };
        if let Some(filter) = &self.filter {
            push_attribute(&mut attributes, INET_DIAG_REQ_BYTECODE, filter.bytes());
        }
        let flags = NLM_F_REQUEST | NLM_F_DUMP;
        message(kind, flags, sequence, &body, &attributes)
    }
}

/// A request for the one socket between `local` and `remote`, as one netlink message.
///
/// The kernel answers with its row or with ENOENT; where no connection matches but a listener
/// does, it answers with the listener's row (`inet_diag_find_one_icsk`).
pub fn exact_request(local: SocketAddr, remote: SocketAddr, sequence: u32) -> Vec<u8> {
    // The look-up takes the addresses as the packet would have them: a v4-mapped socket is found
    // under its IPv4 addresses.
    let (local_ip, remote_ip) = (local.ip().to_canonical(), remote.ip().to_canonical());
    let family = if local_ip.is_ipv4() {
        Family::V4
    } else {
        Family::V6
    };
    let mut socket_id = match family {
        Family::V4 => SocketId::new_v4(),
        Family::V6 => SocketId::new_v6(),
    };
    socket_id.source_address = local_ip;
    socket_id.destination_address = remote_ip;
    socket_id.source_port = local.port();
    socket_id.destination_port = remote.port();
    socket_id.cookie = [0xff; 8];
    let request = InetRequest {
        family: family_number(family),
        protocol: IPPROTO_TCP,
        extensions: wanted_extensions(),
        states: StateFlags::from_bits_retain(u32::MAX),
        socket_id,
    };
    message(
        SOCK_DIAG_BY_FAMILY,
        NLM_F_REQUEST,
        sequence,
        &emit(&request),
        &[],
    )
}

/// Attributes with a number above 8 cannot be asked for; those that are wanted (CGROUP_ID,
/// SKV6ONLY, ULP_INFO) come unasked.
fn wanted_extensions() -> ExtensionFlags {
    ExtensionFlags::INFO | ExtensionFlags::SKMEMINFO | ExtensionFlags::SHUTDOWN
}

fn family_number(family: Family) -> u8 {
    match family {
        Family::V4 => AF_INET,
        Family::V6 => AF_INET6,
    }
}

fn emit(request: &InetRequest) -> Vec<u8> {
    let mut body = vec![0; request.buffer_len()];
    request.emit(&mut body);
    body
}

/// A netlink attribute; the contents here are all multiples of four bytes.
fn push_attribute(to: &mut Vec<u8>, kind: u16, content: &[u8]) {
    let length = u16::try_from(4 + content.len()).unwrap_or(u16::MAX);
    to.extend(length.to_ne_bytes());
    to.extend(kind.to_ne_bytes());
    to.extend(content);
}

fn message(kind: u16, flags: u16, sequence: u32, body: &[u8], attributes: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend(body);
    bytes.extend(attributes);
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    bytes[..4].copy_from_slice(&length.to_ne_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_have_the_kernels_layout() {
        let request = DumpRequest {
            states: vec![TcpState::Listen, TcpState::CloseWait],
            filter: None,
            details: true,
        };
        let legacy = request.to_bytes(RequestForm::BothFamilies, 9);
        assert_eq!(legacy.len(), 16 + 60);
        assert_eq!(legacy[4..6], TCPDIAG_GETSOCK.to_ne_bytes());
        assert_eq!(
            legacy[16..20],
            [0, 0, 0, 0b1100_0010],
            "INFO, SKMEMINFO and SHUTDOWN"
        );
        assert_eq!(legacy[16 + 52..16 + 56], 0x500_u32.to_ne_bytes());

        let family = request.to_bytes(RequestForm::OneFamily(Family::V6), 9);
        assert_eq!(family.len(), 16 + 56);
        assert_eq!(family[16..20], [AF_INET6, IPPROTO_TCP, 0b1100_0010, 0]);
        assert_eq!(family[20..24], 0x500_u32.to_ne_bytes());

        let mptcp = request.to_bytes(RequestForm::Mptcp(Family::V4), 9);
        assert_eq!(mptcp[..4], 80_u32.to_ne_bytes());
        assert_eq!(mptcp[16..18], [AF_INET, 255]);
        assert_eq!(
            mptcp[72..76],
            [8_u16.to_ne_bytes(), 3_u16.to_ne_bytes()].concat()
        );
        assert_eq!(mptcp[76..], 262_u32.to_ne_bytes());
    }

    #[test]
    fn an_exact_request_asks_with_ipv4_for_mapped_addresses() {
        let bytes = exact_request(
            "[::ffff:127.0.0.1]:80".parse().unwrap(),
            "[::ffff:127.0.0.2]:4000".parse().unwrap(),
            1,
        );
        assert_eq!(bytes[16], AF_INET);
        assert_eq!(bytes[24..26], 80_u16.to_be_bytes());
        assert_eq!(bytes[28..32], [127, 0, 0, 1]);
        assert_eq!(bytes[16 + 56 - 8..], [0xff; 8], "any cookie");
    }
}
