//! What the terminal can show: colour where it is wanted, and signs beyond ASCII where its locale
//! knows them. Nothing is said by colour or by such a sign alone.

use ratatui::style::{Color, Modifier, Style};

use crate::model::Severity;

/// What may be used to draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Theme {
    /// Colours.
    pub color: bool,
    /// Block and line signs; otherwise ASCII.
    pub unicode: bool,
}

/// What a piece of text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Tone {
    #[default]
    Plain,
    Strong,
    Dim,
    Good,
    Severity(Severity),
}

impl Theme {
    pub(super) fn style(self, tone: Tone) -> Style {
        let color = match tone {
            Tone::Plain => return Style::new(),
            Tone::Strong => return Style::new().add_modifier(Modifier::BOLD),
            Tone::Dim => return Style::new().add_modifier(Modifier::DIM),
            Tone::Good => Color::Green,
            Tone::Severity(Severity::Critical) => Color::Red,
            Tone::Severity(Severity::Warning) => Color::Yellow,
            Tone::Severity(Severity::Info) => Color::Cyan,
        };
        let style = Style::new().add_modifier(Modifier::BOLD);
        if self.color { style.fg(color) } else { style }
    }

    /// A horizontal rule.
    pub(super) fn rule(self) -> char {
        if self.unicode { '─' } else { '-' }
    }

    /// Stands where text was left out.
    pub(super) fn ellipsis(self) -> &'static str {
        if self.unicode { "…" } else { "..." }
    }

    /// How much of `most` is used, in `width` cells: whatever is used at all shows.
    pub(super) fn bar(self, used: u64, most: u64, width: usize) -> String {
        let (full, empty) = if self.unicode {
            ('█', '░')
        } else {
            ('#', '.')
        };
        let share = (used.saturating_mul(width as u64)).div_ceil(most.max(1));
        let filled = usize::try_from(share).unwrap_or(width).min(width);
        let cell = |index| if index < filled { full } else { empty };
        (0..width).map(cell).collect()
    }

    /// A number over time, one cell a look: the lowest sign is zero, the highest the largest of
    /// them.
    pub(super) fn sparkline(self, values: &[u64]) -> String {
        const UNICODE: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        const ASCII: [char; 8] = ['_', '.', ':', '-', '=', '+', '*', '#'];
        let signs = if self.unicode { UNICODE } else { ASCII };
        let most = values.iter().copied().max().unwrap_or(0).max(1);
        let sign = |value: &u64| {
            let level = value.saturating_mul(7).div_ceil(most).min(7);
            signs[usize::try_from(level).unwrap_or(7)]
        };
        values.iter().map(sign).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNICODE: Theme = Theme {
        color: false,
        unicode: true,
    };
    const ASCII: Theme = Theme {
        color: false,
        unicode: false,
    };

    #[test]
    fn a_bar_shows_whatever_is_used() {
        let check = |used, most, expect: &str| assert_eq!(ASCII.bar(used, most, 5), expect);
        check(0, 512, ".....");
        check(1, 512, "#....");
        check(256, 512, "###..");
        check(511, 512, "#####");
        check(512, 512, "#####");
        check(9_999, 512, "#####");
        check(u64::MAX, u64::MAX, "#....");
        check(1, 0, "#####");
        assert_eq!(UNICODE.bar(1, 2, 4), "██░░");
        assert_eq!(ASCII.bar(1, 2, 0), "");
    }

    #[test]
    fn a_sparkline_tells_zero_from_little() {
        let check = |values: &[u64], expect: &str| assert_eq!(UNICODE.sparkline(values), expect);
        check(&[], "");
        check(&[0, 0], "▁▁");
        check(&[0, 1, 1_000], "▁▂█");
        check(&[8, 8, 8], "███");
        check(&[0, 1, 2, 3, 4, 5, 6, 7], "▁▂▃▄▅▆▇█");
        assert_eq!(ASCII.sparkline(&[0, 7, 14]), "_=#");
    }
}
