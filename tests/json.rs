//! The JSON contract: real output against the schemas in `docs`, the schemas against documents
//! that they must refuse, and recordings against what they were recorded from.

mod program;

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use jsonschema::Validator;
use program::{fixture, fixtures, run};
use serde_json::{Value, json};
use tcpleak::history::EventKind;
use tcpleak::model::{CauseId, FindingId};

/// Recordings in which something leaks.
const LEAKING: &[&str] = &[
    "close-wait",
    "close-wait-plain-user",
    "descriptors",
    "evil-name",
    "queues",
    "stranded",
    "stranded-proc",
];

fn docs(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(name);
    std::fs::read_to_string(&path).expect("it is part of the project")
}

fn schema(name: &str) -> Value {
    serde_json::from_str(&docs(name)).expect("a schema is JSON")
}

fn validator(name: &str) -> Validator {
    jsonschema::draft202012::new(&schema(name)).expect("a valid schema")
}

fn check(validator: &Validator, document: &Value, what: &str) {
    let errors: Vec<String> = validator
        .iter_errors(document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{what}:\n{}", errors.join("\n"));
}

/// What the program writes, which has to be one document and a line end.
fn document(arguments: &[&str]) -> Value {
    let run = run(arguments);
    assert!(
        matches!(run.status, Some(0 | 1)),
        "{arguments:?}: {}",
        run.stderr
    );
    let text = run.text();
    assert_eq!(text.lines().count(), 1, "{arguments:?}");
    assert!(text.ends_with('\n'), "{arguments:?}");
    serde_json::from_str(text).expect("JSON")
}

fn recorded(name: &str, options: &[&str]) -> Value {
    let file = fixture(name);
    document(&[&["scan", "--json", "--from", &file], options].concat())
}

#[test]
fn reports_of_this_machine() {
    let _leak = Leak::new();
    let validator = validator("report.schema.json");
    for arguments in [
        &["scan", "--json"][..],
        &["scan", "--json", "--all"],
        &[
            "scan",
            "--json",
            "--all",
            "--accept-age",
            "0",
            "--close-wait-age",
            "0",
        ],
        &["scan", "--json", "--settle", "0", "--source", "proc"],
    ] {
        check(&validator, &document(arguments), &format!("{arguments:?}"));
    }
}

#[test]
fn lists_of_this_machine() {
    let _leak = Leak::new();
    let validator = validator("list.schema.json");
    for arguments in [
        &["list", "--json"][..],
        &["list", "--json", "--listening"],
        &["list", "--json", "--source", "proc"],
    ] {
        check(&validator, &document(arguments), &format!("{arguments:?}"));
    }
}

#[test]
fn reports_of_recordings() {
    let validator = validator("report.schema.json");
    for entry in std::fs::read_dir(fixtures()).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path
            .extension()
            .is_some_and(|extension| extension == "tcpleak")
        {
            let name = path.file_stem().and_then(|name| name.to_str());
            let name = name.expect("a plain name");
            for options in [&[][..], &["--all"], &["--accept-age", "1h"]] {
                check(&validator, &recorded(name, options), name);
            }
        }
    }
    for name in LEAKING {
        let findings = &recorded(name, &[])["findings"];
        assert_ne!(findings, &json!([]), "{name} has lost what it is kept for");
    }
    assert_eq!(recorded("healthy", &[])["findings"], json!([]));
}

#[test]
fn every_identifier_is_in_the_schema() {
    let (report, event) = (schema("report.schema.json"), schema("event.schema.json"));
    let words = |place: &str| -> BTreeSet<String> {
        let words = report.pointer(place).and_then(Value::as_array);
        let words = words.expect("a list of words").iter();
        words.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let findings = words("/$defs/finding/properties/id/enum");
    for id in FindingId::ALL {
        assert!(findings.contains(id.as_str()), "{id}");
    }
    assert_eq!(findings, words("/$defs/listener/properties/verdict/enum"));
    let causes = words("/$defs/cause/properties/id/enum");
    for id in CauseId::ALL {
        assert!(causes.contains(id.as_str()), "{id}");
    }
    let kinds: Vec<&str> = EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
    assert_eq!(event["properties"]["kind"]["enum"], json!(kinds));
}

/// Every change that breaks the contract, made at every place of documents that hold, is refused:
/// an unknown key, a missing key, a value of another type.
#[test]
fn a_broken_document_is_refused() {
    let report = validator("report.schema.json");
    let list = validator("list.schema.json");
    let mut tried = 0;
    for (validator, document) in [
        (&report, recorded("stranded", &[])),
        (&report, recorded("stranded-proc", &[])),
        (&report, recorded("close-wait", &[])),
        (&report, recorded("queues", &[])),
        (&report, recorded("descriptors", &[])),
        (&list, document(&["list", "--json", "--listening"])),
    ] {
        let mut places = Vec::new();
        collect_places(&document, String::new(), &mut places);
        let mut seen = BTreeSet::new();
        for place in places {
            if !seen.insert(without_indices(&place)) {
                continue;
            }
            let refused = |what: &str, change: &dyn Fn(&mut Value)| {
                let mut broken = document.clone();
                change(broken.pointer_mut(&place).expect("it is there"));
                assert!(!validator.is_valid(&broken), "{what} at '{place}'");
            };
            refused("another type", &|value| *value = json!({"surprise": 1}));
            tried += 1;
            let value = document.pointer(&place).expect("it is there");
            let Some(object) = value.as_object() else {
                continue;
            };
            refused("an unknown key", &|value| value["surprise"] = json!(null));
            let optional = |key: &str| {
                without_indices(&place) == "/findings/*/subject"
                    && ["listener", "inode", "direction"].contains(&key)
            };
            for key in object.keys().filter(|key| !optional(key)) {
                refused(&format!("no '{key}'"), &|value| {
                    value.as_object_mut().expect("an object").remove(key);
                });
                tried += 1;
            }
        }
    }
    assert!(tried > 300, "only {tried} changes were tried");
}

fn collect_places(value: &Value, place: String, places: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                collect_places(value, format!("{place}/{key}"), places);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                collect_places(value, format!("{place}/{index}"), places);
            }
        }
        _ => {}
    }
    places.push(place);
}

