//! `/proc/PID/cgroup` and the paths in it (`man 7 cgroups`): the unit, container and pod that a
//! process belongs to.
//!
//! A reader in a cgroup namespace gets the paths relative to its own cgroup (`/../nginx.service`,
//! `man 7 cgroup_namespaces`): names further out than where both part are not in them.

use super::lines;
use crate::model::{Container, ContainerRuntime, Service};

/// What the paths of a `/proc/PID/cgroup` name. With cgroup v1 each hierarchy has its own path, and
/// a runtime may have been given some of them only: a path with a container says most, and then
/// that of cgroup v2 or of systemd.
pub fn service(cgroup: &[u8]) -> Service {
    let preferred = [
        unified_path(cgroup),
        controller_path(cgroup, b"name=systemd"),
    ];
    let mut services = preferred
        .into_iter()
        .flatten()
        .chain(paths(cgroup))
        .map(service_of_path);
    let mut best = Service::default();
    for service in services.by_ref() {
        if !service.containers.is_empty() {
            return service;
        }
        if best.units.is_empty() {
            best = service;
        }
    }
    best
}

/// What one path names.
pub fn service_of_path(path: &[u8]) -> Service {
    let path = String::from_utf8_lossy(path);
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !matches!(*part, "" | "." | ".."))
        .collect();
    let mut service = Service::default();
    for (index, part) in parts.iter().enumerate() {
        let parent = index.checked_sub(1).map_or("", |before| parts[before]);
        let child = parts.get(index + 1).copied().unwrap_or_default();
        if let Some(uid) = pod_uid(part) {
            service.pod = Some(uid);
        }
        let container = container(part, parent, child);
        let is_scope_of_it = container.is_some() && !part.ends_with(".service");
        service.containers.extend(container);
        if !is_scope_of_it && is_unit(part) {
            service.units.push((*part).to_owned());
        }
    }
    service
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

fn is_unit(part: &str) -> bool {
    [".service", ".scope", ".slice"]
        .iter()
        .any(|suffix| part.len() > suffix.len() && part.ends_with(suffix))
}

/// The container whose own directory `part` is, below `parent`.
fn container(part: &str, parent: &str, child: &str) -> Option<Container> {
    with_id(part, parent).or_else(|| with_name(part, parent, child))
}

/// `ID`, `docker-ID.scope`, `libpod-ID`, `x.slice:cri-containerd:ID`: what stands in front of the id
/// says whose it is, or the directory above. Podman's and cri-o's `conmon` stands beside its
/// container.
fn with_id(part: &str, parent: &str) -> Option<Container> {
    let name = part.strip_suffix(".scope").unwrap_or(part);
    let (prefix, id) = name.rsplit_once([':', '-']).unwrap_or((parent, name));
    let prefix = prefix.rsplit(':').next().unwrap_or(prefix);
    let runtime = match prefix {
        "docker" | "buildkit" | "buildx" if is_build_step(id) => Some(ContainerRuntime::Buildkit),
        _ if is_task_of_fargate(name, parent) => {
            let called = name.to_owned();
            return Some(Container {
                called,
                runtime: None,
            });
        }
        _ if !is_hex(id, 64) || prefix.ends_with("conmon") => return None,
        "docker" => Some(ContainerRuntime::Docker),
        "cri-containerd" | "containerd" | "nerdctl" | "k8s.io" => {
            Some(ContainerRuntime::Containerd)
        }
        "crio" => Some(ContainerRuntime::CriO),
        "libpod" | "libpod-payload" => Some(ContainerRuntime::Podman),
        _ => None,
    };
    let called = id.to_owned();
    Some(Container { called, runtime })
}

/// LXC and systemd-nspawn, whose own processes stand beside those of the container.
fn with_name(part: &str, parent: &str, child: &str) -> Option<Container> {
    let nspawn = || match part.strip_prefix("systemd-nspawn@") {
        Some(name) if child != "supervisor" => name.strip_suffix(".service"),
        Some(_) => None,
        // Virtual machines are registered the same, and have no payload.
        None if child == "payload" => part.strip_prefix("machine-")?.strip_suffix(".scope"),
        None => None,
    };
    let lxc = match parent {
        "lxc" | "lxc.payload" => Some(part),
        _ => part.strip_prefix("lxc.payload."),
    };
    let (called, runtime) = match lxc {
        Some(name) => (name.to_owned(), ContainerRuntime::Lxc),
        None => (unescaped(nspawn()?), ContainerRuntime::Nspawn),
    };
    let runtime = Some(runtime);
    (!called.is_empty()).then_some(Container { called, runtime })
}

