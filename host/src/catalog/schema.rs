//! Columns in Hive's words, which Glue, Athena and Spark share, and how a table's columns may change.

use arrow::datatypes::{DataType, TimeUnit};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::table::Table;

/// The partition columns of every table; both are strings.
pub(super) const PARTITION_COLUMNS: [&str; 2] = ["date", "hour"];

/// A column as catalogs know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name, in lower case.
    pub name: String,
    /// Its type in Hive's words, as in `array<struct<name:string,value:binary>>`.
    #[serde(rename = "type")]
    pub kind: String,
}

/// The type of a column in Hive's words; nothing for types that Hive's readers of Parquet do not know.
pub fn hive_type(kind: &DataType) -> Option<String> {
    Some(match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "string".into(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "binary".into(),
        DataType::Int8 => "tinyint".into(),
        DataType::Int16 => "smallint".into(),
        DataType::Int32 => "int".into(),
        DataType::Int64 => "bigint".into(),
        DataType::Float32 => "float".into(),
        DataType::Float64 => "double".into(),
        DataType::Boolean => "boolean".into(),
        DataType::Date32 => "date".into(),
        DataType::Timestamp(TimeUnit::Microsecond | TimeUnit::Millisecond, _) => "timestamp".into(),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
            if *scale >= 0 =>
        {
            format!("decimal({precision},{scale})")
        }
        DataType::List(item) | DataType::LargeList(item) => {
            format!("array<{}>", hive_type(item.data_type())?)
        }
        DataType::Struct(fields) => {
            let field = |field: &arrow::datatypes::FieldRef| {
                hive_type(field.data_type()).map(|kind| format!("{}:{kind}", field.name()))
            };
            format!("struct<{}>", fields.iter().map(field).collect::<Option<Vec<_>>>()?.join(","))
        }
        DataType::Dictionary(_, values) => hive_type(values)?,
        _ => return None,
    })
}

/// A table's columns, without the partition columns.
pub fn columns(table: &Table) -> Result<Vec<Column>> {
    let column = |field: &arrow::datatypes::FieldRef| {
        let name = field.name();
        if PARTITION_COLUMNS.contains(&name.as_str()) {
            return Err(Error::stop(format!(
                "column `{name}` of table `{}` has the name of a partition column: call it otherwise",
                table.name
            )));
        }
        let kind = hive_type(field.data_type()).ok_or_else(|| {
            Error::stop(format!(
                "column `{name}` of table `{}` has type {}, which Hive does not know",
                table.name,
                field.data_type()
            ))
        })?;
        Ok(Column { name: name.clone(), kind })
    };
    table.schema.fields().iter().map(column).collect()
}

/// What a table's columns become when these are wanted, too: nothing if they are all there, else the old
/// ones with the new ones at the end. A column that has another type is refused.
pub(super) fn merge(table: &str, old: &[Column], wanted: &[Column]) -> Result<Option<Vec<Column>>> {
    let mut merged = old.to_vec();
    for column in wanted {
        // Catalogs do not tell upper case from lower, and some put spaces into types.
        match old.iter().find(|other| other.name.eq_ignore_ascii_case(&column.name)) {
            Some(other) if plain(&other.kind) == plain(&column.kind) => {}
            Some(other) => {
                return Err(Error::stop(format!(
                    "column `{}` of table `{table}` is {} in the catalog and {} in the transform: give it another name, or the table",
                    column.name, other.kind, column.kind
                )));
            }
            None => merged.push(column.clone()),
        }
    }
    Ok((merged.len() > old.len()).then_some(merged))
}

/// A table that lies elsewhere is somebody else's.
pub(super) fn same_location(table: &str, old: &str, wanted: &str, mend: &str) -> Result<()> {
    if old.trim_end_matches('/') == wanted.trim_end_matches('/') {
        return Ok(());
    }
    Err(Error::stop(format!(
        "table `{table}` lies at {old} in the catalog and at {wanted} in this pipeline: {mend}"
    )))
}

fn plain(kind: &str) -> String {
    kind.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{headers_type, timestamp_type};

    #[test]
    fn types_have_hives_names() {
        for (kind, name) in [
            (DataType::Utf8, "string"),
            (DataType::Int32, "int"),
            (DataType::Int64, "bigint"),
            (DataType::Float64, "double"),
            (DataType::Boolean, "boolean"),
            (DataType::Date32, "date"),
            (DataType::Binary, "binary"),
            (DataType::Decimal128(18, 2), "decimal(18,2)"),
            (timestamp_type(), "timestamp"),
            (headers_type(), "array<struct<name:string,value:binary>>"),
        ] {
            assert_eq!(hive_type(&kind).as_deref(), Some(name));
        }
        assert_eq!(hive_type(&DataType::UInt64), None);
    }

    #[test]
    fn columns_are_added_at_the_end_and_never_removed() {
        let column = |name: &str, kind: &str| Column { name: name.into(), kind: kind.into() };
        let old = [column("a", "string"), column("B", "decimal(18, 2)")];
        assert_eq!(merge("t", &old, &[column("b", "decimal(18,2)")]).expect("the same"), None);
        let merged = merge("t", &old, &[column("c", "int"), column("a", "string")]).expect("one more");
        assert_eq!(merged.map(|columns| columns.len()), Some(3));
        let error = merge("t", &old, &[column("a", "bigint")]).expect_err("another type").to_string();
        assert!(["`a`", "`t`", "string", "bigint"].iter().all(|part| error.contains(part)), "{error}");
    }
}
