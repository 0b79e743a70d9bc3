//! Who is who from one look to the next: never a port, never a pid alone.

use std::net::SocketAddr;

use crate::join::{CloseWait, Listener};
use crate::model::{
    Cookie, Direction, Finding, FindingId, Inode, Netns, ProcessId, SocketEntry, Subject,
};

/// A listener. Where the source has no cookies its inode tells it from one opened later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ListenerKey {
    pub(super) netns: Netns,
    cookie: Option<Cookie>,
    inode: Option<Inode>,
    pub(super) local: SocketAddr,
}

impl ListenerKey {
    pub(super) fn of(listener: &Listener<'_>) -> ListenerKey {
        let entry = listener.entry;
        ListenerKey {
            netns: entry.netns,
            cookie: entry.cookie,
            inode: entry.inode,
            local: entry.local,
        }
    }

    /// It is another one, or the same, at the same place.
    pub(super) fn has_address_of(self, entry: &SocketEntry) -> bool {
        (self.netns, self.local) == (entry.netns, entry.local)
    }

    pub(super) fn subject(self) -> Subject {
        Subject::Listener {
            netns: self.netns,
            cookie: self.cookie,
            inode: self.inode,
            local: self.local,
        }
    }
}

/// A connection: by its cookie, and where the source has none by its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct SocketKey {
    netns: Netns,
    cookie: Option<Cookie>,
    local: SocketAddr,
    remote: SocketAddr,
}

impl SocketKey {
    pub(super) fn of(entry: &SocketEntry) -> SocketKey {
        SocketKey {
            netns: entry.netns,
            cookie: entry.cookie,
            local: entry.local,
            remote: entry.remote,
        }
    }

    pub(super) fn cookie(self) -> Option<Cookie> {
        self.cookie
    }
}

/// Sockets in CLOSE_WAIT that belong together, as the findings about them group them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct GroupKey {
    pub(super) netns: Netns,
    pub(super) holder: Option<ProcessId>,
    direction: Option<Direction>,
    endpoint: String,
}

impl GroupKey {
    pub(super) fn of(socket: &CloseWait<'_>) -> GroupKey {
        GroupKey {
            netns: socket.entry.netns,
            holder: socket.holders.first().map(|holder| holder.id),
            direction: socket.direction,
            endpoint: socket.endpoint(),
        }
    }

    pub(super) fn subject(&self) -> Subject {
        Subject::Connections {
            netns: self.netns,
            holder: self.holder,
            direction: self.direction,
            endpoint: self.endpoint.clone(),
        }
    }

    /// `to 10.0.0.7:5432 (outbound)`, `on local port 8080 (inbound)`
    pub(super) fn place(&self) -> String {
        let port = self.endpoint.trim_start_matches(':');
        match self.direction {
            Some(Direction::Outbound) => format!("to {} (outbound)", self.endpoint),
            Some(Direction::Inbound) => format!("on local port {port} (inbound)"),
            None => format!("on local port {port}"),
        }
    }
}

/// What findings are about; two that say how bad the same thing is are one through time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Topic {
    Queue,
    Overflow,
    CloseWait,
    HalfClosed,
    DeadSockets,
    Descriptors,
}

/// Whom findings are about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Listener(ListenerKey),
    Group(GroupKey),
    Process(ProcessId),
}

/// A finding through time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FindingKey {
    pub(super) topic: Topic,
    pub(super) place: Place,
}

impl FindingKey {
    pub(super) fn of(finding: &Finding) -> FindingKey {
        let topic = match finding.id {
            FindingId::AcceptQueueLeak | FindingId::AcceptQueueBacklog => Topic::Queue,
            FindingId::AcceptQueueOverflow => Topic::Overflow,
            FindingId::CloseWaitLeak => Topic::CloseWait,
            FindingId::CloseWaitHalfClosed => Topic::HalfClosed,
            FindingId::DeadSocketLeak => Topic::DeadSockets,
            FindingId::DescriptorExhaustion => Topic::Descriptors,
        };
        let place = match &finding.subject {
            Subject::Listener {
                netns,
                cookie,
                inode,
                local,
            } => Place::Listener(ListenerKey {
                netns: *netns,
                cookie: *cookie,
                inode: *inode,
                local: *local,
            }),
            Subject::Connections {
                netns,
                holder,
                direction,
                endpoint,
            } => Place::Group(GroupKey {
                netns: *netns,
                holder: *holder,
                direction: *direction,
                endpoint: endpoint.clone(),
            }),
            Subject::Process(id) => Place::Process(*id),
        };
        FindingKey { topic, place }
    }

    pub(super) fn close_wait(group: &GroupKey) -> FindingKey {
        FindingKey {
            topic: Topic::CloseWait,
            place: Place::Group(group.clone()),
        }
    }
}
