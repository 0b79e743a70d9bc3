//! The names people use, from recordings whose processes were put into other cgroups: what is shown
//! of container, pod, unit and slice, and that the filters keep exactly what is in them.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

mod program;

use std::io::Write;
use std::process::{Output, Stdio};

use serde_json::{Value, json};

use program::{Run, fixture};

const ID: &str = "3726184226f5d3147c25fdeab5b60097e378e8a720503a5e19ecfdf29f869860";
const POD: &str = "8dbc5577-d0e2-4706-8787-57d52c03ddf2";

const DOCKER: &str = "0::/system.slice/docker-ID.scope\n";
const KUBERNETES: &str = "0::/kubepods.slice/kubepods-burstable.slice/\
    kubepods-burstable-pod8dbc5577_d0e2_4706_8787_57d52c03ddf2.slice/cri-containerd-ID.scope\n";
const LXC: &str = "0::/lxc.payload.web1/system.slice/nginx.service\n";
const NGINX: &str = "0::/system.slice/nginx.service\n";

/// A recording with every process in `cgroup`, and what `edit` makes of each record.
fn recording(name: &str, cgroup: &str, edit: impl Fn(&mut Value)) -> String {
    let text = std::fs::read_to_string(fixture(name)).unwrap();
    let cgroup = cgroup.replace("ID", ID);
    let line = |line: &str| {
        let mut record: Value = serde_json::from_str(line).unwrap();
        if let Some(process) = record.get_mut("process") {
            process["cgroup"] = json!({"known": cgroup});
        }
        edit(&mut record);
        record.to_string()
    };
    // The magic of the format stands first, and a map of serde_json is sorted.
    let lines = text.lines().map(line).map(|line| {
        let magic = "\"tcpleak_snapshot\":1,";
        match line.contains(magic) {
            true => format!("{{{magic}{}", &line.replace(magic, "")[1..]),
            false => line,
        }
    });
    lines.collect::<Vec<String>>().join("\n")
}

