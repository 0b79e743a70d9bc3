//! One end of a connection, as it is typed: an address with its prefix, and a port.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use super::word::Word;
use crate::model::{Family, Prefix};

/// The TCP port that has a name, or why there is none.
pub(super) type Services<'a> = &'a dyn Fn(&str) -> Result<u16, String>;

/// Something else was expected in a part of the word.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) at: Range<usize>,
    pub(super) what: String,
}

/// A port or some; `None` for any.
pub(super) type Ports = Option<Range16>;
type Range16 = std::ops::RangeInclusive<u16>;

/// What stands behind `src` or `dst`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Host {
    pub(super) family: Option<Family>,
    pub(super) prefix: Option<Prefix>,
    pub(super) ports: Ports,
}

const ADDRESS: &str = "an address, with /LEN and :PORT if wanted, such as 10.0.0.0/8 or [::1]:80";

fn expected<T>(at: Range<usize>, what: impl Into<String>) -> Result<T, Expected> {
    Err(Expected {
        at,
        what: what.into(),
    })
}

/// `[FAMILY:]ADDRESS[/LEN][:PORT]`.
pub(super) fn host(word: &Word, services: Services<'_>) -> Result<Host, Expected> {
    let text = word.text.as_str();
    let (family, start) = family(text)?;
    let rest = &text[start..];
    let (address, port) = match (rest.strip_prefix('['), rest.find('/')) {
        (Some(inside), _) => {
            let Some(close) = inside.find(']') else {
                return expected(start..text.len(), "']' behind the address");
            };
            let behind = start + 1 + close + 1;
            let length = text[behind..].find(':').unwrap_or(text.len() - behind);
            let (inside, length) = (start + 1..behind - 1, behind..behind + length);
            (
                Written::new(text, inside, length)?,
                length_end(text, behind),
            )
        }
        (None, slash) => {
            let port = rest[slash.unwrap_or(0)..].rfind(':');
            let port = port.map(|colon| start + slash.unwrap_or(0) + colon);
            let end = port.unwrap_or(text.len());
            if slash.is_none() && rest.matches(':').count() > 1 {
                let what = "brackets around an address of IPv6, such as [::1] or [::1]:80";
                return expected(start..text.len(), what);
            }
            (Written::new(text, start..end, end..end)?, end)
        }
    };
    Ok(Host {
        family,
        prefix: address.prefix()?,
        ports: match text.get(port..).filter(|port| !port.is_empty()) {
            Some(_) => ports(text, port + 1, services)?,
            None => None,
        },
    })
}

/// Where the port begins that stands behind `]` or `]/LEN`.
fn length_end(text: &str, behind: usize) -> usize {
    let colon = text[behind..].find(':');
    colon.map_or(text.len(), |colon| behind + colon)
}

/// An address and the length of its prefix, in the text.
struct Written<'a> {
    text: &'a str,
    address: Range<usize>,
    length: Option<Range<usize>>,
}

impl<'a> Written<'a> {
    /// `inside` has the address and perhaps `/LEN`, `behind` perhaps `/LEN`.
    fn new(text: &'a str, inside: Range<usize>, behind: Range<usize>) -> Result<Self, Expected> {
        let (address, length) = match text[inside.clone()].find('/') {
            Some(slash) => {
                let slash = inside.start + slash;
                (inside.start..slash, Some(slash + 1..inside.end))
            }
            None => (inside, None),
        };
        let length = match (length, text[behind.clone()].strip_prefix('/')) {
            (length, _) if behind.is_empty() => length,
            (None, Some(_)) => Some(behind.start + 1..behind.end),
            _ => return expected(behind, "/LEN, :PORT or nothing behind ']'"),
        };
        Ok(Written {
            text,
            address,
            length,
        })
    }

    fn prefix(&self) -> Result<Option<Prefix>, Expected> {
        let written = &self.text[self.address.clone()];
        let is_any = matches!(written, "" | "*" | "any" | "all" | "default");
        match &self.length {
            None if is_any => return Ok(None),
            Some(length) if is_any => return expected(length.clone(), "no length of no address"),
            _ => {}
        }
        let address = written.parse::<IpAddr>().ok();
        let cut_short = || self.length.as_ref().and_then(|_| cut_short(written));
        let Some(address) = address.or_else(cut_short) else {
            let what = match written {
                port if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
                    format!("{ADDRESS}; of a port, sport or dport")
                }
                name if name.contains(|c: char| c.is_ascii_alphabetic()) && !name.contains(':') => {
                    format!("{ADDRESS}; names of hosts are not looked up")
                }
                _ => ADDRESS.to_owned(),
            };
            return expected(self.address.clone(), what);
        };
        let longest: u8 = if address.is_ipv4() { 32 } else { 128 };
        let length = match &self.length {
            None => longest,
            Some(at) => {
                let Some(length) = prefix_length(&self.text[at.clone()], address, longest) else {
                    let what = format!("the length of a prefix (0 to {longest})");
                    return expected(at.clone(), what);
                };
                length
            }
        };
        Ok(Some(Prefix { address, length }))
    }
}

