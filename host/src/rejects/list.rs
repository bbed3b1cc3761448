//! Rejected rows, counted by who rejected them and why.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Columns, Filter, Shaped, batches, shaped};
use crate::audit::Progress;
use crate::commit::record::DataFile;
use crate::env::Micros;
use crate::pipeline::offline::Lake;
use crate::sink::Parts;
use crate::wait::blocking;
use crate::{Error, Result};
use arrow::array::Array;

/// Groups that are told apart. What is beyond is counted together.
const GROUPS: usize = 10_000;
/// Bytes of a sample's key or value that are kept.
const SHOWN: usize = 4096;
/// How often reading begins anew because files were replaced meanwhile.
const TRIES: u32 = 5;

/// Rows that were rejected by the same for the same reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// `decode` or `transform`; empty: different ones, too many to tell apart.
    pub stage: String,
    /// The transform's name.
    pub transform: Option<String>,
    /// The component's SHA-256.
    pub digest: Option<String>,
    /// Why.
    pub reason: String,
    /// How many.
    pub rows: u64,
    /// The earliest event.
    pub first: Micros,
    /// The latest.
    pub last: Micros,
    /// The partitions that they came from.
    pub partitions: BTreeSet<i32>,
    /// Some of them.
    pub samples: Vec<Sample>,
}

/// A rejected event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// Kafka's time.
    pub time: Micros,
    /// The beginning of its key.
    pub key: Option<Vec<u8>>,
    /// The beginning of its value.
    pub value: Option<Vec<u8>>,
}

/// What the table of rejected events has.
#[derive(Clone, Debug, Default)]
pub struct List {
    /// By how many they are, most first.
    pub groups: Vec<Group>,
    /// Files that were read.
    pub files: u64,
    /// Rows of files that are true and that readers do not see yet.
    pub unseen: u64,
}

impl List {
    /// Takes in what was counted in another log.
    pub fn join(&mut self, other: List, samples: usize) {
        for group in other.groups {
            let name = |g: &Group| (g.stage.clone(), g.transform.clone(), g.digest.clone(), g.reason.clone());
            let wanted = name(&group);
            let Some(known) = self.groups.iter_mut().find(|known| name(known) == wanted) else {
                self.groups.push(group);
                continue;
            };
            known.rows += group.rows;
            (known.first, known.last) = (known.first.min(group.first), known.last.max(group.last));
            known.partitions.extend(group.partitions);
            known.samples.extend(group.samples);
            known.samples.truncate(samples);
        }
        self.groups.sort_by(order);
        self.files += other.files;
        self.unseen += other.unseen;
    }

    /// All rows that were counted.
    pub fn rows(&self) -> u64 {
        self.groups.iter().map(|group| group.rows).sum()
    }
}

/// Counts the rows that are meant, and keeps so many samples of each group.
pub async fn list(lake: &mut Lake, wanted: &Filter, samples: usize, progress: Progress<'_>) -> Result<List> {
    for _ in 0..TRIES {
        let files = wanted.files(&lake.log).await?;
        match all(lake, wanted, samples, &files, progress).await? {
            Some(list) => return Ok(list),
            None => lake.log.refresh().await?,
        }
    }
    Err(Error::stop("files of rejected_events were replaced again and again while they were read; try again"))
}

/// None: a file is not true any more.
async fn all(
    lake: &mut Lake,
    wanted: &Filter,
    samples: usize,
    files: &[DataFile],
    progress: Progress<'_>,
) -> Result<Option<List>> {
    let (mut counting, mut list) = (Counting { samples, ..Counting::default() }, List::default());
    for (at, DataFile { file, .. }) in files.iter().enumerate() {
        progress(format!("reading rejected_events: file {} of {}", at + 1, files.len()));
        let store = lake.stores.of(file.zone).clone();
        if store.size(&file.key).await?.is_none() {
            lake.log.refresh().await?;
            if !lake.log.live(&file.table, &file.hour.values().0).await?.contains_key(&file.key) {
                return Ok(None);
            }
            list.unseen += file.rows;
            continue;
        }
        let parts = Parts::new(&store, &lake.env, &file.key, file.bytes)?;
        let (wanted, mut taken) = (wanted.clone(), std::mem::take(&mut counting));
        let read = blocking("reading a file", move || taken.file(parts, &wanted).map(|()| taken));
        match read.await? {
            Ok(read) => counting = read,
            Err(_) if store.size(&file.key).await?.is_none() => return Ok(None),
            Err(why) => return Err(Error::stop(format!("{} cannot be read: {why}", file.key))),
        }
        list.files += 1;
    }
    let mut groups: Vec<Group> = counting.groups.into_values().collect();
    groups.sort_by(order);
    Ok(Some(List { groups, ..list }))
}

