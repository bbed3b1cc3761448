//! Which files are true: each is named once, and what is taken away was there. Keeps no list of them: per hour of
//! a table a count and a sum of hashes, and per epoch the record that made it true.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::findings::Findings;
use crate::commit::Record;
use crate::commit::record::{DataFile, Flip};
use crate::generations;
use crate::sink::Keys;
use crate::table::{self, Hour, Zone};

/// A set of keys in a few bytes: two sets with the same print are the same (but for one chance in 2^64).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Print {
    pub(super) files: u64,
    sum: u64,
}

impl Print {
    pub(super) fn add(&mut self, key: &str) {
        *self = Print { files: self.files + 1, sum: self.sum.wrapping_add(hash(key)) };
    }

    pub(super) fn join(&mut self, other: Print) {
        *self = Print { files: self.files + other.files, sum: self.sum.wrapping_add(other.sum) };
    }

    fn remove(&mut self, key: &str) {
        *self = Print { files: self.files.saturating_sub(1), sum: self.sum.wrapping_sub(hash(key)) };
    }
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// What the records say about one hour of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) hour: Hour,
    pub(super) generation: u32,
    pub(super) print: Print,
}

/// Hours of a table, each generation by itself, by their folder, as `date=2025-12-02/hour=09`.
pub(super) type Places = BTreeMap<String, Place>;

/// A file that an earlier record must, or must not, have made true.
pub(super) struct Question {
    pub(super) epoch: String,
    pub(super) key: String,
    pub(super) kind: Asked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// It becomes true, so it must be new.
    New,
    /// It is true no more, so it must have been.
    Superseded,
    /// Clean-up removes it, so it must not be true.
    Removed,
}

#[derive(Default)]
pub(super) struct Books {
    /// Tables with files, and tables that somebody could write.
    pub(super) tables: BTreeMap<(Zone, String), Places>,
    /// Keys that are true no more, by their hashes, and the record that says so.
    superseded: HashMap<u64, u64>,
    /// Flips, and whether sweeps have named all that they took away.
    flips: BTreeMap<u64, bool>,
    /// The first record that names files of an epoch.
    epochs: HashMap<u128, u64>,
}

impl Books {
    /// The record that made an epoch's files true.
    pub(super) fn record_of(&self, epoch: &str) -> Option<u64> {
        self.epochs.get(&short(epoch)).copied()
    }

    /// The record that says that a file is true no more.
    pub(super) fn superseded(&self, key: &str) -> Option<u64> {
        self.superseded.get(&hash(key)).copied()
    }

    /// Whether a record is a compaction or an expiry.
    pub(super) fn is_flip(&self, seq: u64) -> bool {
        self.flips.contains_key(&seq)
    }

    /// Whether what a record took away may still be there: no sweep has named it.
    pub(super) fn is_retired(&self, seq: u64) -> bool {
        self.flips.get(&seq) == Some(&false)
    }

    /// Takes in the record of the next slot; returns what only earlier records can answer.
    pub(super) fn take(&mut self, keys: &Keys, record: &Record, findings: &mut Findings) -> Vec<Question> {
        let mut questions = Vec::new();
        let ask = |epoch: &str, key: &str, kind| Question { epoch: epoch.into(), key: key.into(), kind };
        self.tables_of(record);
        for DataFile { epoch, generation, file } in &record.supersedes {
            if !record.kind.flips() {
                questions.push(ask(epoch, &file.key, Asked::Superseded));
            }
            self.superseded.insert(hash(&file.key), record.seq);
            let places = self.tables.entry((file.zone, file.table.clone())).or_default();
            let place = generations::Place { hour: file.hour, generation: *generation };
            if let Some(place) = places.get_mut(&Keys::folder(place)) {
                place.print.remove(&file.key);
            }
        }
        for Flip { table, hour, generation } in &record.flips {
            let before = generations::Place { hour: Hour(*hour), generation: generation.saturating_sub(1) };
            let folder = Keys::folder(before);
            let rest = self.tables.iter().filter(|((_, name), _)| name == table);
            let rest = rest
                .filter_map(|(_, places)| places.get(&folder))
                .any(|place| place.print != Print::default());
            if rest {
                findings.add(
                    "chain",
                    format!(
                        "record {} takes other files of {table}, {folder}, away than those that were true in it",
                        record.seq
                    ),
                );
            }
        }
        let mut names = std::collections::BTreeSet::new();
        for DataFile { epoch, generation, file } in &record.files {
            let (seq, key) = (record.seq, &file.key);
            let generation = *generation;
            let folder = Keys::folder(generations::Place { hour: file.hour, generation });
            let shaped =
                key.strip_prefix(&format!("{}/{folder}/", file.table)).is_some_and(|n| !n.contains('/'));
            if !shaped || keys.epoch_of(key).as_deref() != Some(epoch) {
                let table = &file.table;
                findings.add(
                    "record",
                    format!("record {seq}: {key} is no name for a file of {table}, {folder}, epoch {epoch}"),
                );
            }
            if !names.insert(key) {
                findings.add("twice", format!("record {seq} names {key} twice"));
                continue;
            }
            if self.epochs.contains_key(&short(epoch)) {
                questions.push(ask(epoch, key, Asked::New));
            }
            let places = self.tables.entry((file.zone, file.table.clone())).or_default();
            let place = places.entry(folder).or_insert(Place {
                hour: file.hour,
                generation,
                print: Print::default(),
            });
            place.print.add(key);
        }
        if record.kind.flips() {
            self.flips.insert(record.seq, false);
        }
        for seq in &record.sweeps {
            // Until the last stretch some of its files may be there.
            self.flips.insert(*seq, record.stretch(*seq).is_none_or(|stretch| stretch.to >= stretch.of));
        }
        // Only now: an epoch may have any number of files in one record.
        for file in &record.files {
            self.epochs.entry(short(&file.epoch)).or_insert(record.seq);
        }
        for remains in record.cleanup.iter().flat_map(|cleanup| &cleanup.remains) {
            if self.epochs.contains_key(&short(&remains.epoch)) {
                questions.push(ask(&remains.epoch, &remains.key, Asked::Removed));
            }
        }
        questions
    }

    fn tables_of(&mut self, record: &Record) {
        let Some(topic) = &record.topic else { return };
        let works =
            record.partitions.iter().flat_map(|advance| &advance.transforms).flat_map(|work| &work.tables);
        let made = works.map(|name| (Zone::Processed, name.clone()));
        let own = [table::raw(&topic.name), table::rejected()].map(|table| (table.zone, table.name));
        for table in own.into_iter().chain(made) {
            self.tables.entry(table).or_default();
        }
    }

    /// Files that are true.
    pub(super) fn files(&self) -> u64 {
        self.places().map(|(_, _, place)| place.print.files).sum()
    }

    /// Hours of tables that have files.
    pub(super) fn places(&self) -> impl Iterator<Item = (&(Zone, String), &String, &Place)> {
        let all =
            self.tables.iter().flat_map(|(table, places)| places.iter().map(move |(f, p)| (table, f, p)));
        all.filter(|(_, _, place)| place.print.files > 0)
    }
}

/// An epoch's id in 16 bytes: its 32 hexadecimal digits. Any other text, which no host makes, by its hash.
fn short(epoch: &str) -> u128 {
    u128::from_str_radix(epoch, 16).unwrap_or_else(|_| u128::from(hash(epoch)))
}
