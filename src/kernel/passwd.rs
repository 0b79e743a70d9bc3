//! `/etc/passwd` (`man 5 passwd`). Users of other name services stay numbers.

use super::{decimal, lines};

/// The name of user `uid`.
pub fn user_name(passwd: &[u8], uid: u32) -> Option<String> {
    lines(passwd).find_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (decimal(number)? == u64::from(uid)).then(|| String::from_utf8_lossy(name).into_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_first_name() {
        let text = b"root:x:0:0:root:/root:/bin/sh\nbroken\nwww:x:33:33::/:/bin/false\nweb:x:33:::";
        assert_eq!(user_name(text, 33).as_deref(), Some("www"));
        assert_eq!(user_name(text, 0).as_deref(), Some("root"));
        assert_eq!(user_name(text, 34), None);
    }
}
