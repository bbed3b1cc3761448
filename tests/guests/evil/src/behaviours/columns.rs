//! Columns that are not what they say.

use crate::Result;
use crate::bindings::tidemill::transform::types::{BytesValues, Column, DictionaryValues, Outcome, Values};
use crate::honest::{Rows, due};
use crate::memory;

fn page(outcome: &mut Outcome) -> &mut Column {
    &mut outcome.emissions[0].columns[0]
}

fn spoil(mut outcome: Outcome, change: impl FnOnce(&mut BytesValues)) -> Result<Outcome> {
    match &mut page(&mut outcome).values {
        Values::Bytes(bytes) => change(bytes),
        _ => unreachable!("pages are bytes"),
    }
    Ok(outcome)
}

pub(super) fn offsets_descend(_: &Rows, outcome: Outcome) -> Result<Outcome> {
    spoil(outcome, |bytes| bytes.offsets[1] = u32::MAX)
}

pub(super) fn offsets_beyond_data(_: &Rows, outcome: Outcome) -> Result<Outcome> {
    spoil(outcome, |bytes| *bytes.offsets.last_mut().expect("there is one") += 1)
}

pub(super) fn offsets_not_from_zero(_: &Rows, outcome: Outcome) -> Result<Outcome> {
    spoil(outcome, |bytes| bytes.offsets[0] = 1)
}

pub(super) fn offsets_none(_: &Rows, outcome: Outcome) -> Result<Outcome> {
    spoil(outcome, |bytes| bytes.offsets.clear())
}

pub(super) fn offsets_split_a_character(rows: &Rows, mut outcome: Outcome) -> Result<Outcome> {
    page(&mut outcome).validity = None;
    spoil(outcome, |bytes| {
        // `ä` ends in the second row, or beyond the only one.
        bytes.data = "ä".into();
        bytes.offsets = vec![2; rows.count as usize + 1];
        bytes.offsets[..2].copy_from_slice(&[0, 1]);
        *bytes.offsets.last_mut().expect("there are two") = 2;
    })
}

pub(super) fn not_utf8(rows: &Rows, mut outcome: Outcome) -> Result<Outcome> {
    page(&mut outcome).validity = None;
    spoil(outcome, |bytes| {
        bytes.data = vec![0xff, 0xfe];
        bytes.offsets = vec![2; rows.count as usize + 1];
        bytes.offsets[0] = 0;
    })
}

pub(super) fn validity_too_short(_: &Rows, mut outcome: Outcome) -> Result<Outcome> {
    page(&mut outcome).validity = Some(vec![]);
    Ok(outcome)
}

pub(super) fn validity_too_long(_: &Rows, mut outcome: Outcome) -> Result<Outcome> {
    page(&mut outcome).validity = Some(vec![0xff; 1 << 20]);
    Ok(outcome)
}

pub(super) fn null_where_none_may_be(rows: &Rows, mut outcome: Outcome) -> Result<Outcome> {
    outcome.emissions[0].columns[1].validity = Some(vec![0; rows.count.div_ceil(8) as usize]);
    Ok(outcome)
}

pub(super) fn null_with_wild_offsets(rows: &Rows, mut outcome: Outcome) -> Result<Outcome> {
    page(&mut outcome).validity = Some(vec![0; rows.count.div_ceil(8) as usize]);
    spoil(outcome, |bytes| bytes.offsets[1] = u32::MAX)
}

fn dictionary(mut outcome: Outcome, rows: &Rows, index: u32, values: &[&[u8]]) -> Outcome {
    let (mut offsets, mut data) = (vec![0], Vec::new());
    for value in values {
        data.extend_from_slice(value);
        offsets.push(u32::try_from(data.len()).unwrap_or(u32::MAX));
    }
    let indices = vec![index; rows.count as usize];
    let values = BytesValues { offsets, data };
    *page(&mut outcome) =
        Column { validity: None, values: Values::Dictionary(DictionaryValues { indices, values }) };
    outcome
}

/// Allowed: the index of a null is not read.
pub(super) fn null_with_wild_index(rows: &Rows, outcome: Outcome) -> Result<Outcome> {
    let mut outcome = dictionary(outcome, rows, u32::MAX, &[b"a"]);
    page(&mut outcome).validity = Some(vec![0; rows.count.div_ceil(8) as usize]);
    Ok(outcome)
}

/// Allowed: only what a guest is sent has none.
pub(super) fn dictionary_of_duplicates(rows: &Rows, outcome: Outcome) -> Result<Outcome> {
    Ok(dictionary(outcome, rows, 1, &[b"same", b"same", b"same"]))
}

pub(super) fn dictionary_index(rows: &Rows, outcome: Outcome) -> Result<Outcome> {
    Ok(dictionary(outcome, rows, 3, &[b"a", b"b", b"c"]))
}

/// A mebibyte for every row.
pub(super) fn dictionary_bomb(rows: &Rows, outcome: Outcome) -> Result<Outcome> {
    Ok(dictionary(outcome, rows, 0, &[&vec![b'x'; 1 << 20]]))
}

/// 200 MiB: less than what one column may have.
pub(super) fn dictionary_bomb_within_bounds(rows: &Rows, outcome: Outcome) -> Result<Outcome> {
    let each = (200 << 20) / rows.count.max(1) as usize;
    Ok(dictionary(outcome, rows, 0, &[&vec![b'x'; each.min(1 << 20)]]))
}

pub(super) fn wrong_type(_: &Rows, mut outcome: Outcome) -> Result<Outcome> {
    outcome.emissions[0].columns.reverse();
    Ok(outcome)
}

pub(super) fn wrong_column_count(_: &Rows, mut outcome: Outcome) -> Result<Outcome> {
    outcome.emissions[0].columns.pop();
    Ok(outcome)
}

pub(super) fn wrong_row_count(_: &Rows, mut outcome: Outcome) -> Result<Outcome> {
    if let Values::Ints(lengths) = &mut outcome.emissions[0].columns[1].values {
        lengths.push(0);
    }
    Ok(outcome)
}

pub(super) fn beyond(_: &Rows, outcome: Outcome) -> Result<Outcome> {
    spoil(outcome, |bytes| bytes.data = memory::beyond())
}

/// Event times at both ends of what 64 bits can say.
pub(super) fn time_before_time(_: &Rows, mut outcome: Outcome) -> Result<Outcome> {
    let mut wild = due(4, i64::MIN);
    if let Values::Ints(times) = &mut wild.columns[0].values {
        *times = vec![i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX];
    }
    outcome.emissions.push(wild);
    Ok(outcome)
}
