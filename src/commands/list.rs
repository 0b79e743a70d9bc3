//! `tcpleak list`: the socket table with holders.

use std::process::ExitCode;

use crate::cli;
use crate::collect::collect;
use crate::join::{Filter, SocketTable};
use crate::render;

pub(super) fn run(options: &cli::List) -> anyhow::Result<ExitCode> {
    let snapshot = collect(&options.request())?;
    let mut table = SocketTable::new(&snapshot);
    let filter = Filter::from(&options.filter);
    if !filter.is_empty() {
        table.retain(&filter);
    }
    super::print(|to| match options.output.json {
        true => render::write_list_json(to, &table),
        false => render::write_list(to, &table),
    })?;
    super::note(&snapshot.coverage);
    Ok(ExitCode::SUCCESS)
}
