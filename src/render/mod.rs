//! Report to a writer: text for people, JSON for programs.
//!
//! Renderers decide nothing: what is wrong and how bad is settled before. They write to any
//! `Write`, know the width and whether colour is wanted, and cut no address and no number.

mod coverage;
mod doctor;
mod doctor_json;
mod event;
mod inspect;
mod json;
mod list;
mod page;
mod probe;
mod probe_json;
mod service;
mod style;
mod tables;
mod text;
mod v1;
mod wrap;

pub use coverage::write_coverage;
pub use doctor::write_sight;
pub use doctor_json::write_sight as write_sight_json;
pub use event::{write_event, write_event_json};
pub use inspect::write_inspection;
pub use json::{write_list as write_list_json, write_report as write_report_json};
pub use list::write_list;
pub use page::{write_index, write_page};
pub use probe::write_experiment;
pub use probe_json::{ProbeRun, write_experiment as write_experiment_json};
pub(crate) use tables::holders;
pub(crate) use text::{calm, short_cause};
pub use text::{write_finding, write_report};
pub(crate) use wrap::wrap;

/// How text is to be laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Columns of the terminal; `None` for no limit.
    pub width: Option<usize>,
    /// Whether escape sequences for colour are wanted.
    pub color: bool,
    /// Show every CLOSE_WAIT socket, not only groups.
    pub sockets: bool,
    /// Show every listener.
    pub all_listeners: bool,
}
