//! When rows happened that say so only in a member of their own.

use std::sync::Arc;

use arrow::array::{Array, AsArray, BinaryArray, Int64Array, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Float64Type};
use chrono::{DateTime, NaiveDate};

use crate::batch::{Delivered, FieldSpec};
use crate::decode::Decoder;
use crate::env::Micros;
use crate::table::no_headers;

/// 9999-12-31T23:59:59.999999Z: no folder is named for a later hour.
const LAST: Micros = 253_402_300_799_999_999;

/// Reads the times of rows.
pub(super) struct Times {
    text: Decoder,
    number: Decoder,
    /// Most rows have a number, as far as was seen.
    numbers: bool,
}

impl Times {
    /// The member of this name, or at this JSON Pointer.
    pub(super) fn new(path: &str, largest: usize) -> Times {
        let of = |data_type| Decoder::new(&[FieldSpec { path: path.into(), data_type }], largest);
        Times { text: of(DataType::Utf8), number: of(DataType::Float64), numbers: false }
    }

    /// The time of each row; none: it says none that can be read.
    pub(super) fn read(&mut self, delivered: &Arc<Delivered>) -> Vec<Option<Micros>> {
        let mut times = vec![None; delivered.len()];
        let rows: Vec<u32> = (0u32..).take(delivered.len()).collect();
        let numbers = self.numbers;
        let left = self.pass(numbers, delivered, &rows, &mut times);
        if left.is_empty() {
            return times;
        }
        self.numbers = if left.len() * 2 > rows.len() { !numbers } else { numbers };
        let some = Arc::new(only(delivered, &left));
        self.pass(!numbers, &some, &left, &mut times);
        times
    }

    /// Reads events that stand for these rows; gives back rows whose member is of another kind.
    fn pass(
        &mut self,
        numbers: bool,
        delivered: &Arc<Delivered>,
        rows: &[u32],
        times: &mut [Option<Micros>],
    ) -> Vec<u32> {
        let decoder = if numbers { &mut self.number } else { &mut self.text };
        let batch = decoder.decode(delivered.clone());
        let column = &batch.columns[0];
        for (at, event) in batch.rows.iter().enumerate().filter(|(at, _)| column.is_valid(*at)) {
            times[rows[*event as usize] as usize] = match numbers {
                true => number(column.as_primitive::<Float64Type>().value(at)),
                false => text(column.as_string::<i32>().value(at)),
            };
        }
        batch.rejects.iter().map(|reject| rows[reject.row as usize]).collect()
    }
}

/// The values of some rows, as events.
fn only(delivered: &Delivered, rows: &[u32]) -> Delivered {
    let value: BinaryArray = rows
        .iter()
        .map(|row| {
            let row = *row as usize;
            delivered.value.is_valid(row).then(|| delivered.value.value(row))
        })
        .collect();
    let count = rows.len();
    Delivered {
        topic: delivered.topic.clone(),
        partition: delivered.partition,
        from: 0,
        to: 0,
        offset: Int64Array::from(vec![0; count]),
        timestamp: TimestampMicrosecondArray::from(vec![0; count]).with_timezone("UTC"),
        key: BinaryArray::new_null(count),
        value,
        headers: no_headers(count),
    }
}

/// A time as people write it, or as a number.
pub(super) fn text(text: &str) -> Option<Micros> {
    let text = text.trim();
    let time = DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_micros());
    let time = time.or_else(|| {
        // Without a zone it is UTC.
        let zoned = DateTime::parse_from_rfc3339(&format!("{text}Z")).ok();
        zoned.map(|time| time.timestamp_micros())
    });
    let time = time.or_else(|| {
        let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
        Some(day.and_hms_opt(0, 0, 0)?.and_utc().timestamp_micros())
    });
    time.filter(|time| (0..=LAST).contains(time)).or_else(|| number(text.parse().ok()?))
}

/// Seconds, milliseconds or microseconds since 1970: a number of its size is one of them only.
#[allow(clippy::cast_possible_truncation, reason = "what does not fit is out of range before")]
fn number(value: f64) -> Option<Micros> {
    let micros = match value {
        value if !(0.0..1e17).contains(&value) => return None,
        value if value < 1e11 => value * 1e6,
        value if value < 1e14 => value * 1e3,
        value => value,
    };
    Some(micros.round() as Micros).filter(|time| (0..=LAST).contains(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Micros = 1_764_669_600_123_000;

    #[test]
    fn a_time_is_read_as_people_and_programs_write_it() {
        for written in [
            "2025-12-02T10:00:00.123Z",
            "2025-12-02T11:00:00.123+01:00",
            "2025-12-02T10:00:00.123",
            "2025-12-02 10:00:00.123",
            " 2025-12-02T10:00:00.123000 ",
            "1764669600.123",
            "1764669600123",
            "1764669600123000",
        ] {
            assert_eq!(text(written), Some(AT), "{written}");
        }
        assert_eq!(text("2025-12-02"), Some(AT - 36_000_123_000));
        for nothing in ["", "yesterday", "-5", "1e99", "NaN", "12-02-2025", "1764669600123000000"] {
            assert_eq!(text(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn each_row_has_its_own_kind_of_time() {
        let values: [&[u8]; 7] = [
            br#"{"t":"2025-12-02T10:00:00.123Z"}"#,
            br#"{"t":1764669600123}"#,
            br#"{"t":null}"#,
            br#"{"other":1}"#,
            br#"{"t":"#,
            br#"{"t":1764669600.123}"#,
            br#"{"t":"soon"}"#,
        ];
        let one = |values: &[&[u8]]| {
            let rows: Vec<u32> = (0u32..).take(values.len()).collect();
            let whole = Delivered {
                value: BinaryArray::from_vec(values.to_vec()),
                ..only(&nothing(values.len()), &rows)
            };
            Arc::new(whole)
        };
        let mut times = Times::new("t", 1 << 20);
        let expected = [Some(AT), Some(AT), None, None, None, Some(AT), None];
        // The second time it begins with numbers: most rows were none.
        for _ in 0..2 {
            assert_eq!(times.read(&one(&values)), expected);
            times.read(&one(&values[1..2]));
        }
        let mut inner = Times::new("/a/t", 1 << 20);
        assert_eq!(inner.read(&one(&[br#"{"a":{"t":1764669600123}}"#])), [Some(AT)]);
    }

    fn nothing(rows: usize) -> Delivered {
        Delivered {
            topic: "t".into(),
            partition: 0,
            from: 0,
            to: 0,
            offset: Int64Array::from(vec![0; rows]),
            timestamp: TimestampMicrosecondArray::from(vec![0; rows]).with_timezone("UTC"),
            key: BinaryArray::new_null(rows),
            value: BinaryArray::new_null(rows),
            headers: no_headers(rows),
        }
    }
}
