//! Reads ISO 8601 date-times. Strict, because what is misread is filed under the wrong hour without a word.

use crate::time::Timestamp;

/// Reads an ISO 8601 date-time with seconds: `2025-12-02T10:30:00.123+01:00`.
///
/// - Between date and time stands `T` or one space.
/// - A fraction of a second, after `.` or `,`, may have any number of digits; those after the sixth are cut off.
/// - The zone is `Z`, `±HH`, `±HHMM` or `±HH:MM`, up to 23:59; without one it is UTC.
/// - Days are those of the (proleptic Gregorian) calendar, years 0000 to 9999; there is no hour 24.
/// - Second 60 is a leap second, so it is read only at the end of a day in UTC; as in Unix time it becomes the first
///   second of the next day.
///
/// None for anything else, spaces around it included.
///
/// ```
/// use tidemill_sdk::{timestamp, Timestamp};
///
/// assert_eq!(timestamp("1970-01-01 01:00:00.0000019+01"), Some(Timestamp(1)));
/// assert_eq!(timestamp("2025-02-29T00:00:00Z"), None);
/// ```
#[inline]
pub fn timestamp(text: &str) -> Option<Timestamp> {
    let (head, tail) = text.as_bytes().split_first_chunk()?;
    let seconds = date_time(head)?;
    let (micros, zone) = fraction(tail)?;
    let seconds = seconds.seconds - offset(zone)? + leap(&seconds, zone)?;
    Some(Timestamp(seconds * Timestamp::SECOND + micros))
}

/// Reads date-times as [`timestamp`] does, and those that are of the same minute as the one before in a third of the time:
/// for a column in which that is so of most.
///
/// ```
/// use tidemill_sdk::{Timestamp, Timestamps};
///
/// let mut timestamps = Timestamps::default();
/// for (text, micros) in [("1970-01-01T00:00:01.001Z", 1_001_000), ("1970-01-01T00:00:02.5+00", 2_500_000)] {
///     assert_eq!(timestamps.read(text), Some(Timestamp(micros)));
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Timestamps {
    /// The letters up to the minute of a text that was read.
    head: [u64; 2],
    /// When that minute begins.
    minute: i64,
}

impl Default for Timestamps {
    fn default() -> Self {
        let head = [b"1970-01-", b"01T00:00"].map(|letters| u64::from_le_bytes(*letters));
        Timestamps { head, minute: 0 }
    }
}

impl Timestamps {
    /// The same as [`timestamp`].
    #[inline]
    pub fn read(&mut self, text: &str) -> Option<Timestamp> {
        match parts(text.as_bytes()) {
            Some((head, micros)) if head == self.head => Some(Timestamp(self.minute + micros)),
            _ => self.read_anew(text),
        }
    }

    #[inline(never)]
    fn read_anew(&mut self, text: &str) -> Option<Timestamp> {
        let read = timestamp(text)?;
        if let Some((head, micros)) = parts(text.as_bytes()) {
            (self.head, self.minute) = (head, read.0 - micros);
        }
        Some(read)
    }
}

/// Of a text with milliseconds in UTC: the letters up to the minute, as they are, and what is after the minute in
/// microseconds. So of two such texts with the same letters, both are a date-time or none is.
#[inline]
fn parts(text: &[u8]) -> Option<([u64; 2], i64)> {
    let text = match text {
        [text @ .., b'Z'] if text.len() == 23 => text,
        text => text,
    };
    let text: &[u8; 23] = text.try_into().ok()?;
    let [head, date] =
        [text.first_chunk()?, text[8..].first_chunk()?].map(|letters| u64::from_le_bytes(*letters));
    let [_, _, second, _, _, tenths, _, thousandths] = pairs(text.last_chunk()?, b"0:00.000")?;
    // The last one has no digit after it.
    let micros = i64::from(tenths) * 10_000 + i64::from(thousandths) * 100;
    // A leap second is not always one.
    (second < 60).then_some(([head, date], i64::from(second) * Timestamp::SECOND + micros))
}

/// Seconds since 1970 by the local clock.
struct Local {
    seconds: i64,
    /// The second was 60, and counts as 59 here.
    leap: bool,
}

/// `YYYY-MM-DDThh:mm:ss`.
#[inline]
fn date_time(text: &[u8; 19]) -> Option<Local> {
    if !matches!(text[10], b'T' | b' ') {
        return None;
    }
    let (date, time) = (text.first_chunk()?, text.last_chunk()?);
    let ([century, _, year, _, _, month, ..], [hour, _, _, minute, _, _, second, _]) =
        (pairs(date, b"0000-00-")?, pairs(time, b"00:00:00")?);
    let days = days(century.into(), year.into(), month.into(), two(text[8], text[9])?)?;
    let (hour, minute, second) = (u32::from(hour), u32::from(minute), u32::from(second));
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let leap = second == 60;
    let time = hour * 3600 + minute * 60 + second - u32::from(leap);
    Some(Local { seconds: days * 86_400 + i64::from(time), leap })
}

