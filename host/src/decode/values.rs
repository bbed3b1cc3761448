//! The values of a batch as texts.

use arrow::array::{Array, BinaryArray};

/// Where the values of a batch are, and whether they are UTF-8. To see that is quicker for many at once.
pub(super) struct Values<'a> {
    array: &'a BinaryArray,
    pub(super) bytes: &'a [u8],
    /// The group of rows that was looked at last.
    group: usize,
    from: usize,
    /// Its bytes, if they are UTF-8 as a whole.
    text: Option<&'a str>,
}

/// Rows of a group: their bytes stay in the processor's nearest cache, to be read again.
const GROUP: usize = 64;

impl<'a> Values<'a> {
    pub(super) fn new(array: &'a BinaryArray) -> Self {
        Values { array, bytes: array.value_data(), group: usize::MAX, from: 0, text: None }
    }

    /// Where a row's value lies in the bytes of the batch; none if it is null.
    #[inline(always)]
    pub(super) fn place(&self, row: usize) -> Option<(usize, usize)> {
        self.array.is_valid(row).then(|| (self.offset(row), self.offset(row + 1)))
    }

    /// The value of a row, if it is UTF-8.
    #[inline(always)]
    pub(super) fn text(&mut self, row: usize, at: usize, end: usize) -> Option<&'a str> {
        if row / GROUP != self.group {
            self.look(row / GROUP);
        }
        match self.text {
            // None: it begins or ends within a character.
            Some(text) => text.get(at - self.from..end - self.from),
            None => simdutf8::basic::from_utf8(&self.bytes[at..end]).ok(),
        }
    }

    #[inline(never)]
    fn look(&mut self, group: usize) {
        let first = group * GROUP;
        let (from, to) = (self.offset(first), self.offset((first + GROUP).min(self.array.len())));
        self.text = simdutf8::basic::from_utf8(&self.bytes[from..to]).ok();
        (self.group, self.from) = (group, from);
    }

    #[inline(always)]
    fn offset(&self, row: usize) -> usize {
        // Arrow's offsets are never negative.
        usize::try_from(self.array.value_offsets()[row]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_is_utf8_by_itself() {
        // Together `é` is a character, and so are all of them.
        let cut: Vec<Option<&[u8]>> =
            vec![Some(b"a"), Some(b"b\xc3"), Some(b"\xa9c"), None, Some("é".as_bytes())];
        let expected = [Some("a"), None, None, None, Some("é")];
        for spoilt in [false, true] {
            for before in [0, GROUP - 2, GROUP, 3 * GROUP + 1] {
                let first = std::iter::repeat_n(Some(b"x".as_slice()), before);
                let last = spoilt.then_some(Some(b"\xff".as_slice()));
                let array: BinaryArray = first.chain(cut.clone()).chain(last).collect();
                let mut values = Values::new(&array);
                for (row, expected) in (before..).zip(expected) {
                    let text = values.place(row).and_then(|(at, end)| values.text(row, at, end));
                    assert_eq!(text, expected, "row {row}, spoilt: {spoilt}");
                }
            }
        }
    }
}
