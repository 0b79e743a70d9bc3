//! Which of the namespaces of the machine are asked for.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fd::AsFd;
use rustix::fs::CWD;
use rustix::io::Errno;

use super::CollectError;
use super::census::{Namespaces, namespace, table_file};
use super::descriptors::open_directory;
use super::places::{Mount, Place, network_namespace};
use crate::model::{Netns, NetnsChoice};

/// Where `ip netns` mounts the namespaces that it names.
const NAMED: &str = "/run/netns";

/// The places of `choices`, each once, the own one first; of all namespaces where there is none.
pub(super) fn resolve(
    choices: &[NetnsChoice],
    namespaces: &Namespaces,
    proc_root: &Path,
) -> Result<Vec<Place>, CollectError> {
    let mut places: Vec<Place> = Vec::new();
    let all = [NetnsChoice::All];
    let choices = if choices.is_empty() { &all } else { choices };
    for choice in choices {
        let named = |path: PathBuf| one(&path, namespaces).map(|place| vec![place]);
        let found = match choice {
            NetnsChoice::All => Ok(namespaces.places.values().cloned().collect()),
            NetnsChoice::Own => {
                let own = namespaces.places.values().filter(|place| place.own);
                Ok(own.cloned().collect())
            }
            NetnsChoice::Process(pid) => {
                of_process(*pid, namespaces, proc_root).map(|place| vec![place])
            }
            NetnsChoice::Name(name) => named(Path::new(NAMED).join(name)),
            NetnsChoice::Path(path) => named(path.clone()),
        };
        let found = found.map_err(|error| CollectError::Netns {
            choice: choice.clone(),
            error,
        })?;
        for place in found {
            if places.iter().all(|known| known.netns != place.netns) {
                places.push(place);
            }
        }
    }
    places.sort_by_key(|place| (!place.own, place.netns));
    Ok(places)
}

/// The namespace whose file `path` is.
fn one(path: &Path, namespaces: &Namespaces) -> io::Result<Place> {
    let file = File::open(path)?;
    let inode = network_namespace(&file)?;
    let inode = inode.ok_or_else(|| io::Error::other("it is no network namespace"))?;
    let new = || Place {
        mounts: vec![Mount {
            name: path.to_owned(),
            path: path.to_owned(),
        }],
        ..Place::new(Netns(inode))
    };
    Ok(namespaces.places.get(&inode).cloned().unwrap_or_else(new))
}

fn of_process(pid: u32, namespaces: &Namespaces, proc_root: &Path) -> io::Result<Place> {
    let root = open_directory(CWD, proc_root)?;
    let process = pid.to_string();
    let inode = match namespace(root.as_fd(), &process) {
        Err(Errno::ACCESS | Errno::PERM) => table_file(root.as_fd(), &process),
        other => other,
    };
    let inode = inode.map_err(|errno| match errno {
        Errno::NOENT | Errno::SRCH => io::Error::new(io::ErrorKind::NotFound, "no such process"),
        other => other.into(),
    })?;
    let new = || Place::new(Netns(inode));
    let mut place = namespaces.places.get(&inode).cloned().unwrap_or_else(new);
    // It is named in what is printed, and the first that is asked.
    place.processes.retain(|other| *other != process);
    place.processes.insert(0, process);
    Ok(place)
}
