//! The tables below the findings.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::SocketAddr;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use super::Layout;
use super::service;
use super::style::{Style, paint};
use crate::join::{CloseWait, FarEnd, Holder, Listener, SocketTable};
use crate::model::{
    Direction, Fact, Namespace, Netns, OwnerSource, SocketEntry, Unknown, human_duration, printable,
};
use crate::report::Report;

/// From this width on, tables have room for all columns and for who the holder is.
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
    let mut entries = listeners.iter().map(|listener| listener.entry);
    let elsewhere = entries.any(|entry| is_elsewhere(entry, report));
    let mut rows = Rows::new(
        layout,
        &[
            Column::left("LISTENER"),
            Column::left("NETNS").if_needed(elsewhere),
            Column::right("QUEUE"),
            Column::right("EST"),
            Column::right("CLOSE_WAIT"),
            Column::right("GONE"),
            Column::right("OLDEST"),
            Column::right("DROPS").where_wide(),
            Column::left("VERDICT").where_wide(),
            Column::left("HOLDERS"),
        ],
    );
    for listener in listeners {
        let limit = listener
            .backlog
            .map_or("?".into(), |limit| limit.to_string());
        let queued = |part: fn(&crate::join::Queued) -> u32| match &listener.queued {
            Fact::Known(queued) => part(queued).to_string(),
            Fact::Unknown(Unknown::Moving) => "moving".into(),
            Fact::Unknown(_) => "shared".into(),
        };
        rows.push([
            listener.entry.local.to_string(),
            netns(listener.entry.netns, report),
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
            holders(&listener.holders, listener.entry, &report.table, layout),
        ]);
    }
    rows.write(to, "Listeners")
}

/// Unaccepted connections whose listener is unknown, by local address.
pub(super) fn write_strays(
    to: &mut dyn Write,
    report: &Report<'_>,
    layout: Layout,
) -> io::Result<()> {
    let mut by_address: BTreeMap<(SocketAddr, Netns), usize> = BTreeMap::new();
    for row in &report.table.strays {
        *by_address.entry((row.local, row.netns)).or_default() += 1;
    }
    if by_address.is_empty() {
        return Ok(());
    }
    let mut strays = report.table.strays.iter();
    let elsewhere = strays.any(|row| is_elsewhere(row, report));
    let columns = [
        Column::left("LISTENER UNKNOWN"),
        Column::left("NETNS").if_needed(elsewhere),
        Column::right("UNACCEPTED"),
    ];
    let mut rows = Rows::new(layout, &columns);
    for ((address, id), count) in by_address {
        rows.push([address.to_string(), netns(id, report), count.to_string()]);
    }
    rows.write(to, "Unaccepted connections that match no listener")
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
    type Key = (String, Netns, Option<Direction>, String);
    let mut groups: BTreeMap<Key, Vec<&CloseWait<'_>>> = BTreeMap::new();
    for socket in &report.table.close_wait {
        let who = owner(socket, &report.table, layout);
        let endpoint = match socket.direction {
            Some(Direction::Outbound) => format!("to {}", socket.entry.remote),
            _ => format!("on {}", socket.entry.local),
        };
        groups
            .entry((endpoint, socket.entry.netns, socket.direction, who))
            .or_default()
            .push(socket);
    }
    let elsewhere = any_elsewhere(report);
    let mut rows = Rows::new(
        layout,
        &[
            Column::left("CLOSE_WAIT"),
            Column::left("NETNS").if_needed(elsewhere),
            Column::left("DIRECTION"),
            Column::right("COUNT"),
            Column::right("UNREAD"),
            Column::right("FIN UNREAD").where_wide(),
            Column::right("OLDEST"),
            Column::left("HOLDERS"),
        ],
    );
    for ((endpoint, id, direction, who), sockets) in groups {
        let unread: u64 = sockets
            .iter()
            .map(|socket| u64::from(socket.unread_bytes))
            .sum();
        let fins = sockets.iter().filter(|socket| socket.fin_unread).count();
        let oldest = sockets.iter().filter_map(|socket| socket.age).max();
        rows.push([
            endpoint,
            netns(id, report),
            direction.map_or("?".into(), |direction| direction.to_string()),
            sockets.len().to_string(),
            format!("{unread} B"),
            fins.to_string(),
            oldest.map_or("?".into(), human_duration),
            who,
        ]);
    }
    rows.write(to, "Sockets in CLOSE_WAIT")
}

