//! Strings and byte strings, in the `bytes` or the `dictionary` layout.

use std::borrow::Cow;
use std::ops::Range;

use super::builder::BytesBuilder;
use super::{Bits, Field, Read, unexpected, validity};
use crate::Result;
use crate::wire::{Column, DataType, Values};
use crate::words::is_ascii;

/// UTF-8 text: read as `&str`, written as `Cow<str>` (`"x".into()` and `string.into()` make one).
#[derive(Debug)]
pub enum Text {}

/// Bytes: read as `&[u8]`, written as `Cow<[u8]>`.
#[derive(Debug)]
pub enum Bytes {}

/// Where the values of a column of strings are. `new` has seen that offsets do not descend and end with the data:
/// any two neighbours are a span of it.
#[derive(Clone, Copy, Debug)]
struct Spans<'a> {
    validity: Bits<'a>,
    /// In the dictionary layout: for each row the index of its value.
    indices: Option<&'a [u32]>,
    offsets: &'a [u32],
}

impl<'a> Spans<'a> {
    fn new(column: &'a Column, rows: usize) -> Result<(Self, &'a [u8])> {
        let (indices, values) = match &column.values {
            Values::Bytes(values) => (None, values),
            Values::Dictionary(dictionary) => (Some(&dictionary.indices[..]), &dictionary.values),
            values => return Err(unexpected(values)),
        };
        let have = indices.map_or(values.offsets.len().saturating_sub(1), <[u32]>::len);
        if have != rows {
            return Err(format!("{have} values for {rows} rows"));
        }
        let (offsets, data) = (&values.offsets[..], &values.data[..]);
        if descend(offsets) || offsets.last().is_some_and(|end| *end as usize != data.len()) {
            return Err("the offsets descend, or do not end with the data".into());
        }
        Ok((Spans { validity: validity(column, rows)?, indices, offsets }, data))
    }

    /// Where the value of a row is: always within the data.
    #[inline]
    fn get(&self, row: usize) -> Option<Range<usize>> {
        if !self.validity.get(row) {
            return None;
        }
        let value = match self.indices {
            None => row,
            Some(indices) => indices[row] as usize,
        };
        Some(self.offsets[value] as usize..self.offsets[value + 1] as usize)
    }
}

/// Whether any offset is less than the one before it. Without a way out in between, which would be taken for each.
fn descend(offsets: &[u32]) -> bool {
    let next = offsets.get(1..).unwrap_or_default();
    offsets.iter().zip(next).fold(false, |found, (offset, next)| found | (offset > next))
}

/// Reads a column of [`Bytes`].
#[derive(Clone, Copy, Debug)]
pub struct BytesReader<'a> {
    spans: Spans<'a>,
    data: &'a [u8],
}

impl<'a> Read<'a> for BytesReader<'a> {
    type View = &'a [u8];

    fn new(column: &'a Column, rows: usize) -> Result<Self> {
        let (spans, data) = Spans::new(column, rows)?;
        Ok(BytesReader { spans, data })
    }

    #[inline]
    fn get(&self, row: usize) -> Option<&'a [u8]> {
        self.spans.get(row).map(|span| &self.data[span])
    }
}

/// Reads a column of [`Text`]. `new` has seen that `data` is UTF-8 and that no offset is within a character.
#[derive(Clone, Copy, Debug)]
pub struct TextReader<'a> {
    spans: Spans<'a>,
    data: &'a [u8],
}

impl<'a> Read<'a> for TextReader<'a> {
    type View = &'a str;

    fn new(column: &'a Column, rows: usize) -> Result<Self> {
        let (spans, data) = Spans::new(column, rows)?;
        if !is_ascii(data) {
            check_text(data, spans.offsets)?;
        }
        Ok(TextReader { spans, data })
    }

    #[inline]
    #[allow(unsafe_code)]
    fn get(&self, row: usize) -> Option<&'a str> {
        let span = self.spans.get(row)?;
        // `new` has checked, for the column as a whole, that spans are within the data (see `Spans`), that the data is
        // text, and that spans begin and end between its characters: so a span of it is text. The same checks value by
        // value (`&str[a..b]`) cost 25 ns for the seven strings of an event, a quarter of what all of `clean` may.
        Some(unsafe { std::str::from_utf8_unchecked(self.data.get_unchecked(span)) })
    }
}

