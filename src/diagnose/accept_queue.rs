//! What the three findings about accept queues have in common: the state of a queue, its evidence,
//! its commands.

use std::sync::Arc;

use crate::join::{Child, Listener, Movement, SocketTable};
use crate::model::{Evidence, Fact, Subject, Unknown, count_of, human_duration};

use super::{Thresholds, phrase};

/// What a queue that is not empty is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QueueState {
    /// Its oldest connection has waited too long, and nothing shows that it moves.
    Stuck,
    /// Its oldest connection has waited too long, and it moves.
    Slow,
    /// Everything in it is young, or cannot be told to be old.
    Young,
}

/// The state of a listener's queue; `None` if it is empty.
pub(super) fn state(listener: &Listener<'_>, thresholds: &Thresholds) -> Option<QueueState> {
    if listener.accept_queue == 0 {
        return None;
    }
    let stuck = listener.movement.map(|movement| movement.is_stuck());
    // A reset connection has left no trace of its age: only watching its slot tells.
    let watched_long = listener.movement.is_some_and(|movement| {
        let slots_seen = movement.left + movement.stayed;
        let was_hidden = listener.shared_with == 0 && movement.before > slots_seen;
        movement.over >= thresholds.accept_age && movement.is_stuck() && was_hidden
    });
    let old = listener
        .oldest_wait()
        .is_some_and(|wait| wait >= thresholds.accept_age)
        || watched_long;
    Some(match (old, stuck) {
        (true, Some(false)) => QueueState::Slow,
        (true, _) => QueueState::Stuck,
        (false, _) => QueueState::Young,
    })
}

pub(super) fn subject(listener: &Listener<'_>) -> Subject {
    Subject::Listener {
        netns: listener.entry.netns,
        cookie: listener.entry.cookie,
        inode: listener.entry.inode,
        local: listener.entry.local,
    }
}

/// What was said last about waiting connections: the listeners of a group share them, and there may
/// be many of both.
#[derive(Default)]
pub(super) struct LastSaid<'a> {
    children: Option<Arc<[Child<'a>]>>,
    on_them: Vec<Evidence>,
    far_ends: Option<Evidence>,
}

impl<'a> LastSaid<'a> {
    fn renew(&mut self, listener: &Listener<'a>, table: &SocketTable<'_>) {
        let children = &listener.children;
        if matches!(&self.children, Some(known) if Arc::ptr_eq(known, children)) {
            return;
        }
        let source = phrase::socket_source(table, listener.entry.netns);
        let mut on_them = Vec::new();
        if let Some(oldest) = children.first() {
            on_them.push(Evidence::new(
                "the waiting connections have inode 0: no program has accepted them, no descriptor \
                 refers to them",
                source,
            ));
            on_them.extend(waits(listener));
            on_them.extend(unread(listener, source));
            on_them.extend(phrase::timeline(oldest.entry));
        }
        let entries = children.iter().map(|child| child.entry);
        *self = LastSaid {
            children: Some(Arc::clone(children)),
            on_them,
            far_ends: phrase::far_ends(entries, table),
        };
    }
}

/// The facts about a queue that every finding about it shows.
pub(super) fn evidence<'a>(
    listener: &Listener<'a>,
    table: &SocketTable<'_>,
    said: &mut LastSaid<'a>,
) -> Vec<Evidence> {
    let source = phrase::socket_source(table, listener.entry.netns);
    let limit = listener
        .backlog
        .map_or("an unknown limit".into(), |limit| limit.to_string());
    let length = format!("accept queue {} of {limit}", listener.accept_queue);
    let mut evidence = vec![Evidence::new(
        match &listener.queued {
            Fact::Known(queued) => format!(
                "{length} = {} ESTABLISHED + {} CLOSE_WAIT + {} gone",
                queued.established, queued.close_wait, queued.gone
            ),
            Fact::Unknown(Unknown::Moving) => {
                format!(
                    "{length}; {} visible: it moved while it was read",
                    listener.children.len()
                )
            }
            Fact::Unknown(_) => format!(
                "{length}; {} more wait with other listeners that fit the same connections (a \
                 SO_REUSEPORT group, most often), and the kernel does not tell which connection \
                 waits where",
                listener.shared_with
            ),
        },
        source,
    )];
    said.renew(listener, table);
    evidence.extend(said.on_them.iter().cloned());
    evidence.extend(
        listener
            .movement
            .map(|movement| Evidence::new(moved(movement), format!("{source}, two reads"))),
    );
    evidence.extend(phrase::old_binaries(&listener.holders));
    if listener.holders.is_empty() {
        evidence.extend(phrase::opened_in([listener.entry].into_iter(), table));
    }
    evidence.extend(said.far_ends.clone());
    evidence
}

fn moved(movement: Movement) -> String {
    let Movement { left, taken, .. } = movement;
    // Accepted, a connection frees its slot.
    let reset = match left.saturating_sub(taken) {
        0 => String::new(),
        1 if left == 1 => " (reset, not accepted: its slot is still taken)".into(),
        reset => format!(" ({reset} of them reset, not accepted: their slots are still taken)"),
    };
    format!(
        "within {}: {left} left the queue{reset}, {} came, {} stayed",
        human_duration(movement.over),
        movement.came,
        movement.stayed
    )
}

fn waits(listener: &Listener<'_>) -> Option<Evidence> {
    let waits = || listener.children.iter().filter_map(|child| child.waited);
    let (longest, shortest) = (waits().max()?, waits().min()?);
    let from_info = listener
        .children
        .iter()
        .all(|child| child.entry.info.is_some());
    let range = phrase::range(shortest, longest);
    let fact = match listener.children.len() {
        1 => format!("it has waited for {range}"),
        _ => format!("each of them has waited for {range}"),
    };
    Some(if from_info {
        Evidence::new(fact, "sock_diag, tcpi_last_data_sent")
    } else {
        Evidence::new(
            format!("{fact} at least"),
            "the same connections in two reads",
        )
    })
}

/// How much the clients had sent before they gave up.
fn unread(listener: &Listener<'_>, source: &str) -> Option<Evidence> {
    let received = |child: &Child<'_>| {
        let (recv_q, _) = child.entry.stream_queues()?;
        let fin = u32::from(child.entry.state == crate::model::TcpState::CloseWait);
        Some(u64::from(recv_q.saturating_sub(fin)))
    };
    let bytes: Vec<u64> = listener.children.iter().filter_map(received).collect();
    let (most, least, total) = (
        *bytes.iter().max()?,
        *bytes.iter().min()?,
        bytes.iter().sum::<u64>(),
    );
    let fact = match (most, bytes.len()) {
        (0, _) => return None,
        (_, 1) => format!("{} unread", count_of(total, "byte")),
        _ if most == least => format!("{} unread in each of them", count_of(most, "byte")),
        _ => format!("{} unread in all of them together", count_of(total, "byte")),
    };
    Some(Evidence::new(fact, source))
}

/// Commands that show a queue by hand.
pub(super) fn confirm(listener: &Listener<'_>, table: &SocketTable<'_>) -> Vec<String> {
    let port = listener.entry.local.port();
    let command = |text: String| phrase::command(text, listener.entry.netns, table);
    let mut commands = vec![command(format!("ss -ntlp 'sport = :{port}'"))];
    if !listener.children.is_empty() {
        commands.push(command(format!(
            "ss -ntie state established state close-wait 'sport = :{port}'"
        )));
    }
    if let Some(holder) = listener.holders.first() {
        let paths: Vec<String> = phrase::paths(holder).take(3).collect();
        commands.push(format!("ls -l {}", paths.join(" ")));
    }
    commands
}
