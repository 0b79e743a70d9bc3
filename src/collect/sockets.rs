//! Reads the socket entries of every namespace that was asked for, from sock_diag or from
//! `/proc/net/tcp` and `tcp6`.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::SocketAddr;

use super::CollectError;
use super::netlink::{Dumped, NetlinkError, SockDiag};
use super::places::Place;
use super::proc_tables::ProcTables;
use crate::kernel::sock_diag::{ByteCode, DumpRequest, RowError, RowHead, parse_row};
use crate::model::{
    AcceptedOnPort, Condition, CookieSet, Coverage, Gap, GapKind, Namespace, Netns, SocketEntry,
    SocketSource, TcpState, count_of,
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
    pub(super) place: Place,
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
pub(super) struct Want<'a> {
    /// In these states.
    pub(super) states: Vec<TcpState>,
    /// Those that pass this, as far as the kernel can tell; others may come too. Not for what a
    /// queue is accounted from: a connection that is left out would pass for one that is gone.
    pub(super) condition: Option<&'a Condition>,
    /// On these local ports, if given; then ESTABLISHED rows only while nobody has accepted them.
    pub(super) ports: Option<Ports>,
    /// Those that were accepted too.
    pub(super) accepted: bool,
}

/// The rows that were read, and on each of the wanted ports the connections that were accepted.
pub(super) type RowsAndAccepted = (Vec<SocketEntry>, Option<Vec<AcceptedOnPort>>);

/// Ports of namespaces; of those that are not in it, none.
pub(super) type Ports = BTreeMap<Netns, BTreeSet<u16>>;

/// What is wanted of one namespace.
struct WantHere<'a> {
    states: &'a [TcpState],
    condition: Option<&'a Condition>,
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
    /// Those that were accepted, on each of the wanted ports; `None` without cookies.
    accepted: Option<Vec<AcceptedOnPort>>,
}

impl Sockets {
    /// Reads the wanted entries; each socket comes once. Rows that cannot be understood, dumps that
    /// stay incomplete, and tables of other namespaces that cannot be read are gaps.
    pub(super) fn read(
        &mut self,
        want: &Want<'_>,
        coverage: &mut Coverage,
    ) -> Result<Vec<SocketEntry>, CollectError> {
        let (rows, _) = self.read_with_accepted(want, coverage)?;
        Ok(rows)
    }

    /// The same, and on each of the wanted ports the set of those that were accepted; `None` where no
    /// table has cookies.
    pub(super) fn read_with_accepted(
        &mut self,
        want: &Want<'_>,
        coverage: &mut Coverage,
    ) -> Result<RowsAndAccepted, CollectError> {
        let mut all = Rows::default();
        let mut interrupted = 0;
        let mut failed: Option<(u64, CollectError)> = None;
        let nothing = BTreeSet::new();
        for table in &mut self.tables {
            let ports = want.ports.as_ref();
            let ports = ports.map(|ports| ports.get(&table.place.netns).unwrap_or(&nothing));
            if ports.is_some_and(BTreeSet::is_empty) {
                continue;
            }
            let want = WantHere {
                states: &want.states,
                condition: want.condition,
                ports,
                accepted: want.accepted,
            };
            match table.read(&want) {
                Ok(rows) => {
                    all.entries.extend(rows.entries);
                    if let Some(accepted) = rows.accepted {
                        all.accepted.get_or_insert_default().extend(accepted);
                    }
                    interrupted += u64::from(rows.interrupted);
                    if let Some((count, first)) = rows.malformed {
                        all.malformed.get_or_insert((0, first)).0 += count;
                    }
                }
                Err(error) if table.place.own => return Err(error),
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
        Ok((all.entries, all.accepted))
    }

    /// Looks up single sockets of a namespace by `(local, remote)`; `None` if that cannot be done
    /// there.
    pub(super) fn look_up(
        &mut self,
        netns: Netns,
        pairs: &[(SocketAddr, SocketAddr)],
    ) -> Option<Result<Vec<Option<SocketEntry>>, NetlinkError>> {
        let table = self
            .tables
            .iter_mut()
            .find(|table| table.place.netns == netns)?;
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
        let netns = self.place.netns;
        let mut rows = Rows::default();
        let ports = want.ports.into_iter().flatten();
        let mut accepted: BTreeMap<u16, CookieSet> =
            ports.map(|port| (*port, CookieSet::default())).collect();
        match &mut self.reader {
            Reader::SockDiag(sock_diag) => {
                let mut seen = HashSet::new();
                let on_ports = || ByteCode::of_local_ports(want.ports?.iter().copied());
                let request = DumpRequest {
                    states: want.states.to_vec(),
                    filter: want.condition.and_then(ByteCode::of).or_else(on_ports),
                    details: true,
                };
                let Rows {
                    entries, malformed, ..
                } = &mut rows;
                let mut on_row = |bytes: &[u8]| -> Result<(), RowError> {
                    let head = RowHead::new(bytes)?;
                    let (state, port) = (head.state(), head.local_port());
                    let has_inode = head.inode().is_some();
                    let takes = want.takes(state, port, has_inode);
                    if takes && !seen.insert(head.cookie()) {
                        return Ok(());
                    }
                    // One that is not taken may come twice, if the dump had to be repeated: then
                    // this set is like no other, and nothing is concluded from it. To remember
                    // them would cost memory for every connection of the server.
                    let is_open = matches!(state, TcpState::Established | TcpState::CloseWait);
                    if let Some(set) = accepted.get_mut(&port).filter(|_| is_open && has_inode) {
                        set.add(head.cookie());
                    }
                    if takes {
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
        if let Reader::SockDiag(_) = self.reader {
            let on_port = |(port, set)| AcceptedOnPort { netns, port, set };
            rows.accepted = Some(accepted.into_iter().map(on_port).collect());
        }
        Ok(rows)
    }
}

/// Counts what was malformed and keeps the first reason.
fn note(malformed: &mut Option<(u64, String)>, reason: String) {
    malformed.get_or_insert((0, reason)).0 += 1;
}
