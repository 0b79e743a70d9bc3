//! `struct tcp_info` (`include/uapi/linux/tcp.h`), which grows with every kernel: read by length.

use std::time::Duration;

use super::{u32_at, u64_at};
use crate::model::TcpInfo;

/// Reads as much of a `struct tcp_info` as `bytes` has.
///
/// `None` if it is shorter than the struct of Linux 2.6 (up to and with `tcpi_last_ack_recv`).
pub fn parse_tcp_info(bytes: &[u8]) -> Option<TcpInfo> {
    let milliseconds = |offset| Some(Duration::from_millis(u32_at(bytes, offset)?.into()));
    Some(TcpInfo {
        options: *bytes.get(5)?,
        unacked: u32_at(bytes, 24)?,
        since_data_sent: milliseconds(44)?,
        since_data_received: milliseconds(52)?,
        since_ack_received: milliseconds(56)?,
        rtt_us: u32_at(bytes, 68).unwrap_or(0),
        bytes_acked: u64_at(bytes, 120),
        bytes_received: u64_at(bytes, 128),
        bytes_sent: u64_at(bytes, 200),
        bytes_retransmitted: u64_at(bytes, 208),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let mut put32 = |offset: usize, value: u32| {
            if offset + 4 <= length {
                bytes[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
            }
        };
        put32(44, 1200);
        put32(52, 300);
        put32(56, 250);
        put32(120, 11);
        put32(200, 10);
        bytes
    }

    #[test]
    fn reads_what_the_length_allows() {
        assert_eq!(parse_tcp_info(&sample(59)), None);
        let old = parse_tcp_info(&sample(104)).unwrap();
        assert_eq!(old.since_data_sent, Duration::from_millis(1200));
        assert_eq!(old.since_data_received, Duration::from_millis(300));
        assert_eq!(old.since_ack_received, Duration::from_millis(250));
        assert_eq!((old.bytes_acked, old.bytes_sent), (None, None));
        let cut = parse_tcp_info(&sample(205)).unwrap();
        assert_eq!((cut.bytes_acked, cut.bytes_sent), (Some(11), None));
        let longer = parse_tcp_info(&sample(400)).unwrap();
        assert_eq!(
            (longer.bytes_acked, longer.bytes_sent),
            (Some(11), Some(10))
        );
    }
}
