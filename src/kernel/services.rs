//! `/etc/services` (`man 5 services`): the numbers of the ports that have names.

use super::{decimal, lines, words};

/// The TCP port that is called `name`, by its first name or an alias.
pub fn tcp_port(services: &[u8], name: &str) -> Option<u16> {
    lines(services).find_map(|line| {
        let line = line.split(|byte| *byte == b'#').next()?;
        let mut fields = words(line);
        let (first, port) = (fields.next()?, fields.next()?);
        let port = port.strip_suffix(b"/tcp")?;
        let mut names = std::iter::once(first).chain(fields);
        names.find(|other| *other == name.as_bytes())?;
        decimal(port)?.try_into().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_aliases_of_tcp_only() {
        let text = b"# names\n\
            tcpmux\t\t1/tcp\t\t# TCP port service multiplexer\n\
            http\t\t80/tcp\t\twww # www2\n\
            ntp\t\t123/udp\n\
            broken\n\
            huge 70000/tcp\n\
            domain 53/udp\n\
            domain 53/tcp";
        let check = |name, expect| assert_eq!(tcp_port(text, name), expect, "{name}");
        check("http", Some(80));
        check("www", Some(80));
        check("www2", None);
        check("domain", Some(53));
        check("ntp", None);
        check("huge", None);
        check("broken", None);
        check("", None);
    }
}
