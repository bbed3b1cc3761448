//! The rows of one lane in one epoch, encoded as they come.
//!
//! An [`EpochWriter`] lives on its lane's thread. It keeps one Parquet encoder per (table, hour) and stays
//! under its bounds whatever the rows are like:
//!
//! * more than [`Settings::buffer_bytes`] held: the largest encoder writes its row group early;
//! * more than [`Settings::open_files`] encoders: the least recently used ends its file early;
//! * a file larger than [`Settings::file_bytes`]: it ends and another begins.

use std::collections::HashMap;
use std::sync::Arc;

use parquet::file::properties::WriterProperties;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::file::OpenFile;
use super::keys::Keys;
use super::properties::{Learned, properties};
use super::split::by_hour;
use super::stage::PendingFile;
use super::zone::Stores;
use crate::batch::Rows;
use crate::error::{Error, Result};
use crate::table::{Hour, Table};

/// The bounds of one lane's encoders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Rows of a sorted table that are sorted together: one row group.
    pub run_rows: usize,
    /// The rows of a row group, at most.
    pub row_group_rows: usize,
    /// Bytes held by all encoders of the lane.
    pub buffer_bytes: usize,
    /// Encoders that are open at the same time.
    pub open_files: usize,
    /// The size at which a file ends.
    pub file_bytes: u64,
    /// The level of zstd, from -7 to 22.
    pub zstd_level: i32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            run_rows: 1 << 16,
            row_group_rows: 1 << 17,
            buffer_bytes: 64 << 20,
            open_files: 128,
            file_bytes: 512 << 20,
            zstd_level: 1,
        }
    }
}

/// How often a bound made itself felt since the writer was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Row groups that were written early because too many bytes were held.
    pub row_groups: u64,
    /// Files that ended early because too many bytes were held or too many files open, or because they
    /// were large.
    pub files: u64,
}

/// Writes one lane's rows into staged files, epoch after epoch. For a plain thread: it blocks.
pub struct EpochWriter {
    stores: Stores,
    runtime: Handle,
    lane: u32,
    settings: Settings,
    keys: Keys,
    plans: HashMap<String, Plan>,
    epoch: Option<Epoch>,
    pressure: Pressure,
    /// Counts writes: the clock of the least recently used.
    writes: u64,
}

/// How files of one table are written.
struct Plan {
    table: Arc<Table>,
    learned: Learned,
    properties: WriterProperties,
}

/// Everything since `begin`.
struct Epoch {
    id: String,
    footer: Vec<(String, String)>,
    open: HashMap<(String, Hour), OpenFile>,
    done: Vec<PendingFile>,
    /// Files begun.
    files: u32,
    rows: u64,
    /// Bytes of finished files.
    bytes: u64,
    /// Bytes held by all open files.
    held: usize,
}

impl EpochWriter {
    /// The writer of a lane. The lane's number must be its own among the host's lanes.
    pub fn new(stores: Stores, keys: &Keys, lane: u32, settings: Settings) -> EpochWriter {
        let runtime = stores.raw.budget().runtime.clone();
        EpochWriter {
            stores,
            runtime,
            lane,
            settings,
            keys: keys.clone(),
            plans: HashMap::new(),
            epoch: None,
            pressure: Pressure::default(),
            writes: 0,
        }
    }

    /// From the next write on, at most so many bytes are held in memory.
    pub fn bound(&mut self, bytes: usize) {
        self.settings.buffer_bytes = bytes;
    }

    /// Begins an epoch. Its id was never used before by any host: it makes the names of files unique.
    /// Every file's footer gets these entries, beside `tidemill.pipeline` and `tidemill.epoch`.
    ///
    /// What was not finished before is abandoned.
    pub fn begin(&mut self, id: &str, footer: Vec<(String, String)>) {
        let own = [("tidemill.pipeline", self.keys.pipeline()), ("tidemill.epoch", id)];
        let own = own.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let footer = own.into_iter().chain(footer).collect();
        drop(self.abandon());
        self.epoch = Some(Epoch {
            id: id.into(),
            footer,
            open: HashMap::new(),
            done: Vec::new(),
            files: 0,
            rows: 0,
            bytes: 0,
            held: 0,
        });
    }

