//! A pid namespace of a test's own, in which exactly those processes are that it put there, and the
//! ways to run the program in it, with fewer rights than the test has.
//!
//! `unshare`, `nsenter`, `setpriv` and `mount` of util-linux do it: what they change is a process's
//! own, and gone with it.

use std::fs::Permissions;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tcpleak::scenario::{self, Running};

use super::clock::eventually;
use super::command::{Ended, Outcome, run};
use super::scan::Directory;

/// Users of nothing: "nobody", and another one.
pub(crate) const NOBODY: u32 = 65534;
pub(crate) const SOMEBODY: u32 = 65533;

/// The namespace, its first process, and whoever lives there.
pub(crate) struct House {
    /// Before the first process, with which all others end.
    servers: Vec<Running>,
    _parent: Ended,
    first: u32,
    handle: OwnedFd,
    directory: Directory,
}

impl Drop for House {
    fn drop(&mut self) {
        // With the first process all others end. It may have ended by itself.
        let _ = pidfd_send_signal(&self.handle, Signal::KILL);
    }
}

impl House {
    /// With a first process that belongs to `user` and does nothing. `None`, having said why, where
    /// that cannot be made.
    pub(crate) fn with_first_process_of(name: &str, user: u32) -> Option<House> {
        for tool in ["unshare", "nsenter", "setpriv", "mount"] {
            if run_quietly(tool).is_err() {
                super::cannot_run(&format!("needs '{tool}' of util-linux"));
                return None;
            }
        }
        let user = user.to_string();
        let parent = Command::new("unshare")
            .args([
                "--pid",
                "--fork",
                "--kill-child",
                "setpriv",
                "--clear-groups",
            ])
            .args(["--reuid", &user, "--regid", &user, "sleep", "600"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        let parent = Ended(parent.unwrap());
        let first = eventually("a first process", || first_process(&parent.0));
        let pid = Pid::from_raw(first.try_into().unwrap()).unwrap();
        Some(House {
            handle: pidfd_open(pid, PidfdFlags::empty()).unwrap(),
            servers: Vec::new(),
            _parent: parent,
            first,
            directory: Directory::new(name),
        })
    }

    /// Starts the server of a case in here, as root; its clients stay outside.
    pub(crate) fn start(&mut self, id: &str) -> &Running {
        let program = env!("CARGO_BIN_EXE_tcpleak");
        let inside = format!("nsenter --target {} --pid -- {program}", self.first);
        let wrapper = self.script("server", &format!("exec {inside} \"$@\""));
        let case = scenario::find(id).unwrap();
        // Another thread of the tests that forks has the script open for writing, until its exec.
        let server = eventually("a script that nobody writes to", || {
            match Running::start(Path::new(&wrapper), case) {
                Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => None,
                started => Some(started.unwrap()),
            }
        });
        self.servers.push(server);
        self.servers.last().unwrap()
    }

    /// Runs `tcpleak ARGUMENTS` in here, as `who`, with a `/proc` of the namespace mounted with
    /// `options`.
    pub(crate) fn tcpleak(&self, options: &str, who: Who, arguments: &str) -> Outcome {
        let mount = format!("mount -t proc -o rw{options} proc /proc");
        let target = format!("--target={}", self.first);
        let inside = ["--pid", &target, "--", "unshare", "--mount"];
        in_shell(Command::new("nsenter").args(inside), &mount, who, arguments)
    }

    /// A mount namespace in here whose `/proc` is the house's, for many runs.
    pub(crate) fn room(&self) -> Room {
        let target = format!("--target={}", self.first);
        let stay = "mount -t proc proc /proc && exec sleep 600";
        let parent = Command::new("nsenter")
            .args(["--pid", &target, "--"])
            .args(["unshare", "--mount", "sh", "-c", stay])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        let parent = Ended(parent.unwrap());
        let inside = eventually("a room", || first_process(&parent.0));
        Room {
            inside,
            _parent: parent,
        }
    }

    /// The path of a script that says `line` to a shell.
    fn script(&self, name: &str, line: &str) -> String {
        let path = self.directory.0.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{line}\n")).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        path.into_os_string().into_string().unwrap()
    }
}

/// A mount namespace in a house, kept by a process that sleeps. It ends with the house.
pub(crate) struct Room {
    inside: u32,
    _parent: Ended,
}

impl Room {
    /// A command in here, in the network namespace of this thread; its words follow.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new("nsenter");
        let target = format!("--target={}", self.inside);
        command.args([&target, "--pid", "--mount", "--"]);
        command
    }
}

/// As whom the program runs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Who {
    /// With the rights of the test.
    Root,
    /// Root without these capabilities, as `setpriv` takes them: `-sys_ptrace,-dac_override`.
    RootWithout(&'static str),
    /// Root with these only: `+sys_ptrace`.
    RootWithOnly(&'static str),
    /// A plain user in this group only.
    User(u32, u32),
}

impl Who {
    fn prefix(self) -> String {
        match self {
            Who::Root => String::new(),
            Who::RootWithout(set) => format!("setpriv --bounding-set {set} "),
            Who::RootWithOnly(set) => format!("setpriv --bounding-set -all,{set} "),
            Who::User(uid, gid) => {
                format!("setpriv --reuid {uid} --regid {gid} --clear-groups ")
            }
        }
    }
}

/// Runs `tcpleak ARGUMENTS` as `who` in a mount namespace of its own, in which `prepare` was done.
pub(crate) fn tcpleak_where(prepare: &str, who: Who, arguments: &str) -> Outcome {
    in_shell(
        Command::new("unshare").arg("--mount"),
        prepare,
        who,
        arguments,
    )
}

fn in_shell(enter: &mut Command, prepare: &str, who: Who, arguments: &str) -> Outcome {
    let program = env!("CARGO_BIN_EXE_tcpleak");
    let script = format!(
        "set -e; {prepare}; cd /; exec {}{program} {arguments}",
        who.prefix()
    );
    run(enter.args(["sh", "-c", &script]))
}

fn run_quietly(tool: &str) -> std::io::Result<()> {
    let mut command = Command::new(tool);
    command.arg("--version").stdin(Stdio::null());
    command.output().map(drop)
}

/// The pid, seen from outside, of the only child of `parent`, once that is what it shall be.
fn first_process(parent: &Child) -> Option<u32> {
    let pid = parent.id();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    let child: u32 = children.trim().parse().ok()?;
    let comm = std::fs::read_to_string(format!("/proc/{child}/comm")).ok()?;
    (comm == "sleep\n").then_some(child)
}
