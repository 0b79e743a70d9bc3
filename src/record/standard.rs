//! How numbers, text, bytes, times, addresses and lists are written and read.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::value::{
    FieldError, ObjectReader, ObjectWriter, Record, excerpt, hex_number, push, read_tagged,
    read_text, write_tagged, write_text,
};
use crate::model::Fact;

impl Record for bool {
    fn write(&self, out: &mut String) {
        out.push_str(if *self { "true" } else { "false" });
    }

    fn read(value: Value) -> Result<Self, FieldError> {
        value
            .as_bool()
            .ok_or_else(|| FieldError::expected("true or false", &value))
    }
}

macro_rules! numbers {
    ($($type:ident by $wide:ident),+ $(,)?) => {$(
        impl Record for $type {
            fn write(&self, out: &mut String) {
                push(out, format_args!("{self}"));
            }

            fn read(value: Value) -> Result<Self, FieldError> {
                value
                    .$wide()
                    .and_then(|number| $type::try_from(number).ok())
                    .ok_or_else(|| {
                        let range =
                            format!("a whole number from {} to {}", $type::MIN, $type::MAX);
                        FieldError::expected(&range, &value)
                    })
            }
        }
    )+};
}

numbers! { u16 by as_u64, u32 by as_u64, i32 by as_i64, i64 by as_i64 }

/// Bytes: text where they are UTF-8, which is what nearly all of them are, else `{"hex":"…"}`.
impl Record for u8 {
    fn write(&self, out: &mut String) {
        u16::from(*self).write(out);
    }

    fn read(value: Value) -> Result<Self, FieldError> {
        value
            .as_u64()
            .and_then(|number| u8::try_from(number).ok())
            .ok_or_else(|| FieldError::expected("a whole number from 0 to 255", &value))
    }

    fn write_list(items: &[Self], out: &mut String) {
        match std::str::from_utf8(items) {
            Ok(text) => write_text(text, out),
            Err(_) => write_tagged("hex", out, |out| {
                out.push('"');
                for byte in items {
                    push(out, format_args!("{byte:02x}"));
                }
                out.push('"');
            }),
        }
    }

    fn read_list(value: Value) -> Result<Vec<Self>, FieldError> {
        if let Value::String(text) = value {
            return Ok(text.into_bytes());
        }
        let text: String = ObjectReader::new(value)?.field("hex")?;
        let bytes = text.as_bytes().chunks(2).map(|pair| match pair {
            [_, _] => {
                hex_number(std::str::from_utf8(pair).ok()?).and_then(|byte| u8::try_from(byte).ok())
            }
            _ => None,
        });
        bytes.collect::<Option<_>>().ok_or_else(|| {
            FieldError::new(format!("not pairs of hex digits: '{}'", excerpt(&text))).within("hex")
        })
    }
}

/// Many JSON tools keep numbers as doubles; what these would round is a string: `"0x…"`.
impl Record for u64 {
    fn write(&self, out: &mut String) {
        const EXACT_IN_A_DOUBLE: u64 = (1 << 53) - 1;
        if *self <= EXACT_IN_A_DOUBLE {
            push(out, format_args!("{self}"));
        } else {
            push(out, format_args!("\"{self:#x}\""));
        }
    }

    fn read(value: Value) -> Result<Self, FieldError> {
        let number = match &value {
            Value::String(text) => text.strip_prefix("0x").and_then(hex_number),
            other => other.as_u64(),
        };
        number.ok_or_else(|| FieldError::expected("a whole number of 64 bits", &value))
    }
}

impl Record for char {
    fn write(&self, out: &mut String) {
        write_text(self.encode_utf8(&mut [0; 4]), out);
    }

    fn read(value: Value) -> Result<Self, FieldError> {
        let text = read_text(value)?;
        let mut chars = text.chars();
        match (chars.next(), chars.next()) {
            (Some(char), None) => Ok(char),
            _ => Err(FieldError::new(format!(
                "not one character: '{}'",
                excerpt(&text)
            ))),
        }
    }
}

impl Record for String {
    fn write(&self, out: &mut String) {
        write_text(self, out);
    }

    fn read(value: Value) -> Result<Self, FieldError> {
        read_text(value)
    }
}

/// An absent key, or `null` in a list.
impl<T: Record> Record for Option<T> {
    const NULLABLE: bool = true;

    fn write(&self, out: &mut String) {
        const { assert!(!T::NULLABLE, "null could mean the outer or the inner None") };
        match self {
            Some(value) => value.write(out),
            None => out.push_str("null"),
        }
    }

