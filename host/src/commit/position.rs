//! What a log says: a pure function of its records.
//!
//! A [`View`] is the fold of all records up to its tail. Every check that a record must pass is made against one
//! view, and the slot that the record goes to is that view's next one (rule L2): if the slot is taken, the view
//! is read on and everything is checked again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::covered::Covered;
use super::record::{Advance, DataFile, Flip, Owed, Record, RecordKind, Topic, TransformSet};
use super::rules::{Rule, Rules};
use super::summary::Inventories;
use crate::env::Micros;
use crate::generations::{Generations, Standing};
use crate::table::Hour;

/// A partition of a topic: a topic that was created anew has other partitions.
pub type PartitionKey = (Topic, i32);

/// The fold of a log.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The slot after the tail.
    pub(super) next: u64,
    /// The topic of the newest record that names one.
    pub(super) topic: Option<Topic>,
    /// The last record of each partition, whole.
    pub(super) last: BTreeMap<PartitionKey, Arc<Record>>,
    /// The last maintenance record, whole.
    pub(super) maintenance: Option<Arc<Record>>,
    /// The last record with a set of transforms, whole.
    pub(super) transforms: Option<Arc<Record>>,
    /// Epochs that may never become true.
    pub(super) fenced: BTreeSet<String>,
    /// Keys that are true no more, and the record that says so.
    pub(super) superseded: BTreeMap<String, u64>,
    /// Repairs of files of last records, by their sequence numbers.
    pub(super) repairs: BTreeMap<u64, Arc<Record>>,
    /// Hours that do not stand as they began (rule M4).
    pub(super) generations: Generations,
    /// Flips whose superseded files are still there.
    pub(super) retired: BTreeSet<u64>,
    /// Flips of whose superseded files so many are removed, and the rest is to be.
    pub(super) sweeping: BTreeMap<u64, u64>,
    /// What of history is true, and who works on what (rule M8).
    pub(super) covered: Covered,
    /// The records since the last summary.
    pub(super) recent: Vec<Arc<Record>>,
    /// Where the live files up to the last summary are listed.
    pub(super) inventories: Inventories,
}

impl View {
    /// The slot after the tail: where the next record goes.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The topic that the log is about; none: nothing was begun.
    pub fn topic(&self) -> Option<&Topic> {
        self.topic.as_ref()
    }

    /// Where a partition stands: its last record, and its part in it.
    pub fn partition(&self, topic: &Topic, partition: i32) -> Option<(&Arc<Record>, &Advance)> {
        let record = self.last.get(&(topic.clone(), partition))?;
        let advance = record.partitions.iter().find(|a| a.partition == partition)?;
        Some((record, advance))
    }

    /// The offset from which a partition goes on; none: it was not begun.
    pub fn position(&self, topic: &Topic, partition: i32) -> Option<i64> {
        self.partition(topic, partition).map(|(_, advance)| advance.to)
    }

    /// The sequence number of a partition's last record.
    pub fn last(&self, topic: &Topic, partition: i32) -> Option<u64> {
        self.last.get(&(topic.clone(), partition)).map(|record| record.seq)
    }

    /// All partitions that were begun, with their positions.
    pub fn positions(&self) -> impl Iterator<Item = (&PartitionKey, i64)> {
        self.last.keys().filter_map(|key| Some((key, self.position(&key.0, key.1)?)))
    }

    /// The transforms to run, with the record that says so; none: nobody has said.
    pub fn transforms(&self) -> Option<(u64, &TransformSet)> {
        self.transforms.as_ref().and_then(|record| Some((record.seq, record.transforms.as_ref()?)))
    }

    /// Versions of transforms by the digests of their components, as far as the view still has them.
    pub fn versions(&self) -> BTreeMap<&str, &str> {
        let advances = self.last.values().chain(&self.recent).flat_map(|record| &record.partitions);
        let works = advances.flat_map(|advance| &advance.transforms);
        let set = self.transforms().map_or(&[][..], |(_, set)| &set.components);
        let worked = works.map(|work| (work.digest.as_str(), work.version.as_str()));
        worked.chain(set.iter().map(|now| (now.digest.as_str(), now.version.as_str()))).collect()
    }