/// `tcpleak scan --from -` on a recording.
fn scan(recording: &str, arguments: &[&str]) -> Run {
    let arguments = [&["scan", "--from", "-"], arguments].concat();
    let mut child = program::command(&arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(recording.as_bytes()).unwrap();
    drop(stdin);
    let output: Output = child.wait_with_output().unwrap();
    program::of(output)
}

fn document(recording: &str, arguments: &[&str]) -> Value {
    let run = scan(recording, &[&["--json"], arguments].concat());
    serde_json::from_str(run.text()).unwrap_or_else(|error| panic!("{error}: {}", run.stderr))
}

#[test]
fn every_holder_has_its_names() {
    let check = |cgroup: &str, expect: Value| {
        let report = document(&recording("stranded", cgroup, |_| {}), &[]);
        let holder = &report["listeners"][0]["holders"][0];
        for (key, value) in expect.as_object().unwrap() {
            assert_eq!(&holder[key], value, "{key} of {cgroup}");
        }
    };
    check(
        DOCKER,
        json!({"unit": null, "slice": "system.slice", "container": ID, "container_name": null,
            "runtime": "docker", "pod": null}),
    );
    check(
        KUBERNETES,
        json!({"container": ID, "runtime": "containerd", "pod": POD,
            "slice": "kubepods-burstable-pod8dbc5577_d0e2_4706_8787_57d52c03ddf2.slice"}),
    );
    check(
        LXC,
        json!({"unit": "nginx.service", "container": null, "container_name": "web1", "runtime": "lxc"}),
    );
    check(
        "0::/\n",
        json!({"unit": null, "slice": null, "container": null, "container_name": null,
            "runtime": null, "pod": null}),
    );
}

#[test]
fn the_report_says_where_the_holder_is() {
    let check = |cgroup: &str, summary: &str, table: &str| {
        let run = scan(&recording("stranded", cgroup, |_| {}), &[]);
        assert!(run.text().contains(summary), "{}", run.text());
        assert!(run.text().contains(table), "{}", run.text());
    };
    check(
        DOCKER,
        "fd 3) in docker container 3726184226f5 ",
        "container=3726184226f5 runtime=docker",
    );
    check(
        KUBERNETES,
        &format!("fd 3) in containerd container 3726184226f5 of pod {POD} "),
        &format!("container=3726184226f5 runtime=containerd pod={POD}"),
    );
    check(NGINX, "fd 3) in nginx.service ", "unit=nginx.service");
    let nowhere = scan(
        &recording("stranded", "0::/user.slice/session-3.scope\n", |_| {}),
        &[],
    );
    assert!(
        !nowhere.text().contains(") in session"),
        "{}",
        nowhere.text()
    );
}

#[test]
fn a_hostile_name_stays_text() {
    let run = scan(
        &recording("stranded", "0::/a/\u{1b}[2Jx.service\n", |_| {}),
        &[],
    );
    assert!(!run.text().contains('\u{1b}'), "{}", run.text());
    assert!(run.text().contains(r"\x1b[2Jx.service"), "{}", run.text());
}

#[test]
fn an_old_binary_is_told() {
    let replaced = recording("stranded", NGINX, |record| {
        if let Some(process) = record.get_mut("process") {
            process["exe"] = json!({"known": "/usr/sbin/nginx (deleted)"});
        }
    });
    let run = scan(&replaced, &[]);
    assert!(
        run.text()
            .contains("runs /usr/sbin/nginx, a file that was deleted or replaced"),
        "{}",
        run.text()
    );
    // The name of the file is still that.
    let kept = document(&replaced, &["--process", "nginx"]);
    assert_ne!(kept["listeners"], json!([]));
    let memfd = recording("stranded", NGINX, |record| {
        if let Some(process) = record.get_mut("process") {
            process["exe"] = json!({"known": "/memfd:server (deleted)"});
        }
    });
    assert!(!scan(&memfd, &[]).text().contains("replaced"));
}

#[test]
fn filters_keep_what_is_in_a_container_a_unit_or_a_pod() {
    let check = |name: &str, cgroup: &str, arguments: &[&str], expect: bool| {
        let recording = recording(name, cgroup, |_| {});
        let all = document(&recording, &[]);
        let kept = document(&recording, arguments);
        for key in ["listeners", "close_wait", "findings"] {
            let wanted = if expect { &all[key] } else { &json!([]) };
            assert_eq!(&kept[key], wanted, "{key} of {name} with {arguments:?}");
        }
    };
    for name in ["stranded", "close-wait"] {
        check(name, DOCKER, &["--container", ID], true);
        check(name, DOCKER, &["--container", &ID[..12]], true);
        check(name, DOCKER, &["--container", "16f5d3147c25"], false);
        check(name, DOCKER, &["--container", "x", "--container", ID], true);
        check(name, DOCKER, &["--container", ID, "--unit", "nginx"], false);
        check(name, LXC, &["--container", "web1"], true);
        check(name, LXC, &["--container", "web"], false);
        check(name, NGINX, &["--unit", "nginx"], true);
        check(name, NGINX, &["--unit", "nginx.service"], true);
        check(name, NGINX, &["--unit", "system.slice"], true);
        check(name, NGINX, &["--unit", "ngin"], false);
        check(name, KUBERNETES, &["--pod", POD], true);
        check(name, KUBERNETES, &["--pod", "8dbc5577_d0e2"], true);
        check(name, KUBERNETES, &["--pod", "d0e2"], false);
        check(name, DOCKER, &["--pod", POD], false);
    }
}

#[test]
fn an_empty_name_is_a_mistake() {
    for option in ["--container", "--unit", "--pod"] {
        let run = program::run(&["scan", option, ""]);
        assert_eq!(run.status, Some(2), "{}", run.stderr);
    }
}

/// Where no process can be read, the cgroup of the socket itself stands for that of its holder.
#[test]
fn a_socket_without_a_seen_holder_has_its_service() {
    let unseen = recording("close-wait-plain-user", NGINX, |record| {
        if let Some(socket) = record.get_mut("socket") {
            socket["cgroup_id"] = json!(77);
        }
        if record.get("tcpleak_snapshot").is_some() {
            record["cgroups"] =
                json!([{"id": 77, "path": {"known": "/system.slice/orders.service"}}]);
        }
    });
    let run = scan(&unseen, &[]);
    let text = run.text();
    assert!(
        text.contains("cgroup they were opened in orders.service"),
        "{text}"
    );
    assert!(
        text.contains("not seen (opened in orders.service)"),
        "{text}"
    );
    let report = document(&unseen, &["--unit", "orders"]);
    assert_ne!(report["close_wait"], json!([]));
    let cgroup = &report["close_wait"][0]["cgroup"];
    assert_eq!(cgroup["id"], json!(77));
    assert_eq!(cgroup["path"], json!("/system.slice/orders.service"));
    assert_eq!(cgroup["unit"], json!("orders.service"));
    let other = document(&unseen, &["--unit", "nginx"]);
    assert_eq!(other["close_wait"], json!([]));
}
