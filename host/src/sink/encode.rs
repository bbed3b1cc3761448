//! The rows of one lane in one epoch, encoded as they come.
//!
//! An [`EpochWriter`] lives on its lane's thread. It keeps one Parquet encoder per (table, hour) and stays
//! under its bounds whatever the rows are like:
//!
//! * more than [`Settings::buffer_bytes`] held: the largest encoder writes its row group early, or what was gathered is
//!   written;
//! * no more than [`Settings::open_files`] encoders: rows of other hours are gathered, and written one hour after the
//!   other when the epoch ends;
//! * a file larger than [`Settings::file_bytes`]: it ends and another begins.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parquet::file::properties::WriterProperties;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::codec::Codec;
use super::file::OpenFile;
use super::gather::Gathered;
use super::keys::Keys;
use super::properties::{Learned, properties};
use super::split::{Hours, Piece};
use super::stage::PendingFile;
use super::zone::Stores;
use crate::batch::Rows;
use crate::error::{Error, Result};
use crate::table::{Hour, Table, Zone};

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
    /// How files of the raw zone are compressed.
    pub raw_codec: Codec,
    /// How files of the processed zone are compressed.
    pub processed_codec: Codec,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            run_rows: 1 << 16,
            row_group_rows: 1 << 17,
            buffer_bytes: 64 << 20,
            open_files: 128,
            file_bytes: 512 << 20,
            raw_codec: Codec::default(),
            processed_codec: Codec::default(),
        }
    }
}

