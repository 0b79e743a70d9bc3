//! The addresses of a network namespace, as rtnetlink lists them (`man 7 rtnetlink`, RTM_GETADDR).

use std::net::IpAddr;

use netlink_packet_sock_diag::constants::SOCK_DIAG_BY_FAMILY;

use super::sock_diag::{Messages, Payload};

const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const NLM_F_REQUEST_DUMP: u16 = 0x1 | 0x300;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// `struct ifaddrmsg`.
const HEAD: usize = 8;

// The walk over messages takes an address for a row: both protocols have the same number for it.
const _: () = assert!(RTM_NEWADDR == SOCK_DIAG_BY_FAMILY);

/// How far a datagram leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    /// More follows.
    More,
    /// That was all.
    All,
    /// An errno.
    Refused(i32),
}

/// `include/uapi/asm-generic/errno-base.h`.
const EIO: i32 = 5;

/// Asks for all addresses of all families.
pub fn request() -> Vec<u8> {
    let mut message = 24_u32.to_ne_bytes().to_vec();
    message.extend(RTM_GETADDR.to_ne_bytes());
    message.extend(NLM_F_REQUEST_DUMP.to_ne_bytes());
    message.extend(1_u32.to_ne_bytes());
    message.extend([0; 4 + HEAD]);
    message
}

/// Gives the addresses in one datagram of the answer.
pub fn parse(datagram: &[u8], on_address: &mut dyn FnMut(IpAddr)) -> Listed {
    for message in Messages::new(datagram) {
        match message.payload {
            Payload::Row(body) => address(body).into_iter().for_each(&mut *on_address),
            Payload::Done(0) => return Listed::All,
            Payload::Done(errno) | Payload::Error(errno) => return Listed::Refused(errno),
            Payload::Lost => return Listed::Refused(EIO),
            Payload::Other => {}
        }
    }
    Listed::More
}

/// IFA_ADDRESS is the far end's on a point-to-point device; IFA_LOCAL, where it is there, is ours.
fn address(body: &[u8]) -> Option<IpAddr> {
    let mut rest = body.get(HEAD..)?;
    let mut found = None;
    while let (Some(length), Some(kind)) = (u16_at(rest, 0), u16_at(rest, 2)) {
        let length = usize::from(length);
        let Some(value) = rest.get(4..length) else {
            break;
        };
        let ip = <[u8; 4]>::try_from(value).map(IpAddr::from);
        let ip = ip.or_else(|_length| <[u8; 16]>::try_from(value).map(IpAddr::from));
        match (kind, ip) {
            (IFA_LOCAL, Ok(ip)) => found = Some(ip),
            (IFA_ADDRESS, Ok(ip)) => found = found.or(Some(ip)),
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(offset..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(16 + body.len()).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(body);
        bytes
    }

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn check(attributes: &[Vec<u8>], expect: Option<&str>) {
        let body = [&[0; HEAD][..], &attributes.concat()].concat();
        let mut seen = Vec::new();
        let listed = parse(&message(RTM_NEWADDR, &body), &mut |ip| seen.push(ip));
        assert_eq!(listed, Listed::More);
        let expect: Vec<IpAddr> = expect.into_iter().map(|ip| ip.parse().unwrap()).collect();
        assert_eq!(seen, expect);
    }

    #[test]
    fn the_near_address_is_taken() {
        let (near, far) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        let label = attribute(3, b"eth0\0");
        check(&[attribute(IFA_ADDRESS, &near)], Some("10.0.0.1"));
        let both = [
            attribute(IFA_ADDRESS, &far),
            attribute(IFA_LOCAL, &near),
            label.clone(),
        ];
        check(&both, Some("10.0.0.1"));
        let both = [
            label.clone(),
            attribute(IFA_LOCAL, &near),
            attribute(IFA_ADDRESS, &far),
        ];
        check(&both, Some("10.0.0.1"));
        let v6 = std::net::Ipv6Addr::LOCALHOST.octets();
        check(&[attribute(IFA_ADDRESS, &v6)], Some("::1"));
        check(&[label], None);
        check(&[attribute(IFA_ADDRESS, &near[..3])], None);
        check(&[attribute(IFA_ADDRESS, &near)[..7].to_vec()], None);
    }

    #[test]
    fn the_end_is_told_from_an_error() {
        let check = |bytes: &[u8], expect: Listed| {
            assert_eq!(parse(bytes, &mut |_| {}), expect);
        };
        check(&message(3, &0_i32.to_ne_bytes()), Listed::All);
        check(&message(2, &(-1_i32).to_ne_bytes()), Listed::Refused(1));
        check(&message(RTM_NEWADDR, &[]), Listed::More);
        check(&[], Listed::More);
        assert_eq!(request().len(), 24);
    }
}
