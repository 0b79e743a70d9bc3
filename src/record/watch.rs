//! A watch in a file: one snapshot after the other, each behind a line that says when it was taken.
//!
//! The looks are written and read one at a time. Each has its own end line, so a watch that was
//! killed leaves a file whose looks but the last are whole: they are used, and that the file is cut
//! is told. What was lost or changed elsewhere is an error, as in a snapshot.

use std::io::{self, BufRead, Write};
use std::time::Duration;

use serde_json::Value;

use super::lines::{LONGEST_LINE, LineReader, LineWriter};
use super::value::{FieldError, ObjectReader, ObjectWriter, Record, excerpt};
use super::{RecordError, VERSION, read_lines, write};
use crate::model::Snapshot;

/// A look as it was recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedLook {
    /// When it began, since the watch began, by the monotonic clock.
    pub at: Duration,
    /// How long it took.
    pub took: Duration,
    /// What it gave, or why it failed.
    pub taken: Result<Box<Snapshot>, String>,
}

/// What comes next in a recording.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// A look.
    Look(RecordedLook),
    /// The watch has ended, so long after it began.
    End(Duration),
    /// The file ends without its end line. What it lacks is at least this line, counted from 1.
    Cut {
        /// The line that is missing or incomplete.
        line: u64,
    },
}

/// Writes a watch, look by look.
#[derive(Debug)]
pub struct WatchWriter<W> {
    to: W,
    looks: u64,
}

impl<W: Write> WatchWriter<W> {
    /// Writes the first line. `interval` is from which duration on a look is late.
    pub fn begin(mut to: W, interval: Duration) -> io::Result<WatchWriter<W>> {
        LineWriter::new(&mut to).header(|object| {
            object.field("tcpleak_watch", &VERSION);
            object.field("tcpleak_version", &env!("CARGO_PKG_VERSION").to_owned());
            object.field("interval", &interval);
        })?;
        Ok(WatchWriter { to, looks: 0 })
    }

    /// Writes a look that began at `at`, took so long, and gave this or failed for that reason; and
    /// flushes, so that it stays if the program is killed.
    pub fn look(
        &mut self,
        at: Duration,
        took: Duration,
        taken: Result<&Snapshot, &str>,
    ) -> io::Result<()> {
        self.looks += 1;
        let line = LookLine {
            number: self.looks,
            at,
            took,
            failed: taken.err().map(str::to_owned),
        };
        LineWriter::new(&mut self.to).record(LOOK, &line)?;
        if let Ok(snapshot) = taken {
            write(snapshot, &mut self.to)?;
        }
        self.to.flush()
    }

    /// Writes the last line: the watch ended at `at`.
    pub fn end(mut self, at: Duration) -> io::Result<()> {
        let looks = self.looks;
        LineWriter::new(&mut self.to).record(END, &EndLine { at, looks })?;
        self.to.flush()
    }
}

/// Reads a watch, look by look; or a snapshot, which is a watch of one look.
#[derive(Debug)]
pub struct Recording<R> {
    lines: LineReader<R>,
    interval: Option<Duration>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// A snapshot, of which the header was read.
    Alone(ObjectReader),
    /// So many looks were read, and the last one ended then.
    Watch { looks: u64, ended: Duration },
    /// Nothing is left, but the end itself.
    Over(Entry),
}

impl<R: BufRead> Recording<R> {
    /// Reads the first line.
    pub fn open(from: R) -> Result<Recording<R>, RecordError> {
        let mut lines = LineReader::new(from, LONGEST_LINE);
        let mut header = lines.header()?;
        if header.has("tcpleak_snapshot") {
            return Ok(Recording {
                lines,
                interval: None,
                state: State::Alone(header),
            });
        }
        let at = |error| RecordError::field(1, error);
        let found = header.field::<u64>("tcpleak_watch").map_err(at)?;
        if found != VERSION {
            return Err(RecordError::Version { line: 1, found });
        }
        Ok(Recording {
            interval: Some(header.field("interval").map_err(at)?),
            lines,
            state: State::Watch {
                looks: 0,
                ended: Duration::ZERO,
            },
        })
    }

    /// From which duration on a look was late; `None` of a snapshot, which cannot be.
    pub fn interval(&self) -> Option<Duration> {
        self.interval
    }

