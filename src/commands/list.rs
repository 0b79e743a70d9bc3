//! `tcpleak list`: the socket table with holders.

use std::io::{self, BufWriter, Write};
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
    let mut stdout = BufWriter::new(io::stdout().lock());
    if options.output.json {
        render::write_list_json(&mut stdout, &table)?;
    } else {
        render::write_list(&mut stdout, &table)?;
    }
    stdout.flush()?;
    drop(stdout);
    super::note(&snapshot.coverage);
    Ok(ExitCode::SUCCESS)
}
