//! What a table and its partitions look like in Glue, so that Athena, Spark and Glue's own jobs read them.
//!
//! It is what Glue's crawler writes for Parquet, less its statistics; field by field with the sources in
//! `docs/glue.md`. The one thing that must not be left to defaults: the metastore client of Spark and EMR unpacks
//! `NumberOfBuckets`, `Compressed`, `StoredAsSubDirectories` and the parameter maps without looking whether they are
//! there.

use std::collections::HashMap;

use aws_sdk_glue::types as aws;

use crate::catalog::schema::{Column, PARTITION_COLUMNS};
use crate::catalog::{Projection, TableSpec};
use crate::error::{Error, Result};
use crate::generations::Place;

const SERDE: &str = "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe";
const INPUT: &str = "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat";
const OUTPUT: &str = "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat";
/// No buckets, in Hive's words.
const NO_BUCKETS: i32 = -1;
/// Whether Athena works partitions out from the table's parameters.
pub(super) const PROJECTED: &str = "projection.enabled";

pub(super) fn malformed(error: &dyn std::fmt::Display) -> Error {
    Error::stop(format!("cannot describe a table to AWS Glue: {error}"))
}

pub(super) fn column(column: &Column) -> Result<aws::Column> {
    let built = aws::Column::builder().name(&column.name).r#type(&column.kind).build();
    built.map_err(|error| malformed(&error))
}

/// A table that is not there yet.
pub(super) fn table(spec: &TableSpec, columns: &[Column]) -> Result<aws::TableInput> {
    aws::TableInput::builder()
        .name(&spec.table.name)
        .set_description(spec.description.clone())
        .retention(0)
        .table_type("EXTERNAL_TABLE")
        .set_parameters(Some(parameters(spec, &HashMap::new())))
        .set_partition_keys(Some(partition_keys()?))
        .storage_descriptor(storage(columns, &spec.location)?)
        .build()
        .map_err(|error| malformed(&error))
}

fn partition_keys() -> Result<Vec<aws::Column>> {
    let string = |name: &str| column(&Column { name: name.into(), kind: "string".into() });
    PARTITION_COLUMNS.iter().map(|name| string(name)).collect()
}

/// What must stand in a table's parameters; others may stand beside. `old` are those that are there.
pub(super) fn parameters(spec: &TableSpec, old: &HashMap<String, String>) -> HashMap<String, String> {
    let fixed = [("classification", "parquet"), ("EXTERNAL", "TRUE"), ("typeOfData", "file")];
    let fixed = fixed.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
    let merge = spec.merge.iter().map(|(column, how)| (format!("tidemill.merge.{column}"), how.clone()));
    fixed.chain(merge).chain(projection(spec, old)).collect()
}

/// Nobody said anything: the parameters stay as others may have set them.
fn projection(spec: &TableSpec, old: &HashMap<String, String>) -> Vec<(String, String)> {
    let days = match spec.projection {
        Some(Projection::Days(days)) => days,
        Some(Projection::Off) if old.contains_key(PROJECTED) => {
            return vec![(PROJECTED.into(), "false".into())];
        }
        Some(Projection::Off) | None => return vec![],
    };
    // Relative to the query, so that they are the same after each start. A day ahead: clocks of producers differ.
    let range = format!("NOW-{days}DAYS,NOW+1DAYS");
    let template = format!("{}/date=${{date}}/hour=${{hour}}/", spec.location);
    [
        (PROJECTED, "true"),
        ("projection.date.type", "date"),
        ("projection.date.format", "yyyy-MM-dd"),
        ("projection.date.range", &range),
        ("projection.date.interval", "1"),
        ("projection.date.interval.unit", "DAYS"),
        ("projection.hour.type", "integer"),
        ("projection.hour.range", "0,23"),
        ("projection.hour.digits", "2"),
        ("storage.location.template", &template),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

fn storage(columns: &[Column], location: &str) -> Result<aws::StorageDescriptor> {
    let serde = aws::SerDeInfo::builder()
        .serialization_library(SERDE)
        .parameters("serialization.format", "1")
        .build();
    Ok(aws::StorageDescriptor::builder()
        .set_columns(Some(columns.iter().map(column).collect::<Result<_>>()?))
        .location(location)
        .input_format(INPUT)
        .output_format(OUTPUT)
        .compressed(false)
        .number_of_buckets(NO_BUCKETS)
        .serde_info(serde)
        .set_bucket_columns(Some(vec![]))
        .set_sort_columns(Some(vec![]))
        .parameters("classification", "parquet")
        .stored_as_sub_directories(false)
        .build())
}

pub(super) fn partition(spec: &TableSpec, columns: &[Column], place: Place) -> Result<aws::PartitionInput> {
    let (date, of_day) = place.hour.values();
    Ok(aws::PartitionInput::builder()
        .values(date)
        .values(of_day)
        .parameters("classification", "parquet")
        .storage_descriptor(storage(columns, &spec.partition(place))?)
        .build())
}
