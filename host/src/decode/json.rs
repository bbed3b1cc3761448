//! Reads declared fields out of a JSON object.
//!
//! A first pass finds the text of each declared member and validates all of the value; a second one
//! converts those texts. serde_json does the parsing, so what it accepts is what is accepted, but for
//! three things: a declared member that is there twice, nesting beyond [`DEPTH`] levels, and a byte
//! order mark are refused.

use std::borrow::Cow;
use std::fmt;

use arrow::datatypes::DataType;
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::column::Builder;
use crate::batch::FieldSpec;

/// Levels of nesting, as in serde_json.
const DEPTH: usize = 128;

/// Where in an event the declared fields are.
pub(super) struct Reader {
    /// Top-level members, by name, each with the columns that need it.
    members: Vec<Member>,
}

struct Member {
    name: String,
    /// A column, and the way to its value inside the member.
    columns: Vec<(usize, Vec<String>)>,
}

impl Reader {
    pub(super) fn new(fields: &[FieldSpec]) -> Self {
        let mut members: Vec<Member> = Vec::new();
        for (column, field) in fields.iter().enumerate() {
            let mut path = steps(&field.path).into_iter();
            let name = path.next().unwrap_or_default();
            let at = members.iter().position(|m| m.name == name).unwrap_or_else(|| {
                members.push(Member { name, columns: Vec::new() });
                members.len() - 1
            });
            members[at].columns.push((column, path.collect()));
        }
        Reader { members }
    }

    /// Appends one row to all builders, or says why not; then some of them may have the row already.
    pub(super) fn read(&self, text: &str, builders: &mut [Builder]) -> Result<(), String> {
        if text.starts_with('\u{feff}') {
            return Err("the value begins with a byte order mark".into());
        }
        if too_deep(text) {
            return Err(format!("it is nested deeper than {DEPTH} levels"));
        }
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let found = Members(&self.members).deserialize(&mut deserializer).map_err(|e| refuse(&e, text))?;
        deserializer.end().map_err(|e| refuse(&e, text))?;
        for (member, found) in self.members.iter().zip(found) {
            for (column, path) in &member.columns {
                let value = match found {
                    Some(raw) => walk(raw, path).map_err(|e| format!("{}: {e}", member.name))?,
                    None => None,
                };
                append(&mut builders[*column], value)
                    .map_err(|e| format!("{}: {e}", shown(&member.name, path)))?;
            }
        }
        Ok(())
    }
}

/// A name as it is, a JSON Pointer (RFC 6901) as its steps.
pub(super) fn steps(path: &str) -> Vec<String> {
    match path.strip_prefix('/') {
        None => vec![path.into()],
        Some(pointer) => pointer.split('/').map(|s| s.replace("~1", "/").replace("~0", "~")).collect(),
    }
}

fn shown<'a>(name: &'a str, path: &[String]) -> Cow<'a, str> {
    if path.is_empty() { name.into() } else { format!("{name}/{}", path.join("/")).into() }
}

/// More brackets than levels are rare, so most values are only counted.
fn too_deep(text: &str) -> bool {
    if memchr::memchr2_iter(b'{', b'[', text.as_bytes()).take(DEPTH + 1).count() <= DEPTH {
        return false;
    }
    let (mut depth, mut string, mut escaped) = (0usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if string => escaped = true,
            b'"' => string = !string,
            _ if string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH {
            return true;
        }
    }
    false
}

/// Few and stable reasons: the parser's position would make each its own.
fn refuse(error: &serde_json::Error, text: &str) -> String {
    if error.is_data() {
        // Ours, or "invalid type": the value is no object.
        let message = error.to_string();
        return match message.strip_prefix(TWICE) {
            Some(rest) => {
                let name = rest.rsplit_once(" at line").map_or(rest, |(name, _)| name);
                format!("{name}: it is there twice")
            }
            None => "the value is not a JSON object".into(),
        };
    }
    if !text.trim_start().starts_with('{') && serde_json::from_str::<IgnoredAny>(text).is_ok() {
        return "the value is not a JSON object".into();
    }
    if error.is_eof() {
        "it is not valid JSON: it ends too early".into()
    } else {
        "it is not valid JSON".into()
    }
}

const TWICE: &str = "twice: ";

/// The raw texts of the declared members.
struct Members<'r>(&'r [Member]);

impl<'de> DeserializeSeed<'de> for Members<'_> {
    type Value = Vec<Option<&'de RawValue>>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = Vec<Option<&'de RawValue>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = vec![None; self.0.len()];
        // Producers write members in the same order again and again: look there first.
        let mut next = 0;
        while let Some(at) = map.next_key_seed(Key { members: self.0, next })? {
            let Some(at) = at else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if found[at].is_some() {
                return Err(A::Error::custom(format!("{TWICE}{}", self.0[at].name)));
            }
            found[at] = Some(map.next_value::<&RawValue>()?);
            next = at + 1;
        }
        Ok(found)
    }
}

