//! Columns of the contract from values, and back.

use super::{InputRow, Value};
use crate::field::{Bytes, Field, Read, Text};
use crate::spec::InputColumnSpec;
use crate::wire::{BytesValues, Column, DataType, DictionaryValues, Values};
use crate::{Date, Float, Int, Timestamp};

/// The columns of these rows.
pub(super) fn build(specs: &[InputColumnSpec], rows: &[InputRow]) -> Vec<Column> {
    for (name, _) in rows.iter().flat_map(|row| &row.columns) {
        let known = || specs.iter().map(|spec| spec.name).collect::<Vec<_>>().join(", ");
        assert!(
            specs.iter().any(|spec| spec.name == name),
            "there is no column {name} to set; there are {}",
            known()
        );
    }
    specs.iter().map(|spec| column(spec, rows)).collect()
}

fn column(spec: &InputColumnSpec, rows: &[InputRow]) -> Column {
    let values = rows.iter().map(|row| row.get(spec.name).unwrap_or(&Value::Null));
    let wrong = |value: &Value| -> ! { panic!("column {}: {value:?} is no {:?}", spec.name, spec.data_type) };
    macro_rules! fill {
        ($field:ty, $($pattern:pat $(if $guard:expr)? => $value:expr),+) => {{
            let mut builder = <Option<$field>>::builder(rows.len());
            for value in values {
                <Option<$field>>::push(&mut builder, match value {
                    Value::Null => None,
                    $($pattern $(if $guard)? => Some($value),)+
                    #[allow(unreachable_patterns)]
                    other => wrong(other),
                });
            }
            <Option<$field>>::finish(builder)
        }};
    }
    let column = match spec.data_type {
        DataType::Boolean => fill!(bool, Value::Bool(value) => *value),
        DataType::Int64 => fill!(Int, Value::Int(value) => *value),
        DataType::Float64 => fill!(Float, Value::Float(value) => *value),
        DataType::Date => fill!(Date, Value::Date(value) => *value),
        DataType::Timestamp => fill!(Timestamp, Value::Timestamp(value) => *value),
        DataType::Decimal(decimal) => {
            fill!(Int, Value::Decimal(value, scale) if *scale == decimal.scale => *value)
        }
        DataType::Utf8 => fill!(Text, Value::Text(value) => value.into()),
        DataType::Binary => {
            fill!(Bytes, Value::Bytes(value) => value.into(), Value::Text(value) => value.as_bytes().into())
        }
    };
    if spec.dictionary { dictionary(column) } else { column }
}

/// The same column in the dictionary layout.
fn dictionary(column: Column) -> Column {
    let Values::Bytes(plain) = column.values else { unreachable!("only strings have this layout") };
    let mut distinct: Vec<&[u8]> = Vec::new();
    let mut values = BytesValues { offsets: vec![0], data: Vec::new() };
    let mut indices = Vec::new();
    for span in plain.offsets.windows(2) {
        let value = &plain.data[span[0] as usize..span[1] as usize];
        let index = distinct.iter().position(|have| *have == value).unwrap_or_else(|| {
            distinct.push(value);
            values.data.extend_from_slice(value);
            values.offsets.push(u32::try_from(values.data.len()).expect("a test has less than 4 GiB"));
            distinct.len() - 1
        });
        indices.push(u32::try_from(index).expect("a test has few rows"));
    }
    Column { validity: column.validity, values: Values::Dictionary(DictionaryValues { indices, values }) }
}

/// The values of a column of so many rows.
pub(super) fn values(data_type: DataType, column: &Column, rows: usize) -> Vec<Value> {
    fn read<'a, F: Field>(
        column: &'a Column,
        rows: usize,
        value: impl Fn(F::View<'a>) -> Value,
    ) -> Vec<Value> {
        let reader =
            F::Reader::new(column, rows).unwrap_or_else(|error| panic!("an emitted column: {error}"));
        (0..rows).map(|row| reader.get(row).map_or(Value::Null, &value)).collect()
    }
    match data_type {
        DataType::Boolean => read::<bool>(column, rows, Value::Bool),
        DataType::Int64 => read::<Int>(column, rows, Value::Int),
        DataType::Float64 => read::<Float>(column, rows, Value::Float),
        DataType::Date => read::<Date>(column, rows, Value::Date),
        DataType::Timestamp => read::<Timestamp>(column, rows, Value::Timestamp),
        DataType::Decimal(decimal) => read::<Int>(column, rows, |value| Value::Decimal(value, decimal.scale)),
        DataType::Utf8 => read::<Text>(column, rows, |value| Value::Text(value.into())),
        DataType::Binary => read::<Bytes>(column, rows, |value| Value::Bytes(value.into())),
    }
}