    fn read(value: Value) -> Result<Self, FieldError> {
        match value {
            Value::Null => Ok(None),
            value => T::read(value).map(Some),
        }
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

impl<T: Record> Record for Vec<T> {
    fn write(&self, out: &mut String) {
        T::write_list(self, out);
    }

    fn read(value: Value) -> Result<Self, FieldError> {
        T::read_list(value)
    }
}

impl<T: Record, const N: usize> Record for [T; N] {
    fn write(&self, out: &mut String) {
        T::write_list(self, out);
    }

    fn read(value: Value) -> Result<Self, FieldError> {
        let items = T::read_list(value)?;
        let length = items.len();
        let array = items.try_into().ok();
        array.ok_or_else(|| FieldError::new(format!("{length} items, not {N}")))
    }
}

impl<A: Record, B: Record> Record for (A, B) {
    fn write(&self, out: &mut String) {
        out.push('[');
        self.0.write(out);
        out.push(',');
        self.1.write(out);
        out.push(']');
    }

    fn read(value: Value) -> Result<Self, FieldError> {
        let [first, second] = <[Json; 2]>::read(value)?;
        Ok((
            A::read(first.0).map_err(|error| error.within("[0]"))?,
            B::read(second.0).map_err(|error| error.within("[1]"))?,
        ))
    }
}

/// JSON of any form, for lists whose items differ in type.
struct Json(Value);

impl Record for Json {
    fn write(&self, out: &mut String) {
        push(out, format_args!("{}", self.0));
    }

    fn read(value: Value) -> Result<Self, FieldError> {
        Ok(Json(value))
    }
}

impl<T: Record> Record for Box<T> {
    fn write(&self, out: &mut String) {
        T::write(self, out);
    }

    fn read(value: Value) -> Result<Self, FieldError> {
        T::read(value).map(Box::new)
    }
}

/// `{"known":…}` or `{"unknown":"permission"}`.
impl<T: Record> Record for Fact<T> {
    fn write(&self, out: &mut String) {
        match self {
            Fact::Known(value) => write_tagged("known", out, |out| value.write(out)),
            Fact::Unknown(reason) => write_tagged("unknown", out, |out| reason.write(out)),
        }
    }

    fn read(value: Value) -> Result<Self, FieldError> {
        let (word, content) = read_tagged(value)?;
        match (word.as_str(), content) {
            ("known", Some(content)) => T::read(content).map(Fact::Known),
            ("unknown", Some(content)) => Record::read(content).map(Fact::Unknown),
            _ => return Err(FieldError::new("neither known nor unknown")),
        }
        .map_err(|error| error.within(&word))
    }
}

/// Seconds as a decimal string, to the nanosecond, which a JSON number would not keep.
impl Record for Duration {
    fn write(&self, out: &mut String) {
        push(out, format_args!("\"{}", self.as_secs()));
        if self.subsec_nanos() > 0 {
            let digits = format!("{:09}", self.subsec_nanos());
            push(out, format_args!(".{}", digits.trim_end_matches('0')));
        }
        out.push('"');
    }

    fn read(value: Value) -> Result<Self, FieldError> {
        let text = read_text(value)?;
        seconds(&text).ok_or_else(|| {
            let shown = excerpt(&text);
            FieldError::new(format!("not seconds with up to nine decimals: '{shown}'"))
        })
    }
}

fn seconds(text: &str) -> Option<Duration> {
    let (whole, decimals) = match text.split_once('.') {
        Some((whole, decimals)) if (1..=9).contains(&decimals.len()) => (whole, decimals),
        Some(_) => return None,
        None => (text, "0"),
    };
    let nanoseconds = decimal_number(&format!("{decimals:0<9}"))?;
    Some(Duration::new(decimal_number(whole)?, nanoseconds))
}

/// Seconds since 1970, as a [`Duration`]; negative before.
impl Record for SystemTime {
    fn write(&self, out: &mut String) {
        match self.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => since.write(out),
            Err(before) => {
                let start = out.len();
                before.duration().write(out);
                out.insert(start + 1, '-');
            }
        }
    }

    fn read(value: Value) -> Result<Self, FieldError> {
        let text = read_text(value)?;
        let time = match text.strip_prefix('-') {
            Some(before) => seconds(before).and_then(|it| SystemTime::UNIX_EPOCH.checked_sub(it)),
            None => seconds(&text).and_then(|it| SystemTime::UNIX_EPOCH.checked_add(it)),
        };
        time.ok_or_else(|| FieldError::new(format!("not seconds since 1970: '{}'", excerpt(&text))))
    }
}

/// `"10.0.0.1:80"`, `"[fe80::1%2]:80"`. That form has no place for an IPv6 flow label: with one
/// it is `{"address":"…","flowinfo":7}`.
impl Record for SocketAddr {
    fn write(&self, out: &mut String) {
        match self {
            SocketAddr::V6(v6) if v6.flowinfo() != 0 => {
                let mut object = ObjectWriter::begin(out);
                let mut plain = *v6;
                plain.set_flowinfo(0);
                object.field("address", &SocketAddr::V6(plain));
                object.field("flowinfo", &v6.flowinfo());
                object.end();
            }
            _ => push(out, format_args!("\"{self}\"")),
        }
    }

    fn read(value: Value) -> Result<Self, FieldError> {
        match value {
            Value::String(text) => text.parse().ok().ok_or_else(|| {
                FieldError::new(format!("not an address and port: '{}'", excerpt(&text)))
            }),
            value => {
                let mut object = ObjectReader::new(value)?;
                let text = object.field::<String>("address")?;
                match SocketAddr::read(Value::String(text))? {
                    SocketAddr::V6(mut v6) => {
                        v6.set_flowinfo(object.field("flowinfo")?);
                        Ok(SocketAddr::V6(v6))
                    }
                    SocketAddr::V4(_) => Err(FieldError::new("an IPv4 address has no flowinfo")),
                }
            }
        }
    }
}

/// A number in decimal digits and nothing else.
fn decimal_number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}
