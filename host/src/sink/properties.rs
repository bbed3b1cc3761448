//! How each kind of column is written: the choices that measured well (`prototypes/perf`).
//!
//! Only encodings that DuckDB, Spark, Hive and Athena all read: plain, dictionary and delta-packed
//! integers.

use std::collections::BTreeSet;

use parquet::arrow::ArrowSchemaConverter;
use parquet::basic::{Encoding, LogicalType, PageType, Type as Physical};
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::schema::types::ColumnDescriptor;

use super::codec::Codec;
use crate::error::{Error, Result};
use crate::table::Table;

/// Pages of raw bytes are kept this small, so that a reader of few rows reads little.
const PAGE: usize = 256 << 10;

/// What is known to be true of a table's columns from files that were written before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Learned {
    /// Leaf columns in which a dictionary grew too large: identifiers, mostly.
    many_valued: BTreeSet<usize>,
}

impl Learned {
    /// Takes in what a finished row group shows; `true` if that is new.
    ///
    /// A dictionary that grows too large was work for nothing: the encoder falls back to plain pages.
    /// The next file does without from the start.
    pub(super) fn see(&mut self, group: &RowGroupMetaData) -> bool {
        let before = self.many_valued.len();
        for (leaf, column) in group.columns().iter().enumerate() {
            let fell_back = column.dictionary_page_offset().is_some()
                && column.page_encoding_stats().is_some_and(|stats| {
                    stats.iter().any(|page| {
                        page.page_type != PageType::DICTIONARY_PAGE && page.encoding == Encoding::PLAIN
                    })
                });
            if fell_back {
                self.many_valued.insert(leaf);
            }
        }
        self.many_valued.len() > before
    }
}

/// The properties of a table's files.
pub(super) fn properties(
    table: &Table,
    row_group: usize,
    codec: Codec,
    learned: &Learned,
) -> Result<WriterProperties> {
    let schema =
        ArrowSchemaConverter::new().with_coerce_types(true).convert(&table.schema).map_err(|error| {
            Error::stop(format!("table `{}` cannot be written as Parquet: {error}", table.name))
        })?;
    let mut properties = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_created_by(concat!("tidemill ", env!("CARGO_PKG_VERSION")).into())
        // The names inside lists as the specification has them.
        .set_coerce_types(true)
        .set_compression(codec.compression()?)
        // Cost more than they save for columns that rows are not sorted by.
        .set_statistics_enabled(EnabledStatistics::None)
        .set_data_page_row_count_limit(usize::MAX)
        .set_max_row_group_row_count(Some(row_group));
    for (leaf, column) in schema.columns().iter().enumerate() {
        let path = column.path().clone();
        match kind(column) {
            Kind::Sequence => {
                properties = properties
                    .set_column_dictionary_enabled(path.clone(), false)
                    .set_column_encoding(path.clone(), Encoding::DELTA_BINARY_PACKED)
                    .set_column_statistics_enabled(path, EnabledStatistics::Page);
            }
            Kind::Bytes => {
                properties = properties
                    .set_column_dictionary_enabled(path.clone(), false)
                    .set_column_data_page_size_limit(path, PAGE);
            }
            Kind::Other => {
                properties =
                    properties.set_column_dictionary_enabled(path, !learned.many_valued.contains(&leaf));
            }
        }
    }
    Ok(properties.build())
}

/// What a column holds, as far as it matters for its encoding.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    /// Times and offsets: neighbours are close, and readers ask for ranges.
    Sequence,
    /// Bytes that do not repeat.
    Bytes,
    /// Few values, as a rule; a dictionary falls back by itself where they are many.
    Other,
}

fn kind(column: &ColumnDescriptor) -> Kind {
    let time = matches!(column.logical_type_ref(), Some(LogicalType::Timestamp(_)));
    let offset = matches!(column.name(), "offset" | "kafka_offset");
    match column.physical_type() {
        Physical::INT64 if time || offset => Kind::Sequence,
        Physical::BYTE_ARRAY if column.logical_type_ref().is_none() => Kind::Bytes,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use parquet::schema::types::ColumnPath;

    use super::*;
    use crate::table::raw;

    #[test]
    fn raw_columns_are_written_as_measured() {
        let properties =
            properties(&raw("user-events"), 1 << 17, Codec::Lz4, &Learned::default()).expect("known types");
        let path = |parts: &[&str]| ColumnPath::new(parts.iter().map(|part| (*part).to_owned()).collect());
        for column in ["offset", "timestamp"] {
            let column = path(&[column]);
            assert_eq!(properties.encoding(&column), Some(Encoding::DELTA_BINARY_PACKED));
            assert!(!properties.dictionary_enabled(&column));
            assert_eq!(properties.statistics_enabled(&column), EnabledStatistics::Page);
        }
        for column in [path(&["value"]), path(&["key"]), path(&["headers", "list", "element", "value"])] {
            assert!(!properties.dictionary_enabled(&column));
            assert_eq!(properties.statistics_enabled(&column), EnabledStatistics::None);
            assert_eq!(properties.column_data_page_size_limit(&column), PAGE);
        }
        assert!(properties.dictionary_enabled(&path(&["topic"])));
    }

    #[test]
    fn a_level_that_zstd_does_not_have_is_refused() {
        assert!(properties(&raw("t"), 1, Codec::Zstd(99), &Learned::default()).is_err());
    }
}
