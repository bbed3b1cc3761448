//! A batch's way through the stages: the same for a lane and for files that are made again.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::own;
use crate::batch::{Delivered, Reject, Rows};
use crate::decode::Decoder;
use crate::sink::EpochWriter;
use crate::table::Table;
use crate::transform::event_time::Due;
use crate::transform::run::Runner;
use crate::{Error, Kind, Result};

/// Different reasons of an epoch that are told apart.
const REASONS: usize = 1000;

/// The stages of one thread.
pub(super) struct Stages {
    pub(super) writer: EpochWriter,
    pub(super) raw: Arc<Table>,
    pub(super) rejected: Arc<Table>,
}

impl Stages {
    /// Takes what was delivered of a partition through the stages into the writer's open epoch; rejects are counted
    /// by reason. Gives back how many events could not be decoded.
    pub(super) fn flow(
        &mut self,
        delivered: Delivered,
        decoder: &mut Decoder,
        runner: &mut Runner,
        rejects: &mut BTreeMap<String, u64>,
    ) -> Result<u64> {
        let delivered = Arc::new(delivered);
        self.writer.write(&own::raw(&self.raw, &delivered)?).map_err(stored)?;
        let batch = decoder.decode(delivered.clone());
        let outcome = runner.batch(&batch)?;
        self.write(&outcome.rows)?;
        for refused in [&batch.rejects, &outcome.rejects] {
            if let Some(rows) = own::rejected(&self.rejected, &delivered, refused)? {
                self.writer.write(&rows).map_err(stored)?;
            }
            count(rejects, refused);
        }
        Ok(batch.rejects.len() as u64)
    }

    /// What the transforms hand out before a commit; how many rows of tables that is.
    pub(super) fn flush(&mut self, runner: &mut Runner, due: Due<'_>) -> Result<usize> {
        let flushed = runner.flush(due)?;
        self.write(&flushed.rows)?;
        Ok(flushed.rows.iter().map(|rows| rows.batch.num_rows()).sum())
    }

    fn write(&mut self, rows: &[Rows]) -> Result<()> {
        rows.iter().try_for_each(|rows| self.writer.write(rows)).map_err(stored)
    }
}

/// What goes wrong on the way to the store costs the epoch, but it is nobody's fault here: there is no
/// limit to trying again, as there is for a transform that fails.
pub(super) fn stored(error: Error) -> Error {
    match error.kind() {
        Kind::Abandon => Error::retry(error.to_string()),
        _ => error,
    }
}

fn count(counts: &mut BTreeMap<String, u64>, rejects: &[Reject]) {
    for reject in rejects {
        let known = counts.len() < REASONS || counts.contains_key(&*reject.reason);
        let reason = if known { &*reject.reason } else { "other reasons" };
        match counts.get_mut(reason) {
            Some(count) => *count += 1,
            None => drop(counts.insert(reason.into(), 1)),
        }
    }
}
