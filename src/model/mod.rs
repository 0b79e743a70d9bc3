//! The vocabulary: plain types that every other module speaks.
//!
//! Nothing here does I/O, reads a clock or knows how it is printed or stored. Raw facts are in
//! [`Snapshot`]; what they mean together is `join`'s and `diagnose`'s business.

mod coverage;
mod descriptors;
mod fact;
mod finding;
mod focus;
mod namespace;
mod process;
mod service;
mod sight;
mod snapshot;
mod socket;
mod text;

pub use coverage::{Coverage, Gap, GapKind};
pub use descriptors::{CrowdedProcess, DeadSocketSearch, DescriptorKind, Holdings};
pub use fact::{Fact, Unknown};
pub use finding::{
    CauseId, CauseVerdict, Confidence, Evidence, Finding, FindingId, Severity, Subject,
};
pub use focus::{Focus, UnknownFocus};
pub use namespace::{Namespace, NetnsChoice, UnknownNetns};
pub use process::{
    DescriptorUse, EpollRegistration, EpollSet, HeldDescriptor, IoUring, Process, ProcessDetail,
    ProcessId, ProcessState, Runtime, SecondLook, SystemCall, Thread,
};
pub use service::{Container, ContainerRuntime, Service};
pub use sight::{
    Bpf, Capabilities, Confinement, ContainedBy, DeniedProcess, HidePid, NamespacesSeen,
    PidNamespace, Place, ProcMount, ProcessesSeen, Program, Rights, Sight, SockDiagAnswer,
};
pub use snapshot::{
    AcceptedOnPort, CookieSet, FileTable, FreedSlots, Host, ListenCounters, OwnerSource, Peer,
    PeerAnswer, QueueRead, Snapshot, SocketCgroup, SocketSource, SynCounters, SynSettings,
};
pub use socket::{
    Cookie, Direction, Family, Inode, Netns, Queues, Shutdown, SocketEntry, TcpInfo, TcpState,
    Timeline, Timer, UnknownState,
};
pub use text::{count_of, human_duration, printable};
