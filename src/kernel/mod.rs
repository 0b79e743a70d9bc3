//! Parsers: the kernel's bytes to [`crate::model`], and requests to the kernel's bytes.
//!
//! Every parser takes bytes, never a path, and reads no clock, so that each runs on a recorded
//! sample. None panics on what the kernel or a file says: what is not understood is an error with
//! its place, or a row less with the rest kept.

pub mod addresses;
pub mod cgroup;
pub mod fd_link;
pub mod fdinfo;
pub mod mountinfo;
pub mod netstat;
pub mod passwd;
pub mod proc_mount;
pub mod proc_net_tcp;
pub mod route;
pub mod runtime;
pub mod services;
pub mod sock_diag;
pub mod stat;
pub mod status;
pub mod syscall;

/// A file of the kernel was not in the form that its parser understands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, field {field}: {reason}")]
pub struct ParseError {
    /// Line, counted from 1.
    pub line: usize,
    /// Name of the field.
    pub field: &'static str,
    /// What was wrong with it.
    pub reason: String,
}

impl ParseError {
    pub(crate) fn new(line: usize, field: &'static str, reason: impl Into<String>) -> ParseError {
        ParseError {
            line,
            field,
            reason: reason.into(),
        }
    }
}

/// An unsigned number in ASCII digits and nothing else.
pub(crate) fn decimal(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() || !bytes.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// The words of a line, separated by spaces or tabs.
pub(crate) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| matches!(byte, b' ' | b'\t'))
        .filter(|word| !word.is_empty())
}

/// The lines of a file, without their ends.
pub(crate) fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
}