/// The ids of BuildKit's steps: 25 digits to the base 36.
fn is_build_step(id: &str) -> bool {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'z');
    id.len() == 25 && id.bytes().all(is_digit)
}

/// AWS Fargate: `/ecs/TASK/TASK-NUMBER`.
fn is_task_of_fargate(name: &str, parent: &str) -> bool {
    name.split_once('-').is_some_and(|(task, number)| {
        is_hex(task, 32)
            && (parent == "ecs" || parent == task)
            && !number.is_empty()
            && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// `podUID`, `kubepods-burstable-podUID.slice`, and that with `:cri-containerd:ID` behind it. A uid is
/// one with its hyphens, which a slice's name has as underscores, or that of a static pod, without.
fn pod_uid(part: &str) -> Option<String> {
    let name = part.split(':').next().unwrap_or(part);
    let name = name.strip_suffix(".slice").unwrap_or(name);
    let (before, uid) = name.rsplit_once("pod")?;
    let begins = before.is_empty() || before.ends_with('-') && before.contains("kubepods");
    let uid = uid.replace('_', "-");
    let lengths: Vec<usize> = uid.split('-').map(str::len).collect();
    let is_uid = matches!(lengths[..], [32] | [8, 4, 4, 4, 12])
        && uid
            .bytes()
            .all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
    (begins && is_uid).then_some(uid)
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// systemd's `\x2d` for a hyphen and the like (`man systemd-escape`).
fn unescaped(name: &str) -> String {
    let mut parts = name.split("\\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let escaped = part
            .get(..2)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                bytes.extend(&part.as_bytes()[2..]);
            }
            None => {
                bytes.extend(b"\\x");
                bytes.extend(part.as_bytes());
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3726184226f5d3147c25fdeab5b60097e378e8a720503a5e19ecfdf29f869860";
    const OUTER: &str = "9ec39b91f3d70e1beff50a308f77067065ea6be0d91a3378375056cd4422cf3d";
    const UID: &str = "8dbc5577-d0e2-4706-8787-57d52c03ddf2";
    const SLICE_UID: &str = "8dbc5577_d0e2_4706_8787_57d52c03ddf2";
    const STATIC_UID: &str = "1864dd0546310be9937c37cf88024cb8";
    const STEP: &str = "x5h7oizyhrunip3o2urd7of1d";
    const TASK: &str = "8cd79a803caf4d2aa945152e934a5c00";

    /// `UNIT in SLICE; RUNTIME ID of POD`, what is not there as `-`, the innermost of each.
    fn shown(service: &Service) -> String {
        let container = service.container();
        let runtime = container.and_then(|container| container.runtime);
        [
            service.unit(),
            Some("in"),
            service.slice(),
            Some(";"),
            runtime.map(ContainerRuntime::as_str),
            container.map(|container| container.called.as_str()),
            Some("of"),
            service.pod.as_deref(),
        ]
        .map(|word| word.unwrap_or("-"))
        .join(" ")
    }

    fn named(text: &str) -> String {
        text.replace("OUTER", OUTER)
            .replace("STATIC", STATIC_UID)
            .replace("U_I_D", SLICE_UID)
            .replace("UID", UID)
            .replace("STEP", STEP)
            .replace("TASK", TASK)
            .replace("ID", ID)
    }

    /// Paths as the runtimes make them, with other ids: a path a line, and what it names.
    const PATHS: &str = r"
        # systemd, and nothing else
        /system.slice/nginx.service => nginx.service in system.slice ; - - of -
        /user.slice/user-0.slice/session-3.scope => session-3.scope in user-0.slice ; - - of -
        /user.slice/user-1000.slice/user@1000.service/app.slice/redis.service => redis.service in app.slice ; - - of -
        /system.slice/system-openvpn\x2dserver.slice/openvpn-server@a.service => openvpn-server@a.service in system-openvpn\x2dserver.slice ; - - of -
        /init.scope => init.scope in - ; - - of -
        / => - in - ; - - of -
        /process_api/3bdbe36438f53d57ac9052b2c1321ddc => - in - ; - - of -
        # docker: by systemd and by cgroupfs, of root and of a user, under another parent
        /system.slice/docker-ID.scope => - in system.slice ; docker ID of -
        /docker/ID => - in - ; docker ID of -
        /user.slice/user-1000.slice/user@1000.service/user.slice/docker-ID.scope => user@1000.service in user.slice ; docker ID of -
        /mycgroup.slice/docker-ID.scope => - in mycgroup.slice ; docker ID of -
        /actions_job/ID => - in - ; - ID of -
        /ID => - in - ; - ID of -
        # in one another: docker in docker, kind, a container with systemd in it
        /docker/OUTER/docker/ID => - in - ; docker ID of -
        /docker/OUTER/kubelet/kubepods/besteffort/podUID/ID => - in - ; - ID of UID
        /system.slice/docker-OUTER.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-podU_I_D.slice/cri-containerd-ID.scope => - in kubelet-kubepods-burstable-podU_I_D.slice ; containerd ID of UID
        /system.slice/docker-ID.scope/system.slice/nginx.service => nginx.service in system.slice ; docker ID of -
        /system.slice/docker-ID.scope/init.scope => init.scope in system.slice ; docker ID of -
        # builds
        /docker/buildkit/STEP => - in - ; buildkit STEP of -
        /docker/buildx/STEP => - in - ; buildkit STEP of -
        /docker/STEP => - in - ; buildkit STEP of -
        /system.slice/system.slice:docker:STEP => - in system.slice ; buildkit STEP of -
        # Kubernetes, by systemd
        /kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podU_I_D.slice/cri-containerd-ID.scope => - in kubepods-burstable-podU_I_D.slice ; containerd ID of UID
        /kubepods.slice/kubepods-podU_I_D.slice/crio-ID.scope => - in kubepods-podU_I_D.slice ; cri-o ID of UID
        /kubepods.slice/kubepods-podU_I_D.slice/crio-ID.scope/container => - in kubepods-podU_I_D.slice ; cri-o ID of UID
        /kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podU_I_D.slice/docker-ID.scope => - in kubepods-besteffort-podU_I_D.slice ; docker ID of UID
        /kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podSTATIC.slice/crio-ID.scope => - in kubepods-burstable-podSTATIC.slice ; cri-o ID of STATIC
        /system.slice/containerd.service/kubepods-besteffort-podU_I_D.slice:cri-containerd:ID => containerd.service in system.slice ; containerd ID of UID
        # Kubernetes, by cgroupfs: the path does not name the runtime, but for cri-o's
        /kubepods/podUID/ID => - in - ; - ID of UID
        /kubepods/besteffort/podUID/ID => - in - ; - ID of UID
        /kubepods/burstable/podSTATIC/ID => - in - ; - ID of STATIC
        /kubepods/burstable/podUID/crio-ID => - in - ; cri-o ID of UID
        /k8s.io/ID => - in - ; containerd ID of -
        # containerd without Kubernetes
        /system.slice/nerdctl-ID.scope => - in system.slice ; containerd ID of -
        /default/ID => - in - ; - ID of -
        # podman: root's, a user's, in a pod of its own, as a unit (quadlet), without systemd
        /machine.slice/libpod-ID.scope => - in machine.slice ; podman ID of -
        /machine.slice/libpod-ID.scope/container => - in machine.slice ; podman ID of -
        /user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope/container => user@1000.service in user.slice ; podman ID of -
        /machine.slice/machine-libpod_pod_OUTER.slice/libpod-ID.scope => - in machine-libpod_pod_OUTER.slice ; podman ID of -
        /system.slice/nginx.service/libpod-payload-ID => nginx.service in system.slice ; podman ID of -
        /system.slice/nginx.service/runtime => nginx.service in system.slice ; - - of -
        /libpod_parent/libpod-ID => - in - ; podman ID of -
        # what stands beside a container and is not in it
        /machine.slice/libpod-conmon-ID.scope => libpod-conmon-ID.scope in machine.slice ; - - of -
        /kubepods.slice/kubepods-podU_I_D.slice/crio-conmon-ID.scope => crio-conmon-ID.scope in kubepods-podU_I_D.slice ; - - of UID
        # AWS: on EC2 and Fargate
        /ecs/cluster/5a0d5ceddf6c44c1928d367a815d890f/ID => - in - ; - ID of -
        /ecs/55091c13-b8cf-4801-b527-f4601742204d/ID => - in - ; - ID of -
        /ecs/TASK/TASK-1053176469 => - in - ; - TASK-1053176469 of -
        /ecs/TASK-1053176469 => - in - ; - TASK-1053176469 of -
        # LXC, LXD, Incus, Proxmox
        /lxc/web1 => - in - ; lxc web1 of -
        /lxc/101/ns/system.slice/nginx.service => nginx.service in system.slice ; lxc 101 of -
        /lxc.payload.web1/system.slice/nginx.service => nginx.service in system.slice ; lxc web1 of -
        /lxc.payload/web1 => - in - ; lxc web1 of -
        /lxc.monitor.web1 => - in - ; - - of -
        /lxc.monitor/101 => - in - ; - - of -
        # systemd-nspawn
        /machine.slice/systemd-nspawn@web.service/payload/system.slice/nginx.service => nginx.service in system.slice ; systemd-nspawn web of -
        /machine.slice/systemd-nspawn@web.service/supervisor => systemd-nspawn@web.service in machine.slice ; - - of -
        /machine.slice/machine-my\x2dweb.scope/payload/init.scope => init.scope in machine.slice ; systemd-nspawn my-web of -
        /machine.slice/machine-qemu\x2d1\x2dvm.scope/libvirt/emulator => machine-qemu\x2d1\x2dvm.scope in machine.slice ; - - of -
        # seen from a cgroup namespace
        /../nginx.service => nginx.service in - ; - - of -
        /../docker-ID.scope => - in - ; docker ID of -
        /../ID => - in - ; - ID of -
        /../../../burstable/podUID/ID => - in - ; - ID of UID
        /../../kubepods-besteffort-podU_I_D.slice/cri-containerd-ID.scope => - in kubepods-besteffort-podU_I_D.slice ; containerd ID of UID
        /../.. => - in - ; - - of -
    ";

    #[test]
    fn paths_of_every_runtime() {
        let lines = PATHS.lines().map(str::trim);
        let cases = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let mut checked = 0;
        for case in cases {
            let (path, expect) = case.split_once(" => ").unwrap();
            let seen = shown(&service_of_path(named(path).as_bytes()));
            assert_eq!(seen, named(expect), "{path}");
            checked += 1;
        }
        assert!(checked > 50, "{checked}");
    }

    #[test]
    fn what_only_looks_like_an_id_is_none() {
        let check = |path: &str| {
            let service = service_of_path(path.as_bytes());
            assert_eq!(
                (service.containers, service.pod),
                (Vec::new(), None),
                "{path}"
            );
        };
        check(&format!("/docker/{}", &ID[1..]));
        check(&format!("/docker/{}", ID.replace('3', "x")));
        check("/system.slice/docker-.scope");
        check("/system.slice/docker.service");
        check("/docker/buildkit");
        check("/other/x5h7oizyhrunip3o2urd7of1d");
        check("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podNOTAUUID.slice");
        check("/kubepods/podinfo");
        check(&format!("/home/tripod{STATIC_UID}"));
        check("/lxc.payload./x");
        check(r"/machine.slice/systemd-nspawn@.service/payload");
    }

    #[test]
    fn the_path_that_says_most_is_taken() {
        let check = |cgroup: &str, expect: &str| {
            let cgroup = named(cgroup);
            assert_eq!(
                shown(&service(cgroup.as_bytes())),
                named(expect),
                "{cgroup}"
            );
        };
        // cgroup v1, as docker has it with and without systemd.
        check(
            "12:pids:/docker/ID\n1:name=systemd:/docker/ID\n0::/system.slice/containerd.service\n",
            "- in - ; docker ID of -",
        );
        check("5:cpu:/docker/ID\n0::/\n", "- in - ; docker ID of -");
        check(
            "9:memory:/a.slice\n1:name=systemd:/system.slice/nginx.service\n0::/\n",
            "nginx.service in system.slice ; - - of -",
        );
        check("4:memory:/process_api/x\n0::/\n", "- in - ; - - of -");
        check("garbage\n", "- in - ; - - of -");
        check("", "- in - ; - - of -");
    }

    #[test]
    fn every_container_around_a_process_counts() {
        let path = named("/docker/OUTER/docker/ID");
        let service = service_of_path(path.as_bytes());
        assert!(service.is_in_container(&ID[..12]) && service.is_in_container(OUTER));
        assert!(!service.is_in_container(&ID[1..13]));
        let pod = service_of_path(named("/kubepods/podUID/ID").as_bytes());
        assert!(pod.is_in_pod("8dbc5577") && !pod.is_in_pod("dbc5577") && !service.is_in_pod(""));
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
