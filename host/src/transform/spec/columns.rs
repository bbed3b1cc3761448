//! The columns of a descriptor, checked.

use arrow::datatypes::DataType;

use super::words::{name, properties, unique};
use super::{COLUMNS, Column, Merge, Metadata, ORIGIN, Origin, Output, Read, type_name};
use crate::table::{PROVENANCE, timestamp_type};
use crate::transform::bindings::types as wit;

pub(super) fn read(read: wit::InputColumn, topic: bool) -> Result<Read, String> {
    name(&read.name, "a column it reads")?;
    let at = |e: String| format!("column {}: {e}", read.name);
    let data_type = data_type(read.data_type).map_err(at)?;
    properties(&read.properties, &["watermark"])?;
    let origin = match read.properties.iter().any(|(key, _)| key == "watermark") {
        false => origin(read.origin, &data_type, topic).map_err(at)?,
        true if data_type == timestamp_type() => Origin::Watermark,
        true => return Err(at("a watermark is a timestamp".into())),
    };
    if read.dictionary && !matches!(data_type, DataType::Utf8 | DataType::Binary) {
        return Err(format!("column {}: only utf8 and binary have a dictionary layout", read.name));
    }
    Ok(Read { name: read.name, origin, data_type, dictionary: read.dictionary })
}

pub(super) fn output(output: wit::Output, topic: bool) -> Result<Output, String> {
    let table = output.name;
    name(&table, "an output's name")?;
    properties(&output.properties, &[])?;
    if output.columns.is_empty() || output.columns.len() > COLUMNS {
        return Err(format!("output {table}: 1 to {COLUMNS} columns are possible"));
    }
    let mut columns = Vec::with_capacity(output.columns.len());
    for column in output.columns {
        let column = self::column(column, topic).map_err(|e| format!("output {table}: {e}"))?;
        columns.push(column);
    }
    unique(columns.iter().map(|c| c.name.as_str()), "column").map_err(|e| format!("output {table}: {e}"))?;
    if columns.iter().any(|c| c.merge != Merge::None)
        && !(columns.iter().all(|c| c.merge != Merge::None) && columns.iter().any(|c| c.merge == Merge::Key))
    {
        return Err(format!(
            "output {table}: if one column merges, all must, and at least one must be a key"
        ));
    }
    let event_time = match output.event_time {
        None => None,
        Some(by) => Some(
            columns
                .iter()
                .position(|c| c.name == by && c.data_type == timestamp_type() && !c.nullable)
                .ok_or(format!(
                    "output {table}: its event time `{}` must be a timestamp column that is not nullable",
                    by.chars().take(64).collect::<String>()
                ))?,
        ),
    };
    Ok(Output { name: table, columns, event_time })
}

pub(super) fn column(column: wit::OutputColumn, topic: bool) -> Result<Column, String> {
    name(&column.name, "a column's name")?;
    if ["date", "hour"].contains(&column.name.as_str()) || PROVENANCE.contains(&column.name.as_str()) {
        return Err(format!("column {}: the host adds a column of this name itself", column.name));
    }
    properties(&column.properties, &[])?;
    let at = |e: String| format!("column {}: {e}", column.name);
    let data_type = data_type(column.data_type).map_err(at)?;
    let copied = match column.content {
        wit::Content::Computed => None,
        wit::Content::Copied(from) => Some(origin(from, &data_type, topic).map_err(at)?),
    };
    let merge = match column.merge {
        wit::Merge::None => Merge::None,
        wit::Merge::Key => Merge::Key,
        wit::Merge::Sum => Merge::Sum,
        wit::Merge::Min => Merge::Min,
        wit::Merge::Max => Merge::Max,
    };
    let number = matches!(data_type, DataType::Int64 | DataType::Float64 | DataType::Decimal128(..));
    if merge == Merge::Sum && !number {
        return Err(at("only int64, float64 and decimal can be summed".into()));
    }
    Ok(Column { name: column.name, data_type, nullable: column.nullable, copied, merge })
}

pub(super) fn origin(origin: wit::Origin, data_type: &DataType, topic: bool) -> Result<Origin, String> {
    match origin {
        wit::Origin::Field(f) if f.is_empty() || f.len() > ORIGIN => {
            Err(format!("the field's name is not 1 to {ORIGIN} bytes long"))
        }
        wit::Origin::Field(f) => Ok(Origin::Field(f)),
        _ if !topic => Err("an output of a transform has neither Kafka metadata nor headers".into()),
        wit::Origin::Header(h) if h.is_empty() || h.len() > ORIGIN => {
            Err(format!("the header's name is not 1 to {ORIGIN} bytes long"))
        }
        wit::Origin::Header(h) => match data_type {
            DataType::Utf8 | DataType::Binary => Ok(Origin::Header(h)),
            other => Err(format!("a header is utf8 or binary, not {}", type_name(other))),
        },
        wit::Origin::Metadata(m) => {
            let metadata = match m {
                wit::Metadata::Topic => Metadata::Topic,
                wit::Metadata::Partition => Metadata::Partition,
                wit::Metadata::Offset => Metadata::Offset,
                wit::Metadata::Timestamp => Metadata::Timestamp,
                wit::Metadata::Key => Metadata::Key,
                wit::Metadata::Value => Metadata::Value,
            };
            if metadata.data_type() != *data_type {
                return Err(format!(
                    "Kafka's {metadata:?} is {}, not {}",
                    type_name(&metadata.data_type()),
                    type_name(data_type)
                ));
            }
            Ok(Origin::Metadata(metadata))
        }
    }
}

pub(super) fn data_type(data_type: wit::DataType) -> Result<DataType, String> {
    Ok(match data_type {
        wit::DataType::Boolean => DataType::Boolean,
        wit::DataType::Int64 => DataType::Int64,
        wit::DataType::Float64 => DataType::Float64,
        wit::DataType::Date => DataType::Date32,
        wit::DataType::Timestamp => timestamp_type(),
        wit::DataType::Utf8 => DataType::Utf8,
        wit::DataType::Binary => DataType::Binary,
        wit::DataType::Decimal(d) => match i8::try_from(d.scale) {
            Ok(scale) if (1..=18).contains(&d.precision) && d.scale <= d.precision => {
                DataType::Decimal128(d.precision, scale)
            }
            _ => return Err(format!("decimal({}, {}) is out of range", d.precision, d.scale)),
        },
    })
}
