//! Lines of a recording: written one at a time, and read with the suspicion that a foreign file
//! deserves. Memory grows with the longest line, and stops growing at the first bad one.

use std::io::{self, BufRead, Write};

use serde_json::Value;

use super::RecordError;
use super::value::{ObjectReader, ObjectWriter, Record, excerpt, read_tagged, write_tagged};

/// The longest line that is written or read. Only a process with millions of epoll registrations
/// comes near it.
pub(super) const LONGEST_LINE: usize = 256 << 20;

/// A file begins with one of these: a snapshot, or a watch.
const MAGICS: [&[u8]; 2] = [b"{\"tcpleak_snapshot\"", b"{\"tcpleak_watch\""];

/// Writes records, a line each.
pub(super) struct LineWriter<'a> {
    to: &'a mut dyn Write,
    line: String,
    written: u64,
}

impl<'a> LineWriter<'a> {
    pub(super) fn new(to: &'a mut dyn Write) -> LineWriter<'a> {
        LineWriter {
            to,
            line: String::new(),
            written: 0,
        }
    }

    /// The line before the records.
    pub(super) fn header(&mut self, fill: impl FnOnce(&mut ObjectWriter<'_>)) -> io::Result<()> {
        let mut object = ObjectWriter::begin(&mut self.line);
        fill(&mut object);
        object.end();
        self.flush_line()
    }

    /// `{"kind":record}`
    pub(super) fn record(&mut self, kind: &str, record: &impl Record) -> io::Result<()> {
        write_tagged(kind, &mut self.line, |out| record.write(out));
        self.flush_line()
    }

    /// The last line, by which a reader knows that nothing is missing.
    pub(super) fn end(mut self) -> io::Result<()> {
        let before = self.written;
        write_tagged("end", &mut self.line, |out| {
            let mut object = ObjectWriter::begin(out);
            object.field("lines", &before);
            object.end();
        });
        self.flush_line()
    }

    fn flush_line(&mut self) -> io::Result<()> {
        if self.line.len() > LONGEST_LINE {
            return Err(io::Error::other(format!(
                "line {} of the snapshot would have {} bytes, and {LONGEST_LINE} is the limit",
                self.written + 1,
                self.line.len(),
            )));
        }
        self.line.push('\n');
        self.to.write_all(self.line.as_bytes())?;
        self.line.clear();
        self.written += 1;
        Ok(())
    }
}

/// Reads records, a line each.
#[derive(Debug)]
pub(super) struct LineReader<R> {
    from: R,
    longest: usize,
    line: Vec<u8>,
    /// Number of the line read last, counted from 1.
    number: u64,
    /// Number of the line with the header of the snapshot that is read.
    header: u64,
}

impl<R: BufRead> LineReader<R> {
    pub(super) fn new(from: R, longest: usize) -> LineReader<R> {
        LineReader {
            from,
            longest,
            line: Vec::new(),
            number: 0,
            header: 0,
        }
    }

    /// The number of the line read last.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The object on the next line, before the records of a snapshot or the looks of a watch.
    pub(super) fn header(&mut self) -> Result<ObjectReader, RecordError> {
        let value = self.value()?;
        self.header = self.number;
        ObjectReader::new(value).map_err(|error| RecordError::field(self.number, error))
    }

    /// The next record: its kind and what there is to say about it.
    pub(super) fn record(&mut self) -> Result<(String, Value), RecordError> {
        let value = self.value()?;
        match read_tagged(value) {
            Ok((kind, Some(content))) => Ok((kind, content)),
            Ok((word, None)) => {
                Err(self.bad(format!("not a record: only the word '{}'", excerpt(&word))))
            }
            Err(error) => Err(RecordError::field(self.number, error)),
        }
    }

    /// Checks the end line of a snapshot.
    pub(super) fn end(&self, content: Value) -> Result<(), RecordError> {
        let before = ObjectReader::new(content)
            .and_then(|mut object| object.field::<u64>("lines"))
            .map_err(|error| RecordError::field(self.number, error.within("end")))?;
        let counted = self.number - self.header;
        if before != counted {
            return Err(self.bad(format!(
                "{counted} lines stand before the end line, which counts {before}"
            )));
        }
        Ok(())
    }

    /// Checks that the line read last was the last one.
    pub(super) fn nothing_follows(&mut self) -> Result<(), RecordError> {
        if self.next_line()? != Ended::AtEnd || !self.line.is_empty() {
            return Err(self.bad("something follows the end line"));
        }
        Ok(())
    }

    fn bad(&self, reason: impl Into<String>) -> RecordError {
        RecordError::Line {
            line: self.number,
            reason: reason.into(),
        }
    }

    /// The next line as JSON.
    fn value(&mut self) -> Result<Value, RecordError> {
        let ended = self.next_line()?;
        let cut_short = RecordError::Truncated { line: self.number };
        if ended == Ended::AtEnd && self.line.is_empty() {
            return Err(if self.number == 1 {
                RecordError::Foreign
            } else {
                cut_short
            });
        }
        serde_json::from_slice(&self.line).map_err(|error| {
            if ended == Ended::AtEnd {
                return cut_short;
            }
            // serde_json counts lines as well, and has seen only this one.
            let text = error.to_string();
            let reason = text.split(" at line ").next().unwrap_or(&text);
            self.bad(format!("not JSON: {reason} at column {}", error.column()))
        })
    }

    /// Reads up to the next newline, and stops as soon as the line can't be one of a snapshot's.
    fn next_line(&mut self) -> Result<Ended, RecordError> {
        self.line.clear();
        self.number += 1;
        loop {
            let chunk = match self.from.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(RecordError::Io {
                        line: self.number,
                        error,
                    });
                }
            };
            let newline = chunk.iter().position(|byte| *byte == b'\n');
            let part = &chunk[..newline.unwrap_or(chunk.len())];
            let end_of_file = chunk.is_empty();
            let control = part
                .iter()
                .any(|byte| *byte < b' ' && !matches!(byte, b'\t' | b'\r'));
            let fits = part.len() <= self.longest.saturating_sub(self.line.len());
            if fits {
                self.line.extend_from_slice(part);
            }
            let used = newline.map_or(part.len(), |at| at + 1);
            self.from.consume(used);

            let begins_with = |magic: &&[u8]| {
                let short = newline.is_some() && self.line.len() < magic.len();
                !short && self.line.iter().zip(*magic).all(|(a, b)| a == b)
            };
            if self.number == 1 && !MAGICS.iter().any(begins_with) {
                return Err(RecordError::Foreign);
            }
            if control {
                return Err(self.bad("not JSON: it holds a control character"));
            }
            if !fits {
                return Err(self.bad(format!("longer than {} bytes", self.longest)));
            }
            if newline.is_some() {
                return Ok(Ended::ByNewline);
            }
            if end_of_file {
                return Ok(Ended::AtEnd);
            }
        }
    }
}

/// What a line ended with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    ByNewline,
    AtEnd,
}
