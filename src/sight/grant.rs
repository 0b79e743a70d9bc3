//! How to get what is needed, in the situation at hand: nothing is suggested that is already so,
//! nor what has no effect here.

use super::{Need, USED, need};
use crate::model::{Capabilities, ContainedBy, Sight};

/// Where nothing more can be given to a process.
const OUTSIDE: &str = "no right of this process changes that: start it outside of what confines it";

/// How to get something.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grant {
    /// One command that gives it; `None` if no command from here does.
    pub command: Option<String>,
    /// What has to be known about it, or be done where no command helps.
    pub note: Option<String>,
}

impl Grant {
    /// What gives all of `needs`.
    pub(super) fn of(needs: &[Need], sight: &Sight) -> Grant {
        if needs.is_empty() {
            return Grant::default();
        }
        let wishes = Wishes::new(needs);
        match sight.place.container {
            Some(ContainedBy::Docker) => wishes.of_container("docker", sight),
            Some(ContainedBy::Podman) => wishes.of_container("podman", sight),
            Some(ContainedBy::Kubernetes) => wishes.of_pod(sight),
            Some(ContainedBy::Other) => Grant::note(
                "run it on the host, or give the container the host's processes and these rights",
            ),
            None => wishes.of_host(sight),
        }
    }

    fn note(text: impl Into<String>) -> Grant {
        Grant {
            command: None,
            note: Some(text.into()),
        }
    }

    fn command(text: String, note: Option<String>) -> Grant {
        Grant {
            command: Some(text),
            note,
        }
    }
}

/// Needs, each said once.
struct Wishes {
    capabilities: Capabilities,
    needs: Vec<Need>,
}

impl Wishes {
    fn new(needs: &[Need]) -> Wishes {
        let mut wishes = Wishes {
            capabilities: Capabilities::default(),
            needs: Vec::new(),
        };
        for need in needs {
            match need {
                Need::Capabilities(set) => wishes.capabilities = wishes.capabilities.and(*set),
                other if wishes.needs.contains(other) => {}
                other => wishes.needs.push(*other),
            }
        }
        wishes
    }

    fn has(&self, need: Need) -> bool {
        self.needs.contains(&need)
    }

    /// In no container.
    fn of_host(&self, sight: &Sight) -> Grant {
        let root = sight.rights.uid == 0;
        if self.has(Need::HostProcesses) {
            return Grant::note(match sight.place.first_pid_namespace {
                Some(true) => "leave --proc out: /proc shows every process".to_owned(),
                _ => "run it outside of this pid namespace".to_owned(),
            });
        }
        if self.has(Need::FirstUserNamespace) {
            return Grant::note("run it outside of this user namespace");
        }
        if !self.capabilities.is_empty() {
            return self.capabilities_of_host(sight);
        }
        if self.has(Need::SockDiagModule) {
            let sudo = if root { "" } else { "sudo " };
            return Grant::command(format!("{sudo}modprobe tcp_diag"), None);
        }
        if self.has(Need::NetlinkAllowed) {
            return Grant::note(
                "the sandbox or service that runs it has to allow AF_NETLINK (of systemd: \
                 RestrictAddressFamilies=, SystemCallFilter=)",
            );
        }
        Grant::note(match &sight.confinement.label {
            Some(label) => format!(
                "start it where it is not confined by the profile '{label}', or allow ptrace \
                 (read) in that profile"
            ),
            None => {
                "no right of this process changes that: start it outside of what confines it".into()
            }
        })
    }

    fn capabilities_of_host(&self, sight: &Sight) -> Grant {
        let (rights, program) = (&sight.rights, &sight.program);
        let missing = self.capabilities.without(rights.bounding);
        if !missing.is_empty() {
            return Grant::note(format!(
                "nothing that is started from here can have {}: start it elsewhere; a service of \
                 systemd needs it in CapabilityBoundingSet= and AmbientCapabilities=",
                need::names(missing).join(" and ")
            ));
        }
        if rights.no_new_privileges {
            return Grant::note(
                "neither sudo nor capabilities of files have an effect on what is started from \
                 here (no_new_privs): start it from another shell",
            );
        }
        let path = program.path.as_deref().map(|path| path.to_string_lossy());
        let Some(file) = path.as_deref().and_then(quoted) else {
            return Grant::command("sudo tcpleak scan".into(), None);
        };
        let sudo = if rights.uid == 0 { "" } else { "sudo " };
        if program.nosuid {
            if rights.uid == 0 {
                return Grant::note(format!(
                    "{file} is on a mount with nosuid, where capabilities of files have no \
                     effect: copy it elsewhere and use setcap there"
                ));
            }
            let note = "its file is on a mount with nosuid, where setcap has no effect";
            return Grant::command(format!("sudo {file} scan"), Some(note.into()));
        }
        // What setcap writes replaces what the file had.
        let set = self.capabilities.and(rights.effective.among(USED));
        let names: Vec<String> = need::names(set)
            .iter()
            .map(|name| name.to_lowercase())
            .collect();
        let note = format!("whoever may run that file then has them; once: sudo {file} scan");
        Grant::command(
            format!("{sudo}setcap {}+ep {file}", names.join(",")),
            (rights.uid != 0).then_some(note),
        )
    }

