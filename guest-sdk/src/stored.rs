//! How state is written: numbers in as few bytes as they need, texts with their length, one after the other.
//!
//! A codec of our own, because serde and postcard make a component some kilobytes larger.

use crate::{Date, Decimal, Timestamp};

/// What can be in a state. The same value has the same bytes; bytes that are no value are refused.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be written to a state",
    note = "numbers, bool, String, Timestamp, Date, Decimal, Option and tuples of them can; for a struct, write and read its fields as a tuple"
)]
pub trait Stored: Sized {
    /// Appends it.
    fn write(&self, bytes: &mut Vec<u8>);
    /// Takes it from the front; none if there is none.
    fn read(input: &mut Input<'_>) -> Option<Self>;
}

/// Bytes that are read from the front.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// All of these.
    pub fn new(bytes: &'a [u8]) -> Self {
        Input(bytes)
    }

    /// What is left.
    pub fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// So many bytes.
    pub fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    /// Bytes with their length before them.
    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = u64::read(self)?;
        self.take(usize::try_from(length).ok()?)
    }
}

/// Appends bytes with their length before them.
#[inline(never)]
pub fn write_bytes(value: &[u8], bytes: &mut Vec<u8>) {
    (value.len() as u64).write(bytes);
    bytes.extend_from_slice(value);
}

impl Stored for u64 {
    /// Seven bits a byte, the least significant first; all but the last byte have the highest bit set.
    #[inline(never)]
    fn write(&self, bytes: &mut Vec<u8>) {
        let mut rest = *self;
        while rest > 0x7f {
            bytes.push(0x80 | rest.to_le_bytes()[0]);
            rest >>= 7;
        }
        bytes.push(rest.to_le_bytes()[0]);
    }

    #[inline(never)]
    fn read(input: &mut Input<'_>) -> Option<Self> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = input.take(1)?[0];
            let bits = u64::from(byte & 0x7f);
            // Neither more bits than there are, nor an end that says nothing.
            if bits << shift >> shift != bits || (byte == 0 && shift > 0) {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

impl Stored for i64 {
    /// The sign last, so that small numbers below zero are short, too.
    #[inline(never)]
    fn write(&self, bytes: &mut Vec<u8>) {
        (self << 1 ^ self >> 63).cast_unsigned().write(bytes);
    }

    #[inline(never)]
    fn read(input: &mut Input<'_>) -> Option<Self> {
        let value = u64::read(input)?;
        Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }
}

macro_rules! through {
    ($($type:ty: $other:ty, |$value:ident| $to:expr, |$from:ident| $back:expr;)*) => {
        $(impl Stored for $type {
            fn write(&self, bytes: &mut Vec<u8>) {
                let $value = self;
                <$other>::write(&$to, bytes);
            }

            fn read(input: &mut Input<'_>) -> Option<Self> {
                let $from = <$other>::read(input)?;
                $back
            }
        })*
    };
}

through! {
    bool: u64, |value| u64::from(*value), |from| if from < 2 { Some(from == 1) } else { None };
    u32: u64, |value| u64::from(*value), |from| from.try_into().ok();
    i32: i64, |value| i64::from(*value), |from| from.try_into().ok();
    Timestamp: i64, |value| value.0, |from| Some(Timestamp(from));
    Date: i32, |value| value.0, |from| Some(Date(from));
}

impl<const P: u8, const S: u8> Stored for Decimal<P, S> {
    fn write(&self, bytes: &mut Vec<u8>) {
        self.0.write(bytes);
    }

    fn read(input: &mut Input<'_>) -> Option<Self> {
        i64::read(input).map(Decimal)
    }
}

impl Stored for f64 {
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.to_le_bytes());
    }

    fn read(input: &mut Input<'_>) -> Option<Self> {
        input.take(8)?.try_into().ok().map(f64::from_le_bytes)
    }
}

impl Stored for String {
    fn write(&self, bytes: &mut Vec<u8>) {
        write_bytes(self.as_bytes(), bytes);
    }

    #[inline(never)]
    fn read(input: &mut Input<'_>) -> Option<Self> {
        std::str::from_utf8(input.bytes()?).ok().map(Into::into)
    }
}

impl<T: Stored> Stored for Option<T> {
    fn write(&self, bytes: &mut Vec<u8>) {
        self.is_some().write(bytes);
        if let Some(value) = self {
            value.write(bytes);
        }
    }

    fn read(input: &mut Input<'_>) -> Option<Self> {
        if bool::read(input)? { T::read(input).map(Some) } else { Some(None) }
    }
}

impl<T: Stored> Stored for Vec<T> {
    fn write(&self, bytes: &mut Vec<u8>) {
        (self.len() as u64).write(bytes);
        self.iter().for_each(|value| value.write(bytes));
    }

    fn read(input: &mut Input<'_>) -> Option<Self> {
        let mut values = Vec::new();
        // One by one: a wrong length must not allocate.
        for _ in 0..u64::read(input)? {
            values.push(T::read(input)?);
        }
        Some(values)
    }
}

macro_rules! tuple {
    ($($part:ident $index:tt),*) => {
        impl<$($part: Stored),*> Stored for ($($part,)*) {
            #[allow(unused_variables)]
            fn write(&self, bytes: &mut Vec<u8>) {
                $(self.$index.write(bytes);)*
            }

            #[allow(unused_variables)]
            fn read(input: &mut Input<'_>) -> Option<Self> {
                Some(($($part::read(input)?,)*))
            }
        }
    };
}

tuple!();
tuple!(A 0);
tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);
tuple!(A 0, B 1, C 2, D 3, E 4);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);

#[cfg(test)]
mod tests {
    use super::*;

    fn both<T: Stored + PartialEq + std::fmt::Debug>(value: T, length: usize) {
        let mut bytes = Vec::new();
        value.write(&mut bytes);
        assert_eq!(bytes.len(), length, "{value:?}");
        let mut input = Input::new(&bytes);
        assert_eq!((T::read(&mut input), input.rest().len()), (Some(value), 0));
        for end in 0..length {
            assert_eq!(T::read(&mut Input::new(&bytes[..end])), None);
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for (value, length) in [(0, 1), (127, 1), (128, 2), (1 << 56, 9), (1 << 63, 10), (u64::MAX, 10)] {
            both(value, length);
        }
        for (value, length) in [(0, 1), (-1, 1), (63, 1), (-64, 1), (64, 2), (i64::MIN, 10), (i64::MAX, 10)] {
            both(value, length);
        }
        both((true, -1_i32, 7_u32, Date(-3), Timestamp(1), 0.5), 13);
        both((Decimal::<9, 2>(-5), String::from("ä"), Some(false), None::<bool>, ()), 7);
        both(vec![String::new(), "a".into()], 4);
    }

    #[test]
    fn each_value_has_one_form() {
        assert_eq!(u64::read(&mut Input::new(&[0x80, 0])), None);
        assert_eq!(
            u64::read(&mut Input::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2])),
            None
        );
        assert_eq!(u64::read(&mut Input::new(&[0x80; 20])), None);
        assert_eq!(bool::read(&mut Input::new(&[2])), None);
        assert_eq!(String::read(&mut Input::new(&[1, 0xff])), None);
        assert_eq!(Vec::<u64>::read(&mut Input::new(&[0xff, 0xff, 3, 1])), None);
    }
}
