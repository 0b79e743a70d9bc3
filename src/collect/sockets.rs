//! Reads socket entries, from sock_diag or from `/proc/net/tcp` and `tcp6`.

use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::netlink::{Dumped, NetlinkError, SockDiag};
use super::{CollectError, Request, SourceChoice};
use crate::kernel::sock_diag::{DumpRequest, PortFilter, RowError, RowHead, parse_row};
use crate::kernel::{ParseError, fd_link, proc_net_tcp};
use crate::model::{Coverage, Gap, GapKind, Netns, SocketEntry, SocketSource, TcpState};

/// The open source of socket entries, in the namespace of the thread that opened it.
pub(super) struct Sockets {
    netns: Netns,
    reader: Reader,
}

enum Reader {
    SockDiag(SockDiag),
    Proc { directory: PathBuf },
}

/// Which entries are wanted.
pub(super) struct Want {
    /// In these states.
    pub(super) states: Vec<TcpState>,
    /// On these local ports, if given; then ESTABLISHED rows only while nobody has accepted them.
    pub(super) ports: Option<BTreeSet<u16>>,
    /// Those that were accepted too.
    pub(super) accepted: bool,
}

impl Want {
    fn takes(&self, state: TcpState, local_port: u16, has_inode: bool) -> bool {
        self.states.contains(&state)
            && self.ports.as_ref().is_none_or(|ports| {
                ports.contains(&local_port)
                    && (self.accepted || state != TcpState::Established || !has_inode)
            })
    }
}

impl Sockets {
    pub(super) fn open(
        request: &Request,
        coverage: &mut Coverage,
    ) -> Result<Sockets, CollectError> {
        let link = std::fs::read_link(request.proc_root.join("thread-self/ns/net"));
        let netns = link
            .ok()
            .and_then(|target| fd_link::netns_inode(target.as_os_str().as_encoded_bytes()))
            .map_or(Netns(0), Netns);
        let directory = request.proc_root.join("thread-self/net");
        let sock_diag = match request.source {
            SourceChoice::Proc => {
                coverage.gaps.push(untold(
                    "/proc/net/tcp does not tell, and was asked for".into(),
                    None,
                ));
                return Self::open_proc(netns, directory, None);
            }
            SourceChoice::Auto | SourceChoice::SockDiag => SockDiag::open().and_then(probe),
        };
        match sock_diag {
            Ok(sock_diag) => Ok(Sockets {
                netns,
                reader: Reader::SockDiag(sock_diag),
            }),
            Err(error) if request.source == SourceChoice::SockDiag => {
                Err(CollectError::SockDiag(error))
            }
            Err(error) => {
                let why =
                    format!("sock_diag cannot be had ({error}); /proc/net/tcp was read instead");
                let needs = "the kernel module tcp_diag, and a seccomp profile that allows it";
                coverage.gaps.push(untold(why, Some(needs)));
                Self::open_proc(netns, directory, Some(error))
            }
        }
    }

    fn open_proc(
        netns: Netns,
        directory: PathBuf,
        sock_diag: Option<NetlinkError>,
    ) -> Result<Sockets, CollectError> {
        let path = directory.join("tcp");
        match (File::open(&path), sock_diag) {
            (Ok(_), _) => Ok(Sockets {
                netns,
                reader: Reader::Proc { directory },
            }),
            (Err(error), None) => Err(CollectError::Proc { path, error }),
            (Err(proc), Some(error)) => Err(CollectError::NoSource {
                sock_diag: error.to_string(),
                path,
                proc,
            }),
        }
    }

    pub(super) fn source(&self) -> SocketSource {
        match self.reader {
            Reader::SockDiag(_) => SocketSource::SockDiag,
            Reader::Proc { .. } => SocketSource::ProcNetTcp,
        }
    }

