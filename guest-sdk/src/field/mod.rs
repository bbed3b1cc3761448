//! Field types: how a value of a column is read and written.
//!
//! A field type is a name in `input!` and `output!`. It says what the author gets ([`Field::View`]), what the author
//! gives ([`Field::Value`]), and how both lie in the columns of the contract. `Option<F>` is `F` with nulls.
//!
//! | field type | contract | read as | written as |
//! | --- | --- | --- | --- |
//! | [`Text`](crate::Text) | utf8 | `&str` | `Cow<str>` |
//! | [`Coded`](crate::Coded) | utf8, as a dictionary | [`Term`](crate::Term) | [`Term`](crate::Term) |
//! | [`Bytes`](crate::Bytes) | binary | `&[u8]` | `Cow<[u8]>` |
//! | [`Int`](crate::Int) | int64 | `i64` | `i64` |
//! | [`Float`](crate::Float) | float64 | `f64` | `f64` |
//! | [`Bool`](crate::Bool) | boolean | `bool` | `bool` |
//! | [`Timestamp`](crate::Timestamp) | timestamp | `Timestamp` | `Timestamp` |
//! | [`Date`](crate::Date) | date | `Date` | `Date` |
//! | [`Decimal<P, S>`](crate::Decimal) | decimal(P, S) | `Decimal<P, S>` | `Decimal<P, S>` |

mod bits;
mod builder;
mod bytes;
mod number;
mod term;

use std::fmt::Debug;
use std::slice::Iter;

pub use bits::{Bits, BitsBuilder};
pub use builder::BytesBuilder;
pub use bytes::{Bytes, BytesReader, Text, TextReader};
pub use number::{BoolReader, Decimal, FloatReader, IntReader, Integer};
pub(crate) use term::Issuer;
pub use term::{Coded, Term, TermBuilder, TermReader};

use crate::Result;
use crate::wire::{Column, DataType, Values};

/// A type that a column can have.
pub trait Field {
    /// What reading a row gives.
    type View<'a>: Copy + Debug + PartialEq;
    /// Reads a column.
    type Reader<'a>: Read<'a, View = Self::View<'a>>;
    /// What writing a row takes.
    type Value<'a>: Clone + Debug + PartialEq;
    /// A column that grows.
    type Builder;

    /// The type in the contract.
    const DATA_TYPE: DataType;
    /// Whether there may be nulls.
    const NULLABLE: bool = false;
    /// Whether it is read in the dictionary layout, also without `[dictionary]`.
    const DICTIONARY: bool = false;

    /// An empty column with room for so many rows.
    fn builder(rows: usize) -> Self::Builder;
    /// Appends a value.
    fn push(builder: &mut Self::Builder, value: Self::Value<'_>);
    /// Appends a slot of no meaning, for a null.
    fn push_slot(builder: &mut Self::Builder);
    /// Keeps the first rows.
    fn truncate(builder: &mut Self::Builder, rows: usize);
    /// The column.
    fn finish(builder: Self::Builder) -> Column;
}

/// Reads the values of one column.
pub trait Read<'a>: Sized {
    /// What reading a row gives.
    type View;

    /// Looks at a column of so many rows; an error if its layout is not what the contract says.
    fn new(column: &'a Column, rows: usize) -> Result<Self>;
    /// The value of a row; none: null. Panics beyond the last row.
    fn get(&self, row: usize) -> Option<Self::View>;
}

/// Reads the next column. Not once more in a component for each column, but for each type.
#[doc(hidden)]
#[inline(never)]
pub fn reader<'a, R: Read<'a>>(columns: &mut Iter<'a, Column>, name: &str, rows: usize) -> Result<R> {
    let column = columns.next().ok_or_else(|| wrong(name, "missing"))?;
    R::new(column, rows).map_err(|error| wrong(name, &error))
}

#[cold]
fn wrong(name: &str, error: &str) -> String {
    format!("column {name}: {error}")
}

/// Where nulls are, checked against the number of rows.
fn validity(column: &Column, rows: usize) -> Result<Bits<'_>> {
    Bits::new(column.validity.as_deref(), rows).ok_or_else(|| "the validity is too short".into())
}

/// The complaint about a layout that the contract does not allow for the type.
fn unexpected(values: &Values) -> String {
    let layout = match values {
        Values::Bits(_) => "bits",
        Values::Ints(_) => "ints",
        Values::Floats(_) => "floats",
        Values::Bytes(_) => "bytes",
        Values::Dictionary(_) => "dictionary",
    };
    format!("the layout {layout} does not carry this type")
}

/// Reads a column with nulls.
#[derive(Clone, Copy, Debug)]
pub struct OptionReader<R>(R);

impl<'a, R: Read<'a>> Read<'a> for OptionReader<R> {
    type View = Option<R::View>;

    fn new(column: &'a Column, rows: usize) -> Result<Self> {
        R::new(column, rows).map(OptionReader)
    }

    #[inline]
    fn get(&self, row: usize) -> Option<Option<R::View>> {
        Some(self.0.get(row))
    }
}

/// A column with nulls that grows. The bitmap begins with the first null.
#[derive(Clone, Debug)]
pub struct OptionBuilder<B> {
    values: B,
    validity: Option<BitsBuilder>,
    rows: usize,
}

impl<F: Field> Field for Option<F> {
    type View<'a> = Option<F::View<'a>>;
    type Reader<'a> = OptionReader<F::Reader<'a>>;
    type Value<'a> = Option<F::Value<'a>>;
    type Builder = OptionBuilder<F::Builder>;

    const DATA_TYPE: DataType = F::DATA_TYPE;
    const NULLABLE: bool = true;
    const DICTIONARY: bool = F::DICTIONARY;

    fn builder(rows: usize) -> Self::Builder {
        OptionBuilder { values: F::builder(rows), validity: None, rows: 0 }
    }

    #[inline]
    fn push(builder: &mut Self::Builder, value: Option<F::Value<'_>>) {
        match value {
            Some(value) => {
                F::push(&mut builder.values, value);
                if let Some(validity) = &mut builder.validity {
                    validity.push(true);
                }
            }
            None => {
                F::push_slot(&mut builder.values);
                let rows = builder.rows;
                builder.validity.get_or_insert_with(|| BitsBuilder::set(rows)).push(false);
            }
        }
        builder.rows += 1;
    }

    fn push_slot(builder: &mut Self::Builder) {
        Self::push(builder, None);
    }

    fn truncate(builder: &mut Self::Builder, rows: usize) {
        if rows < builder.rows {
            F::truncate(&mut builder.values, rows);
            if let Some(validity) = &mut builder.validity {
                validity.truncate(rows);
            }
            builder.rows = rows;
        }
    }

    fn finish(builder: Self::Builder) -> Column {
        let column = F::finish(builder.values);
        Column { validity: builder.validity.map(BitsBuilder::finish), ..column }
    }
}