/// `10` or `10.1` for `10.0.0.0` or `10.1.0.0`, as it may stand before the length of a prefix.
fn cut_short(written: &str) -> Option<IpAddr> {
    let missing = 3_usize.checked_sub(written.matches('.').count())?;
    let whole = format!("{written}{}", ".0".repeat(missing));
    whole.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
}

/// `24`, or `255.255.255.0`.
fn prefix_length(written: &str, address: IpAddr, longest: u8) -> Option<u8> {
    let bits = match address {
        IpAddr::V4(_) => written.parse().ok().map(|mask: Ipv4Addr| {
            let mask = mask.to_bits();
            (mask.leading_ones(), mask.count_ones())
        }),
        IpAddr::V6(_) => written.parse().ok().map(|mask: Ipv6Addr| {
            let mask = mask.to_bits();
            (mask.leading_ones(), mask.count_ones())
        }),
    };
    match bits {
        Some((leading, all)) if leading == all => u8::try_from(leading).ok(),
        Some(_) => None,
        None => decimal(written).and_then(|length| u8::try_from(length).ok()),
    }
    .filter(|length| *length <= longest)
}

/// `[FAMILY:][:]PORT`, behind `sport` or `dport`.
pub(super) fn port(
    word: &Word,
    services: Services<'_>,
) -> Result<(Option<Family>, Ports), Expected> {
    let text = word.text.as_str();
    let (family, start) = family(text)?;
    let start = start + usize::from(text[start..].starts_with(':'));
    Ok((family, ports(text, start, services)?))
}

/// The family that `text` begins with, and what length that has.
fn family(text: &str) -> Result<(Option<Family>, usize), Expected> {
    for (name, family) in [("inet:", Family::V4), ("inet6:", Family::V6)] {
        if text.starts_with(name) {
            return Ok((Some(family), name.len()));
        }
    }
    for name in ["unix:", "link:", "netlink:", "vsock:", "tipc:", "xdp:"] {
        if text.starts_with(name) {
            return expected(0..name.len(), "inet: or inet6:, the families of TCP");
        }
    }
    Ok((None, 0))
}

/// `80`, `http`, `8000-8099` or `*`, from `start` on.
fn ports(text: &str, start: usize, services: Services<'_>) -> Result<Ports, Expected> {
    const PORT: &str = "a port (0 to 65535), its name, or *";
    let at = start..text.len();
    let written = &text[at.clone()];
    if written == "*" {
        return Ok(None);
    }
    if written.is_empty() {
        return expected(start.saturating_sub(1)..text.len(), PORT);
    }
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if let Some((first, last)) = written.split_once('-')
        && is_number(first)
        && is_number(last)
    {
        let middle = start + first.len();
        let first = number(first, start..middle)?;
        let last = number(last, middle + 1..text.len())?;
        if first > last {
            return expected(middle + 1..text.len(), format!("a port from {first} on"));
        }
        return Ok(Some(first..=last));
    }
    if is_number(written) || written.starts_with("0x") {
        let port = number(written, at)?;
        return Ok(Some(port..=port));
    }
    match services(written) {
        Ok(port) => Ok(Some(port..=port)),
        Err(reason) => expected(at, format!("{PORT}: {reason}")),
    }
}

fn number(written: &str, at: Range<usize>) -> Result<u16, Expected> {
    let number = match written.strip_prefix("0x") {
        Some(digits) if !digits.starts_with('+') => u16::from_str_radix(digits, 16).ok(),
        _ => decimal(written),
    };
    match number {
        Some(number) => Ok(number),
        None if written.starts_with('0') => expected(at, "a port in decimal (0 to 65535)"),
        None => expected(at, "a port (0 to 65535)"),
    }
}

/// A number without a zero before it: to ss that would be octal.
fn decimal(written: &str) -> Option<u16> {
    let plain = written.bytes().all(|byte| byte.is_ascii_digit());
    let octal = written.len() > 1 && written.starts_with('0');
    written.parse().ok().filter(|_| plain && !octal)
}
