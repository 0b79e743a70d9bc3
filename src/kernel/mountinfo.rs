//! `/proc/self/mountinfo` (`man 5 proc_pid_mountinfo`): where the cgroup hierarchies and the named
//! network namespaces are.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::{fd_link, lines, words};

/// Mount points of the hierarchies in which processes can be frozen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CgroupMounts {
    /// The unified hierarchy (cgroup v2).
    pub unified: Option<PathBuf>,
    /// The v1 hierarchy with the controller `freezer`.
    pub freezer: Option<PathBuf>,
}

/// Finds them; a mount of a part of a hierarchy does not count.
pub fn cgroup_mounts(mountinfo: &[u8]) -> CgroupMounts {
    let mut mounts = CgroupMounts::default();
    for line in lines(mountinfo) {
        let fields: Vec<&[u8]> = words(line).collect();
        // Optional fields end at a hyphen; behind it: type, source, options of the superblock.
        let Some(hyphen) = fields.iter().position(|field| *field == b"-") else {
            continue;
        };
        let (Some(root), Some(point), Some(kind)) =
            (fields.get(3), fields.get(4), fields.get(hyphen + 1))
        else {
            continue;
        };
        if *root != b"/" {
            continue;
        }
        let options = fields.get(hyphen + 3).copied().unwrap_or_default();
        let point = path(point);
        match *kind {
            b"cgroup2" => mounts.unified.get_or_insert(point),
            b"cgroup"
                if options
                    .split(|byte| *byte == b',')
                    .any(|option| option == b"freezer") =>
            {
                mounts.freezer.get_or_insert(point)
            }
            _ => continue,
        };
    }
    mounts
}

/// Mount points of the unified hierarchy (cgroup v2). A mount from outside of a cgroup namespace has
/// a root above that of the namespace: `/../..`.
pub fn cgroup2_mounts(mountinfo: &[u8]) -> Vec<PathBuf> {
    let point = |line| {
        let fields: Vec<&[u8]> = words(line).collect();
        let hyphen = fields.iter().position(|field| *field == b"-")?;
        let is_cgroup2 = fields.get(hyphen + 1) == Some(&&b"cgroup2"[..]);
        let mut steps = fields.get(3)?.split(|byte| *byte == b'/');
        let is_root = steps.all(|step| matches!(step, b"" | b".."));
        let point = fields.get(4)?;
        (is_cgroup2 && is_root).then(|| path(point))
    };
    lines(mountinfo).filter_map(point).collect()
}

/// Network namespaces that are mounted somewhere, as `ip netns add` does, by their inodes.
pub fn network_namespaces(mountinfo: &[u8]) -> Vec<(u64, PathBuf)> {
    let namespace = |line| {
        let mut fields = words(line).skip(3);
        let inode = fd_link::netns_inode(fields.next()?)?;
        Some((inode, path(fields.next()?)))
    };
    lines(mountinfo).filter_map(namespace).collect()
}

/// A field: what would separate fields is in octal there (`mangle`, `fs/seq_file.c`).
fn path(field: &[u8]) -> PathBuf {
    let mut rest = field;
    let mut bytes = Vec::with_capacity(field.len());
    while let Some((byte, behind)) = rest.split_first() {
        let octal = behind.first_chunk::<3>().filter(|_| *byte == b'\\');
        let digits = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(escaped) => {
                bytes.push(escaped);
                rest = &behind[3..];
            }
            None => {
                bytes.push(*byte);
                rest = behind;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn both_hierarchies_are_found() {
        let text = b"24 1 0:21 / /sys/fs/cgroup ro - tmpfs tmpfs rw\n\
            25 24 0:22 / /sys/fs/cgroup/unified rw shared:4 - cgroup2 cgroup2 rw\n\
            26 24 0:23 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
            27 24 0:24 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n\
            28 24 0:22 /part /mnt rw - cgroup2 cgroup2 rw\nbroken\n";
        let mounts = cgroup_mounts(text);
        assert_eq!(
            mounts.unified.as_deref(),
            Some(Path::new("/sys/fs/cgroup/unified"))
        );
        assert_eq!(
            mounts.freezer.as_deref(),
            Some(Path::new("/sys/fs/cgroup/freezer"))
        );
        assert_eq!(cgroup_mounts(b""), CgroupMounts::default());
    }

    #[test]
    fn mounts_of_the_whole_unified_hierarchy_are_found() {
        let text = b"25 24 0:22 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n\
            26 24 0:22 /../../.. /host/sys/fs/cgroup rw - cgroup2 cgroup2 rw\n\
            27 24 0:22 /part /mnt rw - cgroup2 cgroup2 rw\n\
            28 24 0:22 /../part /mnt rw - cgroup2 cgroup2 rw\n\
            29 24 0:24 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\nbroken\n25 24 -\n";
        let points = cgroup2_mounts(text);
        let expect = ["/sys/fs/cgroup", "/host/sys/fs/cgroup"].map(PathBuf::from);
        assert_eq!(points, expect);
    }

    #[test]
    fn named_network_namespaces_are_found() {
        let text = b"24 1 0:21 / /run tmpfs rw - tmpfs tmpfs rw\n\
            401 24 0:4 net:[4026532301] /run/netns/blue rw shared:9 - nsfs nsfs rw\n\
            403 24 0:4 net:[4026532303] /run/a\\040b\\134c\\ rw - nsfs nsfs rw\n\
            402 24 0:4 mnt:[4026532302] /run/x rw - nsfs nsfs rw\nbroken\n";
        let blue = (4_026_532_301, PathBuf::from("/run/netns/blue"));
        let odd = (4_026_532_303, PathBuf::from("/run/a b\\c\\"));
        assert_eq!(network_namespaces(text), [blue, odd]);
    }
}
