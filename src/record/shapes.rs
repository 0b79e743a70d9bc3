//! The types of the model as they stand in a recording: a field or a variant, a line.
//!
//! Nothing can be forgotten: a field or variant of the model that is not listed here does not
//! compile. A key that must keep its name while the model's changes is `field = "key"`.

use serde_json::Value;

use super::value::{
    FieldError, ObjectReader, ObjectWriter, Record, excerpt, hex_number, read_tagged, write_tagged,
};
use crate::model::{
    AcceptedOnPort, Cookie, CookieSet, Coverage, CrowdedProcess, DeadSocketSearch, DescriptorKind,
    DescriptorUse, EpollRegistration, EpollSet, Family, FileTable, FreedSlots, Gap, GapKind,
    HeldDescriptor, Holdings, Host, Inode, IoUring, ListenCounters, Namespace, Netns, OwnerSource,
    Peer, PeerAnswer, Process, ProcessDetail, ProcessId, ProcessState, QueueRead, Queues, Runtime,
    SecondLook, Shutdown, SocketCgroup, SocketEntry, SocketSource, SynCounters, SynSettings,
    SystemCall, TcpInfo, TcpState, Thread, Timer, Unknown,
};

macro_rules! key {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $key:literal) => {
        $key
    };
}

/// A struct: an object with these keys.
macro_rules! fields {
    ($type:ident { $($field:ident $(= $key:literal)?),+ $(,)? }) => {
        impl Record for $type {
            fn write(&self, out: &mut String) {
                let $type { $($field),+ } = self;
                let mut object = ObjectWriter::begin(out);
                $(object.field(key!($field $($key)?), $field);)+
                object.end();
            }

            fn read(value: Value) -> Result<Self, FieldError> {
                let mut object = ObjectReader::new(value)?;
                Ok($type { $($field: object.field(key!($field $($key)?))?),+ })
            }
        }
    };
}

/// A struct around one value: as that value.
macro_rules! newtypes {
    ($($type:ident),+ $(,)?) => {$(
        impl Record for $type {
            fn write(&self, out: &mut String) {
                let $type(inner) = self;
                inner.write(out);
            }

            fn read(value: Value) -> Result<Self, FieldError> {
                Record::read(value).map($type)
            }
        }
    )+};
}

/// An enum: `"word"`, or `{"word":content}` for a variant with content.
macro_rules! variants {
    ($type:ident { $(
        $variant:ident $(($inner:ident))? $({ $($field:ident $(= $key:literal)?),+ $(,)? })?
            = $word:literal
    ),+ $(,)? }) => {
        impl Record for $type {
            fn write(&self, out: &mut String) {
                match self {$(
                    $type::$variant $(($inner))? $({ $($field),+ })? => {
                        write_variant!(out, $word, $(($inner))? $({ $($field $($key)?),+ })?);
                    }
                )+}
            }

            fn read(value: Value) -> Result<Self, FieldError> {
                let (word, content) = read_tagged(value)?;
                match word.as_str() {
                    $($word => read_variant!(
                        content, $type::$variant, $(($inner))? $({ $($field $($key)?),+ })?
                    ),)+
                    _ => {
                        const WORDS: &[&str] = &[$($word),+];
                        let word = excerpt(&word);
                        let words = WORDS.join(", ");
                        return Err(FieldError::new(format!("'{word}' is none of {words}")));
                    }
                }
                .map_err(|error: FieldError| error.within(&word))
            }
        }
    };
}

macro_rules! write_variant {
    ($out:ident, $word:literal,) => {
        $word.to_owned().write($out)
    };
    ($out:ident, $word:literal, ($inner:ident)) => {
        write_tagged($word, $out, |out| $inner.write(out))
    };
    ($out:ident, $word:literal, { $($field:ident $($key:literal)?),+ }) => {
        write_tagged($word, $out, |out| {
            let mut object = ObjectWriter::begin(out);
            $(object.field(key!($field $($key)?), $field);)+
            object.end();
        })
    };
}

macro_rules! read_variant {
    ($content:ident, $type:ident :: $variant:ident,) => {
        without_content($content).map(|()| $type::$variant)
    };
    ($content:ident, $type:ident :: $variant:ident, ($inner:ident)) => {
        with_content($content).and_then(Record::read).map($type::$variant)
    };
    ($content:ident, $type:ident :: $variant:ident, { $($field:ident $($key:literal)?),+ }) => {
        with_content($content).and_then(ObjectReader::new).and_then(|mut object| {
            Ok($type::$variant { $($field: object.field(key!($field $($key)?))?),+ })
        })
    };
}

fn with_content(content: Option<Value>) -> Result<Value, FieldError> {
    content.ok_or_else(|| FieldError::new("has no content"))
}

fn without_content(content: Option<Value>) -> Result<(), FieldError> {
    match content {
        None => Ok(()),
        Some(_) => Err(FieldError::new("is a word without content")),
    }
}

newtypes! { Netns, Inode, Shutdown, ProcessState }

/// In hexadecimal, as ss prints it.
impl Record for Cookie {
    fn write(&self, out: &mut String) {
        self.to_string().write(out);
    }

