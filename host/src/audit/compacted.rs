//! Rewritten hours: their files are there as they were written, and have the rows that they were to have.

use std::sync::Arc;

use arrow::datatypes::Schema;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::inspect::Inspection;
use super::patiently;
use crate::Result;
use crate::commit::Record;
use crate::commit::record::{DataFile, Erased};
use crate::sink::{Parts, Prints};
use crate::wait::blocking;

impl Inspection<'_> {
    /// Its files are large: they are read one after the other and in parts, and of their rows only a sum is kept.
    pub(super) async fn compacted(&mut self, record: &Record) -> Result<()> {
        let seq = record.seq;
        let Some(compacted) = &record.compacted else {
            self.findings.add("record", format!("record {seq}: a compaction does not say what it read"));
            return Ok(());
        };
        let taken: u64 = record.supersedes.iter().map(|file| file.file.rows).sum();
        let brought: u64 = record.files.iter().map(|file| file.file.rows).sum();
        let right = if compacted.merged { brought <= taken } else { brought == taken };
        if taken != compacted.rows || !right {
            let read = compacted.rows;
            self.findings.add(
                "counts",
                format!(
                    "record {seq}: it takes files with {taken} rows away, read {read} and brings {brought}"
                ),
            );
        }
        self.events(record, compacted.print.as_deref()).await
    }

    /// An erasure brings what it takes away, but for the rows that are gone.
    pub(super) async fn erased(&mut self, record: &Record) -> Result<()> {
        let seq = record.seq;
        let Some(Erased { rows, kept, print, .. }) = &record.erased else {
            self.findings.add("record", format!("record {seq}: an erasure does not say what it took out"));
            return Ok(());
        };
        let taken: u64 = record.supersedes.iter().map(|file| file.file.rows).sum();
        let brought: u64 = record.files.iter().map(|file| file.file.rows).sum();
        if Some(taken) != rows.checked_add(*kept) || brought != *kept {
            self.findings.add(
                "counts",
                format!(
                    "record {seq}: it takes files with {taken} rows away, {rows} are gone for good and {kept} stay, but it \
                     brings {brought}"
                ),
            );
        }
        self.events(record, print.as_deref()).await
    }

    /// Whether the files of rewritten hours have rows of these events.
    async fn events(&mut self, record: &Record, wanted: Option<&str>) -> Result<()> {
        let (prints, whole) = self.rewritten(record).await?;
        let (seq, print) = (record.seq, prints.text());
        if let Some(wanted) = wanted.filter(|wanted| whole && *wanted != print) {
            self.findings.add(
                "offsets",
                format!(
                    "record {seq}: its files have other events than it wrote: {print} instead of {wanted}"
                ),
            );
        }
        Ok(())
    }

    /// Hours that were put back have the rows from before, and those that came since.
    pub(super) async fn restored(&mut self, record: &Record) -> Result<()> {
        self.rewritten(record).await?;
        let Some(restored) = &record.restored else {
            self.findings
                .add("record", format!("record {}: a restore does not say what it puts back", record.seq));
            return Ok(());
        };
        let rows = |files: &[DataFile]| files.iter().map(|file| file.file.rows).sum::<u64>();
        let Some(of) = self.record(restored.record).await? else { return Ok(()) };
        // What came between the two records is not in the count of those that were carried while it was done.
        let brought = rows(&record.files);
        if brought < rows(&of.supersedes) + restored.carried {
            self.findings.add(
                "counts",
                format!(
                    "record {}: it brings {brought} rows, record {} had taken {} away",
                    record.seq,
                    of.seq,
                    rows(&of.supersedes)
                ),
            );
        }
        Ok(())
    }

    /// Reads the files of rewritten hours: what events they have, and whether all of them were there to be read.
    pub(super) async fn rewritten(&mut self, record: &Record) -> Result<(Prints, bool)> {
        let seq = record.seq;
        let (mut prints, mut whole) = (Prints::default(), true);
        for file in &record.files {
            // Another compaction, an expiry or a replay has read it since.
            if self.books.superseded(&file.file.key).is_some() {
                whole = false;
                continue;
            }
            let (env, store) = (self.lake.env.clone(), self.lake.stores.of(file.file.zone).clone());
            let key = &file.file.key;
            let Some(bytes) = patiently(&env, || store.size(key)).await? else {
                self.absent(record, file).await?;
                whole = false;
                continue;
            };
            if bytes != file.file.bytes {
                let wanted = file.file.bytes;
                self.findings
                    .add("size", format!("record {seq}: {key} has {bytes} bytes instead of {wanted}"));
            }
            let parts = Parts::new(&store, &env, key, bytes)?;
            match blocking("reading a file", move || read(parts)).await? {
                Err(why) => {
                    self.findings.add("unreadable", format!("record {seq}: {key} cannot be read: {why}"));
                    whole = false;
                }
                Ok(found) if found.rows != file.file.rows => {
                    let (rows, wanted) = (found.rows, file.file.rows);
                    self.findings
                        .add("rows", format!("record {seq}: {key} has {rows} rows instead of {wanted}"));
                    whole = false;
                }
                Ok(found) => prints.join(found),
            }
        }
        Ok((prints, whole))
    }
}

fn read(parts: Parts) -> Result<Prints, String> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(parts).map_err(|e| e.to_string())?;
    let mut prints = Prints::default();
    let schema: Arc<Schema> = builder.schema().clone();
    let Some(columns) = Prints::columns(&schema) else {
        prints.rows = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or_default();
        return Ok(prints);
    };
    let names = columns.map(|column| schema.field(column).name().as_str());
    let mask = ProjectionMask::columns(builder.parquet_schema(), names);
    for batch in builder.with_projection(mask).build().map_err(|e| e.to_string())? {
        let batch = batch.map_err(|e| e.to_string())?;
        let columns = Prints::columns(&batch.schema());
        prints.add(&batch, columns);
    }
    Ok(prints)
}
