//! JSON lines: each line that is not blank is a row, as it is.

use std::io::{BufRead, BufReader, Read};

use super::bytes::unpacked;
use super::values::Values;
use super::{Chunk, File, LONGEST, Rows, unreadable};
use crate::Result;

/// Bytes that are unpacked at a time.
const BUFFER: usize = 256 << 10;

pub(super) struct Lines {
    reader: BufReader<Box<dyn Read + Send>>,
    values: Values,
    name: String,
}

impl Lines {
    pub(super) fn new(file: &File) -> Result<Lines> {
        let reader = BufReader::with_capacity(BUFFER, unpacked(file)?);
        Ok(Lines { reader, values: Values::new(&file.name), name: file.name.clone() })
    }

    /// Reads a line behind the last value. False: there is none.
    fn line(&mut self) -> Result<bool> {
        loop {
            let most = LONGEST as u64 + 1;
            let mut bounded = (&mut self.reader).take(most);
            let read = bounded.read_until(b'\n', self.values.data());
            match read.map_err(|e| unreadable(&self.name, e))? {
                0 => return Ok(false),
                read if read > LONGEST => {
                    return Err(unreadable(
                        &self.name,
                        format!("a line has more than {} MiB: these are no JSON lines", LONGEST >> 20),
                    ));
                }
                _ => {}
            }
            let open = self.values.open();
            let line = open.strip_suffix(b"\n").unwrap_or(open);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let (cut, blank) = (open.len() - line.len(), line.trim_ascii().is_empty());
            if !blank {
                let data = self.values.data();
                data.truncate(data.len() - cut);
                return Ok(true);
            }
            self.values.drop_open();
        }
    }
}

impl Rows for Lines {
    fn skip(&mut self, rows: i64) -> Result<i64> {
        for skipped in 0..rows {
            if !self.line()? {
                return Ok(skipped);
            }
            self.values.drop_open();
        }
        Ok(rows)
    }

    fn next(&mut self, at: i64, most: usize) -> Result<Option<Chunk>> {
        while !self.values.full(most) && self.line()? {
            self.values.end();
        }
        Ok(self.values.take(at))
    }
}
