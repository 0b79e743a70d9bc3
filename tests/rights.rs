//! Runs with less than all rights: each with the exact coverage that it has to report, with how sure
//! it may be, and with what `doctor` says of the same situation.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

mod support;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use support::command::{Ended, Outcome, at_port, tcpleak};
use support::house::{House, NOBODY, SOMEBODY, Who, tcpleak_where};
use support::scan::Directory;
use support::{cannot_run, in_own_namespace};

const SCHEMA: &str = include_str!("../docs/doctor.schema.json");

const LOWERED: &str = "--accept-age 200ms --close-wait-age 200ms --json";

/// What a scan says about what it saw: processes in all and read, and for each gap what it weakens,
/// what was not seen, how many, and what would show it.
fn coverage(outcome: &Outcome) -> Value {
    let coverage = &outcome.json()["coverage"];
    let gaps = coverage["gaps"].as_array().unwrap().iter();
    let gaps: Vec<Value> = gaps
        .filter(|gap| !is_of_the_machine(gap))
        .map(|gap| json!([gap["weakens"], gap["what"], gap["count"], gap["needs"]]))
        .collect();
    json!({
        "processes": [coverage["processes_read"], coverage["processes_total"]],
        "complete": coverage["complete"],
        "gaps": gaps,
    })
}

/// A scan says it only if the counters of the machine make it look for sockets in no table.
fn is_of_the_machine(gap: &Value) -> bool {
    gap["what"]
        .as_str()
        .unwrap()
        .starts_with("network namespaces of ")
}

/// What `doctor --json` says, which has to be what the schema says; with its exit status.
fn doctor(outcome: &Outcome) -> Value {
    let schema = serde_json::from_str(SCHEMA).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let document = outcome.json();
    let errors: Vec<String> = validator
        .iter_errors(&document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{}", errors.join("\n"));
    let status = if document["complete"] == json!(true) {
        0
    } else {
        3
    };
    assert_eq!(outcome.status, status, "{outcome:?}");
    document
}

/// The same of what `doctor` finds missing: the gaps of a scan in the same situation.
fn lacks(document: &Value) -> Vec<Value> {
    let lacks = document["lacks"].as_array().unwrap().iter();
    lacks
        .filter(|lack| !is_of_the_machine(lack))
        .map(|lack| json!([lack["weakens"], lack["what"], lack["count"], lack["needs"]]))
        .collect()
}

fn ids(document: &Value) -> Vec<&str> {
    let lacks = document["lacks"].as_array().unwrap().iter();
    lacks
        .filter(|lack| !is_of_the_machine(lack))
        .map(|lack| lack["id"].as_str().unwrap())
        .collect()
}

/// A container's worth of processes: a first one of some user, a server of root's that does not
/// accept, and the program.
struct Case {
    house: House,
    scan: String,
}

impl Case {
    fn new(name: &str, first: u32) -> Option<Case> {
        let mut house = House::with_first_process_of(name, first)?;
        let server = house.start("listener-not-polled");
        let scan = format!("scan {LOWERED} {}", at_port(server.address()));
        Some(Case { house, scan })
    }

    /// Holds a scan against `expect`, and `doctor` against the scan.
    fn check(&self, options: &str, who: Who, expect: Value, found: [&str; 2]) -> Value {
        support::clock::eventually("an old queue", || {
            let outcome = self.house.tcpleak(options, who, &self.scan);
            (outcome.status == 1).then_some(())
        });
        let outcome = self.house.tcpleak(options, who, &self.scan);
        assert_eq!(coverage(&outcome), expect, "{who:?}: {}", outcome.stderr);
        let document = outcome.json();
        let finding = &document["findings"][0];
        assert_eq!(finding["id"], json!("accept-queue-leak"), "{who:?}");
        let cause = &finding["cause"];
        assert_eq!([&cause["id"], &cause["confidence"]], found, "{who:?}");
        let document = doctor(&self.house.tcpleak(options, who, "doctor --json"));
        let mut said = lacks(&document);
        said.retain(|lack| lack[1] != json!("system calls of 1 process"));
        assert_eq!(json!(said), expect["gaps"], "{who:?}");
        document
    }
}

fn outside() -> Value {
    let needs = "a run on the host, or with its pid namespace (--pid=host)";
    json!(["owners", "processes outside this pid namespace", 1, needs])
}

fn unread(count: u64, needs: &str) -> Value {
    let processes = if count == 1 { "process" } else { "processes" };
    let what = format!("descriptors of {count} {processes}");
    json!(["owners", what, count, needs])
}

#[test]
fn a_scan_and_the_doctor_say_the_same() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    // A first process of nobody's, so that another user's is there for whoever is root.
    let Some(case) = Case::new("rights", NOBODY) else {
        return;
    };
    let seen = |read: u64, gaps: &[Value]| {
        let gaps: Vec<Value> = [outside()]
            .into_iter()
            .chain(gaps.iter().cloned())
            .collect();
        json!({"processes": [read, 3], "complete": false, "gaps": gaps})
    };
    let known = ["listener-not-polled", "likely"];
    let document = case.check("", Who::Root, seen(3, &[]), known);
    assert_eq!(ids(&document), ["outside-pid-namespace"]);
    assert_eq!(document["processes"]["denied"], json!([]));

    // Neither the server, which may more, nor the first process, which is another user's.
    const PTRACE: Who = Who::RootWithout("-sys_ptrace");
    let expect = seen(1, &[unread(2, "CAP_SYS_PTRACE")]);
    let document = case.check("", PTRACE, expect, ["unknown", "possible"]);
    assert_eq!(ids(&document), ["outside-pid-namespace", "descriptors"]);
    let denied = &document["processes"]["denied"];
    assert_eq!(
        [&denied[0]["pid"], &denied[1]["pid"]],
        [&json!(1), &json!(2)]
    );
    assert_eq!(
        [&denied[0]["uid"], &denied[1]["uid"]],
        [&json!(NOBODY), &json!(0)]
    );
    assert_eq!(denied[0]["lacked"], json!([]));
    let lacked = denied[1]["lacked"].as_array().unwrap();
    assert!(lacked.contains(&json!("CAP_SYS_PTRACE")), "{lacked:?}");

    // The server is root's, so its directory opens; that of the first process does not.
    const DAC: Who = Who::RootWithout("-dac_override,-dac_read_search");
    let expect = seen(2, &[unread(1, "CAP_DAC_READ_SEARCH")]);
    let document = case.check("", DAC, expect, known);
    assert_eq!(document["processes"]["denied"][0]["pid"], json!(1));

    // The documented set, and nothing else.
    let expect = seen(3, &[]);
    const SET: Who = Who::RootWithOnly("+sys_ptrace,+dac_read_search");
    case.check("", SET, expect, known);

    let needs = "root, or CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH";
    let user = Who::User(SOMEBODY, SOMEBODY);
    let document = case.check(
        "",
        user,
        seen(1, &[unread(2, needs)]),
        ["unknown", "possible"],
    );
    assert_eq!(document["rights"]["capabilities"], json!([]));
    assert_eq!(document["rights"]["uid"], json!(SOMEBODY));
    // The first process is their own.
    let user = Who::User(NOBODY, NOBODY);
    case.check(
        "",
        user,
        seen(2, &[unread(1, needs)]),
        ["unknown", "possible"],
    );
}

