//! `tcpleak list`: the socket table with holders.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use crate::cli;
use crate::collect::collect;
use crate::join::SocketTable;
use crate::render;

pub(super) fn run(options: &cli::List) -> anyhow::Result<ExitCode> {
    let filter = super::filter(&options.filter)?;
    let snapshot = collect(&options.request(&filter))?;
    let mut table = SocketTable::new(&snapshot);
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
    super::note_unread(&filter, &snapshot);
    super::note(&snapshot.coverage);
    Ok(ExitCode::SUCCESS)
}
