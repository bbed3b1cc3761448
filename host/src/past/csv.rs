//! CSV with a header: each row becomes a JSON object of its columns.

use std::collections::BTreeMap;
use std::io::Read;

use arrow::datatypes::DataType;

use super::bytes::unpacked;
use super::object::{Natural, member, name};
use super::values::Values;
use super::{Chunk, File, LONGEST, Rows, unreadable};
use crate::Result;

/// Bytes that are read at a time.
const BUFFER: usize = 256 << 10;

pub(super) struct Csv {
    reader: csv::Reader<Box<dyn Read + Send>>,
    /// Names as they begin a member, and what the member must be.
    columns: Vec<(Vec<u8>, Option<DataType>)>,
    row: csv::ByteRecord,
    values: Values,
    name: String,
}

impl Csv {
    pub(super) fn new(file: &File, types: &BTreeMap<String, DataType>) -> Result<Csv> {
        let mut reader =
            csv::ReaderBuilder::new().flexible(true).buffer_capacity(BUFFER).from_reader(unpacked(file)?);
        let header = reader.byte_headers().map_err(|e| unreadable(&file.name, e))?.clone();
        let mut columns = Vec::new();
        for (at, column) in header.iter().enumerate() {
            let column = column.strip_prefix(b"\xef\xbb\xbf").filter(|_| at == 0).unwrap_or(column);
            let column = std::str::from_utf8(column)
                .map_err(|_| unreadable(&file.name, "a name in its header is not UTF-8"))?;
            columns.push((name(column), types.get(column).cloned()));
        }
        let (row, values) = (csv::ByteRecord::new(), Values::new(&file.name));
        Ok(Csv { reader, columns, row, values, name: file.name.clone() })
    }

    fn read(&mut self) -> Result<bool> {
        let read = self.reader.read_byte_record(&mut self.row).map_err(|e| unreadable(&self.name, e))?;
        if self.row.as_slice().len() > LONGEST {
            let most = LONGEST >> 20;
            return Err(unreadable(
                &self.name,
                format!("a row has more than {most} MiB: a quote is not closed"),
            ));
        }
        Ok(read)
    }
}

impl Rows for Csv {
    fn skip(&mut self, rows: i64) -> Result<i64> {
        for skipped in 0..rows {
            if !self.read()? {
                return Ok(skipped);
            }
        }
        Ok(rows)
    }

    fn next(&mut self, at: i64, most: usize) -> Result<Option<Chunk>> {
        while !self.values.full(most) && self.read()? {
            let data = self.values.data();
            data.push(b'{');
            let mut first = true;
            for ((name, declared), cell) in self.columns.iter().zip(&self.row) {
                // An empty cell says nothing.
                if cell.is_empty() {
                    continue;
                }
                data.extend_from_slice(if first { b"" } else { b"," });
                data.extend_from_slice(name);
                member(data, cell, declared.as_ref(), Natural::Text);
                first = false;
            }
            data.push(b'}');
            self.values.end();
            let (found, wanted) = (self.row.len(), self.columns.len());
            if found != wanted {
                self.values.wrong(format!("the row has {found} columns, the header {wanted}"));
            }
        }
        Ok(self.values.take(at))
    }
}
