//! Text of few distinct values, in the dictionary layout both ways: a row is a number, and its text is not touched.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};

use super::bytes::texts;
use super::{Bits, BytesBuilder, Field, Read};
use crate::Result;
use crate::stored::{Input, Stored};
use crate::wire::{Column, DataType, DictionaryValues, Values};

/// Text of few distinct values: read and written as a [`Term`]. It crosses as a dictionary, in and out. As a
/// [`Key`](crate::Key) it is kept as its text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Coded(pub(crate) String);

impl Stored for Coded {
    fn write(&self, bytes: &mut Vec<u8>) {
        self.0.write(bytes);
    }

    fn read(input: &mut Input<'_>) -> Option<Self> {
        String::read(input).map(Coded)
    }
}

impl From<String> for Coded {
    fn from(text: String) -> Self {
        Coded(text)
    }
}

/// A text, and its number: within a batch the same number is the same text. [`Terms`](crate::Terms) makes other terms of
/// terms; else it is used as the `&str` that it is.
///
/// `"x".into()` makes one whose number nobody else has: for texts of some rows, not of all.
#[derive(Clone, Copy, Debug)]
pub struct Term<'a> {
    pub(crate) text: &'a str,
    pub(crate) code: u32,
    /// Who gave the number. Nobody gives another text the same one.
    pub(crate) issuer: Issuer,
}

/// Who gives numbers to texts: each is another one than all before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Issuer(u64);

impl Issuer {
    /// Not one of those before.
    pub(crate) fn new() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Issuer(LAST.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// One that has given no number.
    pub(crate) const NOBODY: Self = Issuer(0);
}

impl Deref for Term<'_> {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        self.text
    }
}

impl PartialEq for Term<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl<'a> From<&'a str> for Term<'a> {
    fn from(text: &'a str) -> Self {
        Term { text, code: 0, issuer: Issuer::new() }
    }
}

/// Reads a column of [`Coded`].
#[derive(Clone, Debug)]
pub struct TermReader<'a> {
    validity: Bits<'a>,
    /// For each row the index of its text; none: each row has its own.
    indices: Option<&'a [u32]>,
    texts: Vec<&'a str>,
    issuer: Issuer,
}

impl<'a> Read<'a> for TermReader<'a> {
    type View = Term<'a>;

    fn new(column: &'a Column, rows: usize) -> Result<Self> {
        let (validity, indices, texts) = texts(column, rows)?;
        Ok(TermReader { validity, indices, texts, issuer: Issuer::new() })
    }

    #[inline]
    fn get(&self, row: usize) -> Option<Term<'a>> {
        if !self.validity.get(row) {
            return None;
        }
        let code = match self.indices {
            #[allow(clippy::cast_possible_truncation)]
            None => row as u32,
            Some(indices) => indices[row],
        };
        Some(Term { text: self.texts[code as usize], code, issuer: self.issuer })
    }
}

/// A column of [`Coded`] that grows.
#[derive(Clone, Debug)]
pub struct TermBuilder {
    indices: Vec<u32>,
    values: BytesBuilder,
    /// Whose numbers are known.
    issuer: Issuer,
    /// The indices of their texts, or `UNKNOWN`.
    known: Vec<u32>,
}

const UNKNOWN: u32 = u32::MAX;

impl TermBuilder {
    #[inline]
    fn push(&mut self, term: Term<'_>) {
        let known = match self.known.get(term.code as usize) {
            Some(known) if term.issuer == self.issuer => *known,
            _ => UNKNOWN,
        };
        let index = if known == UNKNOWN { self.learn(term) } else { known };
        self.indices.push(index);
    }

    /// Takes up a text. Its index.
    #[cold]
    #[inline(never)]
    fn learn(&mut self, term: Term<'_>) -> u32 {
        if term.issuer != self.issuer {
            self.issuer = term.issuer;
            self.known.clear();
        }
        let code = term.code as usize;
        if self.known.len() <= code {
            self.known.resize(code + 1, UNKNOWN);
        }
        let index = u32::try_from(self.values.rows()).expect("no more than there are rows");
        self.known[code] = index;
        self.values.push(term.text.as_bytes());
        index
    }
}

impl Field for Coded {
    type View<'a> = Term<'a>;
    type Reader<'a> = TermReader<'a>;
    type Value<'a> = Term<'a>;
    type Builder = TermBuilder;

    const DATA_TYPE: DataType = DataType::Utf8;
    const DICTIONARY: bool = true;

    fn builder(rows: usize) -> TermBuilder {
        TermBuilder {
            indices: Vec::with_capacity(rows),
            values: BytesBuilder::new(0),
            issuer: Issuer::NOBODY,
            known: Vec::new(),
        }
    }

    #[inline]
    fn push(builder: &mut TermBuilder, term: Term<'_>) {
        builder.push(term);
    }

