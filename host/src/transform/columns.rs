//! Columns across the boundary: Arrow arrays go in as borrowed slices, what comes back is checked
//! and becomes Arrow arrays. This module is where bytes of a guest become bytes of the lake.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array,
    Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType,
};

use super::bindings::types as wit;
use super::dictionary::Dictionary;
use super::limits::Budget;
use super::spec::type_name;

/// A column between transforms.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) array: ArrayRef,
    /// The same as a dictionary, if a guest returned it so: whoever asks for one gets this.
    pub(super) dictionary: Option<Arc<Dictionary>>,
}

impl From<ArrayRef> for Column {
    fn from(array: ArrayRef) -> Self {
        Column { array, dictionary: None }
    }
}

impl Column {
    /// Some of the rows. The dictionary is kept with all of them only: else its values, which may be as many as there are
    /// rows, would cross with each part.
    pub(super) fn slice(&self, start: usize, rows: usize) -> Self {
        if (start, rows) == (0, self.array.len()) {
            return self.clone();
        }
        self.array.slice(start, rows).into()
    }
}

/// One column on its way into a guest. Borrows from the array where the layouts agree.
pub(super) struct Crossing<'a> {
    validity: Option<Cow<'a, [u8]>>,
    values: Layout<'a>,
}

enum Layout<'a> {
    Bits(Cow<'a, [u8]>),
    Ints(Cow<'a, [i64]>),
    Floats(&'a [f64]),
    Bytes { offsets: Cow<'a, [u32]>, data: &'a [u8] },
    Dictionary(Cow<'a, Dictionary>),
}

impl<'a> Crossing<'a> {
    /// Lays out a column of one of the contract's types, as a dictionary or not.
    pub(super) fn new(column: &'a Column, dictionary: bool) -> Result<Self, String> {
        let array: &'a dyn Array = column.array.as_ref();
        let validity = array.nulls().filter(|n| n.null_count() > 0).map(|n| packed(n.inner()));
        let values = match array.data_type() {
            _ if let (true, Some(made)) = (dictionary, &column.dictionary) => {
                Layout::Dictionary(Cow::Borrowed(made))
            }
            DataType::Boolean => Layout::Bits(packed(array.as_boolean().values())),
            DataType::Int64 => Layout::Ints(Cow::Borrowed(array.as_primitive::<Int64Type>().values())),
            DataType::Timestamp(..) => {
                Layout::Ints(Cow::Borrowed(array.as_primitive::<TimestampMicrosecondType>().values()))
            }
            DataType::Date32 => Layout::Ints(
                array.as_primitive::<Date32Type>().values().iter().map(|d| i64::from(*d)).collect(),
            ),
            DataType::Decimal128(..) => {
                let values = array.as_primitive::<Decimal128Type>().values().iter();
                // Precision is at most 18, so a value that does not fit stands behind a null.
                Layout::Ints(values.map(|d| i64::try_from(*d).unwrap_or_default()).collect())
            }
            DataType::Float64 => Layout::Floats(array.as_primitive::<Float64Type>().values()),
            DataType::Utf8 => {
                let array = array.as_string::<i32>();
                bytes(array.offsets(), array.value_data(), array, dictionary)
            }
            DataType::Binary => {
                let array = array.as_binary::<i32>();
                bytes(array.offsets(), array.value_data(), array, dictionary)
            }
            other => return Err(format!("{other} cannot cross")),
        };
        Ok(Crossing { validity, values })
    }

    /// How many bytes will be copied into the guest.
    pub(super) fn size(&self) -> usize {
        self.validity.as_ref().map_or(0, |v| v.len())
            + match &self.values {
                Layout::Bits(bits) => bits.len(),
                Layout::Ints(ints) => ints.len() * 8,
                Layout::Floats(floats) => floats.len() * 8,
                Layout::Bytes { offsets, data } => offsets.len() * 4 + data.len(),
                Layout::Dictionary(made) => (made.indices.len() + made.offsets.len()) * 4 + made.data.len(),
            }
    }

    /// The column as the call wants it.
    pub(super) fn param(&self) -> wit::ColumnParam<'_> {
        wit::ColumnParam {
            validity: self.validity.as_deref(),
            values: match &self.values {
                Layout::Bits(bits) => wit::ValuesParam::Bits(bits),
                Layout::Ints(ints) => wit::ValuesParam::Ints(ints),
                Layout::Floats(floats) => wit::ValuesParam::Floats(floats),
                Layout::Bytes { offsets, data } => {
                    wit::ValuesParam::Bytes(wit::BytesValuesParam { offsets, data })
                }
                Layout::Dictionary(made) => wit::ValuesParam::Dictionary(wit::DictionaryValuesParam {
                    indices: &made.indices,
                    values: wit::BytesValuesParam { offsets: &made.offsets, data: &made.data },
                }),
            },
        }
    }
}

/// Bits from the first row on, exactly as many bytes as the rows need.
fn packed(bits: &BooleanBuffer) -> Cow<'_, [u8]> {
    let bytes = bits.len().div_ceil(8);
    if bits.offset().is_multiple_of(8) {
        let start = bits.offset() / 8;
        return Cow::Borrowed(&bits.values()[start..start + bytes]);
    }
    Cow::Owned(bits.sliced().as_slice()[..bytes].to_vec())
}

fn bytes<'a>(
    offsets: &'a OffsetBuffer<i32>,
    data: &'a [u8],
    array: &dyn Array,
    dictionary: bool,
) -> Layout<'a> {
    let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
    let data = &data[index(first)..index(last)];
    if dictionary {
        return Layout::Dictionary(Cow::Owned(Dictionary::of(offsets, data, array)));
    }
    // Arrow's offsets are not negative, so their bits are those of an unsigned number.
    let offsets = match first {
        0 => Cow::Borrowed(bytemuck::cast_slice::<i32, u32>(offsets)),
        _ => offsets.iter().map(|o| o.wrapping_sub(first).cast_unsigned()).collect(),
    };
    Layout::Bytes { offsets, data }
}

