//! `list`: one socket a line, ss's columns, for grep.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};

use unicode_width::UnicodeWidthStr;

use super::service;
use crate::join::{Holder, SocketTable};
use crate::model::{Netns, Queues, SocketEntry, printable};

/// Writes the rows of the table with their holders.
pub fn write_list(to: &mut dyn Write, table: &SocketTable<'_>) -> io::Result<()> {
    let widest = |address: fn(&SocketEntry) -> usize| {
        table
            .rows
            .iter()
            .map(|row| address(row))
            .max()
            .unwrap_or(0)
            .max("Local Address:Port".len())
    };
    let local = widest(|row| row.local.to_string().len());
    let remote = widest(|row| row.remote.to_string().len());
    // Where every row is of the own namespace, no column says so.
    let places = namespaces(table);
    let place = places.values().map(|name| name.width()).max();
    let place = place.filter(|_| table.rows.iter().any(|row| is_elsewhere(row, table)));
    let column = |name: &str| match place {
        Some(width) => format!(
            "{name}{:1$} ",
            "",
            width.max(5).saturating_sub(name.width())
        ),
        None => String::new(),
    };
    writeln!(
        to,
        "{:<11} {:>7} {:>7} {:<local$} {:<remote$} {}Process",
        "State",
        "Recv-Q",
        "Send-Q",
        "Local Address:Port",
        "Peer Address:Port",
        column("Netns")
    )?;
    for row in &table.rows {
        // A listener's two numbers are its queue and the limit, as in ss.
        let (recv_q, send_q) = match row.queues {
            Queues::Stream { recv_q, send_q } => (recv_q, send_q.to_string()),
            Queues::Listen {
                accept_queue,
                backlog,
            } => (
                accept_queue,
                backlog.map_or("?".into(), |limit| limit.to_string()),
            ),
        };
        writeln!(
            to,
            "{:<11} {recv_q:>7} {send_q:>7} {:<local$} {:<remote$} {}{}",
            row.state,
            row.local.to_string(),
            row.remote.to_string(),
            column(places.get(&row.netns).map_or("-", String::as_str)),
            owner(row, table),
        )?;
    }
    Ok(())
}

/// Names of the namespaces, for the column.
fn namespaces(table: &SocketTable<'_>) -> BTreeMap<Netns, String> {
    let namespaces = table.snapshot.namespaces.iter();
    let names = namespaces.map(|namespace| (namespace.id, namespace.short_title()));
    names.collect()
}

fn is_elsewhere(row: &SocketEntry, table: &SocketTable<'_>) -> bool {
    let namespace = table.snapshot.namespace(row.netns);
    namespace.is_some_and(|namespace| !namespace.own)
}

fn owner(row: &SocketEntry, table: &SocketTable<'_>) -> String {
    let holders = table.holders_of(row);
    if holders.is_empty() {
        let nobody = match row.inode {
            _ if row.is_unaccepted() => "not accepted",
            None => return "-".into(),
            Some(_) if table.owners_complete() => "no process",
            Some(_) => "not seen",
        };
        return match table.opened_in(row) {
            Some(service) => format!("- ({nobody}; opened in {service})"),
            None => format!("- ({nobody})"),
        };
    }
    // ss's form: users:(("nginx",pid=1,fd=6),("nginx",pid=2,fd=6))
    let mut text = String::from("users:(");
    for (index, holder) in holders.iter().enumerate() {
        for (nth, fd) in holder.fds.iter().enumerate() {
            let comma = if index + nth > 0 { "," } else { "" };
            let name = name(holder);
            // Writing to a string does not fail.
            let _ = write!(text, "{comma}(\"{name}\",pid={},fd={fd})", holder.id.pid);
        }
    }
    text.push(')');
    for words in service::of_holders(&holders) {
        text.push(' ');
        text.push_str(&words);
    }
    text
}

fn name(holder: &Holder<'_>) -> String {
    holder
        .process
        .map_or("?".into(), |process| printable(&process.comm))
}
