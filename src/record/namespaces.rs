//! The network namespaces in the header, and what stood there when only one was read.
//!
//! The first programs recorded one namespace, with its facts as keys of the header. These keys must
//! be there, so they are still written, about the nearest namespace; a file that has no others is
//! understood as one of a single namespace.

use super::value::{FieldError, ObjectReader, ObjectWriter};
use crate::model::{Fact, ListenCounters, Namespace, Netns, Snapshot, SocketSource, Unknown};

/// What the header says.
pub(super) enum Recorded {
    All(Vec<Namespace>),
    /// One, whose number stands in its rows.
    Single(Namespace),
}

pub(super) fn write(namespaces: &Vec<Namespace>, object: &mut ObjectWriter<'_>) {
    let nearest = namespaces.iter().find(|namespace| namespace.own);
    let unknown = single(
        SocketSource::SockDiag,
        Fact::Unknown(Unknown::NotCollected),
        Fact::Unknown(Unknown::NotCollected),
        Fact::Unknown(Unknown::NotCollected),
    );
    let nearest = nearest.or(namespaces.first()).unwrap_or(&unknown);
    // Where nothing was read there are no rows, and the source says nothing.
    let source = nearest.source.known();
    object.field("socket_source", source.unwrap_or(&SocketSource::SockDiag));
    object.field("listen_counters", &nearest.listen_counters);
    object.field("ephemeral_ports", &nearest.ephemeral_ports);
    object.field("sockets_in_use", &nearest.sockets_in_use);
    object.field("namespaces", namespaces);
}

pub(super) fn read(header: &mut ObjectReader) -> Result<Recorded, FieldError> {
    let source = header.field("socket_source")?;
    let listen_counters = header.field("listen_counters")?;
    let ephemeral_ports = header.field("ephemeral_ports")?;
    let sockets_in_use = header.field("sockets_in_use")?;
    let all: Option<Vec<Namespace>> = header.field("namespaces")?;
    Ok(all.map_or_else(
        || {
            Recorded::Single(single(
                source,
                listen_counters,
                ephemeral_ports,
                sockets_in_use,
            ))
        },
        Recorded::All,
    ))
}

impl Recorded {
    /// The snapshot with its namespaces.
    pub(super) fn complete(self, snapshot: Snapshot) -> Snapshot {
        let namespaces = match self {
            Recorded::All(namespaces) => namespaces,
            Recorded::Single(namespace) => vec![Namespace {
                id: snapshot
                    .sockets
                    .first()
                    .map_or(namespace.id, |row| row.netns),
                ..namespace
            }],
        };
        Snapshot {
            namespaces,
            ..snapshot
        }
    }
}

fn single(
    source: SocketSource,
    listen_counters: Fact<ListenCounters>,
    ephemeral_ports: Fact<(u16, u16)>,
    sockets_in_use: Fact<u64>,
) -> Namespace {
    Namespace {
        id: Netns(0),
        own: true,
        mounts: Vec::new(),
        process: None,
        source: Fact::Known(source),
        sockets_in_use,
        listen_counters,
        ephemeral_ports,
    }
}