#[test]
fn what_hidepid_hides_is_said() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let Some(case) = Case::new("hidepid", 0) else {
        return;
    };
    const UNKNOWN: [&str; 2] = ["unknown", "possible"];
    const KNOWN: [&str; 2] = ["listener-not-polled", "likely"];
    let hidden = |needs: &str| json!(["owners", "processes of other users", 1, needs]);
    let seen = |read: u64, total: u64, gap: Option<Value>| {
        let gaps: Vec<Value> = [outside()].into_iter().chain(gap).collect();
        json!({"processes": [read, total], "complete": false, "gaps": gaps})
    };
    let user = |gid| Who::User(SOMEBODY, gid);
    let group = "root, or CAP_SYS_PTRACE, or membership in the gid= of the mount";
    let denied = "root, or CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH";
    let check = |options: &str, who, expect, found, hidepid: &str, ids_expected: &[&str]| {
        let document = case.check(options, who, expect, found);
        assert_eq!(document["proc"]["hidepid"], json!(hidepid), "{options}");
        assert_eq!(ids(&document)[1..], *ids_expected, "{options}");
    };
    // Only itself is there.
    check(
        ",hidepid=2",
        user(SOMEBODY),
        seen(1, 1, Some(hidden(group))),
        UNKNOWN,
        "invisible",
        &["hidden-processes"],
    );
    // In the group all are there, and refuse.
    check(
        ",hidepid=2,gid=65533",
        user(65533),
        seen(1, 3, Some(unread(2, denied))),
        UNKNOWN,
        "invisible",
        &["descriptors"],
    );
    // All are there without the group too, and closed.
    check(
        ",hidepid=1",
        user(SOMEBODY),
        seen(1, 3, Some(unread(2, denied))),
        UNKNOWN,
        "noaccess",
        &["descriptors"],
    );
    // Root is in the group that there is without gid=.
    check(
        ",hidepid=2",
        Who::RootWithout("-sys_ptrace"),
        seen(1, 3, Some(unread(2, "CAP_SYS_PTRACE"))),
        UNKNOWN,
        "invisible",
        &["descriptors"],
    );
    let group = "CAP_SYS_PTRACE, or membership in the gid= of the mount";
    check(
        ",hidepid=2,gid=65533",
        Who::RootWithout("-sys_ptrace"),
        seen(1, 1, Some(hidden(group))),
        UNKNOWN,
        "invisible",
        &["hidden-processes"],
    );
    // With the capability nothing is hidden.
    check(
        ",hidepid=2,gid=65533",
        Who::Root,
        seen(3, 3, None),
        KNOWN,
        "invisible",
        &[],
    );
    if kernel() >= (5, 8) {
        check(
            ",hidepid=ptraceable",
            user(0),
            seen(1, 1, Some(hidden("root, or CAP_SYS_PTRACE"))),
            UNKNOWN,
            "ptraceable",
            &["hidden-processes"],
        );
    }
}

