//! `/proc/PID/cgroup` (`man 7 cgroups`): the service and the container that a process belongs to.

use super::lines;

/// The systemd unit (`nginx.service`) that the paths of a `/proc/PID/cgroup` name: the innermost
/// service or scope, slices aside.
pub fn systemd_unit(cgroup: &[u8]) -> Option<String> {
    paths(cgroup).find_map(|path| {
        path.rsplit(|byte| *byte == b'/')
            .find(|part| {
                part.ends_with(b".service")
                    || part.ends_with(b".scope") && container_of_part(part).is_none()
            })
            .map(text)
    })
}

/// The container id (64 hexadecimal digits) that the paths name, as docker, containerd, cri-o and
/// podman write it, with cgroup v1 and v2.
pub fn container_id(cgroup: &[u8]) -> Option<String> {
    paths(cgroup).find_map(|path| {
        path.rsplit(|byte| *byte == b'/')
            .find_map(container_of_part)
    })
}

/// The paths of the lines `N:controllers:/path`.
pub fn paths(cgroup: &[u8]) -> impl Iterator<Item = &[u8]> {
    lines(cgroup).filter_map(|line| line.splitn(3, |byte| *byte == b':').nth(2))
}

/// The path in the unified hierarchy (line `0::`).
pub fn unified_path(cgroup: &[u8]) -> Option<&[u8]> {
    lines(cgroup).find_map(|line| line.strip_prefix(b"0::"))
}

/// The path in the v1 hierarchy that has `controller`.
pub fn controller_path<'a>(cgroup: &'a [u8], controller: &[u8]) -> Option<&'a [u8]> {
    lines(cgroup).find_map(|line| {
        let mut fields = line.splitn(3, |byte| *byte == b':');
        let controllers = fields.nth(1)?;
        let has = controllers
            .split(|byte| *byte == b',')
            .any(|name| name == controller);
        fields.next().filter(|_| has)
    })
}

/// `ID`, `docker-ID.scope`, `cri-containerd-ID.scope`, `crio-ID.scope`, `libpod-ID.scope`.
fn container_of_part(part: &[u8]) -> Option<String> {
    let part = part.strip_suffix(b".scope").unwrap_or(part);
    let id = part.rsplit(|byte| matches!(byte, b'-' | b':')).next()?;
    (id.len() == 64 && id.iter().all(u8::is_ascii_hexdigit)).then(|| text(id))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn units_and_containers_of_known_runtimes() {
        let check = |line: &str, unit: Option<&str>, container: bool| {
            let line = line.replace("ID", ID);
            assert_eq!(systemd_unit(line.as_bytes()).as_deref(), unit, "{line}");
            assert_eq!(container_id(line.as_bytes()).is_some(), container, "{line}");
        };
        check(
            "0::/system.slice/nginx.service\n",
            Some("nginx.service"),
            false,
        );
        check(
            "0::/user.slice/user-0.slice/session-3.scope\n",
            Some("session-3.scope"),
            false,
        );
        check("0::/system.slice/docker-ID.scope\n", None, true);
        check("5:cpu:/docker/ID\n0::/\n", None, true);
        check(
            "0::/kubepods.slice/kubepods-pod12.slice/cri-containerd-ID.scope\n",
            None,
            true,
        );
        check("0::/machine.slice/libpod-ID.scope/container\n", None, true);
        check(
            "0::/system.slice/x.service/kubepods/crio-ID.scope\n",
            Some("x.service"),
            true,
        );
        check("4:memory:/kubepods/burstable/pod1/ID\n", None, true);
        check("0::/\n", None, false);
        check("garbage\n", None, false);
    }

    #[test]
    fn paths_by_hierarchy() {
        let text = b"7:cpu,cpuacct:/a\n5:freezer:/b\n0::/c\n";
        assert_eq!(unified_path(text), Some(&b"/c"[..]));
        assert_eq!(controller_path(text, b"freezer"), Some(&b"/b"[..]));
        assert_eq!(controller_path(text, b"cpuacct"), Some(&b"/a"[..]));
        assert_eq!(controller_path(b"0::/c\n", b"freezer"), None);
    }
}