/// For text like this pattern, with any digit in place of a `0`, each digit and the next one as a number of two digits.
/// All eight at a time, as one word.
#[inline]
fn pairs(text: &[u8; 8], pattern: &[u8; 8]) -> Option<[u8; 8]> {
    // Digits become what they count, and what must be as in the pattern 0.
    let digits = u64::from_le_bytes(*text) ^ u64::from_le_bytes(*pattern);
    // What is more than 9 of a digit, or than 0 of another letter, carries into the higher half of its byte, or is there.
    let most = pattern.map(|letter| if letter == b'0' { 6 } else { 15 });
    let beyond = (digits.wrapping_add(u64::from_le_bytes(most)) | digits) & 0xf0f0_f0f0_f0f0_f0f0;
    // No byte is more than 99: none carries into the next.
    (beyond == 0).then(|| (digits.wrapping_mul(10).wrapping_add(digits >> 8)).to_le_bytes())
}

/// Two digits.
#[inline]
fn two(tens: u8, ones: u8) -> Option<u32> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    if tens > 9 || ones > 9 { None } else { Some(u32::from(tens) * 10 + u32::from(ones)) }
}

/// Days since 1970-01-01, if there is such a day.
#[inline]
fn days(century: u32, of_century: u32, month: u32, day: u32) -> Option<i64> {
    /// Days of an ordinary year before each month, and before the next year.
    const BEFORE: [u32; 13] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365];
    /// Days from 0000-01-01 to 1970-01-01.
    const EPOCH: i64 = 719_528;
    if !(1..=12).contains(&month) {
        return None;
    }
    let leap = if of_century == 0 { century } else { of_century }.is_multiple_of(4);
    let before = BEFORE[month as usize - 1];
    let length = BEFORE[month as usize] - before + u32::from(leap && month == 2);
    if day < 1 || day > length {
        return None;
    }
    // Leap days of the centuries before this one, and of the years of this one; the year 0 had one.
    let leap_days = century * 24 + century.div_ceil(4) + of_century.div_ceil(4);
    let leap_days = leap_days - u32::from(of_century > 0 && !century.is_multiple_of(4));
    let in_year = before + day - 1 + u32::from(leap && month > 2);
    let year = century * 100 + of_century;
    Some(i64::from(year * 365 + leap_days + in_year) - EPOCH)
}

/// The microseconds of a fraction, if there is one, and what comes after it.
#[inline]
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let [b'.' | b',', digits @ ..] = text else { return Some((0, text)) };
    let (mut micros, mut scale, mut rest) = (0, 100_000, digits);
    // Most have three.
    if let [a, b, c, after @ ..] = digits
        && let (Some(tens), Some(ones)) = (two(*a, *b), two(b'0', *c))
    {
        (micros, scale, rest) = (i64::from(tens * 10 + ones) * 1000, 100, after);
    }
    while let [digit @ b'0'..=b'9', after @ ..] = rest {
        micros += i64::from(digit - b'0') * scale;
        (scale, rest) = (scale / 10, after);
    }
    (rest.len() < digits.len()).then_some((micros, rest))
}

/// The seconds that a zone is ahead of UTC.
#[inline]
fn offset(zone: &[u8]) -> Option<i64> {
    let (sign, hours, minutes) = match *zone {
        [] | [b'Z'] => return Some(0),
        [sign, a, b] => (sign, two(a, b)?, 0),
        [sign, a, b, c, d] | [sign, a, b, b':', c, d] => (sign, two(a, b)?, two(c, d)?),
        _ => return None,
    };
    if hours > 23 || minutes > 59 {
        return None;
    }
    let seconds = i64::from(hours * 3600 + minutes * 60);
    match sign {
        b'+' => Some(seconds),
        b'-' => Some(-seconds),
        _ => None,
    }
}

/// The second that a leap second is later; none if it is not at the end of a day in UTC.
#[inline]
fn leap(local: &Local, zone: &[u8]) -> Option<i64> {
    if !local.leap {
        return Some(0);
    }
    let next = local.seconds - offset(zone)? + 1;
    (next.rem_euclid(86_400) == 0).then_some(1)
}

#[cfg(test)]
#[path = "timestamp_tests.rs"]
mod tests;
