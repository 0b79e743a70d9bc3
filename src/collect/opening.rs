//! Opens the tables of the namespaces that were asked for.
//!
//! A namespace in which no TCP socket is in use has none to open: it costs the way there and two
//! small reads. Where this process may not go, `/proc/PID/net` of somebody who lives there is read,
//! which tells less.

use std::path::{Path, PathBuf};

use super::counters::{self, InUse};
use super::netlink::{NetlinkError, SockDiag};
use super::places::{Closed, Place, visit};
use super::proc_tables::ProcTables;
use super::sockets::{Reader, Sockets, Table};
use super::{CollectError, Request, SourceChoice, proc_root, rights};
use crate::kernel::sock_diag::DumpRequest;
use crate::model::{
    Coverage, Fact, Gap, GapKind, ListenCounters, Namespace, SockDiagAnswer, SynSettings, Unknown,
    count_of,
};
use crate::sight;

/// What was found in one namespace.
struct Opened {
    in_use: InUse,
    listen_counters: Fact<ListenCounters>,
    ephemeral_ports: Fact<(u16, u16)>,
    syn_settings: Option<SynSettings>,
    /// None if there is no row to read.
    reader: Option<Result<Reader, CollectError>>,
}

impl Sockets {
    /// Opens the tables at `places`. That the own one cannot be read is an error, and that none can;
    /// otherwise it is a gap.
    pub(super) fn open(
        request: &Request,
        places: &[Place],
        coverage: &mut Coverage,
    ) -> Result<Sockets, CollectError> {
        let mut sockets = Sockets {
            tables: Vec::new(),
            namespaces: Vec::new(),
        };
        let mut source = request.source;
        if !proc_root::is_mounted(&request.proc_root) {
            let gap = sight::sock_diag_of_another_machine(&request.proc_root);
            coverage.gaps.push(gap);
        } else if source == SourceChoice::Proc {
            let rights = rights::own(&request.proc_root);
            let gap = sight::no_sock_diag(&SockDiagAnswer::NotAsked, &rights);
            coverage.gaps.extend(gap);
        }
        for own in places.iter().filter(|place| place.own) {
            let opened = open_own(request, &mut source, coverage)?;
            sockets.add(own, opened)?;
        }
        let others: Vec<&Place> = places.iter().filter(|place| !place.own).collect();
        let error = sockets.open_others(&request.proc_root, source, &others, coverage);
        let read = sockets.namespaces.iter().filter(|one| is_read(one)).count() as u64;
        coverage.netns_total += places.len() as u64;
        coverage.netns_read += read;
        match error {
            Some(error) if read == 0 => Err(error),
            _ => Ok(sockets),
        }
    }

    /// Returns why the first of them that could not be read could not.
    fn open_others(
        &mut self,
        root: &Path,
        source: SourceChoice,
        others: &[&Place],
        coverage: &mut Coverage,
    ) -> Option<CollectError> {
        let inside = visit(root, others, |place| open_here(root, source, place));
        let mut short = Short::default();
        let mut first = None;
        for (place, inside) in others.iter().zip(inside) {
            let (opened, closed) = match inside {
                Ok(opened) => (Some(opened), None),
                Err(closed) => (open_from_outside(root, source, place), Some(closed)),
            };
            let title = || unread(place, Unknown::Vanished).title();
            let Some(opened) = opened else {
                let closed = closed.unwrap_or(Closed::Vanished);
                self.namespaces.push(unread(place, closed.reason()));
                first.get_or_insert_with(|| CollectError::Closed {
                    namespace: title(),
                    why: closed.to_string(),
                });
                short.closed(closed);
                continue;
            };
            if let (Some(closed), Some(Ok(_))) = (closed, &opened.reader) {
                short.seen_from_outside(closed, source);
            }
            if let Err(error) = self.add(place, opened) {
                short.unread(&error);
                first.get_or_insert(error);
            }
        }
        short.report(root, coverage);
        first
    }

