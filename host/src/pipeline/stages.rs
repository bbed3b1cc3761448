//! A batch's way through the stages: the same for a lane and for files that are made again.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::own;
use crate::batch::{Delivered, Reject, Rows};
use crate::commit::record::DataFile;
use crate::decode::Decoder;
use crate::env;
use crate::observe::{Meters, Stage};
use crate::sink::{EpochWriter, PendingFile};
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
    pub(super) meters: Arc<Meters>,
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
        self.meters.fetched(delivered.len() as u64, bytes(&delivered));
        let raw = own::raw(&self.raw, &delivered)?;
        self.write(std::slice::from_ref(&raw))?;
        let batch = self.timed(Stage::Decode, |_| decoder.decode(delivered.clone()));
        let outcome = runner.batch(&batch);
        self.failures(runner);
        let outcome = outcome?;
        self.write(&outcome.rows)?;
        for refused in [&batch.rejects, &outcome.rejects] {
            if let Some(rows) = own::rejected(&self.rejected, &delivered, refused)? {
                self.write(std::slice::from_ref(&rows))?;
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

    /// Counts the calls that came to nothing.
    pub(super) fn failures(&self, runner: &mut Runner) {
        for (transform, kind) in runner.take_failures() {
            self.meters.failed(&transform.name, kind);
        }
    }

    /// Ends the open epoch: its files are complete, and on their way.
    pub(super) fn finish(&mut self, footer: &[(String, String)]) -> Result<Vec<PendingFile>> {
        self.timed(Stage::Encode, |stages| stages.writer.finish(footer).map_err(stored))
    }

    fn write(&mut self, rows: &[Rows]) -> Result<()> {
        let all = |stages: &mut Self| rows.iter().try_for_each(|rows| stages.writer.write(rows));
        self.timed(Stage::Encode, all).map_err(stored)
    }

    fn timed<T>(&mut self, stage: Stage, work: impl FnOnce(&mut Self) -> T) -> T {
        let began = env::busy();
        let done = work(self);
        self.meters.busy(stage, env::busy().saturating_sub(began));
        done
    }
}

/// Bytes of keys, values and headers.
fn bytes(delivered: &Delivered) -> u64 {
    let Delivered { key, value, headers, .. } = delivered;
    (key.value_data().len() + value.value_data().len() + headers.values().get_buffer_memory_size()) as u64
}

/// What goes wrong on the way to the store costs the epoch, but it is nobody's fault here: there is no
/// limit to trying again, as there is for a transform that fails.
pub(super) fn stored(error: Error) -> Error {
    match error.kind() {
        Kind::Abandon => Error::retry(error.to_string()),
        _ => error,
    }
}

/// Waits until files are stored, each with the epoch that it is of. Nobody goes back to the last commit here.
pub(super) async fn staged(
    pending: impl IntoIterator<Item = (String, PendingFile)>,
) -> Result<Vec<DataFile>> {
    let mut files = Vec::new();
    for (epoch, file) in pending {
        files.push(DataFile::new(&epoch, file.staged().await.map_err(|e| Error::stop(e.to_string()))?));
    }
    Ok(files)
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