fn without_indices(place: &str) -> String {
    let step = |step: &str| match step.parse::<usize>() {
        Ok(_) => "*".to_owned(),
        Err(_) => step.to_owned(),
    };
    place.split('/').map(step).collect::<Vec<_>>().join("/")
}

#[test]
fn a_wrong_word_or_number_is_refused() {
    let validator = validator("report.schema.json");
    let document = recorded("stranded", &[]);
    let check = |place: &str, wrong: Value| {
        let mut broken = document.clone();
        *broken.pointer_mut(place).expect(place) = wrong;
        assert!(!validator.is_valid(&broken), "{place}");
    };
    check("/schema", json!("tcpleak.report/2"));
    check("/taken_at", json!("yesterday"));
    check("/duration_ms", json!(-1));
    check("/source/sockets", json!("netstat"));
    check("/coverage/complete", json!(true));
    check("/listeners/0/cookie", json!("0x10"));
    check("/listeners/0/local/port", json!(65536));
    check("/listeners/0/verdict", json!("accept-queue"));
    check("/listeners/0/queued/gone", json!(null));
    check("/listeners/0/queued/unknown", json!("moving"));
    check("/listeners/0/holders/0/container", json!("web-1"));
    check("/listeners/0/holders/0/fds", json!([]));
    check("/close_wait/0/direction", json!("in"));
    check("/close_wait/0/listener", json!("G"));
    check("/close_wait/0/far_end/state", json!("ESTAB"));
    check("/close_wait/0/far_end/gone", json!(true));
    check("/findings/0/id", json!("no-such-finding"));
    check("/findings/0/severity", json!("fatal"));
    check("/findings/0/confidence", json!("sure"));
    check("/findings/0/cause/id", json!("no-such-cause"));
    check("/findings/0/evidence", json!([]));
    check("/findings/0/subject", json!({"netns": 1}));
}

/// What makes the two tests above mean something, whatever is added to the schemas.
#[test]
fn the_schemas_are_complete() {
    let (report, list) = (schema("report.schema.json"), schema("list.schema.json"));
    let prose = docs("json.md");
    let event = schema("event.schema.json");
    let doctor = schema("doctor.schema.json");
    for schema in [&report, &list, &event, &doctor] {
        check_objects(schema, "", &prose);
    }
    for part in ["finding", "subject", "cause", "evidence", "endpoint"] {
        let place = format!("/$defs/{part}");
        assert_eq!(report.pointer(&place), event.pointer(&place), "{place}");
    }
    for place in ["/$defs/endpoint", "/$defs/gap", "/$defs/holder"] {
        assert_eq!(report.pointer(place), list.pointer(place), "{place}");
    }
    for key in ["taken_at", "duration_ms", "host", "source", "coverage"] {
        let place = format!("/properties/{key}");
        assert_eq!(report.pointer(&place), list.pointer(&place), "{place}");
    }
}

/// Every object of a schema is closed, and each of its keys described, here and in `prose`.
fn check_objects(schema: &Value, place: &str, prose: &str) {
    if let Value::Array(items) = schema {
        for (index, item) in items.iter().enumerate() {
            check_objects(item, &format!("{place}/{index}"), prose);
        }
    }
    let Value::Object(object) = schema else {
        return;
    };
    // A condition says more about objects that are described elsewhere.
    let conditions = ["if", "then", "else"];
    for (key, value) in object
        .iter()
        .filter(|(key, _)| !conditions.contains(&key.as_str()))
    {
        check_objects(value, &format!("{place}/{key}"), prose);
    }
    let is_schema = object.get("type") == Some(&json!("object"));
    let Some(Value::Object(properties)) = object.get("properties").filter(|_| is_schema) else {
        return;
    };
    assert_eq!(object["additionalProperties"], json!(false), "{place}");
    for (key, value) in properties {
        let described = value.get("description").or_else(|| value.get("$ref"));
        assert!(described.is_some(), "{place}: '{key}' has no description");
        let named = [format!("`{key}`"), format!("`{key}[]`"), format!(".{key}`")];
        assert!(
            named.iter().any(|name| prose.contains(name.as_str())),
            "docs/json.md does not say what '{key}' is"
        );
    }
}

