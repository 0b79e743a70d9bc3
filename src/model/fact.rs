//! A fact is something read, or the reason why it could not be.

use std::fmt;

/// Something read from the kernel, or why it is not known.
///
/// An empty string, a zero or a shorter list never stands for "could not be read".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact<T> {
    /// The value as it was read.
    Known(T),
    /// Why there is none.
    Unknown(Unknown),
}

/// Why a fact is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unknown {
    /// The kernel refused (EACCES, EPERM).
    Permission,
    /// The process, thread or socket was gone when it was read (ENOENT, ESRCH).
    Vanished,
    /// This kernel or this source does not offer it.
    Unsupported,
    /// Nobody asked for it in this run.
    NotCollected,
    /// It was there, and not in a form that is understood.
    Malformed,
    /// Two reads of it disagreed: it was changing while it was read.
    Moving,
}

impl<T> Fact<T> {
    /// The value, if it is known.
    pub fn known(&self) -> Option<&T> {
        match self {
            Fact::Known(value) => Some(value),
            Fact::Unknown(_) => None,
        }
    }

    /// Why the value is not known, if it is not.
    pub fn unknown(&self) -> Option<Unknown> {
        match self {
            Fact::Known(_) => None,
            Fact::Unknown(reason) => Some(*reason),
        }
    }

    /// Applies `f` to a known value.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Fact<U> {
        match self {
            Fact::Known(value) => Fact::Known(f(value)),
            Fact::Unknown(reason) => Fact::Unknown(reason),
        }
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unknown::Permission => "permission denied",
            Unknown::Vanished => "it was gone when it was read",
            Unknown::Unsupported => "not offered by this kernel or source",
            Unknown::NotCollected => "not collected",
            Unknown::Malformed => "not in a form that is understood",
            Unknown::Moving => "it changed while it was read",
        })
    }
}
