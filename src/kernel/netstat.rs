//! `/proc/net/netstat` and `/proc/net/sockstat`.

use super::{decimal, lines, words};
use crate::model::ListenCounters;

/// `ListenOverflows` and `ListenDrops` of the `TcpExt:` lines; `None` if they are not there.
pub fn listen_counters(netstat: &[u8]) -> Option<ListenCounters> {
    let mut tcp_ext = lines(netstat).filter_map(|line| line.strip_prefix(b"TcpExt:"));
    let (names, values) = (tcp_ext.next()?, tcp_ext.next()?);
    let value = |wanted: &[u8]| {
        words(names)
            .zip(words(values))
            .find(|(name, _)| *name == wanted)
            .and_then(|(_, value)| decimal(value))
    };
    Some(ListenCounters {
        overflows: value(b"ListenOverflows")?,
        drops: value(b"ListenDrops")?,
    })
}

/// Sockets in use by a protocol line of `sockstat` or `sockstat6` (`TCP: inuse 7 …`).
pub fn sockets_in_use(sockstat: &[u8], protocol: &[u8]) -> Option<u64> {
    sockstat_number(sockstat, protocol, b"inuse")
}

/// Entries in TIME_WAIT, and those in FIN_WAIT2 that no program has any more, in `sockstat`
/// (`TCP: … tw 1`); in use they do not count.
pub fn time_wait(sockstat: &[u8]) -> Option<u64> {
    sockstat_number(sockstat, b"TCP", b"tw")
}

/// TCP sockets of the whole machine, whatever their namespace, in `sockstat` (`TCP: … alloc 9`).
pub fn sockets_allocated(sockstat: &[u8]) -> Option<u64> {
    sockstat_number(sockstat, b"TCP", b"alloc")
}

fn sockstat_number(sockstat: &[u8], protocol: &[u8], name: &[u8]) -> Option<u64> {
    let line = lines(sockstat).find_map(|line| line.strip_prefix(protocol)?.strip_prefix(b":"))?;
    let mut words = words(line);
    words.find(|word| *word == name)?;
    decimal(words.next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_name() {
        let text = b"TcpExt: SyncookiesSent ListenOverflows ListenDrops TCPHPHits\n\
            TcpExt: 0 12 15 9\nIpExt: InNoRoutes ListenDrops\nIpExt: 3 4\n";
        let expect = ListenCounters {
            overflows: 12,
            drops: 15,
        };
        assert_eq!(listen_counters(text), Some(expect));
        assert_eq!(
            listen_counters(b"TcpExt: ListenOverflows\nTcpExt: 1\n"),
            None
        );
        assert_eq!(
            listen_counters(b"TcpExt: ListenOverflows ListenDrops\n"),
            None
        );
        assert_eq!(listen_counters(b""), None);
    }

    #[test]
    fn sockets_in_use_by_protocol() {
        let text = b"sockets: used 120\nTCP: inuse 7 orphan 0 tw 1 alloc 9 mem 2\nUDP: inuse 3\n";
        assert_eq!(sockets_in_use(text, b"TCP"), Some(7));
        assert_eq!(sockets_in_use(b"TCP6: inuse 4\n", b"TCP6"), Some(4));
        assert_eq!(sockets_in_use(text, b"TCP6"), None);
        assert_eq!(time_wait(text), Some(1));
        assert_eq!(sockets_allocated(text), Some(9));
        assert_eq!(sockets_allocated(b"TCP: inuse 7\n"), None);
    }
}