/// Where nulls are, the indices of a column in the dictionary layout, and its texts.
#[allow(clippy::type_complexity)]
pub(super) fn texts(column: &Column, rows: usize) -> Result<(Bits<'_>, Option<&[u32]>, Vec<&str>)> {
    let (spans, data) = Spans::new(column, rows)?;
    let text = std::str::from_utf8(data).map_err(|error| format!("the text is not UTF-8: {error}"))?;
    let spanned = spans.offsets.windows(2).map(|span| text.get(span[0] as usize..span[1] as usize));
    let texts: Option<Vec<&str>> = spanned.collect();
    Ok((spans.validity, spans.indices, texts.ok_or("an offset is within a character")?))
}

/// Whether data is UTF-8, and no offset is within a character.
#[cold]
fn check_text(data: &[u8], offsets: &[u32]) -> Result<()> {
    let text = std::str::from_utf8(data).map_err(|error| format!("the text is not UTF-8: {error}"))?;
    if offsets.iter().all(|offset| text.is_char_boundary(*offset as usize)) {
        Ok(())
    } else {
        Err("an offset is within a character".into())
    }
}

macro_rules! bytes_field {
    ($type:ty, $view:ty, $data_type:expr, $reader:ty) => {
        impl Field for $type {
            type View<'a> = &'a $view;
            type Reader<'a> = $reader;
            type Value<'a> = Cow<'a, $view>;
            type Builder = BytesBuilder;

            const DATA_TYPE: DataType = $data_type;

            fn builder(rows: usize) -> BytesBuilder {
                BytesBuilder::new(rows)
            }

            #[inline]
            fn push(builder: &mut BytesBuilder, value: Cow<'_, $view>) {
                let value: &$view = &value;
                builder.push(value.as_ref());
            }

            fn push_slot(builder: &mut BytesBuilder) {
                builder.push(&[]);
            }

            fn truncate(builder: &mut BytesBuilder, rows: usize) {
                builder.truncate(rows);
            }

            fn finish(builder: BytesBuilder) -> Column {
                builder.finish()
            }
        }
    };
}

bytes_field!(Text, str, DataType::Utf8, TextReader<'a>);
bytes_field!(Bytes, [u8], DataType::Binary, BytesReader<'a>);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{BytesValues, DictionaryValues};

    fn texts(column: &Column, rows: usize) -> Vec<Option<&str>> {
        let reader = TextReader::new(column, rows).expect("a text column");
        (0..rows).map(|row| reader.get(row)).collect()
    }

    #[test]
    fn both_layouts_are_read() {
        let mut plain = <Option<Text>>::builder(0);
        for value in [Some("a"), None, Some("äö"), Some("")] {
            <Option<Text>>::push(&mut plain, value.map(Cow::from));
        }
        let plain = <Option<Text>>::finish(plain);
        assert_eq!(texts(&plain, 4), [Some("a"), None, Some("äö"), Some("")]);

        let values = BytesValues { offsets: vec![0, 1, 5], data: "aäö".into() };
        let dictionary = DictionaryValues { indices: vec![1, 0, 9, 1], values };
        let column = Column { validity: Some(vec![0b1011]), values: Values::Dictionary(dictionary) };
        assert_eq!(texts(&column, 4), [Some("äö"), Some("a"), None, Some("äö")]);
    }

    #[test]
    fn a_column_that_breaks_the_contract_is_refused() {
        let bytes = |data: &[u8]| Column {
            validity: None,
            values: Values::Bytes(BytesValues { offsets: vec![0, 1], data: data.into() }),
        };
        assert!(TextReader::new(&bytes(b"a"), 1).is_ok());
        assert!(TextReader::new(&bytes(b"a"), 2).expect_err("rows").contains("1 values for 2 rows"));
        let offsets = |offsets: &[u32]| Column {
            validity: None,
            values: Values::Bytes(BytesValues { offsets: offsets.into(), data: b"abc".into() }),
        };
        assert!(TextReader::new(&offsets(&[0, 2, 3]), 2).is_ok());
        for wrong in [[0, 4, 3], [0, 2, 4], [0, 1, 2], [3, 0, 3]] {
            assert!(TextReader::new(&offsets(&wrong), 2).expect_err("offsets").contains("descend"));
            assert!(BytesReader::new(&offsets(&wrong), 2).is_err());
        }
        let half = Column {
            validity: None,
            values: Values::Bytes(BytesValues { offsets: vec![0, 1, 2], data: "ä".into() }),
        };
        assert!(TextReader::new(&half, 2).expect_err("half").contains("within a character"));
        assert!(TextReader::new(&bytes(b"\xff"), 1).expect_err("UTF-8").contains("not UTF-8"));
        let ints = Column { validity: None, values: Values::Ints(vec![1]) };
        assert!(TextReader::new(&ints, 1).expect_err("layout").contains("ints"));
    }
}
