//! sock_diag over netlink (`man 7 sock_diag`): requests to bytes, answers to socket entries.
//!
//! The requests and constants are `netlink-packet-sock-diag`'s; the answers are read here, by
//! length and without a copy, since the crate's parser fails a whole message when one attribute is
//! shorter than the struct it knows (an older kernel's `tcp_info`, say).

mod byte_code;
mod message;
mod request;
mod row;
mod tcp_info;

pub use byte_code::ByteCode;
pub use message::{Messages, Payload};
pub use request::{DumpRequest, RequestForm, exact_request};
pub use row::{RowError, RowHead, parse_row};
pub use tcp_info::parse_tcp_info;

/// `nlmsg_type` of the request that walks IPv4 and IPv6 in one dump (`TCPDIAG_GETSOCK`).
pub(crate) const TCPDIAG_GETSOCK: u16 = 18;

/// Reads a native-endian `u32` at `offset`, if the bytes reach that far.
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// Reads a native-endian `u64` at `offset`, if the bytes reach that far.
pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(offset..)?.first_chunk()?))
}