    /// Takes in the record of the next slot.
    pub(super) fn fold(&mut self, record: Arc<Record>) {
        if let Some(topic) = &record.topic {
            for advance in &record.partitions {
                self.last.insert((topic.clone(), advance.partition), record.clone());
            }
            self.topic = Some(topic.clone());
        }
        for file in &record.supersedes {
            self.superseded.insert(file.file.key.clone(), record.seq);
        }
        if record.kind == RecordKind::Repair {
            self.repairs.insert(record.seq, record.clone());
        }
        if record.transforms.is_some() {
            self.transforms = Some(record.clone());
        }
        if record.kind.is_maintenance() {
            self.maintenance = Some(record.clone());
        }
        if let Some(cleanup) = &record.cleanup {
            self.fenced.extend(cleanup.epochs.iter().cloned());
        }
        for Flip { table, hour, generation } in &record.flips {
            let brought =
                record.files.iter().any(|file| (&file.file.table, file.file.hour.0) == (table, *hour));
            let standing = Standing { generation: *generation, empty: !brought };
            self.generations.set(table, Hour(*hour), standing);
        }
        if !self.generations.is_empty() {
            record.files.iter().for_each(|file| self.generations.touch(&file.file.table, file.file.hour));
        }
        if record.kind.flips() {
            self.retired.insert(record.seq);
        }
        for seq in &record.sweeps {
            self.retired.remove(seq);
            self.sweeping.remove(seq);
        }
        for stretch in record.stretches.iter().filter(|stretch| stretch.to < stretch.of) {
            self.sweeping.insert(stretch.flip, stretch.to);
        }
        self.covered.fold(&record);
        self.next = record.seq + 1;
        self.recent.push(record);
    }

    /// Whether files lie where their hours are read now (rule M4); otherwise, why not.
    pub(super) fn check_places(&self, rules: Rules, files: &[DataFile]) -> Result<(), String> {
        for DataFile { generation, file, .. } in files.iter().filter(|_| rules.on(Rule::Generation)) {
            let now = self.generations.get(&file.table, file.hour).generation;
            if now != *generation {
                let (table, hour) = (&file.table, file.hour);
                return Err(format!(
                    "{table}, {hour}, was rewritten: its generation is {now}, not {generation}"
                ));
            }
        }
        Ok(())
    }

    /// Hours that do not stand as they began.
    pub fn generations(&self) -> &Generations {
        &self.generations
    }

    /// What of history is true, and who works on what.
    pub fn covered(&self) -> &Covered {
        &self.covered
    }

    /// Flips whose superseded files are still there.
    pub fn retired(&self) -> &BTreeSet<u64> {
        &self.retired
    }

    /// Flips of whose superseded files so many were named by a sweep: the rest goes with the next.
    pub fn sweeping(&self) -> &BTreeMap<u64, u64> {
        &self.sweeping
    }

    /// Whether a partition may go ahead like this (rules L3 and M1); otherwise, why not.
    pub(super) fn check(&self, rules: Rules, topic: &Topic, advance: &Advance) -> Result<(), String> {
        let (p, epoch) = (advance.partition, &advance.epoch);
        let last = self.last(topic, p);
        if rules.on(Rule::Prev) && last != advance.prev {
            let at = |seq: Option<u64>| seq.map_or("nothing".into(), |seq| format!("record {seq}"));
            return Err(format!(
                "partition {p} has moved on: its last record is {}, the epoch began after {}",
                at(last),
                at(advance.prev)
            ));
        }
        // Where the first position is no record, there is none to compare with.
        let at = self.position(topic, p).unwrap_or(advance.from);
        if at != advance.from {
            return Err(format!("partition {p} is at offset {at}, the epoch begins at {}", advance.from));
        }
        if rules.on(Rule::Fence) && self.fenced.contains(epoch) {
            return Err(format!("clean-up has removed what epoch {epoch} had staged"));
        }
        Ok(())
    }

