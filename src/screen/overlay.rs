//! What covers the panes for a while: a finding with its evidence, an event, or the keys.

use crate::model::Finding;
use crate::render::{self, Layout, wrap};

/// What is shown instead of the panes.
#[derive(Debug)]
pub(super) struct Overlay {
    pub(super) title: String,
    pub(super) content: Content,
    /// Lines that are scrolled past.
    pub(super) scroll: usize,
}

#[derive(Debug)]
pub(super) enum Content {
    Finding(Box<Finding>),
    /// What was said about an event, and the finding that it is about.
    Event(String, Option<Box<Finding>>),
    Help,
}

impl Overlay {
    pub(super) fn new(title: impl Into<String>, content: Content) -> Overlay {
        Overlay {
            title: title.into(),
            content,
            scroll: 0,
        }
    }

    /// Its lines in `width` columns. Only a word that is wider is longer.
    pub(super) fn lines(&self, width: usize) -> Vec<String> {
        match &self.content {
            Content::Finding(finding) => lines(finding, width),
            Content::Event(text, finding) => {
                let mut all = wrap(text, Some(width));
                if let Some(finding) = finding {
                    all.push(String::new());
                    all.extend(lines(finding, width));
                }
                all
            }
            Content::Help => HELP.lines().flat_map(|line| broken(line, width)).collect(),
        }
    }
}

/// A finding as a report has it.
fn lines(finding: &Finding, width: usize) -> Vec<String> {
    let layout = Layout {
        width: Some(width),
        color: false,
        sockets: false,
        all_listeners: false,
    };
    let mut text = Vec::new();
    // Writing to memory does not fail.
    let _ = render::write_finding(&mut text, finding, layout);
    let text = String::from_utf8_lossy(&text);
    text.lines().flat_map(|line| broken(line, width)).collect()
}

/// A line that was laid out for more columns, its indent kept.
fn broken(line: &str, width: usize) -> Vec<String> {
    if line.chars().count() <= width {
        return vec![line.to_owned()];
    }
    let indent = line.len() - line.trim_start().len();
    let room = width.saturating_sub(indent);
    let lines = wrap(line.trim_start(), Some(room));
    let indented = lines
        .into_iter()
        .map(|part| format!("{:indent$}{part}", ""));
    indented.collect()
}

const HELP: &str = "\
Keys
  q, Ctrl-C           end the watch, with its summary
  Esc                 close this, or the filter; then end the watch
  Tab, right, left    go to the next pane, or the one before
  up, down, k, j      choose a row; also PgUp, PgDn, Home, End
  Enter               what is found about the row, with its evidence and remedy
  s                   sort the pane by something else
  /                   show only rows that contain a text, in all panes
  p, space            pause: what is shown stays, and the looks go on behind it
  S                   save the look that is shown, for tcpleak scan --from
  Ctrl-L              draw everything anew
  Ctrl-Z              suspend the watch; fg continues it
  ?, h                this page

Verdicts
  What is open, the worst first. A finding stays open until what it was about is gone.

Listeners
  QUEUE               connections that wait for accept() / the backlog
  LAST LOOKS          the length of the queue, one sign a look, the newest to the right
  CAME, TAKEN         connections seen to come into the queue and to be taken from it since
                      the watch began; those accepted between two looks are not seen
  DROPS               handshake packets dropped since the watch began
  PEAK                the longest queue that a look has seen

Holders
  Processes with sockets in CLOSE_WAIT, or whose descriptors are the problem.
  GROWTH              sockets more each second, where the number grows steadily
  FDS                 open descriptors / the limit of the process
  FULL IN             until all descriptors are in use, at this rate

? means that the source does not tell, - that there is none.";
