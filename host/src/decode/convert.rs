//! Values to their columns. A value that does not simply fit its column is read as serde_json would.

use arrow::datatypes::DataType;

use super::column::Builder;
use super::json;
use super::scan::{self, Kind, Span, digits};

/// Appends a value; false: it does not fit, and the builder may have it or not.
#[inline(always)]
pub(super) fn append(builder: &mut Builder, bytes: &[u8], span: &Span, scratch: &mut Vec<u8>) -> bool {
    if span.kind == Kind::Text && builder.copy(bytes, span.from, span.to) {
        return true;
    }
    match (span.kind, &builder.data_type) {
        (Kind::Absent, _) => {
            builder.null();
            true
        }
        (Kind::Scalar, _) => scalar(builder, bytes, span),
        (Kind::Escaped, DataType::Utf8 | DataType::Binary) => {
            scratch.clear();
            unescape(&bytes[span.from..span.to], scratch) && builder.bytes(scratch)
        }
        _ => plainly(builder, bytes, span),
    }
}

/// A number, `true`, `false` or `null`, if it is one.
#[inline(always)]
fn scalar(builder: &mut Builder, bytes: &[u8], span: &Span) -> bool {
    let text = &bytes[span.from..span.to];
    if text == b"null" {
        builder.null();
        return true;
    }
    let done = match &builder.data_type {
        DataType::Int64 => integer(bytes, span).is_some_and(|i| builder.int(i)),
        DataType::Float64 => float(bytes, span).is_some_and(|f| builder.float(f)),
        DataType::Boolean => match text {
            b"true" => builder.bool(true),
            b"false" => builder.bool(false),
            _ => false,
        },
        _ => false,
    };
    done || (scan::scalar(bytes, span.from) == Some(span.to) && plainly(builder, bytes, span))
}

#[inline(never)]
fn plainly(builder: &mut Builder, bytes: &[u8], span: &Span) -> bool {
    let text = bytes.get(span.begin()..span.after()).and_then(|t| std::str::from_utf8(t).ok());
    text.is_some_and(|text| json::append(builder, Some(text)).is_ok())
}

/// What up to 18 digits say: any of those fits.
#[inline(always)]
fn natural(bytes: &[u8], mut from: usize, to: usize) -> Option<i64> {
    if to - from > 18 {
        return None;
    }
    let first_eight = |at: usize| {
        let word = bytes.get(at..)?.first_chunk()?;
        Some(u64::from_le_bytes(*word) ^ 0x3030_3030_3030_3030)
    };
    let mut value = 0;
    while to - from > 8 {
        value = value * 100_000_000 + eight(first_eight(from)?);
        from += 8;
    }
    // What is no digit is shifted out; zeros come in as the first ones.
    let last = to - from;
    value = value * TENS[last] + eight(first_eight(from)? << (8 * (8 - last)));
    i64::try_from(value).ok()
}

