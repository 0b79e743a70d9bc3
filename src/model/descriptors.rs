//! Descriptors by the process: who is close to the limit, and sockets that only a descriptor shows.

use std::time::Duration;

use super::{Fact, Inode, ProcessId};

/// A process that has used most of its descriptors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrowdedProcess {
    /// Which process.
    pub process: ProcessId,
    /// Its soft `RLIMIT_NOFILE`.
    pub soft_limit: u64,
    /// What its descriptors are.
    pub holds: Fact<Holdings>,
}

impl CrowdedProcess {
    /// From which share of its limit on, in percent, a process is looked at closely.
    pub const PERCENT: u64 = 80;
}

/// What the descriptors of one process are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holdings {
    /// Descriptors.
    pub open: u64,
    /// Those with a number below the soft limit. The limit is one of numbers, and descriptors
    /// from before it was lowered may lie above.
    pub below_limit: u64,
    /// The first ones, whose links were read; everything below is about these.
    pub looked_at: u64,
    /// Sockets of whatever protocol among them.
    pub sockets: u64,
    /// Listeners of the first look among them, ascending.
    pub listeners: Vec<Inode>,
    /// Sockets in CLOSE_WAIT of the first look among them.
    pub close_wait: u64,
    /// The most frequent links, each run of digits in them as `N`; the most frequent first.
    pub kinds: Vec<DescriptorKind>,
}

/// Descriptors whose links look alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescriptorKind {
    /// The link, as in `ls -l /proc/PID/fd`: any bytes.
    pub link: Vec<u8>,
    /// How many.
    pub count: u64,
}

/// The search for TCP sockets that have a descriptor and are in no table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadSocketSearch {
    /// TCP sockets of the whole machine (`alloc` of `/proc/net/sockstat`).
    pub allocated: u64,
    /// Those in the tables of the namespaces that were seen (`inuse` of `sockstat`, `sockstat6`).
    pub in_tables: u64,
    /// Every table in which a socket could have been was read, bound sockets included.
    pub every_table: bool,
    /// Time between the two looks at tables and descriptors; `None` if there was no need to look.
    pub watched: Option<Duration>,
}

impl DeadSocketSearch {
    /// How many sockets of one process have to be suspect before it is accused of a leak.
    ///
    /// A socket that was made and not connected yet looks the same as a dead one. A program has
    /// one or two such at a time, and whoever keeps a few ready keeps few.
    pub const FEWEST: usize = 5;
}