    /// Writes rows. After an error the epoch can only be abandoned.
    pub fn write(&mut self, rows: &Rows) -> Result<()> {
        for piece in by_hour(rows)? {
            self.writes += 1;
            let key = (rows.table.name.clone(), piece.hour);
            self.make_way(&key, &rows.table)?;
            let now = self.writes;
            let (epoch, file) = self.open(&key, &rows.table)?;
            file.used = now;
            file.write(&piece)?;
            let (before, after) = (file.counted, file.held());
            file.counted = after;
            let large = file.written() >= epoch.limit;
            *epoch.held = (*epoch.held + after).saturating_sub(before);
            *epoch.rows += piece.batch.num_rows() as u64;
            if large {
                self.end_early(&key)?;
            }
            self.shed()?;
        }
        Ok(())
    }

    /// The rows written since `begin`.
    pub fn rows(&self) -> u64 {
        self.epoch.as_ref().map_or(0, |epoch| epoch.rows)
    }

    /// The bytes of the files since `begin`, as far as they are encoded; what is still held counts as it is
    /// held.
    pub fn bytes(&self) -> u64 {
        self.epoch.as_ref().map_or(0, |epoch| {
            epoch.bytes + epoch.held as u64 + epoch.open.values().map(OpenFile::written).sum::<u64>()
        })
    }

    /// The files begun since `begin`: a lane with very many does well to commit early.
    pub fn files(&self) -> u32 {
        self.epoch.as_ref().map_or(0, |epoch| epoch.files)
    }

    /// The bytes held in memory: never more than [`Settings::buffer_bytes`] between two writes.
    pub fn held(&self) -> usize {
        self.epoch.as_ref().map_or(0, |epoch| epoch.held)
    }

    /// How often a bound made itself felt.
    pub fn pressure(&self) -> Pressure {
        self.pressure
    }

    /// Ends all files of the epoch. Those that are still open also get these entries in their footers;
    /// those that a bound ended early do not.
    ///
    /// After an error the epoch is abandoned.
    pub fn finish(&mut self, footer: &[(String, String)]) -> Result<Vec<PendingFile>> {
        let mut keys: Vec<_> = match &mut self.epoch {
            Some(epoch) => {
                epoch.footer.extend_from_slice(footer);
                epoch.open.keys().cloned().collect()
            }
            None => return Ok(Vec::new()),
        };
        keys.sort();
        for key in &keys {
            if let Err(error) = self.end(key) {
                drop(self.abandon());
                return Err(error);
            }
        }
        Ok(self.epoch.take().map(|epoch| epoch.done).unwrap_or_default())
    }

    /// Drops the epoch and what was staged of it. The result is there once everything is gone; nobody
    /// needs to wait for it.
    pub fn abandon(&mut self) -> JoinHandle<()> {
        let done = self.epoch.take().map(|mut epoch| {
            epoch.open.drain().for_each(|(_, file)| file.cancel());
            epoch.done
        });
        self.runtime.spawn(async move {
            for file in done.unwrap_or_default() {
                let key = file.key().to_owned();
                if let Err(error) = file.discard().await {
                    tracing::warn!("{key} of an abandoned epoch is left to clean-up: {error}");
                }
            }
        })
    }

    /// Ends a file of the same key with other columns, and the least recently used if too many are open.
    fn make_way(&mut self, key: &(String, Hour), table: &Arc<Table>) -> Result<()> {
        let Some(epoch) = &self.epoch else { return Ok(()) };
        match epoch.open.get(key) {
            Some(file) if Arc::ptr_eq(file.table(), table) || file.table() == table => return Ok(()),
            Some(_) => return self.end_early(key),
            None => {}
        }
        if epoch.open.len() < self.settings.open_files.max(1) {
            return Ok(());
        }
        let oldest = epoch.open.iter().min_by_key(|(_, file)| file.used).map(|(key, _)| key.clone());
        oldest.map_or(Ok(()), |key| self.end_early(&key))
    }