/// Where one's own process is the first, others may be hidden behind it.
#[test]
fn a_first_process_of_ones_own_hides_nobody() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let Some(case) = Case::new("hidden", SOMEBODY) else {
        return;
    };
    let needs = "root, or CAP_SYS_PTRACE, or membership in the gid= of the mount";
    let hidden = json!(["owners", "processes of other users", 1, needs]);
    let gaps = [outside(), hidden];
    let expect = json!({"processes": [2, 2], "complete": false, "gaps": gaps});
    let user = Who::User(SOMEBODY, SOMEBODY);
    case.check(",hidepid=2", user, expect, ["unknown", "possible"]);
}

/// Of the whole machine, whose processes come and go.
#[test]
fn the_machine_under_hidepid() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    // Before, the options were those of every mount (`proc_fs_context`, `fs/proc/root.c`).
    if kernel() < (5, 8) {
        cannot_run("hidepid would be the machine's before Linux 5.8");
        return;
    }
    let run = |arguments: &str| {
        let mount = "mount -t proc -o hidepid=2 proc /proc";
        // Whose processes no other test makes.
        tcpleak_where(mount, Who::User(65532, 65532), arguments)
    };
    let listener = support::sockets::listen_at(support::sockets::LOOPBACK)
        .open()
        .unwrap();
    let arguments = format!(
        "scan --all --json {}",
        at_port(listener.local_addr().unwrap())
    );
    let coverage = coverage(&run(&arguments));
    assert_eq!(coverage["processes"], json!([1, 1]));
    let hidden = json!([
        "owners",
        "processes of other users",
        1,
        "root, or CAP_SYS_PTRACE, or membership in the gid= of the mount"
    ]);
    let gaps = coverage["gaps"].as_array().unwrap();
    assert!(gaps.contains(&hidden), "{gaps:?}");
    let document = doctor(&run("doctor --json"));
    assert!(lacks(&document).contains(&hidden), "{document}");
    drop(listener);
}

/// In words: the answer first, then for each thing what it costs and what grants it.
#[test]
fn the_text_begins_with_the_answer() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    let Some(case) = Case::new("words", 0) else {
        return;
    };
    let user = Who::User(SOMEBODY, SOMEBODY);
    let outcome = case.house.tcpleak("", user, "doctor");
    assert_eq!((outcome.status, &*outcome.stderr), (3, ""));
    let first = outcome.stdout.lines().next().unwrap();
    assert_eq!(
        first,
        "INCOMPLETE this run cannot see: processes outside this pid namespace; \
         descriptors of 2 processes"
    );
    for part in [
        "\nnot seen   descriptors of 2 processes: permission denied by sleep (pid 1), \
         demo-server (pid 2); 2 processes of other users [descriptors]\n  costs    ",
        "\n  needs    root, or CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH\n  grant    ",
        "\n  rights   user 65533, no capability\n",
        "\n  holders  descriptors of 1 of 3 processes can be read, and their system calls; \
         2 refused\n",
        "\n  sockets  sock_diag answers; /proc/net/tcp can be read\n",
    ] {
        assert!(outcome.stdout.contains(part), "{part}\n{}", outcome.stdout);
    }
}

/// The first two numbers of the release.
fn kernel() -> (u32, u32) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut number = || numbers.next().unwrap().parse().unwrap();
    (number(), number())
}

/// A watch that goes on, and what it may do.
struct Watcher(Ended);

