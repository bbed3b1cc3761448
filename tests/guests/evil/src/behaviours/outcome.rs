//! Rows that are not there, that are too many, or that are in two places.

use crate::Result;
use crate::bindings::tidemill::transform::types::{
    BytesValues, Column, Emission, Outcome, OutputRows, Rejection, Values,
};
use crate::honest::{EVIL, Rows, ints};
use crate::memory;

/// Rows of `evil` for these input rows, without a page.
fn selected(rows: Vec<u32>) -> Emission {
    let count = rows.len();
    let bytes = BytesValues { offsets: vec![0; count + 1], data: vec![] };
    let page = Column { validity: Some(vec![0; count.div_ceil(8)]), values: Values::Bytes(bytes) };
    Emission { output: EVIL, rows: OutputRows::Selected(rows), columns: vec![page, ints(vec![0; count])] }
}

fn only(emission: Emission) -> Result<Outcome> {
    Ok(Outcome { emissions: vec![emission], rejections: vec![] })
}

pub(super) fn selection_out_of_range(rows: &Rows, _: Outcome) -> Result<Outcome> {
    only(selected(vec![0, rows.count]))
}

pub(super) fn selection_descends(_: &Rows, _: Outcome) -> Result<Outcome> {
    only(selected(vec![1, 0]))
}

/// Allowed: a row may repeat.
pub(super) fn selection_repeats(rows: &Rows, _: Outcome) -> Result<Outcome> {
    only(selected((0..rows.count).flat_map(|row| [row, row]).collect()))
}

pub(super) fn selection_without_bounds(_: &Rows, _: Outcome) -> Result<Outcome> {
    only(selected(vec![0; 1_000_000]))
}

/// Small in the guest: the host copies four kilobytes of the first row for each.
pub(super) fn copy_bomb(_: &Rows, _: Outcome) -> Result<Outcome> {
    only(selected(vec![0; 70_000]))
}

/// 200 MiB: less than what one column may have.
pub(super) fn copy_bomb_within_bounds(_: &Rows, _: Outcome) -> Result<Outcome> {
    only(selected(vec![0; 50_000]))
}

/// Forty megabytes in one value.
pub(super) fn giant_column(rows: &Rows, mut outcome: Outcome) -> Result<Outcome> {
    let mut offsets = vec![40 << 20; rows.count as usize + 1];
    offsets[0] = 0;
    let bytes = BytesValues { offsets, data: vec![b'x'; 40 << 20] };
    outcome.emissions[0].columns[0] = Column { validity: None, values: Values::Bytes(bytes) };
    Ok(outcome)
}

pub(super) fn fresh_with_copies(rows: &Rows, mut outcome: Outcome) -> Result<Outcome> {
    outcome.emissions[0].rows = OutputRows::Fresh(rows.count);
    Ok(outcome)
}

/// Four billion rows that are nowhere.
pub(super) fn fresh_without_columns(_: &Rows, mut outcome: Outcome) -> Result<Outcome> {
    let columns = vec![ints(vec![]), ints(vec![])];
    outcome.emissions.push(Emission { output: 1, rows: OutputRows::Fresh(u32::MAX), columns });
    Ok(outcome)
}

pub(super) fn output_out_of_range(_: &Rows, mut outcome: Outcome) -> Result<Outcome> {
    outcome.emissions[0].output = u32::MAX;
    Ok(outcome)
}

pub(super) fn emission_twice(_: &Rows, mut outcome: Outcome) -> Result<Outcome> {
    let again = outcome.emissions[0].clone();
    outcome.emissions.push(again);
    Ok(outcome)
}

/// Small in the guest, each a few vectors in the host.
pub(super) fn emissions_by_the_million(_: &Rows, _: Outcome) -> Result<Outcome> {
    let nothing = Emission { output: EVIL, rows: OutputRows::All, columns: vec![] };
    Ok(Outcome { emissions: vec![nothing; 1_000_000], rejections: vec![] })
}

fn reject(mut outcome: Outcome, reason: String, rows: Vec<u32>) -> Result<Outcome> {
    outcome.emissions.clear();
    outcome.rejections.push(Rejection { reason, rows });
    Ok(outcome)
}

pub(super) fn emitted_and_rejected(_: &Rows, mut outcome: Outcome) -> Result<Outcome> {
    outcome.rejections.push(Rejection { reason: "both".into(), rows: vec![0] });
    Ok(outcome)
}

pub(super) fn reject_out_of_range(rows: &Rows, outcome: Outcome) -> Result<Outcome> {
    reject(outcome, "a row that is not there".into(), vec![rows.count])
}

pub(super) fn reject_twice(_: &Rows, outcome: Outcome) -> Result<Outcome> {
    reject(outcome, "twice".into(), vec![0, 0])
}

pub(super) fn reason_huge(_: &Rows, outcome: Outcome) -> Result<Outcome> {
    reject(outcome, "r".repeat(100_000), vec![0])
}

pub(super) fn reason_empty(_: &Rows, outcome: Outcome) -> Result<Outcome> {
    reject(outcome, String::new(), vec![0])
}

pub(super) fn reason_with_escapes(_: &Rows, outcome: Outcome) -> Result<Outcome> {
    reject(outcome, "\u{1b}[2J\n".into(), vec![0])
}

/// A label of a metric for each row.
pub(super) fn reasons_for_every_row(rows: &Rows, mut outcome: Outcome) -> Result<Outcome> {
    outcome.emissions.clear();
    let reason = |row| Rejection { reason: format!("row {row}"), rows: vec![row] };
    outcome.rejections = (0..rows.count).map(reason).collect();
    Ok(outcome)
}

/// A gigabyte, as the host would copy it.
pub(super) fn reasons_that_alias(_: &Rows, mut outcome: Outcome) -> Result<Outcome> {
    let reasons = memory::aliases(1 << 20, 1000);
    outcome.emissions.clear();
    outcome.rejections = reasons.into_iter().map(|reason| Rejection { reason, rows: vec![] }).collect();
    Ok(outcome)
}