#[test]
fn a_recording_gives_the_same_each_time() {
    for name in LEAKING {
        let file = fixture(name);
        for options in [&[][..], &["--json"], &["--json", "--all"], &["--sockets"]] {
            let arguments = [&["scan", "--from", &file], options].concat();
            let (first, second) = (run(&arguments), run(&arguments));
            assert_eq!(first.stdout, second.stdout, "{name} {options:?}");
            assert_eq!(first.status, second.status, "{name} {options:?}");
        }
    }
}

#[test]
fn text_and_json_agree() {
    for name in LEAKING {
        let document = recorded(name, &[]);
        let text = run(&["scan", "--from", &fixture(name)]);
        let summary = &document["summary"];
        for (severity, label) in [
            ("critical", "CRITICAL "),
            ("warning", "WARNING "),
            ("info", "INFO "),
        ] {
            let lines = text.text().lines().filter(|line| line.starts_with(label));
            assert_eq!(
                json!(lines.count()),
                summary[severity],
                "{name}: {severity}"
            );
            let findings = document["findings"].as_array().expect("a list").iter();
            let findings = findings.filter(|finding| finding["severity"] == severity);
            assert_eq!(
                json!(findings.count()),
                summary[severity],
                "{name}: {severity}"
            );
        }
    }
}

/// `scan --save FILE`, then `scan --from FILE`: byte for byte the report of the first run.
#[test]
fn a_saved_run_reports_what_it_reported() {
    let leak = Leak::new();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let port = leak.port.to_string();
    let at_once = ["--accept-age", "0", "--close-wait-age", "0"];
    for (index, options) in [&["--json"][..], &["--json", "--all"], &["--sockets"]]
        .into_iter()
        .enumerate()
    {
        let file = folder.join(format!("saved-{index}-{}.tcpleak", std::process::id()));
        let file = file.to_str().expect("a plain path");
        let options = [&at_once[..], &["--port", &port], options].concat();
        let live = run(&[&["scan", "--save", file], &options[..]].concat());
        let again = run(&[&["scan", "--from", file], &options[..]].concat());
        let _ = std::fs::remove_file(file);
        assert_eq!(live.status, Some(1), "{options:?}: {}", live.stderr);
        assert!(live.text().contains(&port), "{options:?}");
        assert_eq!(live.text(), again.text(), "{options:?}");
        assert_eq!((live.status, live.stderr), (again.status, again.stderr));
    }
}

/// Every command of `docs/json.md` runs on every recording, `list` on this machine.
#[test]
fn the_examples_work() {
    if Command::new("jq").arg("--version").output().is_err() {
        let required = std::env::var_os("TCPLEAK_REQUIRE_KERNEL").is_some_and(|value| value == "1");
        assert!(!required, "the examples need jq");
        eprintln!("NOT TESTED: the examples need jq");
        return;
    }
    let page = docs("json.md");
    let examples: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("tcpleak ") && line.contains("| jq"))
        // Of the machine as it is; one of them without an end, one that may find nothing missing.
        .filter(|line| !line.starts_with("tcpleak watch"))
        .filter(|line| !line.starts_with("tcpleak doctor"))
        .collect();
    assert!(examples.len() >= 6, "{examples:?}");
    for example in examples {
        let mut printed = 0;
        for name in ["stranded", "close-wait", "queues", "healthy"] {
            let script = format!(
                "tcpleak() {{ [ $1 = list ] || set -- \"$@\" --from \"$FIXTURE\"; \
                 \"$PROGRAM\" \"$@\" 2>/dev/null; }}\n{example}"
            );
            let shell = Command::new("sh")
                .args(["-c", &script])
                .env("PROGRAM", env!("CARGO_BIN_EXE_tcpleak"))
                .env("FIXTURE", fixture(name))
                .output();
            let run = program::of(shell.expect("a shell"));
            assert_eq!(
                (run.status, run.stderr.as_str()),
                (Some(0), ""),
                "{example}"
            );
            printed += run.stdout.len();
        }
        assert!(printed > 0, "nothing in any recording: {example}");
    }
}

/// A listener of this process with three connections in its queue, one of them closed by its
/// client, and an accepted connection that its client has closed.
struct Leak {
    port: u16,
    _kept: (TcpListener, Vec<TcpStream>),
}

impl Leak {
    fn new() -> Leak {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let connect = || TcpStream::connect(address).expect("a connection");
        drop(connect());
        let (accepted, _) = listener.accept().expect("it waits");
        let kept = vec![accepted, connect(), connect()];
        let mut client = connect();
        client.write_all(b"hello").expect("it is sent");
        drop(client);
        Leak {
            port: address.port(),
            _kept: (listener, kept),
        }
    }
}
