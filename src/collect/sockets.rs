//! Reads the socket entries of every namespace that was asked for, from sock_diag or from
//! `/proc/net/tcp` and `tcp6`.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::SocketAddr;

use super::CollectError;
use super::netlink::{Dumped, NetlinkError, SockDiag};
use super::proc_tables::ProcTables;
use crate::kernel::sock_diag::{DumpRequest, PortFilter, RowError, RowHead, parse_row};
use crate::model::{
    Coverage, Gap, GapKind, Namespace, Netns, SocketEntry, SocketSource, TcpState, count_of,
};

/// The open sources of socket entries, one for each namespace that has any.
///
/// Each keeps its namespace alive, with its devices, even when the last process there ends: so they
/// are closed after a look, and not kept for the next one.
pub(super) struct Sockets {
    /// The own namespace's first.
    pub(super) tables: Vec<Table>,
    /// Everything that was asked for, those without a table too.
    pub(super) namespaces: Vec<Namespace>,
}

/// The source of one namespace's entries.
pub(super) struct Table {
    pub(super) netns: Netns,
    pub(super) own: bool,
    pub(super) reader: Reader,
}

pub(super) enum Reader {
    SockDiag(SockDiag),
    Proc(ProcTables),
}

impl Reader {
    pub(super) fn source(&self) -> SocketSource {
        match self {
            Reader::SockDiag(_) => SocketSource::SockDiag,
            Reader::Proc(_) => SocketSource::ProcNetTcp,
        }
    }
}

/// Which entries are wanted.
pub(super) struct Want {
    /// In these states.
    pub(super) states: Vec<TcpState>,
    /// On these local ports, if given; then ESTABLISHED rows only while nobody has accepted them.
    pub(super) ports: Option<Ports>,
    /// Those that were accepted too.
    pub(super) accepted: bool,
}

/// Ports of namespaces; of those that are not in it, none.
pub(super) type Ports = BTreeMap<Netns, BTreeSet<u16>>;

/// What is wanted of one namespace.
struct WantHere<'a> {
    states: &'a [TcpState],
    ports: Option<&'a BTreeSet<u16>>,
    accepted: bool,
}

impl WantHere<'_> {
    fn takes(&self, state: TcpState, local_port: u16, has_inode: bool) -> bool {
        self.states.contains(&state)
            && self.ports.is_none_or(|ports| {
                ports.contains(&local_port)
                    && (self.accepted || state != TcpState::Established || !has_inode)
            })
    }
}

/// What was read of one table.
#[derive(Default)]
struct Rows {
    entries: Vec<SocketEntry>,
    /// How many could not be understood, and why the first could not.
    malformed: Option<(u64, String)>,
    interrupted: bool,
}

impl Sockets {
    /// Reads the wanted entries; each socket comes once. Rows that cannot be understood, dumps that
    /// stay incomplete, and tables of other namespaces that cannot be read are gaps.
    pub(super) fn read(
        &mut self,
        want: &Want,
        coverage: &mut Coverage,
    ) -> Result<Vec<SocketEntry>, CollectError> {
        let mut all = Rows::default();
        let mut interrupted = 0;
        let mut failed: Option<(u64, CollectError)> = None;
        let nothing = BTreeSet::new();
        for table in &mut self.tables {
            let ports = want.ports.as_ref();
            let ports = ports.map(|ports| ports.get(&table.netns).unwrap_or(&nothing));
            if ports.is_some_and(BTreeSet::is_empty) {
                continue;
            }
            let want = WantHere {
                states: &want.states,
                ports,
                accepted: want.accepted,
            };
            match table.read(&want) {
                Ok(rows) => {
                    all.entries.extend(rows.entries);
                    interrupted += u64::from(rows.interrupted);
                    if let Some((count, first)) = rows.malformed {
                        all.malformed.get_or_insert((0, first)).0 += count;
                    }
                }
                Err(error) if table.own => return Err(error),
                Err(error) => failed.get_or_insert((0, error)).0 += 1,
            }
        }
        if let Some((count, error)) = failed {
            if count == self.tables.len() as u64 {
                return Err(error);
            }
            coverage.gaps.push(Gap {
                kind: GapKind::Sockets,
                what: format!("sockets of {}", count_of(count, "network namespace")),
                why: error.to_string(),
                needs: None,
                count,
            });
        }
        if interrupted > 0 {
            coverage.gaps.push(Gap {
                kind: GapKind::Sockets,
                what: "socket entries".into(),
                why: "the table changed during every attempt to read it".into(),
                needs: None,
                count: interrupted,
            });
        }
        if let Some((count, first)) = all.malformed {
            coverage.gaps.push(Gap {
                kind: GapKind::Sockets,
                what: format!("{count} malformed socket entries"),
                why: first,
                needs: None,
                count,
            });
        }
        Ok(all.entries)
    }

    /// Looks up single sockets of a namespace by `(local, remote)`; `None` if that cannot be done
    /// there.
    pub(super) fn look_up(
        &mut self,
        netns: Netns,
        pairs: &[(SocketAddr, SocketAddr)],
    ) -> Option<Result<Vec<Option<SocketEntry>>, NetlinkError>> {
        let table = self.tables.iter_mut().find(|table| table.netns == netns)?;
        let Reader::SockDiag(sock_diag) = &mut table.reader else {
            return None;
        };
        let mut found = vec![None; pairs.len()];
        let outcome = sock_diag.look_up(pairs, &mut |index, row| {
            if let (Some(place), Some(bytes)) = (found.get_mut(index), row) {
                *place = parse_row(bytes, netns).ok();
            }
        });
        Some(outcome.map(|()| found))
    }
}

impl Table {
    fn read(&mut self, want: &WantHere<'_>) -> Result<Rows, CollectError> {
        let netns = self.netns;
        let mut rows = Rows::default();
        match &mut self.reader {
            Reader::SockDiag(sock_diag) => {
                let mut seen = HashSet::new();
                let request = DumpRequest {
                    states: want.states.to_vec(),
                    ports: PortFilter::new(want.ports.into_iter().flatten().copied()),
                    details: true,
                };
                let Rows {
                    entries, malformed, ..
                } = &mut rows;
                let mut on_row = |bytes: &[u8]| -> Result<(), RowError> {
                    let head = RowHead::new(bytes)?;
                    let takes = want.takes(head.state(), head.local_port(), head.inode().is_some());
                    if takes && seen.insert(head.cookie()) {
                        entries.push(parse_row(bytes, netns)?);
                    }
                    Ok(())
                };
                let dumped = sock_diag
                    .dump(&request, &mut |bytes| {
                        if let Err(error) = on_row(bytes) {
                            note(malformed, error.to_string());
                        }
                    })
                    .map_err(CollectError::SockDiag)?;
                rows.interrupted = dumped == Dumped::Interrupted;
            }
            Reader::Proc(files) => {
                let read = files.each_row(netns, &mut |path, row| {
                    match row {
                        Ok(row) if want.takes(row.state, row.local.port(), row.inode.is_some()) => {
                            rows.entries.push(row);
                        }
                        Ok(_) => {}
                        Err(error) => {
                            note(&mut rows.malformed, format!("{}: {error}", path.display()));
                        }
                    }
                    Ok(())
                });
                read.map_err(|(path, error)| CollectError::Proc { path, error })?;
            }
        }
        Ok(rows)
    }
}

/// Counts what was malformed and keeps the first reason.
fn note(malformed: &mut Option<(u64, String)>, reason: String) {
    malformed.get_or_insert((0, reason)).0 += 1;
}