    fn push_slot(builder: &mut TermBuilder) {
        builder.indices.push(0);
    }

    fn truncate(builder: &mut TermBuilder, rows: usize) {
        builder.indices.truncate(rows);
    }

    fn finish(builder: TermBuilder) -> Column {
        let Values::Bytes(values) = builder.values.finish().values else { unreachable!("its layout") };
        Column {
            validity: None,
            values: Values::Dictionary(DictionaryValues { indices: builder.indices, values }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Text;
    use crate::wire::BytesValues;
    use crate::{Result, Terms};

    /// What is read of a column that was written so.
    fn read(column: &Column, rows: usize) -> Vec<Option<&str>> {
        let reader = <Text as Field>::Reader::new(column, rows).expect("a text column");
        (0..rows).map(|row| reader.get(row)).collect()
    }

    #[test]
    fn both_layouts_are_read() {
        let values = BytesValues { offsets: vec![0, 1, 5], data: "aäö".into() };
        let dictionary = DictionaryValues { indices: vec![1, 0, 9, 1], values: values.clone() };
        let column = Column { validity: Some(vec![0b1011]), values: Values::Dictionary(dictionary) };
        let reader = TermReader::new(&column, 4).expect("a column of terms");
        let texts: Vec<_> = (0..4).map(|row| reader.get(row).map(|term| term.text)).collect();
        assert_eq!(texts, [Some("äö"), Some("a"), None, Some("äö")]);
        let column = Column { validity: None, values: Values::Bytes(values) };
        let reader = TermReader::new(&column, 2).expect("a column of terms");
        assert_eq!((reader.get(0), reader.get(1)), (Some("a".into()), Some("äö".into())));
        assert!(TermReader::new(&column, 3).expect_err("rows").contains("2 values for 3 rows"));
        let half = BytesValues { offsets: vec![0, 1, 2], data: "ä".into() };
        let half = Column { validity: None, values: Values::Bytes(half) };
        assert!(TermReader::new(&half, 2).expect_err("half").contains("within a character"));
    }

    #[test]
    fn what_is_written_is_read_whoever_gave_the_numbers() -> Result<()> {
        let mut coded = <Option<Coded>>::builder(0);
        for text in ["b", "a", "b", "c"] {
            <Option<Coded>>::push(&mut coded, Some(text.into()));
        }
        <Option<Coded>>::push(&mut coded, None);
        let coded = <Option<Coded>>::finish(coded);
        assert_eq!(read(&coded, 5), [Some("b"), Some("a"), Some("b"), Some("c"), None]);

        // Numbers of the column itself, of two tables of terms, and of nobody, in one column.
        let values = BytesValues { offsets: vec![0, 1, 2], data: "xy".into() };
        let column = DictionaryValues { indices: vec![0, 1, 1, 0], values };
        let column = Column { validity: None, values: Values::Dictionary(column) };
        let (mut upper, mut twice) = (Terms::default(), Terms::default());
        for _ in 0..2 {
            let reader = TermReader::new(&column, 4)?;
            let (mut builder, mut want) = (Coded::builder(4), Vec::new());
            for row in 0..20 {
                let term = reader.get(row % 4).expect("no nulls");
                let made = match row * 7 % 5 {
                    0 => term,
                    1 => upper.get(term, |text| text.to_uppercase()),
                    2 => twice.get(term, |text| text.repeat(2)),
                    3 => twice.get_option(None, |text| format!("{text:?}")),
                    _ => "z".into(),
                };
                want.push(Some(made.text.to_owned()));
                Coded::push(&mut builder, made);
                if row % 6 == 5 {
                    want.pop();
                    Coded::truncate(&mut builder, want.len());
                }
            }
            let column = Coded::finish(builder);
            assert_eq!(read(&column, want.len()), want.iter().map(Option::as_deref).collect::<Vec<_>>());
            assert!(want.iter().flatten().any(|text| text == "XX" || text == "yy"), "{want:?}");
        }
        Ok(())
    }

    #[test]
    fn a_text_is_written_once() {
        let values = BytesValues { offsets: vec![0, 1, 2], data: "xy".into() };
        let indices: Vec<u32> = (0..100).map(|row| row % 2).collect();
        let column =
            Column { validity: None, values: Values::Dictionary(DictionaryValues { indices, values }) };
        let reader = TermReader::new(&column, 100).expect("a column of terms");
        let (mut terms, mut builder, mut made) = (Terms::default(), Coded::builder(100), 0);
        for row in 0..100 {
            let term = terms.get(reader.get(row).expect("no nulls"), |text| {
                made += 1;
                text.to_uppercase()
            });
            Coded::push(&mut builder, term);
        }
        let Values::Dictionary(written) = Coded::finish(builder).values else { panic!("its layout") };
        assert_eq!((made, written.values.offsets, &written.values.data[..]), (2, vec![0, 1, 2], &b"XY"[..]));
    }
}
