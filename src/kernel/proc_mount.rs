//! The options of a mounted `/proc` (`man 5 proc`), as `/proc/PID/mountinfo` has them.

use super::{decimal, lines, words};
use crate::model::HidePid;

/// What it hides, and from whom not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcOptions {
    /// Whom it hides.
    pub hidepid: HidePid,
    /// The group from which nothing is hidden.
    pub gid: Option<u32>,
}

/// The options of the proc file system that is the device `major:minor`; each mount of its own has a
/// device of its own. `None` if it is not among the mounts, or has a word that is not known.
pub fn options(mountinfo: &[u8], major: u32, minor: u32) -> Option<ProcOptions> {
    let device = format!("{major}:{minor}");
    lines(mountinfo).find_map(|line| {
        let fields: Vec<&[u8]> = words(line).collect();
        let hyphen = fields.iter().position(|field| *field == b"-")?;
        let is_it = *fields.get(2)? == device.as_bytes() && *fields.get(hyphen + 1)? == b"proc";
        let options = fields.get(hyphen + 3).filter(|_| is_it)?;
        let value = |name: &[u8]| {
            let mut options = options.split(|byte| *byte == b',');
            options.find_map(|option| option.strip_prefix(name)?.strip_prefix(b"="))
        };
        Some(ProcOptions {
            // Words since Linux 5.8, numbers before.
            hidepid: match value(b"hidepid") {
                None | Some(b"0" | b"off") => HidePid::Off,
                Some(b"1" | b"noaccess") => HidePid::NoAccess,
                Some(b"2" | b"invisible") => HidePid::Invisible,
                Some(b"4" | b"ptraceable") => HidePid::NotTraceable,
                Some(_) => return None,
            },
            gid: value(b"gid").and_then(|gid| u32::try_from(decimal(gid)?).ok()),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_device_and_in_both_spellings() {
        let text = b"22 27 0:21 / /proc rw,relatime - proc proc rw\n\
            23 27 0:22 / /run rw - tmpfs tmpfs rw,hidepid=2\n\
            40 27 0:30 / /a rw,nosuid shared:3 master:1 - proc proc rw,hidepid=invisible,gid=27\n\
            41 27 0:31 / /b rw - proc none rw,gid=5,hidepid=1\n\
            42 27 0:32 / /c rw - proc proc rw,hidepid=ptraceable\n\
            43 27 0:33 / /d rw - proc proc rw,hidepid=7\nbroken\n";
        let check = |minor, expect: Option<(HidePid, Option<u32>)>| {
            let options = options(text, 0, minor);
            assert_eq!(options.map(|it| (it.hidepid, it.gid)), expect, "{minor}");
        };
        check(21, Some((HidePid::Off, None)));
        check(22, None);
        check(30, Some((HidePid::Invisible, Some(27))));
        check(31, Some((HidePid::NoAccess, Some(5))));
        check(32, Some((HidePid::NotTraceable, None)));
        check(33, None);
        check(34, None);
    }
}
