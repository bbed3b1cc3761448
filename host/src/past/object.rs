//! Rows of typed columns as JSON objects, for the one decoder that reads all events.
//!
//! A member has the type that the transforms declare for it, where its text allows that; otherwise what its column says.
//! What does not fit is left for the decoder to refuse, with its reason.

use std::io::Write;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit,
    TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use chrono::{DateTime, SecondsFormat};

/// What the text of a value is where nobody declares a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Natural {
    Text,
    /// A number, `true`, `false` or `null`: as it is.
    Literal,
}

/// A member's name as it stands in an object, before its value.
pub(super) fn name(name: &str) -> Vec<u8> {
    let mut text = Vec::new();
    string(&mut text, name.as_bytes());
    text.push(b':');
    text
}

/// Writes the value of a member, of which `text` is the text.
pub(super) fn member(to: &mut Vec<u8>, text: &[u8], declared: Option<&DataType>, natural: Natural) {
    let literal = match declared {
        Some(DataType::Utf8 | DataType::Binary) => false,
        Some(DataType::Int64 | DataType::Float64) => is_number(text),
        Some(DataType::Boolean) => matches!(text, b"true" | b"false"),
        _ => natural == Natural::Literal,
    };
    match literal {
        true => to.extend_from_slice(text),
        false => string(to, text),
    }
}

/// Whether a text is a number in JSON.
fn is_number(text: &[u8]) -> bool {
    let begins = |text: &[u8]| text.first().is_some_and(u8::is_ascii_digit);
    let after = text.strip_prefix(b"-").unwrap_or(text);
    // serde_json would let spaces stand around it.
    begins(after)
        && text.last().is_some_and(|last| !last.is_ascii_whitespace())
        && !(after.len() > 1 && after[0] == b'0' && after[1].is_ascii_digit())
        && std::str::from_utf8(text)
            .is_ok_and(|text| serde_json::from_str::<serde_json::Number>(text).is_ok())
}

/// Writes a JSON string. Bytes that are not UTF-8 stay what they are: the decoder says so of the whole value.
fn string(to: &mut Vec<u8>, bytes: &[u8]) {
    to.push(b'"');
    let mut from = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0..0x20 => {
                to.extend_from_slice(&bytes[from..at]);
                // Writing to a vector cannot fail.
                let _ = write!(to, "\\u{byte:04x}");
                from = at + 1;
                continue;
            }
            _ => continue,
        };
        to.extend_from_slice(&bytes[from..at]);
        to.extend_from_slice(escape);
        from = at + 1;
    }
    to.extend_from_slice(&bytes[from..]);
    to.push(b'"');
}

/// A column of rows that become objects.
pub(super) struct Column {
    name: Vec<u8>,
    values: ArrayRef,
    declared: Option<DataType>,
}

/// The columns of a batch. An error names the one that no JSON can be made of.
pub(super) fn columns(
    batch: &RecordBatch,
    declared: impl Fn(&str) -> Option<DataType>,
) -> Result<Vec<Column>, String> {
    let mut columns = Vec::new();
    for (field, values) in batch.schema().fields().iter().zip(batch.columns()) {
        let values = plain(values).map_err(|why| format!("column {}: {why}", field.name()))?;
        columns.push(Column { name: name(field.name()), values, declared: declared(field.name()) });
    }
    Ok(columns)
}

