//! The tables below the findings.

use std::collections::BTreeMap;
use std::io::{self, Write};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use super::Layout;
use super::style::{Style, paint};
use crate::join::{CloseWait, FarEnd, Holder, Listener, SocketTable};
use crate::model::{Direction, Fact, OwnerSource, Unknown, human_duration, printable};
use crate::report::Report;

/// From this width on, tables have room for who the holder is.
const WIDE: usize = 120;

/// Listeners with a queue, or all of them.
pub(super) fn write_listeners(
    to: &mut dyn Write,
    report: &Report<'_>,
    layout: Layout,
) -> io::Result<()> {
    let listeners: Vec<&Listener<'_>> = if layout.all_listeners {
        report.table.listeners.iter().collect()
    } else {
        report.notable_listeners().collect()
    };
    if listeners.is_empty() {
        return Ok(());
    }
    let mut table = table(&[
        "LISTENER",
        "QUEUE",
        "EST",
        "CLOSE_WAIT",
        "GONE",
        "OLDEST",
        "DROPS",
        "VERDICT",
        "HOLDERS",
    ]);
    align_right(&mut table, 1..=6);
    for listener in listeners {
        let limit = listener
            .backlog
            .map_or("?".into(), |limit| limit.to_string());
        let queued = |part: fn(&crate::join::Queued) -> u32| match &listener.queued {
            Fact::Known(queued) => part(queued).to_string(),
            Fact::Unknown(Unknown::Moving) => "moving".into(),
            Fact::Unknown(_) => "shared".into(),
        };
        table.add_row([
            listener.entry.local.to_string(),
            format!("{}/{limit}", listener.accept_queue),
            queued(|queued| queued.established),
            queued(|queued| queued.close_wait),
            queued(|queued| queued.gone),
            listener.oldest_wait().map_or("-".into(), human_duration),
            listener
                .entry
                .drops
                .map_or("?".into(), |drops| drops.to_string()),
            report
                .verdict(listener)
                .map_or("-".into(), |id| id.to_string()),
            holders(&listener.holders, &report.table, layout),
        ]);
    }
    write_table(to, "Listeners", &table, layout)
}

/// CLOSE_WAIT sockets, grouped, or each of them.
pub(super) fn write_close_wait(
    to: &mut dyn Write,
    report: &Report<'_>,
    layout: Layout,
) -> io::Result<()> {
    if report.table.close_wait.is_empty() {
        return Ok(());
    }
    if layout.sockets {
        write_sockets(to, report, layout)
    } else {
        write_groups(to, report, layout)
    }
}

fn write_groups(to: &mut dyn Write, report: &Report<'_>, layout: Layout) -> io::Result<()> {
    let mut groups: BTreeMap<(String, Option<Direction>, String), Vec<&CloseWait<'_>>> =
        BTreeMap::new();
    for socket in &report.table.close_wait {
        let who = owner(socket, &report.table, layout);
        let endpoint = match socket.direction {
            Some(Direction::Outbound) => format!("to {}", socket.entry.remote),
            _ => format!("on {}", socket.entry.local),
        };
        groups
            .entry((endpoint, socket.direction, who))
            .or_default()
            .push(socket);
    }
    let mut table = table(&[
        "CLOSE_WAIT",
        "DIRECTION",
        "COUNT",
        "UNREAD",
        "FIN UNREAD",
        "OLDEST",
        "HOLDERS",
    ]);
    align_right(&mut table, 2..=5);
    for ((endpoint, direction, who), sockets) in groups {
        let unread: u64 = sockets
            .iter()
            .map(|socket| u64::from(socket.unread_bytes))
            .sum();
        let fins = sockets.iter().filter(|socket| socket.fin_unread).count();
        let oldest = sockets.iter().filter_map(|socket| socket.age).max();
        table.add_row([
            endpoint,
            direction.map_or("?".into(), |direction| direction.to_string()),
            sockets.len().to_string(),
            format!("{unread} B"),
            fins.to_string(),
            oldest.map_or("?".into(), human_duration),
            who,
        ]);
    }
    write_table(to, "Sockets in CLOSE_WAIT", &table, layout)
}

fn write_sockets(to: &mut dyn Write, report: &Report<'_>, layout: Layout) -> io::Result<()> {
    let mut table = table(&[
        "LOCAL", "REMOTE", "RECV-Q", "SEND-Q", "UNREAD", "FIN", "AGE", "FAR END", "HOLDERS",
    ]);
    align_right(&mut table, 2..=4);
    align_right(&mut table, 6..=6);
    for socket in &report.table.close_wait {
        let (recv_q, send_q) = socket.entry.stream_queues().unwrap_or((0, 0));
        table.add_row([
            socket.entry.local.to_string(),
            socket.entry.remote.to_string(),
            recv_q.to_string(),
            send_q.to_string(),
            format!("{} B", socket.unread_bytes),
            if socket.fin_unread { "unread" } else { "read" }.into(),
            socket.age.map_or("?".into(), human_duration),
            match &socket.far_end {
                Fact::Known(FarEnd::Gone) => "gone".into(),
                Fact::Known(FarEnd::Here(entry)) => entry.state.to_string(),
                Fact::Unknown(_) => "-".into(),
            },
            owner(socket, &report.table, layout),
        ]);
    }
    write_table(to, "Sockets in CLOSE_WAIT", &table, layout)
}

fn owner(socket: &CloseWait<'_>, table: &SocketTable<'_>, layout: Layout) -> String {
    if socket.accepted {
        holders(&socket.holders, table, layout)
    } else {
        "none: not accepted".into()
    }
}

/// Short: `server(4866)`; in wide layouts with user and unit.
fn holders(holders: &[Holder<'_>], table: &SocketTable<'_>, layout: Layout) -> String {
    if holders.is_empty() {
        return match table.snapshot.owner_source {
            OwnerSource::None => "not looked up",
            OwnerSource::Procfs if table.owners_complete() => "none",
            OwnerSource::Procfs => "not seen",
        }
        .into();
    }
    let wide = layout.width.is_none_or(|width| width >= WIDE);
    let one = |holder: &Holder<'_>| {
        let Some(process) = holder.process else {
            return format!("?({})", holder.id.pid);
        };
        let mut text = format!("{}({})", printable(&process.comm), holder.id.pid);
        if wide {
            text.extend(
                process
                    .user
                    .as_ref()
                    .map(|user| format!(" user={}", printable(user.as_bytes()))),
            );
            text.extend(
                holder
                    .unit()
                    .map(|unit| format!(" unit={}", printable(unit.as_bytes()))),
            );
            text.extend(
                holder
                    .container()
                    .map(|id| format!(" container={}", &id[..12])),
            );
        }
        text
    };
    let mut names: Vec<String> = holders.iter().take(3).map(one).collect();
    if holders.len() > 3 {
        names.push(format!("+{}", holders.len() - 3));
    }
    names.join(", ")
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    // Disabled: a cell is never broken, so that no address is cut; a line that is too long for
    // the terminal is the terminal's to wrap.
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header);
    table
}

fn align_right(table: &mut Table, columns: std::ops::RangeInclusive<usize>) {
    for index in columns {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

fn write_table(to: &mut dyn Write, title: &str, table: &Table, layout: Layout) -> io::Result<()> {
    writeln!(to, "\n{}", paint(title, Style::Strong, layout.color))?;
    for line in table.lines() {
        writeln!(to, "{}", line.trim_end())?;
    }
    Ok(())
}
