//! Where the values of a valid JSON text end. Whatever is unusual gives none: then serde_json reads the event.
//!
//! Texts are known to be UTF-8, and a block follows the last event. A position may run past the end of an event, into
//! what follows; who scans a whole event compares the last position with its end.

use super::block::{WIDTH, end, load, other, stop};

/// A value in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// The first byte of a string's content, of any other value itself.
    pub(super) from: usize,
    /// The position behind the last one.
    pub(super) to: usize,
    pub(super) kind: Kind,
}

/// What a value looks like. A word wide: a span without padding is copied word by word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Kind {
    /// There is none.
    Absent,
    /// A string without escapes.
    Text,
    /// A string with escapes. Whether its surrogates are paired has not been looked at.
    Escaped,
    /// What must be a number, `true`, `false` or `null`: it has not been looked at, see [`scalar`].
    Scalar,
    /// An object or an array.
    Nested,
}

impl Span {
    /// A value that is not there.
    pub(super) const ABSENT: Span = Span { from: 0, to: 0, kind: Kind::Absent };

    /// The position of its first byte.
    #[inline(always)]
    pub(super) fn begin(&self) -> usize {
        self.from - usize::from(matches!(self.kind, Kind::Text | Kind::Escaped))
    }

    /// The position behind it.
    #[inline(always)]
    pub(super) fn after(&self) -> usize {
        self.to + usize::from(matches!(self.kind, Kind::Text | Kind::Escaped))
    }
}

/// Levels of nesting inside a member that are followed here: far fewer than are allowed.
const LEVELS: u32 = 60;

/// The first position from `at` on that is no white space.
#[inline(always)]
pub(super) fn space(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

/// The value that begins at `at`.
///
/// Which kind comes next is hard to foretell where members have any order, so that text and scalar share one way.
#[inline(always)]
pub(super) fn value(bytes: &[u8], at: usize) -> Option<Span> {
    let first = *bytes.get(at)?;
    if matches!(first, b'{' | b'[') {
        return nested(bytes, at);
    }
    let text = first == b'"';
    let len = end(load(bytes, at + 1)?, text);
    let to = at + 1 + len;
    if len == WIDTH || (text & (*bytes.get(to)? != b'"')) {
        return long(bytes, at);
    }
    Some(Span { from: at + usize::from(text), to, kind: if text { Kind::Text } else { Kind::Scalar } })
}

/// One that is longer than a block, or a string with escapes.
#[inline(never)]
fn long(bytes: &[u8], at: usize) -> Option<Span> {
    match *bytes.get(at)? {
        b'"' => long_string(bytes, at + 1),
        _ => Some(Span { from: at, to: scalar(bytes, at)?, kind: Kind::Scalar }),
    }
}

/// The position behind the number, `true`, `false` or `null` that begins at `at`.
#[inline(always)]
pub(super) fn scalar(bytes: &[u8], at: usize) -> Option<usize> {
    match *bytes.get(at)? {
        b'-' | b'0'..=b'9' => number(bytes, at),
        _ => literal(bytes, at),
    }
}

#[inline(always)]
fn literal(bytes: &[u8], at: usize) -> Option<usize> {
    let is = |text: &[u8]| bytes.get(at..)?.starts_with(text).then_some(at + text.len());
    is(b"null").or_else(|| is(b"true")).or_else(|| is(b"false"))
}

/// The string whose opening quote is at `at`.
#[inline(always)]
pub(super) fn string(bytes: &[u8], at: usize) -> Option<Span> {
    let from = at + 1;
    match short_string(bytes, from) {
        Some(to) => Some(Span { from, to, kind: Kind::Text }),
        None => long_string(bytes, from),
    }
}

/// The end of a string's content that begins at `from`, has no escapes and is shorter than a block.
#[inline(always)]
pub(super) fn short_string(bytes: &[u8], from: usize) -> Option<usize> {
    let to = from + stop(load(bytes, from)?);
    (*bytes.get(to)? == b'"' && to < from + WIDTH).then_some(to)
}

/// One that is longer than a block, or has escapes.
#[inline(never)]
fn long_string(bytes: &[u8], from: usize) -> Option<Span> {
    let (mut at, mut kind) = (from, Kind::Text);
    loop {
        let len = stop(load(bytes, at)?);
        at += len;
        if len == WIDTH {
            continue;
        }
        match bytes.get(at)? {
            b'"' => return Some(Span { from, to: at, kind }),
            b'\\' => at = escape(bytes, at)?,
            _ => return None,
        }
        kind = Kind::Escaped;
    }
}

/// The position behind the escape at `at`.
#[inline(always)]
fn escape(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at + 1)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(at + 2),
        b'u' => bytes.get(at + 2..at + 6)?.iter().all(u8::is_ascii_hexdigit).then_some(at + 6),
        _ => None,
    }
}

