//! Columns of few distinct values as dictionaries: made for a guest that asks for them, or taken from one that returned
//! them and handed on as they are.

use arrow::array::{Array, StringArray};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};

use super::columns::{index, number};
use super::limits::Budget;

/// For each row the index of its value, and the values without duplicates. The index of a null means nothing.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Dictionary {
    pub(super) indices: Vec<u32>,
    pub(super) offsets: Vec<u32>,
    pub(super) data: Vec<u8>,
}

/// The most bytes that one returned column may hold once a dictionary is unfolded.
const COLUMN: usize = 256 << 20;

/// Bytes of a short value: it is read and written at once, with what lies behind it.
const SHORT: usize = 16;

impl Dictionary {
    /// Makes that of a column of strings. `data` begins at its first offset.
    pub(super) fn of(offsets: &OffsetBuffer<i32>, data: &[u8], array: &dyn Array) -> Self {
        let first = offsets[0];
        // Not std's: its hash takes longer than all the rest.
        let mut known = hashbrown::HashMap::<&[u8], u32>::new();
        let mut recent = Recent::new();
        let mut made =
            Dictionary { indices: Vec::with_capacity(array.len()), offsets: vec![0], data: vec![] };
        let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0);
        for (row, span) in offsets.windows(2).enumerate() {
            if nulls.is_some_and(|nulls| nulls.is_null(row)) {
                made.indices.push(0);
                continue;
            }
            let (start, end) = (index(span[0] - first), index(span[1] - first));
            let at = recent.index(data, start, end, || {
                let value = &data[start..end];
                *known.entry(value).or_insert_with(|| made.add(value))
            });
            made.indices.push(at);
        }
        made
    }

    /// Takes a value up. Its index.
    fn add(&mut self, value: &[u8]) -> u32 {
        self.data.extend_from_slice(value);
        self.offsets.push(number(self.data.len()));
        number(self.offsets.len() - 2)
    }

    /// The same rows, if they may be handed on: a guest may return values twice, or such that no row has and that are
    /// no text.
    pub(super) fn checked(mut self, text: bool) -> Option<Self> {
        let values = self.offsets.len() - 1;
        if values > self.indices.len() {
            return None;
        }
        if text {
            let offsets = bytemuck::cast_slice::<u32, i32>(&self.offsets).to_vec();
            let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
            StringArray::try_new(offsets, Buffer::from_slice_ref(&self.data), None).ok()?;
        }
        let mut known = hashbrown::HashMap::<&[u8], u32>::new();
        let mut kept = Dictionary { indices: vec![], offsets: vec![0], data: vec![] };
        let mut renamed = Vec::with_capacity(values);
        for span in self.offsets.windows(2) {
            let value = &self.data[span[0] as usize..span[1] as usize];
            renamed.push(*known.entry(value).or_insert_with(|| kept.add(value)));
        }
        drop(known);
        if kept.offsets.len() < self.offsets.len() {
            // An index beyond the values is that of a null.
            let rename = |at: &u32| renamed.get(*at as usize).copied().unwrap_or(0);
            self.indices.iter_mut().for_each(|at| *at = rename(at));
            (self.offsets, self.data) = (kept.offsets, kept.data);
        }
        Some(self)
    }

    /// Offsets and data of the column, whose bytes are taken from the budget. The offsets of the values are checked, the
    /// indices are not.
    pub(super) fn unfold(
        &self,
        nulls: Option<&NullBuffer>,
        budget: &mut Budget,
    ) -> Result<(Vec<u32>, Vec<u8>), String> {
        let mut spans = Vec::with_capacity(self.offsets.len() - 1);
        spans.extend(self.offsets.windows(2).map(|span| (span[0] as usize, (span[1] - span[0]) as usize)));
        let mut offsets = Vec::with_capacity(self.indices.len() + 1);
        let mut end = 0;
        offsets.push(0);
        for (row, at) in self.indices.iter().enumerate() {
            match spans.get(*at as usize) {
                _ if nulls.is_some_and(|nulls| nulls.is_null(row)) => {}
                Some((_, length)) => end += length,
                None => {
                    return Err(format!("its index {at} in row {row} is beyond its {} values", spans.len()));
                }
            }
            // More than the most is refused below.
            offsets.push(number(end));
        }
        budget.take(end)?;
        if end > COLUMN {
            return Err(format!("it unfolds to more than {} MiB", COLUMN >> 20));
        }
        let mut values = self.data.clone();
        values.resize(values.len() + SHORT, 0);
        let mut data = vec![0; end + SHORT];
        for (at, span) in self.indices.iter().zip(offsets.windows(2)) {
            let (to, length) = (span[0] as usize, (span[1] - span[0]) as usize);
            let from = spans.get(*at as usize).map_or(0, |(from, _)| *from);
            // What is written too much, the next value overwrites.
            let most = if length <= SHORT { SHORT } else { length };
            if most == SHORT {
                data[to..to + SHORT].copy_from_slice(&values[from..from + SHORT]);
            } else {
                data[to..to + length].copy_from_slice(&values[from..from + length]);
            }
        }
        data.truncate(end);
        Ok((offsets, data))
    }
}

