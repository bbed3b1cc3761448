//! The rows of one hour, written anew: into few large files in another generation, which no reader can see yet.

use std::sync::Arc;

use arrow::array::RecordBatch;
use parquet::file::properties::WriterProperties;

use super::codec::Codec;
use super::file::OpenFile;
use super::keys::Keys;
use super::properties::{Learned, properties};
use super::split::{Piece, times};
use super::stage::PendingFile;
use super::zone::ZoneStore;
use crate::error::{Error, Result};
use crate::generations::Place;
use crate::table::{Hour, Table};

/// The rows of a row group, at most.
const ROW_GROUP: usize = 1 << 19;
/// Bytes that are held of a row group before it is written early.
const HELD: usize = 32 << 20;
/// Rows of a sorted table that are looked at together.
const RUN: usize = 1 << 16;
/// Files of an hour are read often and written once.
const CODEC: Codec = Codec::Zstd(3);

/// Writes an hour. For a thread that may block.
pub struct HourWriter {
    store: Arc<ZoneStore>,
    keys: Keys,
    table: Arc<Table>,
    place: Place,
    epoch: String,
    properties: WriterProperties,
    /// The size at which a file ends.
    largest: u64,
    open: Option<OpenFile>,
    done: Vec<PendingFile>,
}

impl HourWriter {
    /// A writer of a table's hour in some generation. The epoch's id was never used before.
    pub fn new(
        store: &Arc<ZoneStore>,
        keys: &Keys,
        table: &Arc<Table>,
        place: Place,
        epoch: &str,
        largest: u64,
    ) -> Result<HourWriter> {
        let properties = properties(table, ROW_GROUP, CODEC, &Learned::default())?;
        let (store, keys, table, epoch) = (store.clone(), keys.clone(), table.clone(), epoch.to_owned());
        Ok(HourWriter { store, keys, table, place, epoch, properties, largest, open: None, done: Vec::new() })
    }

    /// Writes rows of the hour, in the order in which they are to stand. After an error it can only be abandoned.
    pub fn write(&mut self, batch: RecordBatch) -> Result<()> {
        let name = &self.table.name;
        let times = times(&self.table, &batch)?.values();
        let (Some(first), Some(last)) = (times.iter().min().copied(), times.iter().max().copied()) else {
            return Ok(());
        };
        let hour = self.place.hour;
        if Hour::of(first).values() != hour.values() || Hour::of(last).values() != hour.values() {
            return Err(Error::stop(format!("table `{name}` has rows in {hour} that are of another hour")));
        }
        if self.open.is_none() {
            let n = u32::try_from(self.done.len()).unwrap_or(u32::MAX);
            let stage = self.store.stage_at(name, self.place, &self.keys.file_name(&self.epoch, 0, n))?;
            self.open = Some(OpenFile::new(self.table.clone(), stage, self.properties.clone(), RUN)?);
        }
        let Some(file) = &mut self.open else { return Ok(()) };
        file.write(&Piece { batch, first, last })?;
        if file.rows_held() > HELD.min(usize::try_from(self.largest).unwrap_or(HELD)) {
            file.flush()?;
        }
        if file.written() >= self.largest {
            self.end()?;
        }
        Ok(())
    }

    /// Ends all files.
    pub fn finish(mut self) -> Result<Vec<PendingFile>> {
        self.end()?;
        Ok(std::mem::take(&mut self.done))
    }

    /// Gives all files up. The result is what is finished, for the caller to throw away.
    pub fn abandon(mut self) -> Vec<PendingFile> {
        if let Some(file) = self.open.take() {
            file.cancel();
        }
        std::mem::take(&mut self.done)
    }

    fn end(&mut self) -> Result<()> {
        let Some(mut file) = self.open.take() else { return Ok(()) };
        file.flush()?;
        let own = [
            ("tidemill.pipeline", self.keys.pipeline()),
            ("tidemill.epoch", self.epoch.as_str()),
            ("tidemill.compacted", "true"),
        ];
        let footer = own.map(|(key, value)| (key.to_owned(), value.to_owned()));
        self.done.push(file.finish(footer.into_iter())?);
        Ok(())
    }
}