impl Watcher {
    fn start(wrapper: &[&str], arguments: &str) -> Watcher {
        let program = env!("CARGO_BIN_EXE_tcpleak");
        let words = arguments.split_whitespace();
        let mut line = wrapper
            .iter()
            .copied()
            .chain([program, "watch", "--netns", "self"]);
        let mut command = Command::new(line.next().unwrap());
        let child = command
            .args(line)
            .args(words)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Watcher(Ended(child.spawn().unwrap()))
    }

    /// Waits until the line of `/proc/PID/status` is that, of every thread.
    fn check(&self, name: &str, expect: &str) {
        let tasks = format!("/proc/{}/task", self.0.0.id());
        let line = |task: std::fs::DirEntry| {
            let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
            let mut lines = status.lines().filter_map(|line| line.strip_prefix(name));
            lines
                .next()
                .map(|value| value.trim_start_matches(':').trim().to_owned())
        };
        let mut seen = Vec::new();
        let is_so = || {
            let tasks = std::fs::read_dir(&tasks).unwrap();
            seen = tasks.filter_map(|task| line(task.unwrap())).collect();
            // The main thread, and the one that waits for signals.
            (seen.len() > 1 && seen.iter().all(|value| value == expect)).then_some(())
        };
        support::clock::eventually(&format!("{name} {expect}"), is_so);
    }
}

const DAC_OVERRIDE: u64 = 1 << 1;
const DAC_READ_SEARCH: u64 = 1 << 2;
const FOWNER: u64 = 1 << 3;
const SYS_PTRACE: u64 = 1 << 19;
const SYS_ADMIN: u64 = 1 << 21;

fn set(capabilities: u64) -> String {
    format!("{capabilities:016x}")
}

/// All capabilities are there to be given up.
fn may_do_everything() -> bool {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .unwrap();
    let has = u64::from_str_radix(line.trim(), 16).unwrap();
    let needed = DAC_OVERRIDE | DAC_READ_SEARCH | FOWNER | SYS_PTRACE | SYS_ADMIN;
    if has & needed != needed || has == needed {
        cannot_run("needs the capabilities of root");
        return false;
    }
    true
}

#[test]
fn what_a_run_does_not_need_it_gives_up() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    if !may_do_everything() {
        return;
    }
    const TO_READ: u64 = SYS_PTRACE | DAC_READ_SEARCH;
    const ALL: &str = "--interval 1h --plain";
    let directory = Directory::new("given-up");
    let file = directory.0.join("file");

    let watch = Watcher::start(&[], ALL);
    watch.check("CapEff", &set(TO_READ));
    watch.check("CapPrm", &set(TO_READ | SYS_ADMIN));
    watch.check("NoNewPrivs", "1");

    let watch = Watcher::start(&[], &format!("{ALL} --save {}", file.display()));
    watch.check("CapPrm", &set(TO_READ | SYS_ADMIN | DAC_OVERRIDE | FOWNER));
    watch.check("CapEff", &set(TO_READ));

    // The program that it is to start may need to become another user.
    let watch = Watcher::start(&[], &format!("{ALL} --exec true"));
    watch.check("CapPrm", &set(TO_READ | SYS_ADMIN));
    watch.check("NoNewPrivs", "0");

    // Without CAP_SYS_PTRACE every capability counts.
    let some = ["setpriv", "--bounding-set", "-all,+net_admin,+chown"];
    let watch = Watcher::start(&some, ALL);
    watch.check("CapEff", &set(1 << 12 | 1));
}

/// Root may do that, and a run that has given up the right to it takes it back for that.
#[test]
fn root_saves_where_somebody_else_lives() {
    let Some(_namespace) = in_own_namespace() else {
        return;
    };
    if !may_do_everything() {
        return;
    }
    let directory = Directory::new("elsewhere");
    std::os::unix::fs::chown(&directory.0, Some(NOBODY), Some(NOBODY)).unwrap();
    let mode = std::fs::Permissions::from_mode(0o1700);
    std::fs::set_permissions(&directory.0, mode).unwrap();
    for (name, arguments) in [("scan", "scan"), ("watch", "watch --count 1 --plain")] {
        let file = directory.0.join(name);
        std::fs::write(&file, "somebody's").unwrap();
        std::os::unix::fs::chown(&file, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
        let outcome = tcpleak(&format!("{arguments} --save {}", file.display()));
        assert_eq!((outcome.status, &*outcome.stderr), (0, ""));
        assert_eq!(std::fs::metadata(&file).unwrap().uid(), 0);
    }
}
