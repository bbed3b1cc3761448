//! What it hands out before a commit, and what it remembers.

use crate::Result;
use crate::bindings::tidemill::transform::types::{Emission, Flushed, OutputRows};
use crate::honest::{EVIL, due};

pub(super) fn more_for_ever(mut honest: Flushed) -> Result<Flushed> {
    honest.more = true;
    Ok(honest)
}

/// A few thousand rows each time, as is asked for, and always more.
pub(super) fn rows_for_ever(honest: Flushed) -> Result<Flushed> {
    Ok(Flushed { emissions: vec![due(8192, 0)], more: !honest.more })
}

/// More rows than a call may hand out.
pub(super) fn giant(honest: Flushed) -> Result<Flushed> {
    Ok(Flushed { emissions: vec![due(600_000, 0)], ..honest })
}

/// A row that stems from an input row, where there is none.
pub(super) fn selected(honest: Flushed) -> Result<Flushed> {
    let row = due(1, 0);
    let emission = Emission { output: EVIL + 1, rows: OutputRows::Selected(vec![0]), ..row };
    Ok(Flushed { emissions: vec![emission], ..honest })
}

/// A little more than a state may have.
pub(super) fn too_large(_: Vec<u8>) -> Result<Vec<u8>> {
    Ok(vec![0; (8 << 20) + 1])
}

/// Much more.
pub(super) fn giant_snapshot(_: Vec<u8>) -> Result<Vec<u8>> {
    Ok(vec![0; 40 << 20])
}
