//! What people call the place that a process or a socket belongs to: systemd unit, container, pod.

use std::fmt;

use super::printable;

/// The names in a cgroup's path, as systemd and the container runtimes give them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Service {
    /// systemd's units on the path, slices among them, the outermost first. The scope of a container
    /// is its container.
    pub units: Vec<String>,
    /// The containers, one in the other, the outermost first.
    pub containers: Vec<Container>,
    /// Uid of the Kubernetes pod, with `-` wherever the path has `_`.
    pub pod: Option<String>,
}

/// A container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// What its runtime calls it: an id of 64 hex digits, most often.
    pub called: String,
    /// Who runs it, if the path says so.
    pub runtime: Option<ContainerRuntime>,
}

/// What runs containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum ContainerRuntime {
    Docker,
    Containerd,
    CriO,
    Podman,
    /// A step of a build, which is a container too.
    Buildkit,
    Lxc,
    Nspawn,
}

impl Service {
    /// The service or scope, the innermost one.
    pub fn unit(&self) -> Option<&str> {
        self.last_unit(|unit| !is_slice(unit))
    }

    /// The slice, the innermost one.
    pub fn slice(&self) -> Option<&str> {
        self.last_unit(is_slice)
    }

    /// The container, the innermost one.
    pub fn container(&self) -> Option<&Container> {
        self.containers.last()
    }

    fn last_unit(&self, fits: impl Fn(&str) -> bool) -> Option<&str> {
        let mut units = self.units.iter().rev().map(String::as_str);
        units.find(|unit| fits(unit))
    }

    /// Whether it is in the unit called `name`, or in one below it; `nginx` is `nginx.service`.
    pub fn is_in_unit(&self, name: &str) -> bool {
        let is_it = |unit: &String| unit == name || unit.strip_suffix(".service") == Some(name);
        self.units.iter().any(is_it)
    }

    /// Whether it is in the container whose id begins so, or that has this name, or in one inside of
    /// it.
    pub fn is_in_container(&self, text: &str) -> bool {
        let is_it = |container: &Container| match container.id() {
            Some(id) => id.starts_with(text),
            None => container.called == text,
        };
        self.containers.iter().any(is_it)
    }

    /// Whether it is in the pod whose uid begins so, with `-` or as in a slice's name with `_`.
    pub fn is_in_pod(&self, uid: &str) -> bool {
        let uid = uid.replace('_', "-");
        self.pod.as_ref().is_some_and(|pod| pod.starts_with(&uid))
    }

    /// The path has no name in it at all.
    pub fn is_empty(&self) -> bool {
        *self == Service::default()
    }

    /// It has a name that people use; a login session has none.
    pub fn has_name(&self) -> bool {
        !self.containers.is_empty() || self.unit().is_some_and(|unit| unit.ends_with(".service"))
    }
}

fn is_slice(unit: &str) -> bool {
    unit.ends_with(".slice")
}

impl fmt::Display for Service {
    /// `nginx.service`, `docker container 3726184226f5`, `container 3726184226f5 of pod 8dbc5577-…`;
    /// what there is where there is no such name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let service = self.unit().filter(|unit| unit.ends_with(".service"));
        match (self.container(), service) {
            (Some(container), _) => {
                if let Some(runtime) = container.runtime {
                    write!(f, "{runtime} ")?;
                }
                write!(f, "container {}", container.short())?;
                let pod = self.pod.as_ref();
                pod.map_or(Ok(()), |uid| write!(f, " of pod {uid}"))
            }
            (None, Some(unit)) => f.write_str(&printable(unit.as_bytes())),
            (None, None) => match self.unit().or(self.slice()) {
                Some(unit) => f.write_str(&printable(unit.as_bytes())),
                None => f.write_str("no service"),
            },
        }
    }
}

impl Container {
    /// Its id of 64 hex digits; LXC, systemd-nspawn, builds and AWS Fargate have none.
    pub fn id(&self) -> Option<&str> {
        Some(self.called.as_str()).filter(|_| self.has_id())
    }

    /// What it is called, where that is no such id.
    pub fn name(&self) -> Option<&str> {
        Some(self.called.as_str()).filter(|_| !self.has_id())
    }

    fn has_id(&self) -> bool {
        let is_hex = |byte: u8| byte.is_ascii_hexdigit();
        self.called.len() == 64 && self.called.bytes().all(is_hex)
    }

    /// The first twelve digits of an id, as the runtimes print it; a name whole.
    pub fn short(&self) -> String {
        match self.id() {
            Some(id) => id[..12].to_owned(),
            None => printable(self.called.as_bytes()),
        }
    }
}

impl ContainerRuntime {
    /// As it is called.
    pub fn as_str(self) -> &'static str {
        match self {
            ContainerRuntime::Docker => "docker",
            ContainerRuntime::Containerd => "containerd",
            ContainerRuntime::CriO => "cri-o",
            ContainerRuntime::Podman => "podman",
            ContainerRuntime::Buildkit => "buildkit",
            ContainerRuntime::Lxc => "lxc",
            ContainerRuntime::Nspawn => "systemd-nspawn",
        }
    }
}

impl fmt::Display for ContainerRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(units: &[&str], container: Option<(&str, Option<ContainerRuntime>)>) -> Service {
        Service {
            units: units.iter().map(|unit| (*unit).to_owned()).collect(),
            containers: container
                .map(|(id, runtime)| Container {
                    called: id.repeat(if id.len() == 8 { 8 } else { 1 }),
                    runtime,
                })
                .into_iter()
                .collect(),
            pod: None,
        }
    }

    #[test]
    fn it_is_called_by_the_name_that_people_use() {
        let check = |service: &Service, has_name, shown: &str| {
            assert_eq!(
                (service.has_name(), service.to_string().as_str()),
                (has_name, shown)
            );
        };
        check(
            &service(&["system.slice", "nginx.service"], None),
            true,
            "nginx.service",
        );
        check(
            &service(&["user.slice", "session-3.scope"], None),
            false,
            "session-3.scope",
        );
        check(&service(&["user.slice"], None), false, "user.slice");
        check(&service(&[], None), false, "no service");
        let docker = Some(("01234567", Some(ContainerRuntime::Docker)));
        let docker = service(&["system.slice"], docker);
        check(&docker, true, "docker container 012345670123");
        let lxc = service(&[], Some(("web\x1b1", Some(ContainerRuntime::Lxc))));
        check(&lxc, true, "lxc container web\\x1b1");
        let mut pod = service(&[], Some(("01234567", None)));
        pod.pod = Some("8dbc5577-d0e2-4706-8787-57d52c03ddf2".into());
        check(
            &pod,
            true,
            "container 012345670123 of pod 8dbc5577-d0e2-4706-8787-57d52c03ddf2",
        );
    }

    #[test]
    fn units_go_by_their_name_with_or_without_the_suffix() {
        let nginx = service(&["system.slice", "nginx.service"], None);
        let check = |name: &str, expect| assert_eq!(nginx.is_in_unit(name), expect, "{name}");
        check("nginx", true);
        check("nginx.service", true);
        check("system.slice", true);
        check("ngin", false);
        check("system", false);
        check("", false);
    }
}
