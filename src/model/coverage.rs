//! How much of the machine a run could see.

/// What was looked at, and what could not be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Coverage {
    /// Processes in `/proc` when the descriptors were walked.
    pub processes_total: u64,
    /// Those whose descriptors could be read. Kernel threads have none and count as read.
    pub processes_read: u64,
    /// Those that ended while they were read; what they held is closed or somebody else's.
    pub processes_vanished: u64,
    /// Network namespaces known to exist.
    pub netns_total: u64,
    /// Those whose socket table was read.
    pub netns_read: u64,
    /// Everything that was not seen.
    pub gaps: Vec<Gap>,
}

/// Something that this run could not see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Which statements the gap weakens.
    pub kind: GapKind,
    /// What was not seen, as a noun phrase ("descriptors of 12 processes").
    pub what: String,
    /// Why not.
    pub why: String,
    /// The capability or step that would show it, if there is one.
    pub needs: Option<String>,
    /// How many of them.
    pub count: u64,
}

/// Which statements a gap weakens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GapKind {
    /// Socket entries may be missing.
    Sockets,
    /// Holders may be missing: "nobody holds this" can't be said.
    Owners,
    /// Details are missing; neither sockets nor holders are.
    Details,
}

impl Coverage {
    /// Everything that was to be looked at could be.
    pub fn is_complete(&self) -> bool {
        self.gaps.is_empty()
    }

    /// All holders of all sockets that were read are known: "no process holds this" may be said.
    pub fn owners_complete(&self) -> bool {
        self.gaps.iter().all(|gap| gap.kind != GapKind::Owners)
    }
}