const TENS: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// Eight digits, the first in the lowest byte: neighbours are joined to pairs, to fours, to eight.
#[inline(always)]
fn eight(digits: u64) -> u64 {
    let pairs = (digits * 10 + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    (fours * 10_000 + (fours >> 32)) & 0xffff_ffff
}

/// An integer of up to 18 digits.
#[inline(always)]
fn integer(bytes: &[u8], span: &Span) -> Option<i64> {
    let negative = bytes[span.from] == b'-';
    let first = span.from + usize::from(negative);
    if digits(bytes, first)? != span.to || begins_wrong(bytes, first, span.to) {
        return None;
    }
    let value = natural(bytes, first, span.to)?;
    // To serde_json -0 is no integer.
    let signed = if negative { -value } else { value };
    (value != 0 || !negative).then_some(signed)
}

/// Whether there are no digits, or a zero before others.
#[inline(always)]
fn begins_wrong(bytes: &[u8], first: usize, to: usize) -> bool {
    first == to || (bytes[first] == b'0' && to > first + 1)
}

/// A number without exponent, an integer or of up to 15 digits: those and the powers of ten are exact, so that one
/// division rounds as it should.
#[inline(always)]
fn float(bytes: &[u8], span: &Span) -> Option<f64> {
    let negative = bytes[span.from] == b'-';
    let first = span.from + usize::from(negative);
    let point = digits(bytes, first)?;
    if point > span.to || span.to - first > 16 || begins_wrong(bytes, first, point) {
        return None;
    }
    let whole = natural(bytes, first, point)?;
    let value = if point == span.to {
        exact(whole)
    } else {
        let decimals = span.to - point - 1;
        if bytes[point] != b'.' || decimals == 0 || digits(bytes, point + 1)? != span.to {
            return None;
        }
        let power = *POWERS.get(decimals)?;
        exact(whole * power + natural(bytes, point + 1, span.to)?) / exact(power)
    };
    Some(if negative { -value } else { value })
}

/// Powers of ten.
const POWERS: [i64; 16] = {
    let (mut powers, mut at) = ([1; 16], 1);
    while at < powers.len() {
        powers[at] = powers[at - 1] * 10;
        at += 1;
    }
    powers
};

/// Exact with up to 15 digits; an integer with more is rounded as serde_json rounds it.
#[allow(clippy::cast_precision_loss)]
#[inline(always)]
fn exact(value: i64) -> f64 {
    value as f64
}

/// Appends the content of a string whose escapes are well formed; false: a surrogate is alone.
#[inline(never)]
fn unescape(mut text: &[u8], to: &mut Vec<u8>) -> bool {
    while let Some(at) = memchr::memchr(b'\\', text) {
        to.extend_from_slice(&text[..at]);
        let mut len = 2;
        match text[at + 1] {
            b'u' => {
                let Some((char, units)) = char_at(&text[at..]) else { return false };
                to.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                len = units;
            }
            b'b' => to.push(8),
            b'f' => to.push(12),
            b'n' => to.push(b'\n'),
            b'r' => to.push(b'\r'),
            b't' => to.push(b'\t'),
            itself => to.push(itself),
        }
        text = &text[at + len..];
    }
    to.extend_from_slice(text);
    true
}

/// The character that `\u....` stands for, or two of them, and their length.
fn char_at(text: &[u8]) -> Option<(char, usize)> {
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let first = unit(0)?;
    if !(0xd800..0xdc00).contains(&first) {
        // None: the second half of a pair.
        return Some((char::from_u32(first)?, 6));
    }
    let second = unit(6).filter(|u| (0xdc00..0xe000).contains(u))?;
    Some((char::from_u32(0x1_0000 + ((first - 0xd800) << 10 | (second - 0xdc00)))?, 12))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A value, with what may follow it.
    fn span(text: &str) -> (Vec<u8>, Span) {
        let bytes = format!("{text},\"0123456789\":[0123456789012345678901234567890]").into_bytes();
        (bytes, Span { from: 0, to: text.len(), kind: Kind::Scalar })
    }

    #[test]
    fn integers_are_read_exactly_or_not_at_all() {
        for digits in 0..19 {
            let ten = 10i64.pow(digits);
            for value in [ten - 1, ten, ten + 1, ten / 7, ten / 10 * 9 + 1].into_iter().flat_map(|v| [v, -v])
            {
                let (bytes, span) = span(&value.to_string());
                let expected = (value.abs() < 10i64.pow(18)).then_some(value);
                assert_eq!(integer(&bytes, &span), expected, "{value}");
            }
        }
        for text in ["-0", "01", "-01", "-", "", "1.0", "1e2", "12a", "9223372036854775808"] {
            let (bytes, span) = span(text);
            assert_eq!(integer(&bytes, &span), None, "{text}");
        }
    }

    #[test]
    fn floats_are_rounded_as_they_should_be() {
        let bits = |text: &str| {
            let (bytes, span) = span(text);
            float(&bytes, &span).map(f64::to_bits)
        };
        for text in [
            "0",
            "-0",
            "0.1",
            "-0.0",
            "1.5",
            "123456.789",
            "999999999999999",
            "0.00000000000001",
            "99999999999.9999",
        ] {
            assert_eq!(bits(text), Some(text.parse::<f64>().unwrap().to_bits()), "{text}");
        }
        for text in ["01.5", "1.", ".5", "-", "1e5", "1.5e5", "0.12345678901234567", "1.2.3", "-.5", "nan"] {
            assert_eq!(bits(text), None, "{text}");
        }
    }

    #[test]
    fn escapes_become_what_they_stand_for() {
        let plain = |text: &str| {
            let mut to = Vec::new();
            unescape(text.as_bytes(), &mut to).then(|| String::from_utf8(to).unwrap())
        };
        let all = r#"a\\\"\/\b\f\n\r\t\u0041\u00E9\u20ac\ud83d\uDE00z"#;
        assert_eq!(plain(all).unwrap(), "a\\\"/\u{8}\u{c}\n\r\tAé€😀z");
        for lonely in [r"\ud83d", r"\ude00", r"\ud83dx", r"\ud83d\u0041", r"\ud83d\ud83d", r"\ud83d\n"] {
            assert_eq!(plain(lonely), None, "{lonely}");
        }
    }
}
