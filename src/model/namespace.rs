//! Network namespaces: each has a socket table, counters and settings of its own.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::{Fact, ListenCounters, Netns, SocketSource, printable};

/// Where `ip netns` mounts the namespaces that it names (`man 8 ip-netns`).
const NAMED: [&[u8]; 2] = [b"/run/netns/", b"/var/run/netns/"];

/// A network namespace that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// Which one. Where no process that lives there may be asked: the inode of its `net/tcp`, from
    /// the same range of numbers.
    pub id: Netns,
    /// The one that the program was started in.
    pub own: bool,
    /// Where it is mounted; any bytes but zero.
    pub mounts: Vec<Vec<u8>>,
    /// A process that lives there.
    pub process: Option<u32>,
    /// Where its sockets were read. Not collected if none is in use; otherwise the reason why they
    /// could not be read.
    pub source: Fact<SocketSource>,
    /// TCP sockets in use there (`/proc/net/sockstat`, `sockstat6`).
    pub sockets_in_use: Fact<u64>,
    /// Its accept-queue counters.
    pub listen_counters: Fact<ListenCounters>,
    /// First and last port that `connect()` picks from there.
    pub ephemeral_ports: Fact<(u16, u16)>,
}

impl Namespace {
    /// Its name, as `ip netns exec` takes it.
    pub fn name(&self) -> Option<&[u8]> {
        self.mounts.iter().find_map(|path| {
            let name = NAMED.iter().find_map(|folder| path.strip_prefix(*folder))?;
            (!name.is_empty() && !name.contains(&b'/')).then_some(name)
        })
    }

    /// What people call it, safe for a terminal: `netns web`, `netns /run/docker/netns/1f0c`,
    /// `the netns of pid 4866`.
    pub fn title(&self) -> String {
        match (self.mounts.first(), self.process) {
            (None, Some(pid)) => format!("the netns of pid {pid}"),
            _ => format!("netns {}", self.short_title()),
        }
    }

    /// The same in a column, and as `--netns` takes it: `self`, `web`, `/run/docker/netns/1f0c`,
    /// `4866`.
    pub fn short_title(&self) -> String {
        match (self.own, self.name(), self.mounts.first(), self.process) {
            (true, ..) => "self".into(),
            (_, Some(name), ..) => printable(name),
            (_, None, Some(path), _) => printable(path),
            (_, None, None, Some(pid)) => pid.to_string(),
            (_, None, None, None) => format!("net:[{}]", self.id.0),
        }
    }

    /// `command`, a shell's, as it is to be typed so that it runs there.
    pub fn command(&self, command: &str) -> String {
        let enter = match (self.own, self.name(), self.mounts.first(), self.process) {
            (true, ..) | (false, None, None, None) => return command.to_owned(),
            (_, Some(name), ..) => format!("ip netns exec {}", quoted(name)),
            (_, None, Some(path), _) => format!("nsenter --net={}", quoted(path)),
            (_, None, None, Some(pid)) => format!("nsenter --net=/proc/{pid}/ns/net"),
        };
        format!("{enter} {command}")
    }
}

/// Which network namespaces are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetnsChoice {
    /// The one that the program was started in.
    Own,
    /// All that are known.
    All,
    /// That of a process.
    Process(u32),
    /// One that `ip netns` has named.
    Name(String),
    /// One that is mounted there, or whose file that is (`/proc/PID/ns/net`).
    Path(PathBuf),
}

impl NetnsChoice {
    /// Whether `namespace`, of a recording, is meant.
    pub fn takes(&self, namespace: &Namespace) -> bool {
        match self {
            NetnsChoice::Own => namespace.own,
            NetnsChoice::All => true,
            NetnsChoice::Process(pid) => namespace.process == Some(*pid),
            NetnsChoice::Name(name) => namespace.name() == Some(name.as_bytes()),
            NetnsChoice::Path(path) => {
                let path = path.as_os_str().as_encoded_bytes();
                namespace.mounts.iter().any(|mount| mount == path)
            }
        }
    }
}

/// What was typed is no network namespace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no network namespace: self, all, a PID, a name of ip netns, or a path with a /")]
pub struct UnknownNetns(pub String);

impl FromStr for NetnsChoice {
    type Err = UnknownNetns;

    fn from_str(text: &str) -> Result<NetnsChoice, UnknownNetns> {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        match text {
            "self" => Ok(NetnsChoice::Own),
            "all" => Ok(NetnsChoice::All),
            "" | "." | ".." => Err(UnknownNetns(text.into())),
            _ if is_number => match text.parse() {
                Ok(pid) if pid > 0 => Ok(NetnsChoice::Process(pid)),
                _ => Err(UnknownNetns(text.into())),
            },
            _ if text.contains('/') => Ok(NetnsChoice::Path(text.into())),
            _ => Ok(NetnsChoice::Name(text.into())),
        }
    }
}

