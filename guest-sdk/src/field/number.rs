//! Booleans, floats and everything that the contract carries as `ints`.

use std::fmt::Debug;
use std::marker::PhantomData;

use super::{Bits, BitsBuilder, Field, Read, unexpected, validity};
use crate::time::{Date, Timestamp};
use crate::wire::{Column, DataType, DecimalType, Values};
use crate::{Float, Int, Result};

/// A number with `S` digits after the point and at most `P` digits in all (`P` at most 18): its unscaled value.
///
/// `Decimal::<9, 2>(1999)` is 19.99.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Decimal<const P: u8, const S: u8>(pub i64);

/// A type that the contract carries as `ints`.
pub trait Integer: Copy + Debug + PartialEq {
    /// The type in the contract.
    const DATA_TYPE: DataType;
    /// From its integer.
    fn from_int(int: i64) -> Self;
    /// Its integer.
    fn to_int(self) -> i64;
}

impl Integer for Int {
    const DATA_TYPE: DataType = DataType::Int64;

    #[inline]
    fn from_int(int: i64) -> Self {
        int
    }

    #[inline]
    fn to_int(self) -> i64 {
        self
    }
}

impl Integer for Timestamp {
    const DATA_TYPE: DataType = DataType::Timestamp;

    #[inline]
    fn from_int(int: i64) -> Self {
        Timestamp(int)
    }

    #[inline]
    fn to_int(self) -> i64 {
        self.0
    }
}

impl Integer for Date {
    const DATA_TYPE: DataType = DataType::Date;

    /// A day beyond the range of `i32` (no host sends one) becomes the last of its range.
    #[inline]
    fn from_int(int: i64) -> Self {
        Date(i32::try_from(int).unwrap_or(if int < 0 { i32::MIN } else { i32::MAX }))
    }

    #[inline]
    fn to_int(self) -> i64 {
        self.0.into()
    }
}

impl<const P: u8, const S: u8> Integer for Decimal<P, S> {
    const DATA_TYPE: DataType = {
        assert!(P >= 1 && P <= 18, "a decimal has 1 to 18 digits");
        assert!(S <= P, "a decimal has no more digits after the point than in all");
        DataType::Decimal(DecimalType { precision: P, scale: S })
    };

    #[inline]
    fn from_int(int: i64) -> Self {
        Decimal(int)
    }

    #[inline]
    fn to_int(self) -> i64 {
        self.0
    }
}

/// Reads a column of [`Integer`]s.
#[derive(Clone, Copy, Debug)]
pub struct IntReader<'a, T> {
    validity: Bits<'a>,
    values: &'a [i64],
    of: PhantomData<T>,
}

impl<'a, T: Integer> Read<'a> for IntReader<'a, T> {
    type View = T;

    fn new(column: &'a Column, rows: usize) -> Result<Self> {
        match &column.values {
            Values::Ints(values) if values.len() == rows => {
                Ok(IntReader { validity: validity(column, rows)?, values, of: PhantomData })
            }
            Values::Ints(values) => Err(format!("{} values for {rows} rows", values.len())),
            values => Err(unexpected(values)),
        }
    }

    #[inline]
    fn get(&self, row: usize) -> Option<T> {
        self.validity.get(row).then(|| T::from_int(self.values[row]))
    }
}

/// Reads a column of floats.
#[derive(Clone, Copy, Debug)]
pub struct FloatReader<'a> {
    validity: Bits<'a>,
    values: &'a [f64],
}

impl<'a> Read<'a> for FloatReader<'a> {
    type View = f64;

    fn new(column: &'a Column, rows: usize) -> Result<Self> {
        match &column.values {
            Values::Floats(values) if values.len() == rows => {
                Ok(FloatReader { validity: validity(column, rows)?, values })
            }
            Values::Floats(values) => Err(format!("{} values for {rows} rows", values.len())),
            values => Err(unexpected(values)),
        }
    }

    #[inline]
    fn get(&self, row: usize) -> Option<f64> {
        self.validity.get(row).then(|| self.values[row])
    }
}

/// Reads a column of booleans.
#[derive(Clone, Copy, Debug)]
pub struct BoolReader<'a> {
    validity: Bits<'a>,
    values: Bits<'a>,
}

impl<'a> Read<'a> for BoolReader<'a> {
    type View = bool;

    fn new(column: &'a Column, rows: usize) -> Result<Self> {
        match &column.values {
            Values::Bits(values) => {
                let values = Bits::new(Some(values), rows).ok_or("there are too few bits")?;
                Ok(BoolReader { validity: validity(column, rows)?, values })
            }
            values => Err(unexpected(values)),
        }
    }

    #[inline]
    fn get(&self, row: usize) -> Option<bool> {
        self.validity.get(row).then(|| self.values.get(row))
    }
}

/// `Field` for types that are read as they are written.
macro_rules! field {
    ([$($generics:tt)*] $type:ty, $data_type:expr, $reader:ty, $builder:ty, $values:ident,
     |$value:ident| $stored:expr, $empty:expr, $with_capacity:expr, $finish:expr) => {
        impl<$($generics)*> Field for $type {
            type View<'a> = $type;
            type Reader<'a> = $reader;
            type Value<'a> = $type;
            type Builder = $builder;

            const DATA_TYPE: DataType = $data_type;

            fn builder(rows: usize) -> Self::Builder {
                $with_capacity(rows)
            }

            #[inline]
            fn push(builder: &mut Self::Builder, $value: $type) {
                builder.push($stored);
            }

            fn push_slot(builder: &mut Self::Builder) {
                builder.push($empty);
            }

            fn truncate(builder: &mut Self::Builder, rows: usize) {
                builder.truncate(rows);
            }

            fn finish(builder: Self::Builder) -> Column {
                Column { validity: None, values: Values::$values($finish(builder)) }
            }
        }
    };
}

macro_rules! integer_field {
    ([$($generics:tt)*] $type:ty) => {
        field!([$($generics)*] $type, <$type as Integer>::DATA_TYPE, IntReader<'a, $type>, Vec<i64>, Ints,
               |value| value.to_int(), 0, Vec::with_capacity, std::convert::identity);
    };
}

integer_field!([] Int);
integer_field!([] Timestamp);
integer_field!([] Date);
integer_field!([const P: u8, const S: u8] Decimal<P, S>);
field!([] Float, DataType::Float64, FloatReader<'a>, Vec<f64>, Floats,
       |value| value, 0.0, Vec::with_capacity, std::convert::identity);
field!([] bool, DataType::Boolean, BoolReader<'a>, BitsBuilder, Bits,
       |value| value, false, BitsBuilder::with_capacity, BitsBuilder::finish);
