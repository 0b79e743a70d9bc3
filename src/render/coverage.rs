//! What the run could not see, for standard error.

use std::io::{self, Write};

use super::wrap::wrap;
use crate::model::Coverage;

/// One entry for each thing that was not seen, with what would show it; nothing if all was.
/// Broken between words to `width` columns, if there is a limit.
pub fn write_coverage(
    to: &mut dyn Write,
    coverage: &Coverage,
    width: Option<usize>,
) -> io::Result<()> {
    for gap in &coverage.gaps {
        let needs = gap.needs.as_ref().map(|needs| format!(" (needs {needs})"));
        let (what, why) = (&gap.what, &gap.why);
        let text = format!(
            "tcpleak: not seen: {what}: {why}{}",
            needs.unwrap_or_default()
        );
        for line in wrap(&text, width) {
            writeln!(to, "{line}")?;
        }
    }
    Ok(())
}