/// The first position from `at` on that has no digit.
#[inline(always)]
pub(super) fn digits(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let len = other(load(bytes, at)?);
        at += len;
        if len < WIDTH {
            return Some(at);
        }
    }
}

#[inline(always)]
fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let first = at + usize::from(bytes.get(at) == Some(&b'-'));
    let to = digits(bytes, first)?;
    if to == first || (to > first + 1 && bytes.get(first) == Some(&b'0')) {
        return None;
    }
    match bytes.get(to) {
        Some(b'.' | b'e' | b'E') => fraction(bytes, to),
        _ => Some(to),
    }
}

/// What follows the digits before the point, or before the exponent.
#[inline(never)]
fn fraction(bytes: &[u8], mut at: usize) -> Option<usize> {
    if bytes.get(at) == Some(&b'.') {
        let to = digits(bytes, at + 1)?;
        if to == at + 1 {
            return None;
        }
        at = to;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let first = at + 1 + usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        at = digits(bytes, first).filter(|&to| to > first)?;
    }
    Some(at)
}

/// The object or array that begins at `from`; all of it is checked.
#[inline(never)]
fn nested(bytes: &[u8], from: usize) -> Option<Span> {
    // A bit for each level that is open, 1 for an object; the lowest is the innermost.
    let (mut open, mut levels, mut at) = (0u64, 0, from);
    loop {
        // Here begins a value.
        let begins = *bytes.get(at)?;
        if matches!(begins, b'{' | b'[') {
            levels += 1;
            if levels > LEVELS {
                return None;
            }
            let object = begins == b'{';
            open = open << 1 | u64::from(object);
            at = space(bytes, at + 1);
            // Brackets lie two behind each other in ASCII: `{` and `}`, `[` and `]`.
            if *bytes.get(at)? != begins + 2 {
                if object {
                    at = name(bytes, at)?;
                }
                continue;
            }
        } else {
            // Not `value`: that would call this function again.
            at = match begins {
                b'"' => string(bytes, at)?.after(),
                _ => scalar(bytes, at)?,
            };
            at = space(bytes, at);
        }
        // Here ends a value, or an empty object or array.
        loop {
            let object = open & 1 == 1;
            match *bytes.get(at)? {
                b',' => {
                    at = space(bytes, at + 1);
                    if object {
                        at = name(bytes, at)?;
                    }
                    break;
                }
                b'}' if object => {}
                b']' if !object => {}
                _ => return None,
            }
            at += 1;
            (open, levels) = (open >> 1, levels - 1);
            if levels == 0 {
                return Some(Span { from, to: at, kind: Kind::Nested });
            }
            at = space(bytes, at);
        }
    }
}

/// The position of the value behind the name at `at`.
fn name(bytes: &[u8], at: usize) -> Option<usize> {
    if *bytes.get(at)? != b'"' {
        return None;
    }
    colon(bytes, string(bytes, at)?.after())
}

/// The position of the value behind the colon that follows.
#[inline(always)]
pub(super) fn colon(bytes: &[u8], at: usize) -> Option<usize> {
    let at = space(bytes, at);
    (*bytes.get(at)? == b':').then(|| space(bytes, at + 1))
}