/// The values in one of the types that [`write`] knows.
fn plain(values: &ArrayRef) -> Result<ArrayRef, String> {
    use DataType::{
        Binary, BinaryView, Boolean, Date32, Dictionary, FixedSizeBinary, Float16, Float32, Float64, Int8,
        Int16, Int32, Int64, LargeBinary, LargeUtf8, List, Null, Struct, Timestamp, UInt8, UInt16, UInt32,
        UInt64, Utf8, Utf8View,
    };
    let to = match values.data_type() {
        Utf8 | Binary | Boolean | Date32 | Float32 | Float64 | Int8 | Int16 | Int32 | Int64 | UInt8
        | UInt16 | UInt32 | UInt64 | Null => return Ok(values.clone()),
        List(_) | Struct(_) => return Ok(values.clone()),
        Timestamp(TimeUnit::Microsecond, _) => return Ok(values.clone()),
        Timestamp(_, zone) => Timestamp(TimeUnit::Microsecond, zone.clone()),
        LargeUtf8 | Utf8View => Utf8,
        LargeBinary | BinaryView | FixedSizeBinary(_) => Binary,
        Dictionary(_, of) => (**of).clone(),
        Float16 => Float32,
        // Decimals, times, intervals, 64-bit dates: as they read.
        _ => Utf8,
    };
    let cast = arrow::compute::cast(values, &to).map_err(|e| e.to_string())?;
    if cast.data_type() == values.data_type() { Ok(cast) } else { plain(&cast) }
}

/// Writes a row as an object. A null is no member.
pub(super) fn write(to: &mut Vec<u8>, columns: &[Column], row: usize) -> Result<(), String> {
    to.push(b'{');
    let mut first = true;
    for Column { name, values, declared } in columns.iter().filter(|column| column.values.is_valid(row)) {
        to.extend_from_slice(if first { b"" } else { b"," });
        to.extend_from_slice(name);
        value(to, values, row, declared.as_ref())?;
        first = false;
    }
    to.push(b'}');
    Ok(())
}

fn value(
    to: &mut Vec<u8>,
    values: &dyn Array,
    row: usize,
    declared: Option<&DataType>,
) -> Result<(), String> {
    if values.is_null(row) {
        to.extend_from_slice(b"null");
        return Ok(());
    }
    macro_rules! number {
        ($($kind:ident => $primitive:ty),*) => {
            match values.data_type() {
                $(DataType::$kind => Some(values.as_primitive::<$primitive>().value(row).to_string()),)*
                _ => None,
            }
        };
    }
    let number = number!(
        Int8 => Int8Type, Int16 => Int16Type, Int32 => Int32Type, Int64 => Int64Type, UInt8 => UInt8Type,
        UInt16 => UInt16Type, UInt32 => UInt32Type, UInt64 => UInt64Type
    );
    if let Some(number) = number {
        member(to, number.as_bytes(), declared, Natural::Literal);
        return Ok(());
    }
    match values.data_type() {
        DataType::Utf8 => {
            member(to, values.as_string::<i32>().value(row).as_bytes(), declared, Natural::Text)
        }
        DataType::Binary => member(to, values.as_binary::<i32>().value(row), declared, Natural::Text),
        DataType::Boolean => {
            let text: &[u8] = if values.as_boolean().value(row) { b"true" } else { b"false" };
            member(to, text, declared, Natural::Literal);
        }
        DataType::Float32 => float(to, values.as_primitive::<Float32Type>().value(row).into(), declared),
        DataType::Float64 => float(to, values.as_primitive::<Float64Type>().value(row), declared),
        DataType::Date32 => {
            let days = i64::from(values.as_primitive::<Date32Type>().value(row));
            let day = DateTime::from_timestamp(days * 86_400, 0).unwrap_or_default();
            member(to, day.format("%Y-%m-%d").to_string().as_bytes(), declared, Natural::Text);
        }
        DataType::Timestamp(_, _) => {
            let micros = values.as_primitive::<TimestampMicrosecondType>().value(row);
            let text = match (declared, DateTime::from_timestamp_micros(micros)) {
                (Some(DataType::Int64), _) | (_, None) => micros.to_string(),
                (_, Some(time)) => time.to_rfc3339_opts(SecondsFormat::Micros, true),
            };
            member(to, text.as_bytes(), declared, Natural::Text);
        }
        DataType::List(_) => {
            let items = plain(&values.as_list::<i32>().value(row))?;
            to.push(b'[');
            for item in 0..items.len() {
                to.extend_from_slice(if item == 0 { b"" } else { b"," });
                value(to, &items, item, None)?;
            }
            to.push(b']');
        }
        DataType::Struct(fields) => {
            let of = values.as_struct();
            to.push(b'{');
            for (at, (field, column)) in fields.iter().zip(of.columns()).enumerate() {
                to.extend_from_slice(if at == 0 { b"" } else { b"," });
                to.extend_from_slice(&name(field.name()));
                value(to, &plain(&column.slice(row, 1))?, 0, None)?;
            }
            to.push(b'}');
        }
        other => return Err(format!("values of type {other} cannot become JSON")),
    }
    Ok(())
}

