//! What the run could not see, for standard error.

use std::io::{self, Write};

use crate::model::Coverage;

/// One line for each thing that was not seen, with what would show it; nothing if all was.
pub fn write_coverage(to: &mut dyn Write, coverage: &Coverage) -> io::Result<()> {
    for gap in &coverage.gaps {
        write!(to, "tcpleak: not seen: {}: {}", gap.what, gap.why)?;
        match &gap.needs {
            Some(needs) => writeln!(to, " (needs {needs})")?,
            None => writeln!(to)?,
        }
    }
    Ok(())
}
