//! Puts hours back to what they were before they were made anew, with what came since.

use super::carry;
use crate::audit::Progress;
use crate::catalog::TableSpec;
use crate::commit::record::{DataFile, Flip, RecordKind, Restored};
use crate::commit::{Deed, Record, Rewritten};
use crate::history::{Teller, ended, write_views};
use crate::pipeline::offline::Lake;
use crate::pipeline::stages::stored;
use crate::table::Hour;
use crate::{Error, Result};

/// What was put back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restoration {
    /// The record that had rewritten the hours.
    pub of: u64,
    /// Hours of tables.
    pub hours: u64,
    /// Files that are true again.
    pub files: u64,
    /// Their rows.
    pub rows: u64,
    /// Rows that came since and stay.
    pub carried: u64,
    /// The record that says so; none: nothing was written.
    pub record: Option<u64>,
    /// What is left to be told to the catalog, for people.
    pub untold: Option<String>,
}

/// Puts the hours of a reprocessing back, or of a restore; none named: of the last one. The log was read.
pub async fn restore(
    lake: &mut Lake,
    specs: &[TableSpec],
    seq: Option<u64>,
    dry: bool,
    progress: Progress<'_>,
) -> Result<Restoration> {
    lake.log.refresh().await?;
    if !dry {
        lake.log.roll_forward(None).await.map_err(stored)?;
    }
    let record = find(lake, seq).await?;
    let since: Vec<u64> = lake.log.view().retired().range(record.seq + 1..).copied().collect();
    for later in since {
        // What was taken away may hold rows that nobody is to see again, also where the erasure found none.
        if lake.log.read(later).await?.is_some_and(|later| later.kind == RecordKind::Erase) {
            return Err(Error::stop(format!(
                "rows were erased since record {} (record {later}), and what it took away may still hold them: it cannot \
                 be put back any more",
                record.seq
            )));
        }
    }
    let mut now: Vec<DataFile> = Vec::new();
    let mut flips = Vec::new();
    for Flip { table, hour, generation } in &record.flips {
        let at = lake.log.view().generations().get(table, Hour(*hour)).generation;
        if at != *generation {
            return Err(Error::stop(format!(
                "{table}, {}, was rewritten since record {} (its generation is {at}, not {generation}): it cannot be put \
                 back any more",
                Hour(*hour),
                record.seq
            )));
        }
        now.extend(lake.log.live_in(table, Hour(*hour)).await?.into_values());
        flips.push(Flip { table: table.clone(), hour: *hour, generation: generation.saturating_add(1) });
    }
    let brought = |file: &DataFile| record.files.iter().any(|known| known.file.key == file.file.key);
    let late: Vec<DataFile> = now.iter().filter(|file| !brought(file)).cloned().collect();
    let again: Vec<DataFile> = record.supersedes.iter().chain(&late).cloned().collect();
    let rows = |files: &[DataFile]| files.iter().map(|file| file.file.rows).sum::<u64>();
    let mut done = Restoration {
        of: record.seq,
        hours: flips.len() as u64,
        files: record.supersedes.len() as u64,
        rows: rows(&record.supersedes),
        carried: rows(&late),
        ..Restoration::default()
    };
    if dry {
        return Ok(done);
    }
    progress(format!("copying {} files of before record {}", again.len(), record.seq));
    let next = lake.log.view().next();
    let empties = record.reprocessed.as_ref().and_then(|done| done.fills.clone());
    let deed = Deed::Restored(Restored { record: record.seq, empties, carried: 0 });
    let mut rewritten = Rewritten { flips, supersedes: now, files: vec![], deed };
    rewritten.files = carry::copies(lake, &rewritten, &again).await?;
    let mut teller = Teller::new(lake, specs);
    let flipped = carry::flip(lake, rewritten, next, None, teller.told()).await.map_err(ended)?;
    teller.tell(lake, &flipped.record).await;
    write_views(lake, specs).await?;
    done.carried += flipped.carried;
    done.record = Some(flipped.record.seq);
    done.untold = teller.untold();
    Ok(done)
}

/// The record whose hours are meant, if what it took away is still there.
async fn find(lake: &Lake, seq: Option<u64>) -> Result<Record> {
    let retired = lake.log.view().retired();
    let meant = |kind| matches!(kind, RecordKind::Reprocess | RecordKind::Restore);
    let Some(seq) = seq else {
        for seq in retired.iter().rev() {
            if let Some(record) = lake.log.read(*seq).await?
                && record.kind == RecordKind::Reprocess
            {
                return Ok(record);
            }
        }
        return Err(Error::stop("there is no reprocessing whose former files are still there"));
    };
    let record = lake.log.read(seq).await?;
    let record = record.ok_or_else(|| Error::usage(format!("there is no record {seq}")))?;
    if !meant(record.kind) {
        let kind = record.kind.name();
        return Err(Error::usage(format!("record {seq} is a record of kind {kind}, not of a reprocessing")));
    }
    if !retired.contains(&seq) {
        return Err(Error::stop(format!(
            "what record {seq} took away was removed since: it cannot be put back"
        )));
    }
    Ok(record)
}