    /// The open file of that key, begun if need be.
    fn open(&mut self, key: &(String, Hour), table: &Arc<Table>) -> Result<(Counters<'_>, &mut OpenFile)> {
        let epoch = self.epoch.as_mut().ok_or_else(|| Error::stop("rows came before an epoch was begun"))?;
        if !epoch.open.contains_key(key) {
            let properties = plan(&mut self.plans, table, &self.settings)?.properties.clone();
            let name = self.keys.file_name(&epoch.id, self.lane, epoch.files);
            let stage = self.stores.of(table.zone).stage(&table.name, key.1, &name)?;
            epoch.files += 1;
            let run = self.settings.run_rows.clamp(1, self.settings.row_group_rows.max(1));
            epoch.open.insert(key.clone(), OpenFile::new(Arc::clone(table), stage, properties, run)?);
        }
        let Epoch { open, rows, held, .. } = epoch;
        let file = open.get_mut(key).ok_or_else(|| Error::stop("a file vanished while it was open"))?;
        Ok((Counters { rows, held, limit: self.settings.file_bytes }, file))
    }

    /// Brings the memory under its bound.
    fn shed(&mut self) -> Result<()> {
        while let Some(epoch) = self.epoch.as_mut().filter(|epoch| epoch.held > self.settings.buffer_bytes) {
            let Some((key, file)) = epoch.open.iter_mut().max_by_key(|(_, file)| file.counted) else { break };
            // A part that waits to be full can only go with the whole file.
            if file.rows_held() < file.held() / 2 {
                let key = key.clone();
                self.end_early(&key)?;
                continue;
            }
            file.flush()?;
            let (before, after) = (file.counted, file.held());
            file.counted = after;
            epoch.held = (epoch.held + after).saturating_sub(before);
            self.pressure.row_groups += 1;
        }
        Ok(())
    }

    fn end_early(&mut self, key: &(String, Hour)) -> Result<()> {
        self.pressure.files += 1;
        self.end(key)
    }

    fn end(&mut self, key: &(String, Hour)) -> Result<()> {
        let Some(epoch) = self.epoch.as_mut() else { return Ok(()) };
        let Some(mut file) = epoch.open.remove(key) else { return Ok(()) };
        epoch.held = epoch.held.saturating_sub(file.counted);
        file.flush()?;
        if let Some(plan) = self.plans.get_mut(&key.0) {
            let mut news = false;
            for group in file.row_groups() {
                news |= plan.learned.see(group);
            }
            if news {
                plan.properties = self.settings.properties(&plan.table, &plan.learned)?;
            }
        }
        epoch.bytes += file.written();
        epoch.done.push(file.finish(epoch.footer.iter().cloned())?);
        Ok(())
    }
}

/// The epoch's sums, beside the file that changes them.
struct Counters<'a> {
    rows: &'a mut u64,
    held: &'a mut usize,
    limit: u64,
}

impl Settings {
    fn properties(&self, table: &Table, learned: &Learned) -> Result<WriterProperties> {
        properties(table, self.row_group_rows.max(1), self.zstd_level, learned)
    }
}

/// The plan of a table; a new one if its columns are others now.
fn plan<'a>(
    plans: &'a mut HashMap<String, Plan>,
    table: &Arc<Table>,
    settings: &Settings,
) -> Result<&'a Plan> {
    let known =
        plans.get(&table.name).is_some_and(|plan| Arc::ptr_eq(&plan.table, table) || plan.table == *table);
    if !known {
        let learned = Learned::default();
        let properties = settings.properties(table, &learned)?;
        plans.insert(table.name.clone(), Plan { table: Arc::clone(table), learned, properties });
    }
    plans.get(&table.name).ok_or_else(|| Error::stop(format!("table `{}` has no plan", table.name)))
}

impl Drop for EpochWriter {
    fn drop(&mut self) {
        drop(self.abandon());
    }
}
