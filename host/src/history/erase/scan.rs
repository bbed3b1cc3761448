//! Looking for rows in the files of an hour, some files side by side. Of each as little is read as tells: the columns
//! that name the subject, and no row group whose statistics say that nothing is in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::FieldRef;
use bytes::Bytes;
use futures::{StreamExt, stream};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::reader::ChunkReader;

use super::events::Event;
use super::rows::{Matcher, Seen};
use crate::commit::record::DataFile;
use crate::pipeline::offline::Lake;
use crate::sink::Parts;
use crate::table::Table;
use crate::wait::{blocking, tries};
use crate::{Error, Result};

/// Files that are looked into side by side.
const ABREAST: usize = 4;
/// Rows that are looked at together: whole events are among them.
const ROWS: usize = 1024;
/// A file of this size is read at once.
const SMALL: u64 = 1 << 20;
/// How often a file is asked for that the store does not answer for.
const TRIES: u32 = 6;

/// What files have.
#[derive(Clone, Debug, Default)]
pub(super) struct Scan {
    pub(super) seen: Seen,
    /// The events of the rows that go, if they are looked for.
    pub(super) events: Vec<Event>,
    /// Files that were looked into, and that their statistics or columns spared.
    pub(super) files: (u64, u64),
    /// Columns that files have and their table has not any more, by name.
    pub(super) old: BTreeMap<String, FieldRef>,
}

impl Scan {
    pub(super) fn join(&mut self, other: Scan) {
        self.seen.join(other.seen);
        self.events.extend(other.events);
        self.files = (self.files.0 + other.files.0, self.files.1 + other.files.1);
        self.old.extend(other.old);
    }
}

/// Looks into files. None: one is gone.
pub(super) async fn scan(
    lake: &Lake,
    table: &Arc<Table>,
    files: &[DataFile],
    matcher: &Arc<Matcher>,
) -> Result<Option<Scan>> {
    let looks = files.iter().map(|file| look(lake, table, file, matcher));
    let looks: Vec<_> = looks.collect();
    let mut looks = stream::iter(looks).buffer_unordered(ABREAST);
    let mut all = Scan::default();
    while let Some(found) = looks.next().await {
        match found? {
            Some(found) => all.join(found),
            None => return Ok(None),
        }
    }
    Ok(Some(all))
}

async fn look(
    lake: &Lake,
    table: &Arc<Table>,
    file: &DataFile,
    matcher: &Arc<Matcher>,
) -> Result<Option<Scan>> {
    let (store, env, key) = (lake.stores.of(file.file.zone), &lake.env, file.file.key.clone());
    let (table, matcher) = (table.clone(), matcher.clone());
    let found = if file.file.bytes <= SMALL {
        let Some(bytes) = tries(env, TRIES, || store.read(&key)).await? else { return Ok(None) };
        blocking("reading a file", move || read(Bytes::from(bytes), &table, &matcher)).await?
    } else {
        if tries(env, TRIES, || store.size(&key)).await?.is_none() {
            return Ok(None);
        }
        let parts = Parts::new(store, env, &key, file.file.bytes)?;
        blocking("reading a file", move || read(parts, &table, &matcher)).await?
    };
    found.map(Some).map_err(|why| Error::stop(format!("{} cannot be read: {why}", file.file.key)))
}

fn read<R: ChunkReader + 'static>(file: R, table: &Table, matcher: &Matcher) -> Result<Scan, String> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| e.to_string())?;
    let mut scan = Scan::default();
    let old =
        builder.schema().fields().iter().filter(|field| table.schema.field_with_name(field.name()).is_err());
    scan.old = old.map(|field| (field.name().clone(), field.clone())).collect();
    let groups = builder.metadata().row_groups().iter().enumerate();
    let groups: Vec<usize> = groups.filter(|(_, group)| matcher.may(group)).map(|(at, _)| at).collect();
    if groups.is_empty() {
        scan.files.1 = 1;
        return Ok(scan);
    }
    scan.files.0 = 1;
    let mask = ProjectionMask::columns(builder.parquet_schema(), matcher.columns());
    let rows = builder.with_projection(mask).with_row_groups(groups).with_batch_size(ROWS).build();
    for batch in rows.map_err(|e| e.to_string())? {
        let batch = batch.map_err(|e| e.to_string())?;
        let goes = matcher.rows(&batch, &mut scan.seen)?;
        if goes.true_count() > 0 {
            scan.events.extend(matcher.found(&batch, &goes));
        }
    }
    Ok(scan)
}