    /// Keeps what was opened; gives back why the table could not be.
    fn add(&mut self, place: &Place, opened: Opened) -> Result<(), CollectError> {
        let (source, reader, outcome) = match opened.reader {
            Some(Ok(reader)) => (Fact::Known(reader.source()), Some(reader), Ok(())),
            Some(Err(error)) => (Fact::Unknown(Unknown::Unsupported), None, Err(error)),
            None => (Fact::Unknown(Unknown::NotCollected), None, Ok(())),
        };
        self.namespaces.push(Namespace {
            source,
            sockets_in_use: opened.in_use.sockets,
            listen_counters: opened.listen_counters,
            ephemeral_ports: opened.ephemeral_ports,
            syn_settings: opened.syn_settings,
            ..unread(place, Unknown::NotCollected)
        });
        self.tables.extend(reader.map(|reader| Table {
            place: place.clone(),
            reader,
        }));
        outcome
    }

    /// What is known of the namespaces that were asked for, with their counters as they are now.
    pub(super) fn namespaces(&self, root: &Path) -> Vec<Namespace> {
        let mut namespaces = self.namespaces.clone();
        for Table { place, .. } in &self.tables {
            let directory = match place.own {
                true => Some(here(root)),
                false => place.directory(root),
            };
            let mut same = namespaces.iter_mut();
            let namespace = same.find(|namespace| namespace.id == place.netns);
            if let (Some(namespace), Some(directory)) = (namespace, directory) {
                namespace.listen_counters = counters::listen_counters(&directory);
            }
        }
        namespaces
    }
}

/// What shows the namespace of the thread that looks; `/proc/net` shows that of the first thread.
fn here(root: &Path) -> PathBuf {
    proc_root::own(root).join("net")
}

/// It was read, or there was nothing to read.
fn is_read(namespace: &Namespace) -> bool {
    matches!(
        namespace.source,
        Fact::Known(_) | Fact::Unknown(Unknown::NotCollected)
    )
}

/// What is known of a namespace before it is looked at.
fn unread(place: &Place, reason: Unknown) -> Namespace {
    let mounts = place.mounts.iter();
    Namespace {
        id: place.netns,
        own: place.own,
        mounts: mounts
            .map(|mount| mount.name.as_os_str().as_encoded_bytes().to_vec())
            .collect(),
        process: place.pid(),
        source: Fact::Unknown(reason),
        sockets_in_use: Fact::Unknown(reason),
        listen_counters: Fact::Unknown(reason),
        ephemeral_ports: Fact::Unknown(reason),
        syn_settings: None,
    }
}

/// Opens the table of this thread's namespace. Without sock_diag here there is none anywhere, and
/// `source` says so from then on.
fn open_own(
    request: &Request,
    source: &mut SourceChoice,
    coverage: &mut Coverage,
) -> Result<Opened, CollectError> {
    let net = here(&request.proc_root);
    let proc = || ProcTables::open(&net).map(Reader::Proc);
    let reader = match source {
        SourceChoice::Proc => proc().map_err(|(path, error)| CollectError::Proc { path, error })?,
        SourceChoice::Auto | SourceChoice::SockDiag => match SockDiag::open().and_then(probe) {
            Ok(sock_diag) => Reader::SockDiag(sock_diag),
            Err(error) if *source == SourceChoice::SockDiag => {
                return Err(CollectError::SockDiag(error));
            }
            Err(error) => {
                *source = SourceChoice::Proc;
                let answer = super::sight::answer(&error);
                let rights = rights::own(&request.proc_root);
                coverage.gaps.extend(sight::no_sock_diag(&answer, &rights));
                proc().map_err(|(path, proc)| CollectError::NoSource {
                    sock_diag: error.to_string(),
                    path,
                    proc,
                })?
            }
        },
    };
    Ok(Opened {
        in_use: counters::in_use(&net),
        // Read later.
        listen_counters: Fact::Unknown(Unknown::NotCollected),
        ephemeral_ports: counters::ephemeral_ports(&request.proc_root),
        syn_settings: counters::syn_settings(&request.proc_root),
        reader: Some(Ok(reader)),
    })
}