/// The short values that came last, by a hash of theirs: most rows are found here.
struct Recent(Vec<(u128, usize, u32)>);

/// How many hashes there are: 2 to this.
const BITS: u32 = 9;

impl Recent {
    fn new() -> Self {
        Recent(vec![(0, usize::MAX, 0); 1 << BITS])
    }

    /// The index of a value that lies there, or what `find` gives.
    #[inline]
    fn index(&mut self, data: &[u8], start: usize, end: usize, find: impl FnOnce() -> u32) -> u32 {
        let length = end - start;
        let Some(chunk) = data.get(start..start + SHORT).and_then(<[u8]>::first_chunk::<SHORT>) else {
            return find();
        };
        if length > SHORT {
            return find();
        }
        let unused = u32::try_from(8 * (SHORT - length)).unwrap_or_default();
        let word = u128::from_le_bytes(*chunk) & u128::MAX.checked_shr(unused).unwrap_or(0);
        #[allow(clippy::cast_possible_truncation)]
        let (low, high) = (word as u64, (word >> 64) as u64);
        let hash = (low ^ high.rotate_left(29) ^ length as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let place = &mut self.0[usize::try_from(hash >> (64 - BITS)).unwrap_or_default()];
        if (place.0, place.1) != (word, length) {
            *place = (word, length, find());
        }
        place.2
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Array;
    use proptest::prelude::*;

    use super::*;

    fn made(array: &StringArray) -> Dictionary {
        let offsets = array.offsets();
        let data = &array.value_data()[index(offsets[0])..index(offsets[offsets.len() - 1])];
        Dictionary::of(offsets, data, array)
    }

    fn unfolded(dictionary: &Dictionary, nulls: Option<NullBuffer>) -> StringArray {
        let (offsets, data) = dictionary.unfold(nulls.as_ref(), &mut Budget::new(1 << 20)).unwrap();
        let offsets = OffsetBuffer::new(ScalarBuffer::from(bytemuck::cast_vec::<u32, i32>(offsets)));
        StringArray::try_new(offsets, Buffer::from_vec(data), nulls).unwrap()
    }

    fn values(dictionary: &Dictionary) -> Vec<&[u8]> {
        let spans = dictionary.offsets.windows(2);
        spans.map(|span| &dictionary.data[span[0] as usize..span[1] as usize]).collect()
    }

    fn is_distinct(values: &[&[u8]]) -> bool {
        values.iter().collect::<std::collections::BTreeSet<_>>().len() == values.len()
    }

    #[test]
    fn values_that_are_there_twice_become_one() {
        let twice =
            Dictionary { indices: vec![2, 0, 1, 7, 2], offsets: vec![0, 1, 2, 3], data: b"aba".into() };
        let checked = twice.checked(true).unwrap();
        assert_eq!((&checked.indices[..], values(&checked)), (&[0, 0, 1, 0, 0][..], vec![&b"a"[..], b"b"]));
        let unread = |data: &[u8], indices| Dictionary { indices, offsets: vec![0, 1, 2], data: data.into() };
        assert!(unread(b"a\xff", vec![0; 9]).checked(true).is_none(), "a value that no row has is no text");
        assert!(unread(b"a\xff", vec![0; 9]).checked(false).is_some());
        assert!(unread(b"ab", vec![0]).checked(true).is_none(), "more values than rows");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn what_is_made_unfolds_to_what_it_was(
            texts in prop::collection::vec(prop::option::weighted(0.9, "[aé]{0,3}|[a-c]{7,9}|x{14,18}|[a-f]{2}"), 1..80),
            start in 0usize..5,
            extra in prop::collection::vec(0u32..80, 80),
        ) {
            let array = StringArray::from(texts);
            let start = start.min(array.len());
            let array = array.slice(start, array.len() - start);
            let dictionary = made(&array);
            prop_assert!(is_distinct(&values(&dictionary)));
            prop_assert_eq!(unfolded(&dictionary, array.nulls().cloned()), array.clone());

            // The same with values twice: each row takes one of the two.
            let mut twice = Dictionary { indices: dictionary.indices.clone(), offsets: vec![0], data: vec![] };
            for value in values(&dictionary).into_iter().chain(values(&dictionary)) {
                twice.add(value);
            }
            let count = u32::try_from(values(&dictionary).len()).unwrap();
            for (at, extra) in twice.indices.iter_mut().zip(extra) {
                *at += if extra % 2 == 0 { 0 } else { count };
            }
            if let Some(checked) = twice.checked(true) {
                prop_assert!(is_distinct(&values(&checked)));
                prop_assert_eq!(unfolded(&checked, array.nulls().cloned()), array);
            }
        }
    }
}