impl fmt::Display for NetnsChoice {
    /// As it is typed, safe for a terminal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NetnsChoice::Own => f.write_str("self"),
            NetnsChoice::All => f.write_str("all"),
            NetnsChoice::Process(pid) => write!(f, "{pid}"),
            NetnsChoice::Name(name) => f.write_str(&printable(name.as_bytes())),
            NetnsChoice::Path(path) => f.write_str(&printable(path.as_os_str().as_encoded_bytes())),
        }
    }
}

/// A word for a shell: as it is where no shell takes it apart, else in `$'…'`.
fn quoted(word: &[u8]) -> Cow<'_, str> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+@%:,".contains(byte);
    match std::str::from_utf8(word) {
        Ok(text) if !text.is_empty() && word.iter().all(is_plain) => Cow::Borrowed(text),
        _ => {
            let byte = |byte: &u8| match byte {
                b'\'' | b'\\' => format!("\\{}", char::from(*byte)),
                b' '..=b'~' => char::from(*byte).to_string(),
                _ => format!("\\x{byte:02x}"),
            };
            let inside: String = word.iter().map(byte).collect();
            Cow::Owned(format!("$'{inside}'"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Unknown;

    fn namespace(own: bool, mounts: &[&str], process: Option<u32>) -> Namespace {
        let unknown = Unknown::NotCollected;
        Namespace {
            id: Netns(4_026_532_301),
            own,
            mounts: mounts.iter().map(|path| path.as_bytes().to_vec()).collect(),
            process,
            source: Fact::Unknown(unknown),
            sockets_in_use: Fact::Unknown(unknown),
            listen_counters: Fact::Unknown(unknown),
            ephemeral_ports: Fact::Unknown(unknown),
        }
    }

    #[test]
    fn it_is_called_what_people_call_it_and_can_be_entered() {
        let check = |mounts: &[&str], process, title: &str, command: &str| {
            let there = namespace(false, mounts, process);
            assert_eq!(there.title(), title);
            assert_eq!(there.command("ss -nt"), command);
        };
        let docker = "/run/docker/netns/1f0c";
        check(
            &[docker, "/run/netns/web"],
            Some(1),
            "netns web",
            "ip netns exec web ss -nt",
        );
        check(
            &["/var/run/netns/web"],
            None,
            "netns web",
            "ip netns exec web ss -nt",
        );
        check(
            &[docker],
            Some(1),
            "netns /run/docker/netns/1f0c",
            "nsenter --net=/run/docker/netns/1f0c ss -nt",
        );
        check(
            &[],
            Some(4866),
            "the netns of pid 4866",
            "nsenter --net=/proc/4866/ns/net ss -nt",
        );
        check(&[], None, "netns net:[4026532301]", "ss -nt");
        assert_eq!(namespace(true, &[docker], None).command("ss -nt"), "ss -nt");
    }

    #[test]
    fn a_name_cannot_drive_a_shell_or_a_terminal() {
        let check = |name: &str, title: &str, command: &str| {
            let path = format!("/run/netns/{name}");
            let there = namespace(false, &[&path], None);
            assert_eq!(
                (there.title().as_str(), there.command("ss").as_str()),
                (title, command)
            );
        };
        check("a b", "netns a b", "ip netns exec $'a b' ss");
        check(
            "$(x)'\\",
            "netns $(x)'\\\\",
            "ip netns exec $'$(x)\\'\\\\' ss",
        );
        check(
            "\u{1b}[2J",
            "netns \\x1b[2J",
            "ip netns exec $'\\x1b[2J' ss",
        );
    }

    #[test]
    fn choices_are_told_apart() {
        let check = |text: &str, expect: NetnsChoice| {
            let choice = text.parse::<NetnsChoice>().unwrap();
            assert_eq!((choice.to_string().as_str(), choice), (text, expect));
        };
        check("self", NetnsChoice::Own);
        check("all", NetnsChoice::All);
        check("4866", NetnsChoice::Process(4866));
        check("web", NetnsChoice::Name("web".into()));
        check("web-1", NetnsChoice::Name("web-1".into()));
        check("./web", NetnsChoice::Path("./web".into()));
        check("/proc/1/ns/net", NetnsChoice::Path("/proc/1/ns/net".into()));
        for text in ["", "0", "..", "99999999999"] {
            assert!(text.parse::<NetnsChoice>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_choice_is_found_in_a_recording() {
        let web = namespace(false, &["/run/docker/netns/1", "/run/netns/web"], Some(7));
        let check = |text: &str, expect: bool| {
            let choice = text.parse::<NetnsChoice>().unwrap();
            assert_eq!(choice.takes(&web), expect, "{text}");
        };
        check("all", true);
        check("self", false);
        check("7", true);
        check("8", false);
        check("web", true);
        check("1", false);
        check("/run/docker/netns/1", true);
        check("/run/netns", false);
    }
}