    fn read(value: Value) -> Result<Self, FieldError> {
        let text = String::read(value)?;
        hex_number(&text)
            .map(Cookie)
            .ok_or_else(|| FieldError::new(format!("not a hex number: '{}'", excerpt(&text))))
    }
}

variants! {
    Unknown {
        Permission = "permission",
        Vanished = "vanished",
        Unsupported = "unsupported",
        NotCollected = "not_collected",
        Malformed = "malformed",
        Moving = "moving",
    }
}

fields! { Host { hostname, kernel } }

variants! {
    SocketSource {
        SockDiag = "sock_diag",
        ProcNetTcp = "proc_net_tcp",
    }
}

variants! {
    OwnerSource {
        Procfs = "procfs",
        None = "none",
    }
}

fields! { ListenCounters { overflows, drops, syn } }

fields! {
    SynCounters {
        cookies_sent,
        cookies_received,
        cookies_failed,
        full_with_cookies,
        full_with_drops,
    }
}

fields! { SynSettings { cookies, max_backlog } }

fields! {
    Namespace {
        id = "netns",
        own,
        mounts,
        process,
        source,
        sockets_in_use,
        listen_counters,
        ephemeral_ports,
        syn_settings,
    }
}

fields! {
    Coverage {
        processes_total,
        processes_read,
        processes_vanished,
        netns_total,
        netns_read,
        gaps,
    }
}

fields! { Gap { kind, what, why, needs, count } }

variants! {
    GapKind {
        Sockets = "sockets",
        Owners = "owners",
        Details = "details",
    }
}

fields! {
    SocketEntry {
        netns,
        cookie,
        inode,
        family,
        state,
        local,
        remote,
        bound_device,
        uid,
        queues,
        timer,
        shutdown,
        v6only,
        drops,
        cgroup_id,
        ulp,
        info,
    }
}

variants! { Family { V4 = "v4", V6 = "v6" } }

variants! {
    TcpState {
        Established = "ESTABLISHED",
        SynSent = "SYN_SENT",
        SynRecv = "SYN_RECV",
        FinWait1 = "FIN_WAIT1",
        FinWait2 = "FIN_WAIT2",
        TimeWait = "TIME_WAIT",
        Close = "CLOSE",
        CloseWait = "CLOSE_WAIT",
        LastAck = "LAST_ACK",
        Listen = "LISTEN",
        Closing = "CLOSING",
        Unknown(number) = "UNKNOWN",
    }
}

variants! {
    Queues {
        Listen { accept_queue, backlog } = "listen",
        Stream { recv_q, send_q } = "stream",
    }
}

variants! {
    Timer {
        Off = "off",
        Retransmit = "retransmit",
        Keepalive = "keepalive",
        TimeWait = "time_wait",
        ZeroWindow = "zero_window",
        Unknown(number) = "unknown",
    }
}

fields! {
    TcpInfo {
        options,
        rtt_us,
        unacked,
        since_data_sent,
        since_data_received,
        since_ack_received,
        bytes_acked,
        bytes_received,
        bytes_sent,
        bytes_retransmitted,
    }
}

fields! { QueueRead { after, sockets, accepted, freed } }

fields! { FreedSlots { netns, cookie, local, slots } }

fields! { AcceptedOnPort { netns, port, set } }

fields! { CookieSet { count, digest } }

fields! { Peer { netns, local, remote, answer } }

variants! {
    PeerAnswer {
        Found(socket) = "found",
        Gone = "gone",
    }
}

fields! { HeldDescriptor { process, fd, inode } }

fields! { ProcessId { pid, start_time } }

fields! {
    Process {
        id,
        comm,
        parent,
        state,
        command_line,
        exe,
        uid,
        user,
        cgroup,
        descriptors,
        detail,
    }
}

fields! { SocketCgroup { id, path } }

fields! { FileTable { allocated, limit } }

fields! { CrowdedProcess { process, soft_limit, holds } }

fields! {
    Holdings {
        open,
        below_limit,
        looked_at,
        sockets,
        listeners,
        close_wait,
        kinds,
    }
}

fields! { DescriptorKind { link, count } }

fields! { DeadSocketSearch { allocated, in_tables, every_table, watched } }

fields! { DescriptorUse { open, soft_limit, exhausted } }

fields! {
    ProcessDetail {
        threads,
        epoll_sets,
        io_urings,
        frozen,
        runtime,
    }
}

fields! {
    Thread {
        tid,
        comm,
        state,
        cpu_ticks,
        second_look,
        system_call,
        wait_channel,
    }
}

fields! { SecondLook { state, cpu_ticks } }

variants! {
    SystemCall {
        Running = "running",
        NotInCall = "not_in_call",
        In { number, name, arguments } = "in",
    }
}

fields! { EpollSet { fd, inode, registrations } }

fields! { EpollRegistration { fd, events, inode } }

fields! { IoUring { fd, registered_sockets, pending_accepts } }

variants! {
    Runtime {
        Go = "go",
        Jvm = "jvm",
        Node = "node",
        Python = "python",
        Ruby = "ruby",
        DotNet = "dotnet",
        Nginx = "nginx",
        Haproxy = "haproxy",
        Native = "native",
    }
}