/// A member's name, as its index.
struct Key<'r> {
    members: &'r [Member],
    next: usize,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Option<usize>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        if self.members.get(self.next).is_some_and(|m| m.name == name) {
            return Ok(Some(self.next));
        }
        Ok(self.members.iter().position(|m| m.name == name))
    }
}

/// Goes from a member's value to a value inside it. What is not there is null.
fn walk<'t>(raw: &'t RawValue, path: &[String]) -> Result<Option<&'t str>, String> {
    let mut text = raw.get();
    for step in path {
        let inner = match text.as_bytes().first() {
            Some(b'{') => {
                let member = [Member { name: step.clone(), columns: Vec::new() }];
                let mut deserializer = serde_json::Deserializer::from_str(text);
                Members(&member).deserialize(&mut deserializer).map_err(|e| refuse(&e, text))?[0]
            }
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(text).map_err(|e| refuse(&e, text))?;
                step.parse::<usize>().ok().and_then(|at| items.get(at).copied())
            }
            _ => None,
        };
        match inner {
            Some(raw) => text = raw.get(),
            None => return Ok(None),
        }
    }
    Ok(Some(text))
}

/// Converts the text of a valid JSON value. A JSON null is a null of any type.
pub(super) fn append(builder: &mut Builder, text: Option<&str>) -> Result<(), String> {
    let Some(text) = text.filter(|t| *t != "null") else {
        builder.null();
        return Ok(());
    };
    let string = || string(text);
    let (done, expected) = match &builder.data_type {
        DataType::Utf8 | DataType::Binary => match text.as_bytes()[0] {
            b'"' => (builder.bytes(string()?.as_bytes()), "a string"),
            _ => (false, "a string"),
        },
        DataType::Boolean => (text.parse().is_ok_and(|b| builder.bool(b)), "true or false"),
        DataType::Int64 => {
            let value = serde_json::from_str::<i64>(text);
            (value.is_ok_and(|i| builder.int(i)), "an integer of 64 bits")
        }
        DataType::Float64 => {
            let value = serde_json::from_str::<f64>(text);
            (value.is_ok_and(|f| builder.float(f)), "a number")
        }
        DataType::Timestamp(..) => {
            let time = string().ok().and_then(|s| chrono::DateTime::parse_from_rfc3339(&s).ok());
            (time.is_some_and(|t| builder.int(t.timestamp_micros())), "a time as in RFC 3339")
        }
        DataType::Date32 => {
            let date = string().ok().and_then(|s| s.parse::<chrono::NaiveDate>().ok());
            let epoch = chrono::DateTime::UNIX_EPOCH.date_naive();
            (date.is_some_and(|d| builder.int((d - epoch).num_days())), "a date as YYYY-MM-DD")
        }
        DataType::Decimal128(precision, scale) => {
            let number = if text.starts_with('"') { string()? } else { text.into() };
            let value = decimal(&number, *precision, *scale);
            (value.is_some_and(|v| builder.int(v)), "a decimal number that fits its column")
        }
        other => return Err(format!("{other} cannot be read from JSON")),
    };
    if done { Ok(()) } else { Err(format!("expected {expected}")) }
}

/// A JSON string's content; without escapes it is borrowed.
fn string(text: &str) -> Result<Cow<'_, str>, String> {
    let inner = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).ok_or("expected a string")?;
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Ok(inner.into());
    }
    serde_json::from_str::<String>(text).map(Cow::Owned).map_err(|_| "it is not valid JSON".into())
}

/// A decimal number without exponent, exactly.
fn decimal(text: &str, precision: u8, scale: i8) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let scale = usize::try_from(scale).ok()?;
    let kept = fraction.trim_end_matches('0');
    if whole.is_empty() || kept.len() > scale || !digits.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return None;
    }
    let unscaled: i64 = format!("{whole}{kept:0<scale$}").parse().ok()?;
    let fits = unscaled < 10_i64.pow(u32::from(precision));
    fits.then_some(if negative { -unscaled } else { unscaled })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact() {
        assert_eq!(decimal("12.5", 10, 2), Some(1250));
        assert_eq!(decimal("-0.07", 10, 2), Some(-7));
        assert_eq!(decimal("1.230", 10, 2), Some(123));
        assert_eq!(decimal("1.234", 10, 2), None);
        assert_eq!(decimal("100", 4, 2), None);
        assert_eq!(decimal("1e3", 10, 2), None);
    }

    #[test]
    fn depth_is_counted_outside_strings() {
        assert!(!too_deep(&format!("{{\"a\":\"{}\"}}", "[".repeat(500))));
        assert!(!too_deep(&format!("[{}1]", "[],".repeat(500))));
        assert!(too_deep(&"[".repeat(DEPTH + 1)));
    }

    #[test]
    fn pointers_have_steps() {
        assert_eq!(steps("a/b"), ["a/b"]);
        assert_eq!(steps("/a/b~1c~0d"), ["a", "b/c~0d".replace("~0", "~").as_str()]);
    }
}
