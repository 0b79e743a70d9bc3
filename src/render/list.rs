//! `list`: one socket a line, ss's columns, for grep.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::service;
use crate::join::{Holder, SocketTable};
use crate::model::{Queues, SocketEntry, TcpState, printable};

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
    writeln!(
        to,
        "{:<11} {:>7} {:>7} {:<local$} {:<remote$} Process",
        "State", "Recv-Q", "Send-Q", "Local Address:Port", "Peer Address:Port"
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
            "{:<11} {recv_q:>7} {send_q:>7} {:<local$} {:<remote$} {}",
            row.state,
            row.local.to_string(),
            row.remote.to_string(),
            owner(row, table),
        )?;
    }
    Ok(())
}

fn owner(row: &SocketEntry, table: &SocketTable<'_>) -> String {
    let holders = table.holders_of(row);
    if holders.is_empty() {
        let nobody = match row.inode {
            _ if row.is_unaccepted() => "not accepted",
            None if row.state == TcpState::SynRecv => return "- (handshake in progress)".into(),
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
