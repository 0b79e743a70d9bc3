//! Colour, where it is wanted.

use crate::model::Severity;

/// A way to set off text; all of them are plain text without colour.
#[derive(Debug, Clone, Copy)]
pub(super) enum Style {
    Severity(Severity),
    Good,
    Strong,
    Dim,
    Code,
}

/// `text` in `style`.
pub(super) fn paint(text: &str, style: Style, color: bool) -> String {
    if !color {
        return text.to_owned();
    }
    let code = match style {
        Style::Severity(Severity::Critical) => "1;31",
        Style::Severity(Severity::Warning) => "1;33",
        Style::Severity(Severity::Info) => "1;36",
        Style::Good => "1;32",
        Style::Strong => "1",
        Style::Dim => "2",
        Style::Code => "36",
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}