/// An Arrow offset as an index: it is never negative.
pub(super) fn index(offset: i32) -> usize {
    usize::try_from(offset).unwrap_or_default()
}

/// A length that is bounded by an Arrow offset.
pub(super) fn number(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Checks a column that a guest returned and makes it an array, and keeps its dictionary. Its bytes are taken from the budget of the call.
pub(super) fn accept(
    column: wit::ColumnResult,
    rows: usize,
    data_type: &DataType,
    nullable: bool,
    budget: &mut Budget,
) -> Result<Column, String> {
    budget.take(column.validity.as_ref().map_or(0, Vec::len))?;
    // A column with fewer values is refused below.
    budget.take(fixed(data_type, rows))?;
    let nulls = match column.validity {
        None => None,
        Some(bits) if bits.len() != rows.div_ceil(8) => {
            return Err(format!("its validity has {} bytes for {rows} rows", bits.len()));
        }
        Some(bits) => Some(NullBuffer::new(BooleanBuffer::new(Buffer::from_vec(bits), 0, rows))),
    };
    let nulls = nulls.filter(|n| n.null_count() > 0);
    if let (false, Some(nulls)) = (nullable, &nulls) {
        return Err(format!("{} of its values are null, and it is not nullable", nulls.null_count()));
    }
    let length = |found: usize| {
        if found == rows { Ok(()) } else { Err(format!("it has {found} values for {rows} rows")) }
    };
    let array: ArrayRef = match (data_type, column.values) {
        (DataType::Boolean, wit::ValuesResult::Bits(bits)) => {
            if bits.len() != rows.div_ceil(8) {
                return Err(format!("it has {} bytes of bits for {rows} rows", bits.len()));
            }
            Arc::new(BooleanArray::new(BooleanBuffer::new(Buffer::from_vec(bits), 0, rows), nulls))
        }
        (DataType::Int64, wit::ValuesResult::Ints(ints)) => {
            length(ints.len())?;
            Arc::new(Int64Array::new(ints.into(), nulls))
        }
        (DataType::Timestamp(..), wit::ValuesResult::Ints(ints)) => {
            length(ints.len())?;
            Arc::new(TimestampMicrosecondArray::new(ints.into(), nulls).with_timezone("UTC"))
        }
        (DataType::Date32, wit::ValuesResult::Ints(ints)) => {
            length(ints.len())?;
            let days = narrow(&ints, nulls.as_ref(), |day| i32::try_from(day).ok())?;
            Arc::new(Date32Array::new(days.into(), nulls))
        }
        (DataType::Decimal128(precision, scale), wit::ValuesResult::Ints(ints)) => {
            length(ints.len())?;
            let most = 10_i128.pow(u32::from(*precision));
            let values = narrow(&ints, nulls.as_ref(), |v| {
                let v = i128::from(v);
                (v.abs() < most).then_some(v)
            })?;
            let array = Decimal128Array::new(values.into(), nulls);
            Arc::new(array.with_precision_and_scale(*precision, *scale).map_err(|e| e.to_string())?)
        }
        (DataType::Float64, wit::ValuesResult::Floats(floats)) => {
            length(floats.len())?;
            Arc::new(Float64Array::new(floats.into(), nulls))
        }
        (DataType::Utf8 | DataType::Binary, wit::ValuesResult::Bytes(values)) => {
            let (offsets, data) = offsets(values)?;
            length(offsets.len() - 1)?;
            budget.take(data.len())?;
            variable(data_type, offsets, data, nulls)?
        }
        (DataType::Utf8 | DataType::Binary, wit::ValuesResult::Dictionary(dictionary)) => {
            length(dictionary.indices.len())?;
            let (ends, values) = offsets(dictionary.values)?;
            let dictionary = Dictionary { indices: dictionary.indices, offsets: ends, data: values };
            let (offsets, data) = dictionary.unfold(nulls.as_ref(), budget)?;
            let array = variable(data_type, offsets, data, nulls)?;
            let dictionary = dictionary.checked(*data_type == DataType::Utf8).map(Arc::new);
            return Ok(Column { array, dictionary });
        }
        (expected, _) => return Err(format!("its layout is not that of {}", type_name(expected))),
    };
    Ok(array.into())
}

/// Bytes of an array of so many rows, without the bytes of its strings and its validity.
fn fixed(data_type: &DataType, rows: usize) -> usize {
    match data_type {
        DataType::Boolean => rows.div_ceil(8),
        DataType::Date32 | DataType::Utf8 | DataType::Binary => rows.saturating_mul(4),
        DataType::Decimal128(..) => rows.saturating_mul(16),
        _ => rows.saturating_mul(8),
    }
}

/// Values that must fit a narrower type, except behind a null, where they mean nothing.
fn narrow<T: Default + Copy>(
    values: &[i64],
    nulls: Option<&NullBuffer>,
    fit: impl Fn(i64) -> Option<T>,
) -> Result<Vec<T>, String> {
    let mut out = Vec::with_capacity(values.len());
    for (row, value) in values.iter().enumerate() {
        match fit(*value) {
            Some(fitting) => out.push(fitting),
            None if nulls.is_some_and(|n| n.is_null(row)) => out.push(T::default()),
            None => return Err(format!("{value} in row {row} is out of range")),
        }
    }
    Ok(out)
}

/// Offsets that start at 0, never descend and end at the length of the data.
fn offsets(values: wit::BytesValuesResult) -> Result<(Vec<u32>, Vec<u8>), String> {
    let wit::BytesValuesResult { offsets, data } = values;
    let last = offsets.last().copied().map(usize::try_from);
    if i32::try_from(data.len()).is_err() {
        return Err(format!("it has {} bytes; 2 GiB are the most", data.len()));
    }
    if offsets.first() != Some(&0) || last != Some(Ok(data.len())) {
        return Err(format!("its offsets must begin at 0 and end at {}, the length of its data", data.len()));
    }
    if let Some(at) = offsets.windows(2).position(|w| w[0] > w[1]) {
        return Err(format!("its offsets descend at {at}"));
    }
    Ok((offsets, data))
}

fn variable(
    data_type: &DataType,
    offsets: Vec<u32>,
    data: Vec<u8>,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef, String> {
    // Ascending and at most `i32::MAX`, both checked: the bits are those of a signed number.
    let offsets = OffsetBuffer::new(ScalarBuffer::from(bytemuck::cast_vec::<u32, i32>(offsets)));
    let data = Buffer::from_vec(data);
    if *data_type == DataType::Utf8 {
        // Checks UTF-8 and that no offset splits a character.
        return match StringArray::try_new(offsets, data, nulls) {
            Ok(array) => Ok(Arc::new(array)),
            Err(_) => Err("its bytes are not UTF-8, or an offset splits a character".into()),
        };
    }
    Ok(Arc::new(BinaryArray::try_new(offsets, data, nulls).map_err(|e| e.to_string())?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::table::timestamp_type;

    fn bytes(offsets: &[u32], data: &[u8]) -> wit::ColumnResult {
        let values = wit::BytesValuesResult { offsets: offsets.to_vec(), data: data.to_vec() };
        wit::ColumnResult { validity: None, values: wit::ValuesResult::Bytes(values) }
    }

    fn accept(
        column: wit::ColumnResult,
        rows: usize,
        data_type: &DataType,
        nullable: bool,
    ) -> Result<ArrayRef, String> {
        super::accept(column, rows, data_type, nullable, &mut Budget::new(1 << 20)).map(|column| column.array)
    }

    fn refused(column: wit::ColumnResult, rows: usize, data_type: &DataType) -> String {
        accept(column, rows, data_type, true).unwrap_err()
    }

    #[test]
    fn what_goes_in_comes_out() {
        let array: ArrayRef =
            Arc::new(StringArray::from(vec![Some("a"), None, Some(""), Some("née"), Some("a")]));
        for dictionary in [false, true] {
            // A slice has offsets that do not begin at 0 and bits that do not begin at a byte.
            let slice = array.slice(1, 4);
            let column = Column::from(slice.clone());
            let crossing = Crossing::new(&column, dictionary).unwrap();
            let param = crossing.param();
            let owned = |b: &wit::BytesValuesParam<'_>| wit::BytesValuesResult {
                offsets: b.offsets.to_vec(),
                data: b.data.to_vec(),
            };
            let values = match &param.values {
                wit::ValuesParam::Bytes(b) => wit::ValuesResult::Bytes(owned(b)),
                wit::ValuesParam::Dictionary(d) => {
                    wit::ValuesResult::Dictionary(wit::DictionaryValuesResult {
                        indices: d.indices.to_vec(),
                        values: owned(&d.values),
                    })
                }
                _ => panic!("another layout"),
            };
            let back = wit::ColumnResult { validity: param.validity.map(<[u8]>::to_vec), values };
            assert_eq!(&accept(back, 4, &DataType::Utf8, true).unwrap(), &slice);
        }
    }

    #[test]
    fn lies_are_refused() {
        let text = &DataType::Utf8;
        assert!(refused(bytes(&[0, 2, 1, 3], b"abc"), 3, text).contains("descend"));
        assert!(refused(bytes(&[1, 3], b"abc"), 1, text).contains("begin at 0"));
        assert!(refused(bytes(&[0, 9], b"abc"), 1, text).contains("end at 3"));
        assert!(refused(bytes(&[], b""), 0, text).contains("begin at 0"));
        assert!(refused(bytes(&[0, 1, 2], "é".as_bytes()), 2, text).contains("splits a character"));
        assert!(refused(bytes(&[0, 1], b"\xff"), 1, text).contains("UTF-8"));
        assert!(refused(bytes(&[0, 1], b"a"), 2, text).contains("1 values for 2 rows"));
        assert!(refused(bytes(&[0, 1], b"a"), 1, &DataType::Int64).contains("layout"));
        let mut nulls = bytes(&[0, 1], b"a");
        nulls.validity = Some(vec![0]);
        assert!(accept(nulls.clone(), 1, text, false).unwrap_err().contains("not nullable"));
        nulls.validity = Some(vec![0, 0]);
        assert!(refused(nulls, 1, text).contains("validity has 2 bytes"));
    }

    #[test]
    fn a_dictionary_unfolds_within_the_budget_of_the_call() {
        let values = wit::BytesValuesResult { offsets: vec![0, 1000], data: vec![b'a'; 1000] };
        let dictionary = wit::DictionaryValuesResult { indices: vec![0; 100], values };
        let column = wit::ColumnResult { validity: None, values: wit::ValuesResult::Dictionary(dictionary) };
        let mut budget = Budget::new(250_000);
        let mut column = || super::accept(column.clone(), 100, &DataType::Utf8, false, &mut budget);
        assert_eq!(column().unwrap().array.len(), 100);
        column().unwrap();
        assert!(column().unwrap_err().contains("more than 250000 bytes"), "the third of one call");
    }

    /// Whatever a guest returns is accepted as exactly so many rows, or refused: never a panic.
    fn anything() -> impl Strategy<Value = wit::ColumnResult> {
        let small = || prop::collection::vec(0u32..6, 0..6);
        let data = || prop::collection::vec(prop_oneof![Just(b'a'), any::<u8>()], 0..6);
        let pair = || (small(), data()).prop_map(|(offsets, data)| wit::BytesValuesResult { offsets, data });
        let sorted = || {
            pair().prop_map(|mut b| {
                b.offsets.sort_unstable();
                b.offsets.insert(0, 0);
                b.offsets.push(u32::try_from(b.data.len()).unwrap());
                b
            })
        };
        let either = || prop_oneof![pair(), sorted()];
        let values = prop_oneof![
            data().prop_map(wit::ValuesResult::Bits),
            prop::collection::vec(any::<i64>(), 0..6).prop_map(wit::ValuesResult::Ints),
            prop::collection::vec(any::<f64>(), 0..6).prop_map(wit::ValuesResult::Floats),
            either().prop_map(wit::ValuesResult::Bytes),
            (small(), either()).prop_map(|(indices, values)| {
                wit::ValuesResult::Dictionary(wit::DictionaryValuesResult { indices, values })
            }),
        ];
        (prop::option::of(data()), values)
            .prop_map(|(validity, values)| wit::ColumnResult { validity, values })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        /// Whole, or unfolded by somebody else: a dictionary is the same column, and refused for the same rows.
        #[test]
        fn a_dictionary_is_accepted_if_and_only_if_its_rows_are(
            // Whole characters, halves of one, and what is none.
            values in prop::collection::vec(prop::sample::select(vec![&b"a"[..], b"", "é".as_bytes(), b"\xc3", b"\xa9", b"\xff", b"bc"]), 0..4),
            picks in prop::collection::vec((0u32..5, any::<bool>()), 0..6),
            validity: bool, text: bool,
        ) {
            let rows = picks.len();
            let laid = |values: &mut dyn Iterator<Item = &[u8]>| {
                let mut laid = wit::BytesValuesResult { offsets: vec![0], data: vec![] };
                values.for_each(|value| {
                    laid.data.extend_from_slice(value);
                    laid.offsets.push(number(laid.data.len()));
                });
                laid
            };
            let mut bits = vec![0_u8; rows.div_ceil(8)];
            picks.iter().enumerate().for_each(|(row, (_, valid))| bits[row / 8] |= u8::from(*valid) << (row % 8));
            let validity = validity.then_some(bits);
            let of_row = |(at, valid): &(u32, bool)| match values.get(*at as usize) {
                _ if validity.is_some() && !valid => Some(&b""[..]),
                value => value.copied(),
            };
            let plain: Option<Vec<&[u8]>> = picks.iter().map(of_row).collect();
            let data_type = if text { DataType::Utf8 } else { DataType::Binary };
            let dictionary = wit::DictionaryValuesResult {
                indices: picks.iter().map(|(at, _)| *at).collect(),
                values: laid(&mut values.iter().copied()),
            };
            let column = |values| wit::ColumnResult { validity: validity.clone(), values };
            let accept = |values| super::accept(column(values), rows, &data_type, true, &mut Budget::new(1 << 20));
            let folded = accept(wit::ValuesResult::Dictionary(dictionary));
            let Some(plain) = plain else {
                prop_assert!(folded.unwrap_err().contains("is beyond its"));
                return Ok(());
            };
            let plain = accept(wit::ValuesResult::Bytes(laid(&mut plain.into_iter())));
            prop_assert_eq!(folded.is_ok(), plain.is_ok());
            let (Ok(folded), Ok(plain)) = (folded, plain) else { return Ok(()) };
            folded.array.to_data().validate_full().unwrap();
            prop_assert_eq!(&folded.array, &plain.array);
            if let Some(made) = &folded.dictionary {
                let (offsets, data) = made.unfold(folded.array.nulls(), &mut Budget::new(1 << 20)).unwrap();
                let again = variable(&data_type, offsets, data, folded.array.nulls().cloned()).unwrap();
                prop_assert_eq!(&again, &folded.array);
            }
        }

        #[test]
        fn nothing_that_comes_back_panics(column in anything(), rows in 0usize..6, kind in 0usize..8, nullable: bool) {
            let types = [
                DataType::Boolean, DataType::Int64, DataType::Float64, DataType::Date32, timestamp_type(),
                DataType::Utf8, DataType::Binary, DataType::Decimal128(5, 2),
            ];
            if let Ok(array) = accept(column, rows, &types[kind], nullable) {
                prop_assert_eq!(array.len(), rows);
                prop_assert_eq!(array.data_type(), &types[kind]);
                prop_assert!(nullable || array.null_count() == 0);
                array.to_data().validate_full().unwrap();
            }
        }
    }
}
