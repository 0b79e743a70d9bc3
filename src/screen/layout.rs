//! Who gets how many lines.

use ratatui::layout::Rect;

use super::lines;
use super::panes::Pane;
use super::state::State;
use super::verdicts;

/// Less than this shows nothing of use.
pub(super) const LEAST_COLUMNS: u16 = 40;
pub(super) const LEAST_ROWS: u16 = 5;
/// With less, only the pane that has the focus is shown.
const ROWS_FOR_ALL: u16 = 14;

/// Where the panes are; a line above them is the header's, one below them the footer's.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// From top to bottom, each with its title.
    Panes(Vec<(Pane, Rect)>),
    TooSmall,
}

/// Columns and lines that are left for what is shown instead of the panes.
pub(super) fn overlay((columns, rows): (u16, u16)) -> (usize, usize) {
    // The header, the title and the footer.
    (columns.into(), rows.saturating_sub(3).into())
}

pub(super) fn plan(state: &State) -> Plan {
    let (columns, rows) = state.size;
    if columns < LEAST_COLUMNS || rows < LEAST_ROWS {
        return Plan::TooSmall;
    }
    let rows = rows - 2;
    if rows + 2 < ROWS_FOR_ALL {
        let area = Rect::new(0, 1, columns, rows);
        return Plan::Panes(vec![(state.focus, area)]);
    }
    let wanted = Pane::ALL.map(|pane| wanted(state, pane));
    let mut areas = Vec::new();
    let mut top = 1;
    for (pane, height) in Pane::ALL.into_iter().zip(share(rows, wanted)) {
        areas.push((pane, Rect::new(0, top, columns, height)));
        top += height;
    }
    Plan::Panes(areas)
}

/// Lines in which everything of a pane could be shown, its title included.
fn wanted(state: &State, pane: Pane) -> u16 {
    let lines = match pane {
        Pane::Verdicts => verdicts::lines(state).len(),
        Pane::Events => lines::events(state).len(),
        Pane::Listeners | Pane::Holders => match state.table(pane).rows.len() {
            0 => 0,
            rows => rows + 1,
        },
    };
    u16::try_from(lines).unwrap_or(u16::MAX).saturating_add(1)
}

/// Divides `rows` among the panes: nobody gets less than is of use, nobody more than it wants while
/// another wants more, and what nobody wants is the last one's.
fn share(rows: u16, wanted: [u16; 4]) -> [u16; 4] {
    // A title and a row, and titles of columns where there are some.
    const LEAST: [u16; 4] = [3, 3, 3, 2];
    // Of five that somebody wants: how the verdict came about is worth most.
    const WEIGHT: [u32; 4] = [5, 4, 2, 3];
    let mut heights = [0, 1, 2, 3].map(|pane| LEAST[pane].min(wanted[pane]));
    let mut left = rows.saturating_sub(heights.iter().sum());
    while left > 0 {
        let wants = (0..4).filter(|pane| heights[*pane] < wanted[*pane]);
        let poorest = wants.min_by_key(|pane| u32::from(heights[*pane]) * 60 / WEIGHT[*pane]);
        let Some(poorest) = poorest else { break };
        heights[poorest] += 1;
        left -= 1;
    }
    heights[3] += left;
    heights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_starves_and_nothing_is_left_over() {
        let check = |rows, wanted, expect: [u16; 4]| {
            let heights = share(rows, wanted);
            assert_eq!(heights, expect, "{rows} {wanted:?}");
            assert_eq!(heights.iter().sum::<u16>(), rows);
        };
        check(22, [1, 1, 1, 1], [1, 1, 1, 19]);
        check(22, [6, 5, 4, 200], [6, 5, 4, 7]);
        check(22, [100, 100, 100, 100], [8, 6, 3, 5]);
        check(22, [100, 1, 1, 1], [19, 1, 1, 1]);
        check(48, [9, 20, 5, 100], [9, 19, 5, 15]);
        check(12, [9, 9, 9, 9], [4, 3, 3, 2]);
        check(11, [9, 9, 9, 9], [3, 3, 3, 2]);
    }
}
