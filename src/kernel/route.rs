//! The question whether an address is this machine's own, as rtnetlink puts and answers it
//! (`man 7 rtnetlink`, RTM_GETROUTE).
//!
//! The kernel's routing decides it, as it will for the packet itself: `bind()` does not, since with
//! `net.ipv4.ip_nonlocal_bind` it takes any address.

use std::net::IpAddr;

const RTM_GETROUTE: u16 = 26;
const RTM_NEWROUTE: u16 = 24;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// `RTN_LOCAL`: packets go to this machine.
const RTN_LOCAL: u8 = 2;
/// Place of `rtm_type` behind `struct nlmsghdr`.
const TYPE: usize = 16 + 7;

/// Asks for the route to `address`, through the device of this index unless that is zero.
pub fn request(address: IpAddr, device: u32) -> Vec<u8> {
    let (family, bits, octets) = match address {
        IpAddr::V4(ip) => (AF_INET, 32, ip.octets().to_vec()),
        IpAddr::V6(ip) => (AF_INET6, 128, ip.octets().to_vec()),
    };
    let mut body = vec![family, bits, 0, 0, 0, 0, 0, 0]; // struct rtmsg up to its flags
    body.extend(0_u32.to_ne_bytes());
    let mut attribute = |kind: u16, value: &[u8]| {
        let length = if value.len() == 16 { 20_u16 } else { 8 };
        body.extend(length.to_ne_bytes());
        body.extend(kind.to_ne_bytes());
        body.extend(value);
    };
    attribute(RTA_DST, &octets);
    if device != 0 {
        attribute(RTA_OIF, &device.to_ne_bytes());
    }
    // At most 16 + 12 + 20 + 8 bytes.
    let length = u32::try_from(16 + body.len()).unwrap_or(u32::MAX);
    let mut message = Vec::new();
    message.extend(length.to_ne_bytes());
    message.extend(RTM_GETROUTE.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    message.extend(1_u32.to_ne_bytes());
    message.extend(0_u32.to_ne_bytes());
    message.extend(body);
    message
}

/// Whether the answer says that the address is this machine's. No route is no; `None` if the
/// message is not understood.
pub fn is_local(answer: &[u8]) -> Option<bool> {
    let kind = u16::from_ne_bytes(*answer.get(4..)?.first_chunk()?);
    match kind {
        RTM_NEWROUTE => Some(*answer.get(TYPE)? == RTN_LOCAL),
        NLMSG_ERROR => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_the_kernels_layout() {
        let message = request("127.0.0.1".parse().unwrap(), 0);
        assert_eq!(message.len(), 36);
        assert_eq!(message[..4], 36_u32.to_ne_bytes());
        assert_eq!(message[4..6], RTM_GETROUTE.to_ne_bytes());
        assert_eq!(message[16..18], [AF_INET, 32]);
        assert_eq!(message[32..], [127, 0, 0, 1]);
        assert_eq!(
            request("fe80::1".parse().unwrap(), 2).len(),
            16 + 12 + 20 + 8
        );
    }

    #[test]
    fn only_a_local_route_is_ours() {
        let answer = |kind: u16, route: u8| {
            let mut message = 28_u32.to_ne_bytes().to_vec();
            message.extend(kind.to_ne_bytes());
            message.resize(28, 0);
            message[TYPE] = route;
            message
        };
        assert_eq!(is_local(&answer(RTM_NEWROUTE, RTN_LOCAL)), Some(true));
        assert_eq!(is_local(&answer(RTM_NEWROUTE, 1)), Some(false));
        assert_eq!(is_local(&answer(NLMSG_ERROR, 0)), Some(false));
        assert_eq!(is_local(&answer(3, 0)), None);
        assert_eq!(is_local(&[1, 2, 3]), None);
    }
}
