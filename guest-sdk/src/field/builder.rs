//! A column of strings that grows, in words: in Wasm a copy of variable length is a call into the host, which costs more
//! than all the rest of a short value.

use crate::wire::{BytesValues, Column, Values};
use crate::words::{ends, word};

/// How many bytes a value is expected to have, for the first allocation of a column.
const EXPECTED: usize = 12;
/// Bytes of a word.
const WORD: usize = 8;
/// Bytes of the longest value that is copied in words.
const LONGEST: usize = 64;

/// A column of strings that grows.
#[derive(Clone, Debug)]
pub struct BytesBuilder {
    offsets: Vec<u32>,
    /// The values, and after them bytes of no meaning: room for whole words.
    data: Vec<u8>,
    /// Bytes of the values.
    len: usize,
}

impl BytesBuilder {
    /// Empty, with room for so many values.
    pub(super) fn new(rows: usize) -> Self {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        BytesBuilder { offsets, data: vec![0; rows * EXPECTED], len: 0 }
    }

    /// Appends a value.
    #[inline]
    pub(super) fn push(&mut self, value: &[u8]) {
        let end = self.len + value.len();
        if end + WORD > self.data.len() {
            self.grow(end);
        }
        match ends(value) {
            Some([first, last]) => {
                self.put(self.len, first);
                // It overlaps the first; of a shorter value the first is all.
                if value.len() > WORD {
                    self.put(end - WORD, last);
                }
            }
            None if value.len() > LONGEST => self.data[self.len..end].copy_from_slice(value),
            None => {
                for (at, chunk) in value.chunks(WORD).enumerate() {
                    self.put(self.len + at * WORD, word(chunk));
                }
            }
        }
        self.len = end;
        self.offsets.push(u32::try_from(end).expect("a column has at most 4 GiB"));
    }

    #[inline]
    fn put(&mut self, at: usize, word: u64) {
        self.data[at..at + WORD].copy_from_slice(&word.to_le_bytes());
    }

    #[cold]
    fn grow(&mut self, end: usize) {
        self.data.resize((end + WORD).next_power_of_two(), 0);
    }

    /// How many values there are.
    pub(super) fn rows(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Keeps the first rows.
    pub(super) fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows + 1);
        self.len = self.offsets.last().map_or(0, |&end| end as usize);
    }

    /// The column.
    pub(super) fn finish(mut self) -> Column {
        self.data.truncate(self.len);
        Column {
            validity: None,
            values: Values::Bytes(BytesValues { offsets: self.offsets, data: self.data }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_every_length_are_appended_and_taken_back() {
        let text: Vec<u8> = (1..=200).collect();
        for rows in [0, 1, 1000] {
            let mut builder = BytesBuilder::new(rows);
            let (mut data, mut offsets) = (Vec::new(), vec![0]);
            for length in (0..100).chain([150, 3, 200, 0, 1]) {
                builder.push(&text[..length]);
                builder.push(&text[100 - length / 2..]);
                builder.truncate(offsets.len());
                data.extend_from_slice(&text[..length]);
                offsets.push(u32::try_from(data.len()).expect("few"));
            }
            let values = Values::Bytes(BytesValues { offsets, data });
            assert_eq!(builder.finish(), Column { validity: None, values });
        }
    }
}