/// JSON has no infinity.
fn float(to: &mut Vec<u8>, value: f64, declared: Option<&DataType>) {
    let mut text = serde_json::Number::from_f64(value).map_or_else(|| "null".to_owned(), |n| n.to_string());
    if declared == Some(&DataType::Int64) && value.fract() == 0.0 {
        // 3.0 is an integer for whoever wants one.
        text.truncate(text.strip_suffix(".0").map_or(text.len(), str::len));
    }
    let natural = if text == "null" { return to.extend_from_slice(b"null") } else { Natural::Literal };
    member(to, text.as_bytes(), declared, natural);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        Date32Array, Float64Array, Int32Array, ListArray, StringArray, TimestampMillisecondArray,
    };

    use super::*;

    #[test]
    fn a_cell_has_the_type_that_is_declared_where_it_can() {
        let written = |text: &str, declared: Option<DataType>, natural| {
            let mut to = Vec::new();
            member(&mut to, text.as_bytes(), declared.as_ref(), natural);
            String::from_utf8(to).unwrap()
        };
        assert_eq!(written("12", None, Natural::Text), "\"12\"");
        assert_eq!(written("12", Some(DataType::Int64), Natural::Text), "12");
        assert_eq!(written("-1.5e3", Some(DataType::Float64), Natural::Text), "-1.5e3");
        for text in ["012", "1x", "", "+1", "NaN", "1 "] {
            assert_eq!(written(text, Some(DataType::Int64), Natural::Text), format!("\"{text}\""));
        }
        assert_eq!(written("true", Some(DataType::Boolean), Natural::Text), "true");
        assert_eq!(written("yes", Some(DataType::Boolean), Natural::Text), "\"yes\"");
        assert_eq!(written("7", Some(DataType::Utf8), Natural::Literal), "\"7\"");
        assert_eq!(written("a\"\\\n\u{1}é", None, Natural::Text), "\"a\\\"\\\\\\n\\u0001é\"");
    }

    #[test]
    fn a_row_is_an_object() {
        let time = TimestampMillisecondArray::from(vec![Some(1_764_669_600_123), None]);
        let list = ListArray::from_iter_primitive::<arrow::datatypes::Int32Type, _, _>([
            Some(vec![Some(1), None]),
            Some(vec![]),
        ]);
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("text", Arc::new(StringArray::from(vec![Some("x"), None])) as ArrayRef, true),
            ("n", Arc::new(Int32Array::from(vec![1, 2])) as ArrayRef, true),
            ("f", Arc::new(Float64Array::from(vec![3.0, f64::NAN])) as ArrayRef, true),
            ("day", Arc::new(Date32Array::from(vec![20_000, 0])) as ArrayRef, true),
            ("time", Arc::new(time) as ArrayRef, true),
            ("list", Arc::new(list) as ArrayRef, true),
        ])
        .unwrap();
        let declared = |name: &str| match name {
            "n" => Some(DataType::Utf8),
            "f" => Some(DataType::Int64),
            _ => None,
        };
        let columns = columns(&batch, declared).unwrap();
        let rows: Vec<String> = (0..2)
            .map(|row| {
                let mut to = Vec::new();
                write(&mut to, &columns, row).unwrap();
                String::from_utf8(to).unwrap()
            })
            .collect();
        assert_eq!(
            rows[0],
            r#"{"text":"x","n":"1","f":3,"day":"2024-10-04","time":"2025-12-02T10:00:00.123000Z","list":[1,null]}"#
        );
        assert_eq!(rows[1], r#"{"n":"2","f":null,"day":"1970-01-01","list":[]}"#);
        assert!(rows.iter().all(|row| serde_json::from_str::<serde_json::Value>(row).is_ok()));
    }
}
