//! What would show what is not seen.

use crate::model::{Capabilities, Rights};

/// One thing that would help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// These capabilities, which are not in effect.
    Capabilities(Capabilities),
    /// The pid namespace of the machine.
    HostProcesses,
    /// The machine's first user namespace: capabilities in another one do not count for it.
    FirstUserNamespace,
    /// That no security module forbids it: the capabilities are there, and the kernel said no.
    NoConfinement,
    /// The kernel module `tcp_diag`.
    SockDiagModule,
    /// A seccomp filter that lets netlink through.
    NetlinkAllowed,
}

impl Need {
    /// A noun phrase, as it stands behind "needs".
    pub fn words(self, rights: &Rights) -> String {
        match self {
            Need::Capabilities(set) => {
                let names = names(set).join(" and ");
                // In many containers root is not enough.
                if rights.uid == 0 {
                    names
                } else {
                    format!("root, or {names}")
                }
            }
            Need::HostProcesses => {
                "a run on the host, or with its pid namespace (--pid=host)".into()
            }
            Need::FirstUserNamespace => "the same rights outside of this user namespace".into(),
            Need::NoConfinement => {
                "a security module (AppArmor, SELinux, Landlock, BPF) that allows it".into()
            }
            Need::SockDiagModule => "the kernel module tcp_diag".into(),
            Need::NetlinkAllowed => "a seccomp profile that allows netlink".into(),
        }
    }
}

/// All of them, for a gap; `None` if nothing would help.
pub(super) fn words(needs: &[Need], rights: &Rights) -> Option<String> {
    let words: Vec<String> = needs.iter().map(|need| need.words(rights)).collect();
    (!words.is_empty()).then(|| words.join(", and "))
}

/// Full names, that first on which most depends: `CAP_SYS_PTRACE`.
pub fn names(set: Capabilities) -> Vec<String> {
    let first = Capabilities::SYS_PTRACE;
    let parts = [set.among(first), set.without(first)];
    let names = parts.into_iter().flat_map(Capabilities::names);
    names.map(|name| format!("CAP_{name}")).collect()
}