/// Opens the table of the namespace that this thread has gone to.
fn open_here(root: &Path, source: SourceChoice, place: &Place) -> Opened {
    let net = here(root);
    let in_use = counters::in_use(&net);
    let unknown = Unknown::NotCollected;
    if in_use.is_empty {
        return Opened {
            in_use,
            listen_counters: Fact::Unknown(unknown),
            ephemeral_ports: Fact::Unknown(unknown),
            syn_settings: None,
            reader: None,
        };
    }
    let reader = match source {
        SourceChoice::Proc => ProcTables::open(&net)
            .map(Reader::Proc)
            .map_err(|(path, error)| CollectError::Proc { path, error }),
        SourceChoice::Auto | SourceChoice::SockDiag => SockDiag::open()
            .map(Reader::SockDiag)
            .map_err(CollectError::SockDiag),
    };
    Opened {
        in_use,
        // Where somebody lives they are read later.
        listen_counters: if place.processes.is_empty() {
            counters::listen_counters(&net)
        } else {
            Fact::Unknown(unknown)
        },
        ephemeral_ports: counters::ephemeral_ports(root),
        syn_settings: counters::syn_settings(root),
        reader: Some(reader),
    }
}

/// Opens the table of a namespace by way of somebody who lives there; `None` if there is nobody,
/// or only sock_diag will do.
fn open_from_outside(root: &Path, source: SourceChoice, place: &Place) -> Option<Opened> {
    let net = place
        .directory(root)
        .filter(|_| source != SourceChoice::SockDiag)?;
    let in_use = counters::in_use(&net);
    let reader = (!in_use.is_empty).then(|| {
        ProcTables::open(&net)
            .map(Reader::Proc)
            .map_err(|(path, error)| CollectError::Proc { path, error })
    });
    let opened = Opened {
        in_use,
        listen_counters: Fact::Unknown(Unknown::NotCollected),
        ephemeral_ports: Fact::Unknown(Unknown::Permission),
        syn_settings: None,
        reader,
    };
    // What was opened was that namespace's if the process lives there still.
    (place.directory(root)? == net).then_some(opened)
}

/// A dump of nothing: tells a kernel without sock_diag from one that has it.
pub(super) fn probe(mut sock_diag: SockDiag) -> Result<SockDiag, NetlinkError> {
    sock_diag.dump(
        &DumpRequest {
            states: Vec::new(),
            filter: None,
            details: false,
        },
        &mut |_| {},
    )?;
    Ok(sock_diag)
}

/// Namespaces of which not everything could be read, and why the first could not.
#[derive(Default)]
struct Short {
    denied: Option<(u64, String)>,
    vanished: u64,
    unread: Option<(u64, String)>,
    from_outside: Option<(u64, String)>,
}

impl Short {
    fn closed(&mut self, closed: Closed) {
        match closed {
            Closed::Vanished => self.vanished += 1,
            Closed::Denied(error) => {
                self.denied.get_or_insert((0, error.to_string())).0 += 1;
            }
        }
    }

    fn seen_from_outside(&mut self, closed: Closed, source: SourceChoice) {
        // Where nothing more was asked for, nothing is missing.
        if source != SourceChoice::Proc {
            self.from_outside.get_or_insert((0, closed.to_string())).0 += 1;
        }
    }

    fn unread(&mut self, error: &CollectError) {
        self.unread.get_or_insert((0, error.to_string())).0 += 1;
    }

    fn report(self, root: &Path, coverage: &mut Coverage) {
        if let Some((count, why)) = self.denied {
            let gap = sight::closed_namespaces(count, why, &rights::own(root));
            coverage.gaps.push(gap);
        }
        let mut gap = |count, why| {
            coverage.gaps.push(Gap {
                kind: GapKind::Sockets,
                what: format!("sockets of {}", count_of(count, "other network namespace")),
                why,
                needs: None,
                count,
            });
        };
        if let Some((count, why)) = self.unread {
            gap(count, why);
        }
        if self.vanished > 0 {
            let why = "whoever lived there was gone when it was to be read";
            gap(self.vanished, why.into());
        }
        if let Some((count, why)) = self.from_outside {
            let gap = sight::namespaces_from_outside(count, &why, &rights::own(root));
            coverage.gaps.push(gap);
        }
    }
}
