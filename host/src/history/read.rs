//! The rows of files, a batch at a time, with the columns of their table. Small files come whole and ahead of time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, FieldRef, Schema};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::file::reader::ChunkReader;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::width;
use crate::commit::record::DataFile;
use crate::env::Env;
use crate::sink::{Parts, Stores};
use crate::table::{self, Table};
use crate::wait::tries;
use crate::{Error, Result};

/// A file of this size is read at once.
const SMALL: u64 = 4 << 20;
/// Files that are asked for ahead of time.
const AHEAD: usize = 8;
/// How often a file is asked for that the store does not answer for.
const TRIES: u32 = 6;

/// Where files are read from.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) stores: Stores,
    pub(crate) env: Env,
    pub(crate) runtime: Handle,
    /// Bytes a second, at most; none: as fast as can be.
    pub(crate) rate: Option<u64>,
}

/// What a file came to.
enum Ahead {
    Whole(JoinHandle<Result<Option<Vec<u8>>>>),
    Parts,
}

impl Source {
    /// Gives every batch of these files to `each`, in order. For a thread that may block.
    pub(crate) fn read(
        &self,
        table: &Table,
        files: &[DataFile],
        mut each: impl FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        let (mut waiting, mut next) = (VecDeque::new(), 0);
        let (begun, mut bytes) = (Instant::now(), 0_u64);
        for file in files {
            while next < files.len() && waiting.len() < AHEAD {
                waiting.push_back(self.ask(&files[next]));
                next += 1;
            }
            let key = &file.file.key;
            let gone = || Error::stop(format!("{key} is gone (tidemill verify names what is missing)"));
            let unreadable = |why: String| Error::stop(format!("{key} cannot be read: {why}"));
            match waiting.pop_front() {
                Some(Ahead::Whole(task)) => {
                    let found = self.runtime.block_on(task);
                    let found =
                        found.map_err(|e| Error::stop(format!("the task that reads {key} broke: {e}")))?;
                    let rows = rows(Bytes::from(found?.ok_or_else(gone)?), table).map_err(unreadable)?;
                    batches(rows, table, &mut each, key)?;
                }
                _ => {
                    let _within = self.runtime.enter();
                    let parts = Parts::new(self.stores.of(file.file.zone), &self.env, key, file.file.bytes)?;
                    batches(rows(parts, table).map_err(unreadable)?, table, &mut each, key)?;
                }
            }
            bytes += file.file.bytes;
            if let Some(rate) = self.rate {
                let due = Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
                std::thread::sleep(due.saturating_sub(begun.elapsed()).min(Duration::from_secs(60)));
            }
        }
        Ok(())
    }

    fn ask(&self, file: &DataFile) -> Ahead {
        if file.file.bytes > SMALL {
            return Ahead::Parts;
        }
        let (store, env, key) =
            (self.stores.of(file.file.zone).clone(), self.env.clone(), file.file.key.clone());
        Ahead::Whole(self.runtime.spawn(async move { tries(&env, TRIES, || store.read(&key)).await }))
    }
}

fn rows<R: ChunkReader + Clone + 'static>(
    file: R,
    table: &Table,
) -> Result<ParquetRecordBatchReader, String> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file.clone()).map_err(|e| e.to_string())?;
    fits(builder.schema(), &table.schema)?;
    let rows = width::rows(&Arc::new(file), builder.metadata()).map_err(|e| e.to_string())?;
    builder.with_batch_size(rows).build().map_err(|e| e.to_string())
}

/// Whether all columns of a file are columns of its table: none may be lost on the way.
fn fits(file: &Arc<Schema>, table: &Arc<Schema>) -> Result<(), String> {
    for field in file.fields() {
        let (name, kind) = (field.name(), field.data_type());
        match table.field_with_name(name) {
            Err(_) => return Err(format!("it has a column `{name}`, which its table has not any more")),
            Ok(wanted) if alike(wanted.data_type(), kind) => {}
            Ok(wanted) => {
                return Err(format!(
                    "its column `{name}` is {kind}, that of its table {}",
                    wanted.data_type()
                ));
            }
        }
    }
    Ok(())
}

/// Whether two types are the same but for the names inside of lists, which are others in Parquet.
fn alike(one: &DataType, other: &DataType) -> bool {
    match (one, other) {
        (DataType::List(one), DataType::List(other)) => alike(one.data_type(), other.data_type()),
        (DataType::Struct(one), DataType::Struct(other)) => {
            let same = |(one, other): (&FieldRef, &FieldRef)| {
                one.name() == other.name() && alike(one.data_type(), other.data_type())
            };
            one.len() == other.len() && one.iter().zip(other).all(same)
        }
        (one, other) => one == other,
    }
}

fn batches(
    rows: ParquetRecordBatchReader,
    table: &Table,
    each: &mut impl FnMut(RecordBatch) -> Result<()>,
    key: &str,
) -> Result<()> {
    for batch in rows {
        let batch = batch.map_err(|e| e.to_string()).and_then(|batch| table::conform(&batch, &table.schema));
        each(batch.map_err(|why| Error::stop(format!("{key} cannot be read: {why}")))?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Field;

    use super::*;
    use crate::table::headers_type;

    #[test]
    fn a_list_of_something_else_does_not_fit() {
        let list = |name: &str, kind: DataType| DataType::List(Arc::new(Field::new(name, kind, true)));
        let schema = |kind: DataType| Arc::new(Schema::new(vec![Field::new("tags", kind, true)]));
        let wanted = schema(list("item", DataType::Utf8));
        assert!(fits(&schema(list("element", DataType::Utf8)), &wanted).is_ok());
        for other in [DataType::Int64, list("item", DataType::Utf8), headers_type()] {
            let error = fits(&schema(list("element", other)), &wanted).unwrap_err();
            assert!(error.contains("its column `tags` is List"), "{error}");
        }
        assert!(fits(&schema(headers_type()), &schema(headers_type())).is_ok());
        assert!(fits(&schema(DataType::Utf8), &wanted).is_err());
    }
}
