//! A socket's own cgroup on the running kernel: it names the service that opened the socket even if
//! no process can be read, or none has it. Fact Q12.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

mod support;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use support::clock::eventually;
use support::command::{at_port, tcpleak, tcpleak_as_nobody};
use support::scan::{OLD, listener_of, only, report, scan, start};
use support::{cannot_run, in_own_namespace};
use tcpleak::model::SocketEntry;
use tcpleak::scenario::Running;

const LOWERED: &str = "--accept-age 200ms --close-wait-age 200ms";

/// Processes are moved as a whole, and the tests of this file are threads of one.
static ALONE: Mutex<()> = Mutex::new(());

/// A cgroup of the unified hierarchy.
struct Cgroup {
    hierarchy: PathBuf,
    unit: String,
    _alone: MutexGuard<'static, ()>,
}

impl Cgroup {
    /// `None`, having said why, where none can be made.
    fn new(name: &str) -> Option<Cgroup> {
        let mounts = std::fs::read("/proc/self/mountinfo").unwrap();
        let mounts = tcpleak::kernel::mountinfo::cgroup2_mounts(&mounts);
        let Some(hierarchy) = mounts.into_iter().next() else {
            cannot_run("cgroup v2 is not mounted");
            return None;
        };
        let cgroup = Cgroup {
            unit: format!("tcpleak-{name}-{}.service", std::process::id()),
            hierarchy,
            _alone: ALONE.lock().unwrap_or_else(PoisonError::into_inner),
        };
        match std::fs::create_dir(cgroup.path()) {
            Ok(()) => Some(cgroup),
            Err(error) => {
                let hierarchy = cgroup.hierarchy.display();
                cannot_run(&format!("needs to write to {hierarchy}: {error}"));
                None
            }
        }
    }

    fn path(&self) -> PathBuf {
        self.hierarchy.join(&self.unit)
    }

    /// Starts a case inside, and waits until it is old. The kernel takes its time to move a process,
    /// more than a case may take to start on a machine that is busy: this one goes there and back.
    fn start(&self, id: &str) -> Running {
        let own = std::fs::read("/proc/self/cgroup").unwrap();
        let own = tcpleak::kernel::cgroup::unified_path(&own)
            .unwrap()
            .to_vec();
        let own = String::from_utf8(own).unwrap();
        move_process(&self.path(), std::process::id());
        let case = start(id);
        move_process(&self.hierarchy.join(&own[1..]), std::process::id());
        eventually("an old queue", || {
            let snapshot = scan();
            let wait = listener_of(&report(&snapshot).table, &case).oldest_wait();
            wait.filter(|wait| *wait >= OLD)
        });
        case
    }
}

fn move_process(cgroup: &Path, pid: u32) {
    std::fs::write(cgroup.join("cgroup.procs"), pid.to_string()).unwrap();
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The processes of the case have been killed, and are on their way out.
        let removed = || {
            let gone = |path: &Path| !path.exists() || std::fs::remove_dir(path).is_ok();
            gone(&self.path()).then_some(())
        };
        eventually("the cgroup to be empty", removed);
    }
}

fn cgroup_ids(rows: &[SocketEntry]) -> Vec<u64> {
    let mut ids: Vec<u64> = rows.iter().filter_map(|row| row.cgroup_id).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

#[test]
fn a_queued_connection_has_the_cgroup_of_its_listener_whose_id_is_an_inode() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let Some(cgroup) = Cgroup::new("inherited") else {
        return;
    };
    let case = cgroup.start("edge-triggered-missed-wakeup");
    let snapshot = scan();
    let rows: Vec<SocketEntry> = snapshot.sockets;
    let of_server = |row: &&SocketEntry| row.local == case.address();
    let rows: Vec<SocketEntry> = rows.iter().filter(of_server).cloned().collect();
    assert!(rows.iter().any(SocketEntry::is_unaccepted));
    let inode = std::fs::metadata(cgroup.path()).unwrap().ino();
    assert_eq!(cgroup_ids(&rows), [inode]);
    // Its holder is seen: there is no need to look for the cgroup.
    assert_eq!(snapshot.cgroups, None);
    drop(case);
}

#[test]
fn the_service_is_named_to_a_user_who_sees_no_process_of_it() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let Some(cgroup) = Cgroup::new("unseen") else {
        return;
    };
    let case = cgroup.start("edge-triggered-missed-wakeup");
    let at_port = at_port(case.address());
    let scan = |options: &str| {
        let outcome = tcpleak_as_nobody(&format!("scan {LOWERED} {at_port} {options}"));
        assert!(outcome.status < 2, "{outcome:?}");
        outcome
    };
    let expect = format!(
        "could not be seen; by its cgroup it was opened in {}",
        cgroup.unit
    );
    let text = scan("").stdout;
    assert!(text.contains(&expect), "{text}");

    let name = cgroup.unit.strip_suffix(".service").unwrap();
    let json = scan(&format!("--json --unit {name}")).json();
    let listener = only(json["listeners"].as_array().unwrap().iter());
    assert_eq!(listener["holders"], json!([]));
    assert_eq!(listener["cgroup"]["unit"], json!(cgroup.unit));
    assert_eq!(
        listener["cgroup"]["path"],
        json!(format!("/{}", cgroup.unit))
    );
    assert_eq!(json["close_wait"].as_array().unwrap().len(), 8);
    let other = scan("--json --unit tcpleak-other").json();
    assert_eq!(
        (&other["listeners"], &other["close_wait"]),
        (&json!([]), &json!([]))
    );

    let list = tcpleak_as_nobody(&format!("list --state listen {at_port}"));
    let shown = format!("- (not seen; opened in {})", cgroup.unit);
    assert!(list.stdout.contains(&shown), "{list:?}");
    drop(case);
}

#[test]
fn the_service_is_named_where_no_process_has_the_socket() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let Some(cgroup) = Cgroup::new("unheld") else {
        return;
    };
    let case = cgroup.start("no-holder");
    let at_port = at_port(case.address());
    let scan = || -> Value { tcpleak(&format!("scan --json {LOWERED} {at_port}")).json() };
    let json = scan();
    let listener = only(json["listeners"].as_array().unwrap().iter());
    assert_eq!(listener["cgroup"]["unit"], json!(cgroup.unit));

    // Its processes go elsewhere, and it is removed: a socket keeps the number alone.
    for pid in case.pids() {
        move_process(&cgroup.hierarchy, pid);
    }
    std::fs::remove_dir(cgroup.path()).unwrap();
    let json = scan();
    let listener = only(json["listeners"].as_array().unwrap().iter());
    assert!(listener["cgroup"]["id"].is_u64(), "{listener}");
    assert_eq!(listener["cgroup"]["path"], json!(null));
    let evidence = json["findings"][0]["evidence"].to_string();
    assert!(evidence.contains("one that was removed"), "{evidence}");
    drop(case);
}