/// How often a bound made itself felt since the writer was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Row groups that were written early because too many bytes were held.
    pub row_groups: u64,
    /// Files that ended early because too many bytes were held, or because they were large.
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
    /// Rows of hours that have no open file, by table.
    gathered: BTreeMap<String, Gathered>,
    done: Vec<PendingFile>,
    /// Files begun.
    files: u32,
    rows: u64,
    /// Bytes of finished files.
    bytes: u64,
    /// Bytes held by all open files, and of what was gathered.
    held: usize,
    /// A file ended, or what was gathered was written, for want of memory.
    pressed: bool,
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
            gathered: BTreeMap::new(),
            done: Vec::new(),
            files: 0,
            rows: 0,
            bytes: 0,
            held: 0,
            pressed: false,
        });
    }

    /// Writes rows. After an error the epoch can only be abandoned.
    pub fn write(&mut self, rows: &Rows) -> Result<()> {
        let mut hours = Hours::of(&rows.table, &rows.batch)?;
        // The hours of most rows are those worth a file that stays open.
        for hour in hours.fullest_first() {
            let key = (rows.table.name.clone(), hour);
            if self.near(&key)
                && let Some(piece) = hours.take(hour)?
            {
                self.write_piece(&key, &rows.table, &piece)?;
            }
        }
        if hours.hours().next().is_some() {
            self.gather(&rows.table, hours)?;
        }
        if let Some(epoch) = &mut self.epoch {
            epoch.rows += rows.batch.num_rows() as u64;
        }
        self.shed()
    }

    /// Whether rows of that key go to a file at once.
    fn near(&self, key: &(String, Hour)) -> bool {
        let Some(epoch) = &self.epoch else { return true };
        epoch.open.contains_key(key) || epoch.open.len() < self.settings.open_files.max(1)
    }

    fn write_piece(&mut self, key: &(String, Hour), table: &Arc<Table>, piece: &Piece) -> Result<()> {
        self.make_way(key, table)?;
        let (epoch, file) = self.open(key, table)?;
        file.write(piece)?;
        let (before, after) = (file.counted, file.held());
        file.counted = after;
        let large = file.written() >= epoch.limit;
        *epoch.held = (*epoch.held + after).saturating_sub(before);
        if large {
            self.end_early(key)?;
        }
        self.shed()
    }

    fn gather(&mut self, table: &Arc<Table>, hours: Hours) -> Result<()> {
        let Some(epoch) = &mut self.epoch else { return Ok(()) };
        let other = epoch.gathered.get(&table.name).is_some_and(|gathered| gathered.table() != table);
        if other {
            // Of the same name with other columns.
            self.spill(&table.name)?;
        }
        let Some(epoch) = &mut self.epoch else { return Ok(()) };
        let gathered = epoch.gathered.entry(table.name.clone()).or_insert_with(|| Gathered::new(table));
        epoch.held += gathered.add(hours)?;
        Ok(())
    }

    /// Writes what was gathered of a table, a file an hour, one after the other.
    fn spill(&mut self, table: &str) -> Result<()> {
        let Some(epoch) = &mut self.epoch else { return Ok(()) };
        let Some(gathered) = epoch.gathered.remove(table) else { return Ok(()) };
        epoch.held = epoch.held.saturating_sub(gathered.bytes());
        let table = gathered.table().clone();
        let mut hours = gathered.hours()?;
        let all: Vec<Hour> = hours.hours().collect();
        for hour in all {
            let key = (table.name.clone(), hour);
            if let Some(piece) = hours.take(hour)? {
                self.write_piece(&key, &table, &piece)?;
                self.end(&key)?;
            }
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

    /// The files since `begin`, those of what was gathered too: a lane with very many does well to commit early.
    pub fn files(&self) -> u32 {
        self.epoch.as_ref().map_or(0, |epoch| {
            let gathered: usize = epoch.gathered.values().map(Gathered::files).sum();
            epoch.files.saturating_add(u32::try_from(gathered).unwrap_or(u32::MAX))
        })
    }

    /// Whether files had to be ended since `begin` for want of memory: a commit now would make no more of them.
    pub fn pressed(&self) -> bool {
        self.epoch.as_ref().is_some_and(|epoch| epoch.pressed)
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
        if let Err(error) = keys.iter().try_for_each(|key| self.end(key)).and_then(|()| self.spill_all()) {
            drop(self.abandon());
            return Err(error);
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

    fn spill_all(&mut self) -> Result<()> {
        while let Some(table) = self.epoch.as_ref().and_then(|epoch| epoch.gathered.keys().next().cloned()) {
            self.spill(&table)?;
        }
        Ok(())
    }

    /// Ends a file of the same key with other columns.
    fn make_way(&mut self, key: &(String, Hour), table: &Arc<Table>) -> Result<()> {
        let Some(epoch) = &self.epoch else { return Ok(()) };
        match epoch.open.get(key) {
            Some(file) if !Arc::ptr_eq(file.table(), table) && file.table() != table => self.end_early(key),
            _ => Ok(()),
        }
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
        let Epoch { open, held, .. } = epoch;
        let file = open.get_mut(key).ok_or_else(|| Error::stop("a file vanished while it was open"))?;
        Ok((Counters { held, limit: self.settings.file_bytes }, file))
    }

    /// Brings the memory under its bound.
    fn shed(&mut self) -> Result<()> {
        while let Some(epoch) = self.epoch.as_mut().filter(|epoch| epoch.held > self.settings.buffer_bytes) {
            let gathered = epoch.gathered.iter().max_by_key(|(_, gathered)| gathered.bytes());
            let gathered =
                gathered.map(|(table, gathered)| (table.clone(), gathered.bytes(), gathered.files()));
            let largest = epoch.open.iter_mut().max_by_key(|(_, file)| file.counted);
            if let Some((table, bytes, files)) = gathered
                && largest.as_ref().is_none_or(|(_, file)| file.counted <= bytes)
            {
                self.pressure.files += files as u64;
                epoch.pressed = true;
                self.spill(&table)?;
                continue;
            }
            let Some((key, file)) = largest else { break };
            // A part that waits to be full can only go with the whole file.
            if file.rows_held() < file.held() / 2 {
                let key = key.clone();
                epoch.pressed = true;
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
    held: &'a mut usize,
    limit: u64,
}

impl Settings {
    fn properties(&self, table: &Table, learned: &Learned) -> Result<WriterProperties> {
        let codec = match table.zone {
            Zone::Raw => self.raw_codec,
            Zone::Processed => self.processed_codec,
        };
        properties(table, self.row_group_rows.max(1), codec, learned)
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