fn write_sockets(to: &mut dyn Write, report: &Report<'_>, layout: Layout) -> io::Result<()> {
    let elsewhere = any_elsewhere(report);
    let mut rows = Rows::new(
        layout,
        &[
            Column::left("LOCAL"),
            Column::left("REMOTE"),
            Column::left("NETNS").if_needed(elsewhere),
            Column::right("RECV-Q"),
            Column::right("SEND-Q").where_wide(),
            Column::right("UNREAD").where_wide(),
            Column::left("FIN"),
            Column::right("AGE"),
            Column::left("FAR END").where_wide(),
            Column::left("HOLDERS"),
        ],
    );
    for socket in &report.table.close_wait {
        let (recv_q, send_q) = socket.entry.stream_queues().unwrap_or((0, 0));
        rows.push([
            socket.entry.local.to_string(),
            socket.entry.remote.to_string(),
            netns(socket.entry.netns, report),
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
    rows.write(to, "Sockets in CLOSE_WAIT")
}

fn any_elsewhere(report: &Report<'_>) -> bool {
    let mut sockets = report.table.close_wait.iter();
    sockets.any(|socket| is_elsewhere(socket.entry, report))
}

/// Not in the own namespace, which needs no name.
fn is_elsewhere(entry: &SocketEntry, report: &Report<'_>) -> bool {
    let namespace = report.table.snapshot.namespace(entry.netns);
    namespace.is_some_and(|namespace| !namespace.own)
}

fn netns(id: Netns, report: &Report<'_>) -> String {
    let namespace = report.table.snapshot.namespace(id);
    namespace.map_or("-".into(), Namespace::short_title)
}

fn owner(socket: &CloseWait<'_>, table: &SocketTable<'_>, layout: Layout) -> String {
    if socket.accepted {
        holders(&socket.holders, socket.entry, table, layout)
    } else {
        "none: not accepted".into()
    }
}

/// Short: `server(4866)`; in wide layouts with user and unit.
pub(crate) fn holders(
    holders: &[Holder<'_>],
    entry: &SocketEntry,
    table: &SocketTable<'_>,
    layout: Layout,
) -> String {
    if holders.is_empty() {
        let nobody = match table.snapshot.owner_source {
            OwnerSource::None => "not looked up",
            OwnerSource::Procfs if table.owners_complete() => "none",
            OwnerSource::Procfs => "not seen",
        };
        return match table.opened_in(entry) {
            Some(service) => format!("{nobody} (opened in {service})"),
            None => nobody.into(),
        };
    }
    let wide = is_wide(layout);
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
            let words = holder.service().map(|service| service::words(&service));
            let words = words.filter(|words| !words.is_empty());
            text.extend(words.map(|words| format!(" {words}")));
        }
        text
    };
    let named = if wide { 3 } else { 1 };
    let mut names: Vec<String> = holders.iter().take(named).map(one).collect();
    if holders.len() > named {
        names.push(format!("+{}", holders.len() - named));
    }
    names.join(", ")
}

/// A column of a table.
#[derive(Debug, Clone, Copy)]
struct Column {
    name: &'static str,
    alignment: CellAlignment,
    /// Left out where there is no room for everything.
    only_wide: bool,
    /// Left out where it says the same of every row.
    needed: bool,
}

impl Column {
    fn left(name: &'static str) -> Column {
        Column {
            name,
            alignment: CellAlignment::Left,
            only_wide: false,
            needed: true,
        }
    }

    fn right(name: &'static str) -> Column {
        Column {
            alignment: CellAlignment::Right,
            ..Column::left(name)
        }
    }

    fn if_needed(self, needed: bool) -> Column {
        Column { needed, ..self }
    }

    fn is_shown(&self, layout: Layout) -> bool {
        self.needed && (is_wide(layout) || !self.only_wide)
    }

    fn where_wide(self) -> Column {
        Column {
            only_wide: true,
            ..self
        }
    }
}

/// A table under construction: those of its columns for which there is room.
struct Rows {
    table: Table,
    shown: Vec<bool>,
    color: bool,
}

impl Rows {
    fn new(layout: Layout, columns: &[Column]) -> Rows {
        let shown: Vec<bool> = columns
            .iter()
            .map(|column| column.is_shown(layout))
            .collect();
        let kept: Vec<&Column> = columns
            .iter()
            .filter(|column| column.is_shown(layout))
            .collect();
        let mut table = Table::new();
        // Disabled: a cell is never broken, so that no address is cut; a line that is too long for
        // the terminal is the terminal's to wrap.
        table
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header(kept.iter().map(|column| column.name));
        for (index, column) in kept.iter().enumerate() {
            if let Some(place) = table.column_mut(index) {
                place.set_cell_alignment(column.alignment);
            }
        }
        Rows {
            table,
            shown,
            color: layout.color,
        }
    }

    fn push<const N: usize>(&mut self, cells: [String; N]) {
        let kept = cells
            .into_iter()
            .zip(&self.shown)
            .filter(|(_, shown)| **shown);
        self.table.add_row(kept.map(|(cell, _)| cell));
    }

    fn write(&self, to: &mut dyn Write, title: &str) -> io::Result<()> {
        writeln!(to, "\n{}", paint(title, Style::Strong, self.color))?;
        for line in self.table.lines() {
            writeln!(to, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

fn is_wide(layout: Layout) -> bool {
    layout.width.is_none_or(|width| width >= WIDE)
}
