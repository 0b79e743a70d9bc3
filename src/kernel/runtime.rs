//! Which language or server a process runs, from its executable and what it has mapped.

use super::lines;
use crate::model::Runtime;

/// By the name of the executable's file.
pub fn by_exe(exe: &[u8]) -> Option<Runtime> {
    let exe = exe.strip_suffix(b" (deleted)").unwrap_or(exe);
    let name = exe.rsplit(|byte| *byte == b'/').next()?;
    // `python3.11`, `ruby3.1`: the version does not matter.
    let end = name
        .iter()
        .position(|byte| !byte.is_ascii_alphabetic())
        .unwrap_or(name.len());
    match &name[..end] {
        b"java" => Some(Runtime::Jvm),
        b"node" | b"nodejs" => Some(Runtime::Node),
        b"python" | b"pypy" => Some(Runtime::Python),
        b"ruby" => Some(Runtime::Ruby),
        b"dotnet" => Some(Runtime::DotNet),
        b"nginx" => Some(Runtime::Nginx),
        b"haproxy" => Some(Runtime::Haproxy),
        _ => None,
    }
}

/// By the first bytes of the executable: Go leaves an ELF note of its own there.
pub fn is_go(exe_start: &[u8]) -> bool {
    /// Type 4 and name of the note, as the linker writes them (`.note.go.buildid`).
    const NOTE: &[u8] = b"\x04\0\0\0Go\0\0";
    exe_start.windows(NOTE.len()).any(|window| window == NOTE)
}

/// By the libraries in `/proc/PID/maps`: a runtime that another executable embeds.
pub fn by_maps(maps: &[u8]) -> Option<Runtime> {
    lines(maps).find_map(|line| {
        let name = line.rsplit(|byte| *byte == b'/').next()?;
        let starts = |prefix: &[u8]| name.starts_with(prefix);
        match () {
            () if starts(b"libjvm.so") => Some(Runtime::Jvm),
            () if starts(b"libpython") => Some(Runtime::Python),
            () if starts(b"libnode.so") => Some(Runtime::Node),
            () if starts(b"libruby") => Some(Runtime::Ruby),
            () if starts(b"libcoreclr.so") => Some(Runtime::DotNet),
            () => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_are_known_by_name() {
        let check = |exe: &str, expect| assert_eq!(by_exe(exe.as_bytes()), expect, "{exe}");
        check("/usr/bin/python3.11", Some(Runtime::Python));
        check("/usr/lib/jvm/java-17/bin/java", Some(Runtime::Jvm));
        check("/usr/sbin/nginx (deleted)", Some(Runtime::Nginx));
        check("/usr/bin/node", Some(Runtime::Node));
        check("/opt/javascript-server", None);
        check("/usr/bin/redis-server", None);
    }

    #[test]
    fn go_by_its_note_and_others_by_libraries() {
        assert!(is_go(b"\x7fELF..\x04\0\0\0\x53\0\0\0\x04\0\0\0Go\0\0abc"));
        assert!(!is_go(b"\x7fELF.. Go \0\0"));
        let maps = b"7f00-7f01 r-xp 00000000 08:01 1 /usr/lib/libc.so.6\n\
            7f02-7f03 r-xp 00000000 08:01 2 /usr/lib/jvm/lib/server/libjvm.so\n";
        assert_eq!(by_maps(maps), Some(Runtime::Jvm));
        assert_eq!(by_maps(b""), None);
    }
}
