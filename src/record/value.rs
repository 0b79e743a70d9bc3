//! How a value of the model becomes JSON and is read from it again: the trait, and the tools for
//! objects, tagged words and text. `standard` implements it for numbers, times and lists.
//!
//! Writing goes straight to text, so that keys stand in the order of the model. Reading takes a
//! parsed [`Value`] apart, and every error says which field it is about.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::model::printable;

/// A type that a recording can hold without loss.
pub(super) trait Record: Sized {
    /// `null` is one of its values.
    const NULLABLE: bool = false;

    /// Appends it as JSON.
    fn write(&self, out: &mut String);

    /// What [`write`](Record::write) wrote.
    fn read(value: Value) -> Result<Self, FieldError>;

    /// The value that an object means by leaving the key out, if there is one.
    fn absent() -> Option<Self> {
        None
    }

    /// An object leaves its key out.
    fn is_absent(&self) -> bool {
        false
    }

    /// Appends a list of it. Bytes override this: a list of them is text.
    fn write_list(items: &[Self], out: &mut String) {
        out.push('[');
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            item.write(out);
        }
        out.push(']');
    }

    /// What [`write_list`](Record::write_list) wrote.
    fn read_list(value: Value) -> Result<Vec<Self>, FieldError> {
        let Value::Array(items) = value else {
            return Err(FieldError::expected("a list", &value));
        };
        items
            .into_iter()
            .enumerate()
            .map(|(index, item)| {
                Self::read(item).map_err(|error| error.within(&format!("[{index}]")))
            })
            .collect()
    }
}

/// A field that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FieldError {
    /// The way to it: `process.detail.known.threads.known[3].tid`.
    pub(super) path: String,
    /// What is wrong with it.
    pub(super) reason: String,
}

impl FieldError {
    pub(super) fn new(reason: impl Into<String>) -> FieldError {
        FieldError {
            path: String::new(),
            reason: reason.into(),
        }
    }

    pub(super) fn expected(what: &str, found: &Value) -> FieldError {
        FieldError::new(format!("not {what}: {}", shown(found)))
    }

    /// The same error, seen from one step further out.
    pub(super) fn within(mut self, step: &str) -> FieldError {
        if !self.path.is_empty() && !self.path.starts_with('[') {
            self.path.insert(0, '.');
        }
        self.path.insert_str(0, step);
        self
    }
}

/// A foreign value in an error message: short, and harmless on a terminal.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => format!("'{}'", excerpt(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// The beginning of a foreign text, with everything escaped that a terminal would act on.
pub(super) fn excerpt(text: &str) -> String {
    const LENGTH: usize = 40;
    let beginning: String = text.chars().take(LENGTH).collect();
    let mut shown = printable(beginning.as_bytes());
    if text.chars().nth(LENGTH).is_some() {
        shown.push('…');
    }
    shown
}

/// Writes an object, key by key.
pub(super) struct ObjectWriter<'a> {
    out: &'a mut String,
    first: bool,
}

impl<'a> ObjectWriter<'a> {
    pub(super) fn begin(out: &'a mut String) -> ObjectWriter<'a> {
        out.push('{');
        ObjectWriter { out, first: true }
    }

    pub(super) fn field(&mut self, key: &str, value: &impl Record) {
        if !value.is_absent() {
            self.key(key);
            value.write(self.out);
        }
    }

    fn key(&mut self, key: &str) {
        if !std::mem::take(&mut self.first) {
            self.out.push(',');
        }
        write_text(key, self.out);
        self.out.push(':');
    }

    pub(super) fn end(self) {
        self.out.push('}');
    }
}

/// Takes an object apart, key by key. Keys that nobody asks for are ignored.
#[derive(Debug)]
pub(super) struct ObjectReader(Map<String, Value>);

impl ObjectReader {
    pub(super) fn new(value: Value) -> Result<ObjectReader, FieldError> {
        match value {
            Value::Object(map) => Ok(ObjectReader(map)),
            other => Err(FieldError::expected("an object", &other)),
        }
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    pub(super) fn field<T: Record>(&mut self, key: &str) -> Result<T, FieldError> {
        match self.0.remove(key) {
            Some(value) => T::read(value),
            None => T::absent().ok_or_else(|| FieldError::new("missing")),
        }
        .map_err(|error| error.within(key))
    }

    /// The one key of an object that has no other.
    fn only(self) -> Option<(String, Value)> {
        let mut entries = self.0.into_iter();
        let entry = entries.next()?;
        entries.next().is_none().then_some(entry)
    }
}

/// Writes `{"word":content}`.
pub(super) fn write_tagged(word: &str, out: &mut String, content: impl FnOnce(&mut String)) {
    let mut object = ObjectWriter::begin(out);
    object.key(word);
    content(object.out);
    object.end();
}

/// Reads `"word"` or `{"word":content}`.
pub(super) fn read_tagged(value: Value) -> Result<(String, Option<Value>), FieldError> {
    match value {
        Value::String(word) => Ok((word, None)),
        Value::Object(map) => match ObjectReader(map).only() {
            Some((word, content)) => Ok((word, Some(content))),
            None => Err(FieldError::new("not an object with exactly one key")),
        },
        other => Err(FieldError::expected("a word or an object", &other)),
    }
}

/// Appends a JSON string. What a terminal would act on is escaped, so that a recording can be
/// looked at with `cat`: a process chooses its name freely.
pub(super) fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            ' '..='~' => out.push(char),
            // `escape_debug` gives a printable character back as it is.
            _ if char.escape_debug().len() == 1 => out.push(char),
            _ => {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    push(out, format_args!("\\u{unit:04x}"));
                }
            }
        }
    }
    out.push('"');
}

pub(super) fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // A `String` takes everything.
    let _ = out.write_fmt(text);
}

pub(super) fn read_text(value: Value) -> Result<String, FieldError> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(FieldError::expected("a string", &other)),
    }
}

/// A number in hexadecimal digits and nothing else.
pub(super) fn hex_number(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits.then(|| u64::from_str_radix(text, 16).ok())?
}
