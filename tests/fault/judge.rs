//! What a scan may say when something has failed: what is true, less with the reason why, or an
//! error. Never that nothing is wrong, never another culprit.

use std::collections::{BTreeMap, BTreeSet};

use tcpleak::model::{CauseId, Confidence, Coverage, Gap, GapKind, ProcessId, Snapshot, Subject};
use tcpleak::report::Report;

use super::Call;
use crate::support::command::Outcome;
use crate::support::scan::report;

/// How a scan ended, where it ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ending {
    /// The report is what it is without a fault.
    Same,
    /// Something is missing from it, and is said to be.
    Partial,
    /// There is none, and one line says why.
    Error,
}

impl Ending {
    pub(crate) const ALL: [Ending; 3] = [Ending::Same, Ending::Partial, Ending::Error];
}

/// What is said of a leak, in a form that two reports can be compared in. Where not all holders of a
/// group were seen it comes in two parts, which are put together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Said {
    count: u64,
    holders: BTreeSet<ProcessId>,
    causes: Vec<(CauseId, Confidence)>,
}

/// Holds the outcome of a scan against the truth; the error says what was wrong.
pub(crate) fn judge(
    call: &Call,
    fault: &str,
    outcome: &Outcome,
    truth: &Snapshot,
) -> Result<Ending, String> {
    if outcome.stderr.contains("panicked") {
        return Err("it panicked".into());
    }
    match outcome.status {
        0 => {}
        // What was written before is cut, and whoever reads it notices.
        2 if call.name == "write" => return judge_error(&outcome.stderr),
        2 if outcome.stdout.is_empty() => return judge_error(&outcome.stderr),
        status => return Err(format!("exit status {status}")),
    }
    if call.name == "write"
        && outcome
            .stdout
            .lines()
            .last()
            .is_none_or(|line| !line.contains("\"end\""))
    {
        // A reader that left early.
        return Ok(Ending::Partial);
    }
    let mut snapshot = tcpleak::record::read(outcome.stdout.as_bytes())
        .map_err(|error| format!("a recording that cannot be read: {error}"))?;
    // Of a house it is never all that is there, which would excuse anything: without that gap the
    // house is a machine.
    let mut truth = truth.clone();
    // Told that it has ended, a process holds nothing any more.
    let expected = leaks(&report(&truth));
    let ended = |id: &ProcessId| {
        let there = snapshot.processes.iter().any(|process| process.id == *id);
        matches!(fault, "error=ENOENT" | "error=ESRCH") && !there
    };
    let may_be_missing: Vec<String> = expected
        .iter()
        .filter(|(_, leak)| leak.holders.iter().any(ended))
        .map(|(what, _)| what.clone())
        .collect();
    if !take_out_the_outside(&mut snapshot.coverage) {
        let has_other = snapshot
            .coverage
            .gaps
            .iter()
            .any(|gap| gap.kind == GapKind::Owners);
        if !has_other {
            return Err("it does not say that it looks at a part of the machine only".into());
        }
    }
    take_out_the_outside(&mut truth.coverage);
    let report = report(&snapshot);
    judge_report(&report, &expected, &may_be_missing, &truth.coverage)
}

/// One line, of the form `tcpleak: WHAT: WHY`.
fn judge_error(stderr: &str) -> Result<Ending, String> {
    let says_what = stderr.starts_with("tcpleak: ") && stderr.matches(": ").count() >= 2;
    if stderr.lines().count() == 1 && says_what {
        Ok(Ending::Error)
    } else {
        Err("status 2 with something else than one line that says what and why".into())
    }
}

fn take_out_the_outside(coverage: &mut Coverage) -> bool {
    let is_outside = |gap: &Gap| gap.what == "processes outside this pid namespace";
    let before = coverage.gaps.len();
    coverage.gaps.retain(|gap| !is_outside(gap));
    before > coverage.gaps.len()
}

fn judge_report(
    report: &Report<'_>,
    expected: &BTreeMap<String, Said>,
    may_be_missing: &[String],
    usual: &Coverage,
) -> Result<Ending, String> {
    let said = leaks(report);
    let coverage = &report.table.snapshot.coverage;
    let gap_of = |kinds: &[GapKind]| coverage.gaps.iter().any(|gap| kinds.contains(&gap.kind));
    for (what, expect) in expected {
        let Some(say) = said.get(what) else {
            if gap_of(&[GapKind::Sockets]) || may_be_missing.contains(what) {
                continue;
            }
            return Err(format!("{what} is missing, and no socket is said to be"));
        };
        if say.count > expect.count {
            return Err(format!("{what}: {say:?}, and it is {expect:?}"));
        }
        if say.count < expect.count && !gap_of(&[GapKind::Sockets]) {
            return Err(format!("{what}: fewer sockets, unsaid"));
        }
        if !say.holders.is_subset(&expect.holders) {
            return Err(format!("{what}: a holder that is none: {say:?}"));
        }
        if say.holders != expect.holders && !gap_of(&[GapKind::Owners]) {
            return Err(format!("{what}: a holder is missing, unsaid: {say:?}"));
        }
        judge_cause(what, say, expect)?;
    }
    if let Some(what) = said.keys().find(|what| !expected.contains_key(*what)) {
        return Err(format!("{what} is reported, and is not there"));
    }
    let same = said == *expected && coverage.gaps == usual.gaps;
    Ok(if same { Ending::Same } else { Ending::Partial })
}

/// A cause is the true one, or unknown; never another one, and never surer than it is.
fn judge_cause(what: &str, say: &Said, expect: &Said) -> Result<(), String> {
    let is_true = |(id, confidence): &(CauseId, Confidence)| {
        let mut known = expect.causes.iter();
        *id == CauseId::Unknown || known.any(|known| known.0 == *id && *confidence <= known.1)
    };
    match say.causes.iter().find(|cause| !is_true(cause)) {
        None => Ok(()),
        Some(wrong) => Err(format!("{what}: {wrong:?}, and it is {:?}", expect.causes)),
    }
}

/// What is said of each listener and each group of connections, by its port.
fn leaks(report: &Report<'_>) -> BTreeMap<String, Said> {
    let mut leaks: BTreeMap<String, Said> = BTreeMap::new();
    for finding in &report.findings {
        let (subject, holders) = match &finding.subject {
            Subject::Listener { local, .. } => {
                let mut listeners = report.table.listeners.iter();
                let listener = listeners.find(|listener| listener.entry.local == *local);
                let holders = listener.map_or(BTreeSet::new(), |listener| {
                    listener.holders.iter().map(|holder| holder.id).collect()
                });
                (local.port().to_string(), holders)
            }
            Subject::Connections {
                holder, endpoint, ..
            } => (endpoint.clone(), holder.iter().copied().collect()),
            Subject::Process(id) => (id.pid.to_string(), BTreeSet::from([*id])),
        };
        let said = leaks
            .entry(format!("{} of {subject}", finding.id))
            .or_default();
        said.count += finding.count;
        said.holders.extend(holders);
        let cause = finding.cause.iter();
        said.causes
            .extend(cause.map(|cause| (cause.id, cause.confidence)));
    }
    leaks
}