    /// When the newest record was made, by its writer's clock.
    pub fn newest(&self) -> Option<Micros> {
        let all = self.last.values().chain(&self.maintenance).chain(&self.recent);
        all.map(|record| record.time).max()
    }

    /// The newest Kafka timestamp of all events that are committed: a time that is not a host's.
    pub fn newest_event(&self) -> Option<Micros> {
        let advances = self.last.iter().filter_map(|((_, partition), record)| {
            record.partitions.iter().find(|advance| advance.partition == *partition)
        });
        advances.filter_map(|advance| advance.newest).max()
    }

    /// The last maintenance record.
    pub fn maintenance(&self) -> Option<&Arc<Record>> {
        self.maintenance.as_ref()
    }

    /// What the last maintenance record leaves to be told to the catalog, and with it those before (rule F5): the
    /// next one is to carry it.
    pub(super) fn owed(&self) -> Vec<Owed> {
        let mut owed: BTreeMap<&str, BTreeSet<i64>> = BTreeMap::new();
        if let Some(record) = &self.maintenance {
            for Owed { table, hours } in &record.owed {
                owed.entry(table).or_default().extend(hours);
            }
            for DataFile { file, .. } in &record.files {
                owed.entry(&file.table).or_default().insert(file.hour.0);
            }
            for Flip { table, hour, .. } in &record.flips {
                owed.entry(table).or_default().insert(*hour);
            }
        }
        let owed = owed.into_iter();
        owed.map(|(table, hours)| Owed { table: table.into(), hours: hours.into_iter().collect() }).collect()
    }

    /// Whether a file of a last record, of a repair of one, or of the last maintenance record is true (rule M3).
    pub(super) fn is_live(&self, key: &str) -> bool {
        let known = self.last.values().chain(self.repairs.values()).chain(&self.maintenance);
        let known = known.flat_map(|record| &record.files);
        !self.superseded.contains_key(key) && known.into_iter().any(|file| file.file.key == key)
    }

    /// The repair that took a file's place.
    pub(super) fn repair_of(&self, key: &str) -> Option<Arc<Record>> {
        self.superseded.get(key).and_then(|seq| self.repairs.get(seq)).cloned()
    }

    /// Last records and the last maintenance record: what may not be published yet.
    pub(super) fn unpublished(&self, partitions: Option<&[PartitionKey]>) -> Vec<Arc<Record>> {
        let wanted = |key: &PartitionKey| partitions.is_none_or(|some| some.contains(key));
        let last = self.last.iter().filter(|(key, _)| wanted(key)).map(|(_, record)| record);
        let all = last.chain(&self.maintenance).map(|record| (record.seq, record.clone()));
        all.collect::<BTreeMap<u64, Arc<Record>>>().into_values().collect()
    }

    /// What nobody can need any more at a summary: repairs that no last record leads to, and keys that are true no
    /// more and that nobody will publish. A last record may be published at any time: of its files, those must stay
    /// known that a replay has taken away.
    pub(super) fn prune(&mut self, rules: Rules) {
        let mut keys: BTreeSet<&str> =
            self.last.values().flat_map(|r| &r.files).map(|f| f.file.key.as_str()).collect();
        let mut needed = BTreeSet::new();
        // A repair may itself have been repaired; repairs are in the order of their numbers.
        for (seq, repair) in &self.repairs {
            if repair.supersedes.iter().any(|file| keys.contains(file.file.key.as_str())) {
                needed.insert(*seq);
                keys.extend(repair.files.iter().map(|file| file.file.key.as_str()));
            }
        }
        if !rules.on(Rule::RememberTaken) {
            keys.clear();
        }
        self.superseded.retain(|key, seq| needed.contains(seq) || keys.contains(key.as_str()));
        self.repairs.retain(|seq, _| needed.contains(seq));
    }
}

/// The files that became true since the last summary and still are.
pub(super) fn recent_files(view: &View) -> impl Iterator<Item = &DataFile> {
    let files = view.recent.iter().flat_map(|record| &record.files);
    files.filter(|file| !view.superseded.contains_key(&file.file.key))
}