    /// What comes next. After the end it is the end again.
    pub fn entry(&mut self) -> Result<Entry, RecordError> {
        let over = State::Over(Entry::End(Duration::ZERO));
        let (state, entry) = match std::mem::replace(&mut self.state, over) {
            State::Alone(header) => {
                let snapshot = Box::new(read_lines(header, &mut self.lines)?);
                self.lines.nothing_follows()?;
                let (at, took) = (Duration::ZERO, snapshot.duration);
                let taken = Ok(snapshot);
                let look = Entry::Look(RecordedLook { at, took, taken });
                (State::Over(Entry::End(took)), look)
            }
            State::Watch { looks, ended } => match self.read_entry(looks, ended) {
                Ok(entry) => match &entry {
                    Entry::Look(look) => {
                        let (looks, ended) = (looks + 1, look.at + look.took);
                        (State::Watch { looks, ended }, entry)
                    }
                    end => (State::Over(end.clone()), entry),
                },
                // It was being written when its program ended.
                Err(RecordError::Truncated { line }) => {
                    let cut = Entry::Cut { line };
                    (State::Over(cut.clone()), cut)
                }
                Err(error) => return Err(error),
            },
            State::Over(end) => (State::Over(end.clone()), end),
        };
        self.state = state;
        Ok(entry)
    }

    /// The entry behind so many looks, of which the last one ended then.
    fn read_entry(&mut self, looks: u64, ended: Duration) -> Result<Entry, RecordError> {
        let (kind, content) = self.lines.record()?;
        let line = self.lines.number();
        let bad = |reason: String| Err(RecordError::Line { line, reason });
        let field = |error: FieldError| RecordError::field(line, error.within(&kind));
        match kind.as_str() {
            LOOK => {
                let look = LookLine::read(content).map_err(field)?;
                if look.number != looks + 1 {
                    return bad(format!("look {} behind look {looks}", look.number));
                }
                if look.at < ended || look.at.checked_add(look.took).is_none() {
                    return bad("a look at an impossible time".to_owned());
                }
                let taken = match look.failed {
                    Some(reason) => Err(reason),
                    None => {
                        let header = self.lines.header()?;
                        Ok(Box::new(read_lines(header, &mut self.lines)?))
                    }
                };
                let (at, took) = (look.at, look.took);
                Ok(Entry::Look(RecordedLook { at, took, taken }))
            }
            END => {
                let end = EndLine::read(content).map_err(field)?;
                if end.looks != looks {
                    return bad(format!(
                        "{looks} looks stand before the end line, which counts {}",
                        end.looks
                    ));
                }
                if end.at < ended {
                    return bad("it ends before its last look does".to_owned());
                }
                self.lines.nothing_follows()?;
                Ok(Entry::End(end.at))
            }
            _ => bad(format!("unknown kind of record: '{}'", excerpt(&kind))),
        }
    }
}

const LOOK: &str = "look";
const END: &str = "end_of_watch";

/// What stands before a snapshot.
struct LookLine {
    /// Counted from 1.
    number: u64,
    at: Duration,
    took: Duration,
    /// Why no snapshot follows.
    failed: Option<String>,
}

impl Record for LookLine {
    fn write(&self, out: &mut String) {
        let LookLine {
            number,
            at,
            took,
            failed,
        } = self;
        let mut object = ObjectWriter::begin(out);
        object.field("number", number);
        object.field("at", at);
        object.field("took", took);
        object.field("failed", failed);
        object.end();
    }

    fn read(value: Value) -> Result<LookLine, FieldError> {
        let mut object = ObjectReader::new(value)?;
        Ok(LookLine {
            number: object.field("number")?,
            at: object.field("at")?,
            took: object.field("took")?,
            failed: object.field("failed")?,
        })
    }
}

/// What stands at the end.
struct EndLine {
    at: Duration,
    looks: u64,
}

impl Record for EndLine {
    fn write(&self, out: &mut String) {
        let EndLine { at, looks } = self;
        let mut object = ObjectWriter::begin(out);
        object.field("at", at);
        object.field("looks", looks);
        object.end();
    }

    fn read(value: Value) -> Result<EndLine, FieldError> {
        let mut object = ObjectReader::new(value)?;
        Ok(EndLine {
            at: object.field("at")?,
            looks: object.field("looks")?,
        })
    }
}