/// Those with the most rows first.
fn order(a: &Group, b: &Group) -> std::cmp::Ordering {
    (b.rows, &a.reason, &a.digest).cmp(&(a.rows, &b.reason, &b.digest))
}

#[derive(Default)]
struct Counting {
    groups: HashMap<String, Group>,
    samples: usize,
}

impl Counting {
    fn file(&mut self, file: Parts, wanted: &Filter) -> Result<(), String> {
        let (mut before, mut sampled, mut name) = (0, BTreeMap::new(), String::new());
        for batch in batches(file.clone(), Columns::Who, None)? {
            let rows = shaped(&batch.map_err(|e| e.to_string())?)?;
            for row in 0..rows.rows() {
                let (time, reason) = (rows.time.value(row), rows.reason.value(row));
                if wanted.takes(time, rows.by(row), reason) {
                    self.name(&rows, row, &mut name);
                    if self.count(&name, &rows, row) {
                        sampled.insert(before + row, name.clone());
                    }
                }
            }
            before += rows.rows();
        }
        if sampled.is_empty() {
            return Ok(());
        }
        // Values are large, so only those are read that are shown.
        let selected = Some(sampled.keys().copied().collect());
        let mut names = sampled.into_values();
        for batch in batches(file, Columns::Samples, selected)? {
            let rows = shaped(&batch.map_err(|e| e.to_string())?)?;
            for row in 0..rows.rows() {
                let group = names.next().and_then(|name| self.groups.get_mut(&name));
                if let Some(group) = group {
                    group.samples.push(sample(&rows, row));
                }
            }
        }
        Ok(())
    }

    /// What tells a row's group from others.
    fn name(&self, rows: &Shaped, row: usize, name: &mut String) {
        name.clear();
        let digest = if rows.digest.is_valid(row) { rows.digest.value(row) } else { "" };
        let parts = [rows.stage.value(row), rows.by(row).unwrap_or_default(), digest, rows.reason.value(row)];
        for part in parts {
            name.push_str(part);
            name.push('\0');
        }
        if self.groups.len() >= GROUPS && !self.groups.contains_key(name.as_str()) {
            name.clear();
        }
    }

    /// Counts a row. True: it is to be a sample.
    fn count(&mut self, name: &str, rows: &Shaped, row: usize) -> bool {
        let (time, partition) = (rows.time.value(row), rows.partition.value(row));
        if !self.groups.contains_key(name) {
            let text = |column: &arrow::array::StringArray| {
                (column.is_valid(row) && !name.is_empty()).then(|| column.value(row).to_owned())
            };
            let group = Group {
                stage: text(&rows.stage).unwrap_or_default(),
                transform: text(&rows.transform),
                digest: text(&rows.digest),
                reason: text(&rows.reason).unwrap_or_else(|| "other reasons".into()),
                first: Micros::MAX,
                last: Micros::MIN,
                ..Group::default()
            };
            self.groups.insert(name.to_owned(), group);
        }
        let samples = self.samples as u64;
        let Some(group) = self.groups.get_mut(name) else { return false };
        group.rows += 1;
        (group.first, group.last) = (group.first.min(time), group.last.max(time));
        group.partitions.insert(partition);
        group.rows <= samples
    }
}

fn sample(rows: &Shaped, row: usize) -> Sample {
    let bytes = |column: &Option<arrow::array::BinaryArray>| {
        let column = column.as_ref().filter(|column| column.is_valid(row))?;
        let value = column.value(row);
        Some(value[..value.len().min(SHOWN)].to_vec())
    };
    Sample {
        partition: rows.partition.value(row),
        offset: rows.offset.value(row),
        time: rows.time.value(row),
        key: bytes(&rows.key),
        value: bytes(&rows.value),
    }
}
