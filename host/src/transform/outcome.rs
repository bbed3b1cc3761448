//! What a call returned, checked against what the transform said of itself. Nothing from a guest
//! goes further than this module (and `columns`) unchecked.

use std::sync::Arc;

use super::bindings::types as wit;
use super::columns::{self, Column};
use super::limits::{Budget, Limits};
use super::spec::{Output, Spec};
use crate::batch::Counts;

/// Bytes of a reason: it labels a metric.
const REASON: usize = 200;
/// Different reasons in one call.
const REASONS: usize = 1000;

/// A checked outcome of `process` or `flush`.
pub(super) struct Checked {
    /// New rows, at most once for each output, by its index.
    pub(super) emissions: Vec<(usize, Emission)>,
    /// Refused rows by reason.
    pub(super) rejections: Vec<(Arc<str>, Vec<u32>)>,
    /// What became of the input rows.
    pub(super) counts: Counts,
}

/// New rows of one output.
pub(super) struct Emission {
    pub(super) rows: Picked,
    pub(super) count: usize,
    /// The computed columns, in the order of the output's.
    pub(super) columns: Vec<Column>,
}

/// The input rows that new rows stem from.
pub(super) enum Picked {
    /// One for each, in order.
    All,
    /// One for each of these, ascending.
    Selected(Vec<u32>),
    /// From none in particular.
    Fresh,
}

const EMITTED: u8 = 1;
const REJECTED: u8 = 2;

/// Checks the outcome of a batch of `rows` rows.
pub(super) fn process(
    outcome: wit::Outcome,
    rows: usize,
    spec: &Spec,
    limits: &Limits,
) -> Result<Checked, String> {
    let mut seen = vec![0u8; rows];
    let emissions = emissions(outcome.emissions, rows, spec, limits)?;
    for (at, emission) in &emissions {
        let name = &spec.outputs[*at].name;
        match &emission.rows {
            Picked::All => seen.iter_mut().for_each(|s| *s |= EMITTED),
            Picked::Selected(selected) => {
                for row in selected {
                    let seen = seen.get_mut(*row as usize);
                    *seen.ok_or_else(|| format!("output {name}: it selects row {row} of {rows}"))? |= EMITTED;
                }
            }
            Picked::Fresh => {}
        }
    }
    if outcome.rejections.len() > REASONS {
        return Err(format!("it gives {} reasons; {REASONS} are the most", outcome.rejections.len()));
    }
    let mut rejections = Vec::with_capacity(outcome.rejections.len());
    for rejection in outcome.rejections {
        let reason = reason(rejection.reason)?;
        for row in &rejection.rows {
            match seen.get_mut(*row as usize) {
                None => return Err(format!("it rejects row {row} of {rows}")),
                Some(s) if *s & EMITTED != 0 => return Err(format!("it emits and rejects row {row}")),
                Some(s) if *s & REJECTED != 0 => return Err(format!("it rejects row {row} twice")),
                Some(s) => *s |= REJECTED,
            }
        }
        rejections.push((reason, rejection.rows));
    }
    let count = |what: u8| seen.iter().filter(|s| **s == what).count() as u64;
    let mut counts = Counts {
        input: rows as u64,
        emitted: count(EMITTED),
        rejected: count(REJECTED),
        ..Counts::default()
    };
    let rest = counts.input - counts.emitted - counts.rejected;
    match spec.state_version {
        Some(_) => counts.absorbed = rest,
        None => counts.filtered = rest,
    }
    Ok(Checked { emissions, rejections, counts })
}

/// Checks what a flush handed out.
pub(super) fn flush(
    emissions: Vec<wit::Emission>,
    spec: &Spec,
    limits: &Limits,
) -> Result<Vec<(usize, Emission)>, String> {
    let emissions = self::emissions(emissions, 0, spec, limits)?;
    for (at, emission) in &emissions {
        if !matches!(emission.rows, Picked::Fresh) {
            return Err(format!("output {}: a flush has only fresh rows", spec.outputs[*at].name));
        }
    }
    Ok(emissions)
}

fn emissions(
    emissions: Vec<wit::Emission>,
    rows: usize,
    spec: &Spec,
    limits: &Limits,
) -> Result<Vec<(usize, Emission)>, String> {
    let mut checked: Vec<(usize, Emission)> = Vec::with_capacity(emissions.len().min(spec.outputs.len()));
    let (mut total, mut budget) = (0usize, limits.budget(rows));
    for emission in emissions {
        let at = emission.output as usize;
        let output = spec.outputs.get(at).ok_or_else(|| format!("it has no output number {at}"))?;
        if checked.iter().any(|(other, _)| *other == at) {
            return Err(format!("output {}: it comes twice", output.name));
        }
        total = total.saturating_add(match &emission.rows {
            wit::OutputRows::All => rows,
            wit::OutputRows::Selected(selected) => selected.len(),
            wit::OutputRows::Fresh(count) => *count as usize,
        });
        if total > limits.rows(rows) {
            return Err(format!(
                "it emits more than {} rows for {rows} (limits.rows-per-row, limits.rows-per-call)",
                limits.rows(rows)
            ));
        }
        let emission = self::emission(emission, rows, output, &mut budget)
            .map_err(|e| format!("output {}: {e}", output.name))?;
        checked.push((at, emission));
    }
    Ok(checked)
}

fn emission(
    emission: wit::Emission,
    rows: usize,
    output: &Output,
    budget: &mut Budget,
) -> Result<Emission, String> {
    let (picked, count) = match emission.rows {
        wit::OutputRows::All => (Picked::All, rows),
        wit::OutputRows::Selected(selected) => {
            if let Some(at) = selected.windows(2).position(|w| w[0] > w[1]) {
                return Err(format!("its selected rows descend at {at}"));
            }
            let count = selected.len();
            (Picked::Selected(selected), count)
        }
        wit::OutputRows::Fresh(_) if output.columns.iter().any(|c| c.copied.is_some()) => {
            return Err("a fresh row has no input row to copy columns from".into());
        }
        wit::OutputRows::Fresh(count) => (Picked::Fresh, count as usize),
    };
    let computed = || output.columns.iter().filter(|c| c.copied.is_none());
    if emission.columns.len() != computed().count() {
        return Err(format!("it has {} columns, not {}", emission.columns.len(), computed().count()));
    }
    let columns = computed().zip(emission.columns).map(|(column, values)| {
        columns::accept(values, count, &column.data_type, column.nullable, budget)
            .map_err(|e| format!("column {}: {e}", column.name))
    });
    Ok(Emission { rows: picked, count, columns: columns.collect::<Result<_, _>>()? })
}

fn reason(reason: String) -> Result<Arc<str>, String> {
    if reason.is_empty() || reason.len() > REASON {
        return Err(format!("a reason has {} bytes; expected 1 to {REASON}", reason.len()));
    }
    if reason.chars().any(char::is_control) {
        return Err("a reason has control characters".into());
    }
    Ok(reason.into())
}

#[cfg(test)]
#[path = "outcome_tests.rs"]
mod tests;
