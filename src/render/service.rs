//! The service that a process or socket belongs to, as words for a line: `unit=nginx.service`.

use crate::join::Holder;
use crate::model::{Service, printable};

/// `unit=nginx.service container=3726184226f5 runtime=docker pod=8dbc5577-…`, as much as there is.
pub(super) fn words(service: &Service) -> String {
    let container = service.container();
    let runtime = container.and_then(|container| container.runtime);
    let words = [
        (
            "unit",
            service.unit().map(|unit| printable(unit.as_bytes())),
        ),
        ("container", container.map(|container| container.short())),
        ("runtime", runtime.map(|runtime| runtime.to_string())),
        ("pod", service.pod.clone()),
    ];
    let words = words
        .into_iter()
        .filter_map(|(key, value)| Some(format!("{key}={}", value?)));
    words.collect::<Vec<String>>().join(" ")
}

/// The services of the holders, each once.
pub(super) fn of_holders(holders: &[Holder<'_>]) -> Vec<String> {
    let mut all = Vec::new();
    for words in holders
        .iter()
        .filter_map(Holder::service)
        .map(|s| words(&s))
    {
        if !words.is_empty() && !all.contains(&words) {
            all.push(words);
        }
    }
    all
}