    /// Reads the wanted entries; each socket comes once. Rows that cannot be understood and dumps
    /// that stay incomplete are gaps.
    pub(super) fn read(
        &mut self,
        want: &Want,
        coverage: &mut Coverage,
    ) -> Result<Vec<SocketEntry>, CollectError> {
        let mut entries = Vec::new();
        let mut malformed = None;
        match &mut self.reader {
            Reader::SockDiag(sock_diag) => {
                let (netns, mut seen) = (self.netns, HashSet::new());
                let ports = want.ports.iter().flatten().copied();
                let request = DumpRequest {
                    states: want.states.clone(),
                    ports: PortFilter::new(ports),
                    details: true,
                };
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
                            note(&mut malformed, error.to_string());
                        }
                    })
                    .map_err(CollectError::SockDiag)?;
                if dumped == Dumped::Interrupted {
                    coverage.gaps.push(Gap {
                        kind: GapKind::Sockets,
                        what: "socket entries".into(),
                        why: "the table changed during every attempt to read it".into(),
                        needs: None,
                        count: 1,
                    });
                }
            }
            Reader::Proc { directory } => {
                for file in ["tcp", "tcp6"] {
                    let path = directory.join(file);
                    let rows = read_proc(&path, self.netns, want, &mut entries, &mut malformed);
                    match rows {
                        // A kernel without IPv6 has no tcp6.
                        Err(error) if file == "tcp6" && error.kind() == io::ErrorKind::NotFound => {
                        }
                        Err(error) => return Err(CollectError::Proc { path, error }),
                        Ok(()) => {}
                    }
                }
            }
        }
        if let Some((count, first)) = malformed {
            coverage.gaps.push(Gap {
                kind: GapKind::Sockets,
                what: format!("{count} malformed socket entries"),
                why: first,
                needs: None,
                count,
            });
        }
        Ok(entries)
    }

    /// Looks up single sockets by `(local, remote)`; `None` if this source cannot.
    pub(super) fn look_up(
        &mut self,
        pairs: &[(SocketAddr, SocketAddr)],
    ) -> Option<Result<Vec<Option<SocketEntry>>, NetlinkError>> {
        let Reader::SockDiag(sock_diag) = &mut self.reader else {
            return None;
        };
        let mut found = vec![None; pairs.len()];
        let netns = self.netns;
        let outcome = sock_diag.look_up(pairs, &mut |index, row| {
            if let (Some(place), Some(bytes)) = (found.get_mut(index), row) {
                *place = parse_row(bytes, netns).ok();
            }
        });
        Some(outcome.map(|()| found))
    }

    pub(super) fn netns(&self) -> Netns {
        self.netns
    }
}

/// What `/proc/net/tcp` does not have.
fn untold(why: String, needs: Option<&str>) -> Gap {
    Gap {
        kind: GapKind::Details,
        what: "ages, backlogs, drops and cookies of sockets".into(),
        why,
        needs: needs.map(str::to_owned),
        count: 1,
    }
}

/// A dump of nothing: tells a kernel without sock_diag from one that has it.
pub(super) fn probe(mut sock_diag: SockDiag) -> Result<SockDiag, NetlinkError> {
    sock_diag.dump(
        &DumpRequest {
            states: Vec::new(),
            ports: None,
            details: false,
        },
        &mut |_| {},
    )?;
    Ok(sock_diag)
}

fn read_proc(
    path: &Path,
    netns: Netns,
    want: &Want,
    entries: &mut Vec<SocketEntry>,
    malformed: &mut Option<(u64, String)>,
) -> io::Result<()> {
    each_proc_row(path, netns, &mut |row| {
        match row {
            Ok(row) if want.takes(row.state, row.local.port(), row.inode.is_some()) => {
                entries.push(row);
            }
            Ok(_) => {}
            Err(error) => note(malformed, format!("{}: {error}", path.display())),
        }
        Ok(())
    })
}

/// Reads `/proc/net/tcp` or `tcp6` row by row; `on_row` may end that with an error.
pub(super) fn each_proc_row(
    path: &Path,
    netns: Netns,
    on_row: &mut dyn FnMut(Result<SocketEntry, ParseError>) -> io::Result<()>,
) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(64 * 1024, File::open(path)?);
    let mut line = Vec::new();
    let mut number = 0;
    while reader.read_until(b'\n', &mut line)? > 0 {
        number += 1;
        // The first line is the heading.
        if number > 1 {
            on_row(proc_net_tcp::parse_row(
                line.trim_ascii_end(),
                number,
                netns,
            ))?;
        }
        line.clear();
    }
    Ok(())
}

/// Counts what was malformed and keeps the first reason.
fn note(malformed: &mut Option<(u64, String)>, reason: String) {
    malformed.get_or_insert((0, reason)).0 += 1;
}