    /// Docker and Podman take the same options.
    fn of_container(&self, runtime: &str, sight: &Sight) -> Grant {
        let rights = &sight.rights;
        let mut options = Vec::new();
        if self.has(Need::HostProcesses) {
            options.push("--pid=host".to_owned());
            if sight.namespaces.own_is_machines != Some(true) {
                options.push("--net=host".to_owned());
            }
        }
        if !self.capabilities.is_empty() {
            if rights.uid != 0 {
                options.push("--user=0".to_owned());
            }
            let names = need::names(self.capabilities);
            let names = names.iter().map(|name| name.trim_start_matches("CAP_"));
            options.extend(names.map(|name| format!("--cap-add={name}")));
        }
        // The default profile forbids to look into processes outside of it, capability or not.
        let looks_out = self.has(Need::HostProcesses)
            || self.has(Need::NoConfinement)
            || self.capabilities.has(Capabilities::SYS_PTRACE);
        match &sight.confinement.label {
            // user:role:type:level
            Some(label) if looks_out && label.matches(':').count() >= 2 => {
                options.push("--security-opt=label=disable".to_owned());
            }
            Some(_) if looks_out => options.push("--security-opt=apparmor=unconfined".to_owned()),
            _ => {}
        }
        if self.has(Need::NetlinkAllowed) {
            options.push("--security-opt=seccomp=unconfined".to_owned());
        }
        let module = self
            .has(Need::SockDiagModule)
            .then(|| "on the host: modprobe tcp_diag".to_owned());
        let outside = self.has(Need::FirstUserNamespace)
            || rights.first_user_namespace == Some(false) && !options.is_empty();
        if options.is_empty() && !outside {
            return match module {
                Some(_) => Grant {
                    command: None,
                    note: module,
                },
                None => Grant::note(OUTSIDE),
            };
        }
        // In a user namespace of its own nothing of the host may be read, whatever it is given.
        let who = match (outside, runtime) {
            (false, _) => runtime.to_owned(),
            (true, "docker") => {
                options.push("--userns=host".into());
                runtime.to_owned()
            }
            (true, _) => format!("sudo {runtime}"),
        };
        let beside = "beside the options that it has now";
        Grant::command(
            format!("{who} run {} IMAGE tcpleak scan", options.join(" ")),
            Some(module.map_or(beside.to_owned(), |module| format!("{beside}; {module}"))),
        )
    }

    fn of_pod(&self, sight: &Sight) -> Grant {
        if self.needs == [Need::SockDiagModule] && self.capabilities.is_empty() {
            return Grant::note("on the node: modprobe tcp_diag");
        }
        let mut parts = Vec::new();
        if self.has(Need::HostProcesses) {
            parts.push("hostPID: true".to_owned());
            parts.push("hostNetwork: true".to_owned());
        }
        let mut context = Vec::new();
        if !self.capabilities.is_empty() {
            if sight.rights.uid != 0 {
                context.push("runAsUser: 0".to_owned());
            }
            let names = need::names(self.capabilities);
            let names: Vec<&str> = names
                .iter()
                .map(|name| name.trim_start_matches("CAP_"))
                .collect();
            context.push(format!("capabilities: {{add: [{}]}}", names.join(", ")));
        }
        let looks_out = self.has(Need::HostProcesses) || self.has(Need::NoConfinement);
        if looks_out && sight.confinement.label.is_some() {
            context.push("appArmorProfile: {type: Unconfined}".to_owned());
        }
        if self.has(Need::NetlinkAllowed) {
            context.push("seccompProfile: {type: Unconfined}".to_owned());
        }
        if self.has(Need::FirstUserNamespace) {
            parts.push("hostUsers: true".to_owned());
        }
        if !context.is_empty() {
            parts.push(format!("securityContext: {{{}}}", context.join(", ")));
        }
        if parts.is_empty() {
            return Grant::note(OUTSIDE);
        }
        // The profile is privileged and shares the node's namespaces.
        Grant::command(
            "kubectl debug node/NODE -it --image=IMAGE --profile=sysadmin -- tcpleak scan".into(),
            Some(format!("or in the pod: {}", parts.join(", "))),
        )
    }
}

/// A path as a shell takes it; `None` if it has what no terminal should be given.
fn quoted(path: &str) -> Option<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if path.chars().all(is_plain) {
        Some(path.to_owned())
    } else if path.chars().any(|c| c.is_control() || c == '\'') {
        None
    } else {
        Some(format!("'{path}'"))
    }
}
