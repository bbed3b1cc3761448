//! A value of any type of column.

use std::fmt;

use crate::{Date, Decimal, Timestamp};

/// A value of a column, in or out. Equal to the Rust value that it stands for: `assert_eq!(value, "other")`.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
pub enum Value {
    /// No value.
    Null,
    /// Of a `Bool` column.
    Bool(bool),
    /// Of an `Int` column.
    Int(i64),
    /// Of a `Float` column.
    Float(f64),
    /// Of a `Text` column.
    Text(String),
    /// Of a `Bytes` column.
    Bytes(Vec<u8>),
    /// Of a `Timestamp` column.
    Timestamp(Timestamp),
    /// Of a `Date` column.
    Date(Date),
    /// Of a `Decimal` column: unscaled value and scale.
    Decimal(i64, u8),
}

macro_rules! from {
    ($($type:ty => |$value:ident| $made:expr;)*) => {
        $(impl From<$type> for Value {
            fn from($value: $type) -> Self {
                $made
            }
        }

        impl PartialEq<$type> for Value {
            fn eq(&self, other: &$type) -> bool {
                let other: Value = other.clone().into();
                *self == other
            }
        })*
    };
}

from! {
    bool => |value| Value::Bool(value);
    i32 => |value| Value::Int(value.into());
    i64 => |value| Value::Int(value);
    f64 => |value| Value::Float(value);
    &str => |value| Value::Text(value.into());
    String => |value| Value::Text(value);
    &[u8] => |value| Value::Bytes(value.into());
    Vec<u8> => |value| Value::Bytes(value);
    Timestamp => |value| Value::Timestamp(value);
    Date => |value| Value::Date(value);
}

impl<const P: u8, const S: u8> From<Decimal<P, S>> for Value {
    fn from(value: Decimal<P, S>) -> Self {
        Value::Decimal(value.0, S)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(value) => value.fmt(f),
            Value::Int(value) => value.fmt(f),
            Value::Float(value) => write!(f, "{value:?}"),
            Value::Text(value) => f.write_str(value),
            Value::Bytes(value) => write!(f, "{}", value.escape_ascii()),
            Value::Timestamp(value) => value.fmt(f),
            Value::Date(value) => value.fmt(f),
            Value::Decimal(value, scale) => {
                let (sign, digits) = (if *value < 0 { "-" } else { "" }, value.unsigned_abs().to_string());
                let scale = usize::from(*scale);
                let digits = format!("{digits:0>width$}", width = scale + 1);
                let (whole, fraction) = digits.split_at(digits.len() - scale);
                write!(f, "{sign}{whole}{}{fraction}", if scale > 0 { "." } else { "" })
            }
        }
    }
}
