//! How many rows of a file are read at a time: rows of any size may stand in it, and memory must not depend on that.

use std::sync::Arc;

use parquet::basic::Type;
use parquet::column::page::{Page, PageReader};
use parquet::errors::Result;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::reader::ChunkReader;
use parquet::file::serialized_reader::SerializedPageReader;

/// Rows of a batch, at most.
pub(super) const ROWS: usize = 8192;
/// Bytes of a batch, about.
pub(super) const BYTES: usize = 8 << 20;

/// The rows that are read at a time, by what stands in a file.
pub(super) fn rows<R: ChunkReader + 'static>(file: &Arc<R>, about: &ParquetMetaData) -> Result<usize> {
    let mut least = ROWS;
    for group in about.row_groups() {
        let rows = usize::try_from(group.num_rows()).unwrap_or(0).max(1);
        // Most files of a stream are so small that it does not matter what is in them.
        let whole: usize = group.columns().iter().map(size).sum();
        if whole.saturating_mul(rows.min(ROWS)) <= BYTES {
            continue;
        }
        let mut width = 0_usize;
        for column in group.columns() {
            width += size(column).div_ceil(rows) + repeated(file, group, column)?;
        }
        least = least.min(BYTES / width.max(1)).max(1);
    }
    Ok(least)
}

/// Bytes of a column's pages, before they were compressed.
fn size(column: &ColumnChunkMetaData) -> usize {
    usize::try_from(column.uncompressed_size()).unwrap_or(0)
}

/// What a row of a column can take that only points to a value: it stands in the file once, and in memory with each row.
fn repeated<R: ChunkReader + 'static>(
    file: &Arc<R>,
    group: &RowGroupMetaData,
    column: &ColumnChunkMetaData,
) -> Result<usize> {
    if column.column_type() != Type::BYTE_ARRAY || column.dictionary_page_offset().is_none() {
        return Ok(0);
    }
    let rows = usize::try_from(group.num_rows()).unwrap_or(0).max(1);
    let mut pages = SerializedPageReader::new(file.clone(), column, rows, None)?;
    let longest = match pages.get_next_page()? {
        Some(Page::DictionaryPage { buf, .. }) => longest(&buf),
        _ => 0,
    };
    // A row of a list has several.
    let values = usize::try_from(column.num_values()).unwrap_or(0);
    Ok(longest * values.div_ceil(rows))
}

/// The length of the longest value of a dictionary: each stands behind its length in four bytes.
fn longest(mut values: &[u8]) -> usize {
    let mut longest = 0;
    while let Some((length, rest)) = values.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        longest = longest.max(length.min(rest.len()));
        values = rest.get(length..).unwrap_or_default();
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_value_of_a_dictionary_is_found() {
        let page = |values: &[&str]| {
            let value = |v: &&str| [&u32::try_from(v.len()).unwrap().to_le_bytes(), v.as_bytes()].concat();
            values.iter().flat_map(value).collect::<Vec<u8>>()
        };
        assert_eq!((longest(&page(&["a", "", "four", "b"])), longest(&[]), longest(&[1, 0])), (4, 0, 0));
        let mut cut = page(&["ab", "abcdef"]);
        cut.truncate(cut.len() - 3);
        assert_eq!(longest(&cut), 3, "no more than there is");
    }
}
