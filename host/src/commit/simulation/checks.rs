//! What must hold at every step. [`audit`](super::audit) says what must hold in the end.
//!
//! The checks read the log by themselves, in the simplest way there is, so that they do not repeat a mistake of
//! the code that they check.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::super::publish::range;
use super::super::record::{Advance, DataFile, Record, RecordKind};
use super::world::{Row, State, What};
use crate::sink::Publish;

/// What kind of promise is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Category {
    /// A row is visible twice.
    Twice,
    /// An event that should be visible is not.
    Lost,
    /// A file of a record is not visible, though nobody will come back to it.
    Unseen,
    /// A record was written before what it builds on was published.
    TooEarly,
    /// Something that a record names was removed.
    Removed,
    /// A lane was abandoned without a reason.
    Abandoned,
    /// A record does not go on where its partition stands.
    Chain,
    /// A state is not that of its offsets.
    Memory,
    /// A record does not account for all rows.
    Counts,
    /// A record names a file of an epoch that it does not hold.
    Stray,
    /// The catalog lacks an hour, or shows another generation of it.
    Catalog,
    /// A reader that goes by the catalog misses what it has seen.
    Hidden,
    /// A file is added to a generation of its hour that is not the current one.
    Place,
    /// A pipeline has removed what is another's.
    Foreign,
    /// What clean-up named is still there.
    Left,
    /// Rows were made again though the log says that they need not be.
    Needless,
    /// A start from a summary sees another log.
    Summary,
    /// Nothing goes ahead any more.
    Stuck,
    /// A host has called for a person.
    Stopped,
}

/// A broken promise.
#[derive(Clone, Debug)]
pub(super) struct Violation {
    pub(super) category: Category,
    pub(super) text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.category, self.text)
    }
}

/// What is true of a pipeline.
#[derive(Default)]
pub(super) struct Truth {
    pub(super) records: Vec<Record>,
    /// Last record of each partition, and the one before.
    pub(super) last: BTreeMap<i32, (u64, Option<u64>)>,
    /// Where each partition began, as the first host was told.
    pub(super) started: BTreeMap<i32, i64>,
    /// Offsets that each partition accounts for, gaps left out.
    pub(super) offsets: BTreeMap<i32, Vec<i64>>,
    /// Keys that records name, by the record.
    pub(super) named: BTreeMap<String, u64>,
    /// Keys that are true no more, by the record that says so.
    pub(super) superseded: BTreeMap<String, u64>,
    pub(super) fenced: BTreeSet<String>,
    pub(super) maintenance: Option<u64>,
    /// Hours with another generation than the first, by table.
    pub(super) generations: BTreeMap<(String, i64), u32>,
    /// Rows that have expired.
    pub(super) expired: BTreeSet<Row>,
}

/// Whether the transform's state takes an event in; otherwise it emits it or leaves it out.
pub(super) fn absorbed(offset: i64) -> bool {
    offset % 4 < 2
}

/// Whether the transform emits an event.
pub(super) fn emitted(offset: i64) -> bool {
    offset % 4 == 2
}

impl Truth {
    /// Where a partition goes on.
    pub(super) fn position(&self, partition: i32) -> Option<i64> {
        let (seq, _) = self.last.get(&partition)?;
        let record = &self.records[usize::try_from(*seq).expect("in memory")];
        record.partitions.iter().find(|a| a.partition == partition).map(|a| a.to)
    }

    /// Whether a key is true.
    pub(super) fn live(&self, key: &str) -> bool {
        self.named.contains_key(key) && !self.superseded.contains_key(key)
    }

    /// Whether a lane that began like this may be left out of a record.
    pub(super) fn moved_on(&self, advances: &[Advance]) -> bool {
        advances.iter().any(|advance| {
            let last = self.last.get(&advance.partition).map(|(seq, _)| *seq);
            last != advance.prev || self.fenced.contains(&advance.epoch)
        })
    }

    /// Whether an hour of these files has another generation by now.
    pub(super) fn rewritten(&self, files: &[DataFile]) -> bool {
        files.iter().any(|file| {
            let hour = (file.file.table.clone(), file.file.hour.0);
            self.generations.get(&hour).copied().unwrap_or(1) != file.generation
        })
    }

    /// States that last records name, and those before them: with these a last record's files are made again.
    fn needs_state(&self, key: &str) -> bool {
        let names = |partition: i32, seq: u64| {
            let record = &self.records[usize::try_from(seq).expect("in memory")];
            let advance = record.partitions.iter().find(|a| a.partition == partition);
            let works = advance.map_or(&[][..], |advance| &advance.transforms);
            works.iter().any(|work| work.state.as_ref().is_some_and(|state| state.key == key))
        };
        self.last.iter().any(|(p, (seq, prev))| names(*p, *seq) || prev.is_some_and(|prev| names(*p, prev)))
    }

    fn fold(&mut self, record: Record, rows: &BTreeMap<String, Vec<Row>>) {
        for advance in &record.partitions {
            self.last.insert(advance.partition, (record.seq, advance.prev));
            self.started.entry(advance.partition).or_insert(advance.from);
            if record.kind == RecordKind::Epoch {
                self.offsets.entry(advance.partition).or_default().extend(advance.from..advance.to);
            }
        }
        for file in &record.files {
            self.named.insert(file.file.key.clone(), record.seq);
        }
        for file in &record.supersedes {
            self.superseded.insert(file.file.key.clone(), record.seq);
        }
        for flip in &record.flips {
            self.generations.insert((flip.table.clone(), flip.hour), flip.generation);
        }
        if record.kind == RecordKind::Expire {
            self.expired.extend(record.supersedes.iter().flat_map(|file| &rows[&file.file.key]));
        }
        if let Some(cleanup) = &record.cleanup {
            self.fenced.extend(cleanup.epochs.iter().cloned());
        }
        if record.kind.is_maintenance() {
            self.maintenance = Some(record.seq);
        }
        self.records.push(record);
    }
}

impl State {
    /// An object was created: if it is a record, it is true from now on.
    pub(super) fn created(&mut self, key: &str) {
        let Some(at) = self.pipelines.iter().position(|p| key.starts_with(&format!("{}/", p.keys.log())))
        else {
            return;
        };
        let record = Record::decode(key, &self.objects[key].0).expect("a record as it was encoded");
        self.fire(record.kind.name());
        let truth = &self.pipelines[at].truth;
        if record.seq != truth.records.len() as u64 {
            // Only without rule L1: a slot was used again. What comes of it will be seen.
            return;
        }
        let mut found = Vec::new();
        self.check_kept(at, &record, &mut found);
        self.check_chain(at, &record, &mut found);
        self.check_published(at, &record, &mut found);
        self.check_places(at, &record, &mut found);
        self.check_counts(&record, &mut found);
        let seq = record.seq;
        let State { pipelines, rows, .. } = self;
        pipelines[at].truth.fold(record, rows);
        self.check_states(at, &mut found);
        for (category, text) in found {
            self.violate(category, format!("record {seq}: {text}"));
        }
    }

    /// What it names was not removed (rules L4, M1).
    fn check_kept(&self, _: usize, record: &Record, found: &mut Vec<(Category, String)>) {
        for file in &record.files {
            if self.removed.contains(&file.file.key) {
                found.push((Category::Removed, format!("{} was removed before", file.file.key)));
            }
        }
        let works = record.partitions.iter().flat_map(|advance| &advance.transforms);
        for state in works.filter_map(|work| work.state.as_ref()) {
            if !self.objects.contains_key(&state.key) {
                found.push((Category::Removed, format!("{} is not there", state.key)));
            }
        }
    }

    /// It goes on where its partitions stand (rules L3, L6, M1).
    fn check_chain(&self, at: usize, record: &Record, found: &mut Vec<(Category, String)>) {
        let truth = &self.pipelines[at].truth;
        for advance in &record.partitions {
            let p = advance.partition;
            let last = truth.last.get(&p).map(|(seq, _)| *seq);
            let position = truth.position(p).unwrap_or(advance.from);
            if last != advance.prev || position != advance.from {
                let text = format!("partition {p} stands at {position} by {last:?}, not as in {advance:?}");
                found.push((Category::Chain, text));
            }
            if truth.fenced.contains(&advance.epoch) {
                found.push((Category::Chain, format!("epoch {} is fenced", advance.epoch)));
            }
            if record.kind == RecordKind::Start && advance.from > 0 && !truth.records.is_empty() {
                let text = format!("partition {p} appeared later and begins at {}", advance.from);
                found.push((Category::Lost, text));
            }
        }
        let replaced = record.supersedes.iter().find(|file| !truth.live(&file.file.key));
        if let Some(file) = replaced {
            found.push((Category::Chain, format!("{} is not true and cannot be superseded", file.file.key)));
        }
    }

    /// Its files are of the current generation of their hour; a flip takes all that is true in it (rule M4).
    fn check_places(&self, at: usize, record: &Record, found: &mut Vec<(Category, String)>) {
        let truth = &self.pipelines[at].truth;
        for flip in &record.flips {
            let hour = (flip.table.clone(), flip.hour);
            let next = truth.generations.get(&hour).copied().unwrap_or(1) + 1;
            let files = truth.records.iter().flat_map(|record| &record.files);
            let of_hour =
                files.filter(|file| (&file.file.table, file.file.hour.0) == (&flip.table, flip.hour));
            let live = of_hour.map(|file| file.file.key.as_str()).filter(|key| truth.live(key));
            let live: BTreeSet<&str> = live.collect();
            let taken = record.supersedes.iter().filter(|file| file.file.hour.0 == flip.hour);
            let taken: BTreeSet<&str> = taken.map(|file| file.file.key.as_str()).collect();
            if flip.generation != next || live != taken {
                found.push((
                    Category::Place,
                    format!("{flip:?} follows {}, takes {taken:?} of {live:?}", next - 1),
                ));
            }
        }
        for file in &record.files {
            let hour = (file.file.table.clone(), file.file.hour.0);
            let flip = record.flips.iter().find(|flip| (&flip.table, flip.hour) == (&hour.0, hour.1));
            let now = flip.map(|flip| flip.generation).or(truth.generations.get(&hour).copied()).unwrap_or(1);
            if file.generation != now {
                found.push((Category::Place, format!("{} is added, the generation is {now}", file.file.key)));
            }
        }
    }

    /// What comes before it is published (rules F3, M2).
    fn check_published(&self, at: usize, record: &Record, found: &mut Vec<(Category, String)>) {
        let truth = &self.pipelines[at].truth;
        let last = record.partitions.iter().filter_map(|a| truth.last.get(&a.partition)).map(|(seq, _)| *seq);
        for seq in last.chain(truth.maintenance) {
            if let Some(text) = self.unseen(at, seq) {
                found.push((Category::TooEarly, format!("record {seq} is not published: {text}")));
            }
        }
    }

    /// What of a record is not as it says, repairs included.
    pub(super) fn unseen(&self, at: usize, seq: u64) -> Option<String> {
        let truth = &self.pipelines[at].truth;
        let record = &truth.records[usize::try_from(seq).expect("in memory")];
        for file in &record.files {
            let key = &file.file.key;
            match truth.superseded.get(key) {
                Some(repair) => {
                    if let Some(text) = self.unseen(at, *repair) {
                        return Some(text);
                    }
                }
                None if self.visible.get(key) != self.rows.get(key) => {
                    return Some(format!("{key} of record {seq} is not visible"));
                }
                None => {}
            }
        }
        self.left(at, record)
    }

    /// What clean-up named and is still there.
    pub(super) fn left(&self, at: usize, record: &Record) -> Option<String> {
        for seq in &record.sweeps {
            let swept = &self.pipelines[at].truth.records[usize::try_from(*seq).expect("in memory")];
            let range = record
                .stretch(*seq)
                .map_or(0..swept.supersedes.len(), |stretch| range(stretch, swept.supersedes.len()));
            for DataFile { file, .. } in &swept.supersedes[range] {
                let Publish::Upload { id, .. } = &file.how else {
                    unreachable!("everything is an upload here")
                };
                if self.uploads.contains_key(id) || self.visible.contains_key(&file.key) {
                    return Some(format!("record {} sweeps {}, which is still there", record.seq, file.key));
                }
            }
        }
        let remains = record.cleanup.iter().flat_map(|cleanup| &cleanup.remains);
        for remains in remains.filter(|remains| remains.upload.is_some()) {
            let staged = remains.upload.as_ref().is_some_and(|upload| self.uploads.contains_key(upload));
            if staged || self.visible.contains_key(&remains.key) {
                return Some(format!("record {} removes {}, which is still there", record.seq, remains.key));
            }
        }
        None
    }

    /// It accounts for every row, and holds no others (rule F8).
    fn check_counts(&self, record: &Record, found: &mut Vec<(Category, String)>) {
        if record.kind != RecordKind::Epoch {
            return;
        }
        for file in &record.files {
            if !record.partitions.iter().any(|advance| advance.epoch == file.epoch) {
                found.push((Category::Stray, format!("{} is no file of its lanes", file.file.key)));
            }
        }
        let all: Vec<&Row> = record.files.iter().flat_map(|file| &self.rows[&file.file.key]).collect();
        if all.len() as u64 != record.files.iter().map(|file| file.file.rows).sum::<u64>() {
            found.push((Category::Counts, "its files hold other rows than they say".into()));
        }
        for advance in &record.partitions {
            let count = |what: What| {
                all.iter().filter(|row| row.partition == advance.partition && row.what == what).count() as u64
            };
            let work = &advance.transforms[0];
            let accounted = work.emitted + work.rejected + work.filtered + work.absorbed;
            let delivered = u64::try_from(advance.to - advance.from).unwrap_or_default();
            if advance.events != count(What::Event)
                || advance.events != delivered
                || work.input + advance.undecoded != advance.events
                || work.emitted != count(What::Emitted)
                || accounted != work.input
            {
                let (events, rows) = (count(What::Event), count(What::Emitted));
                let text = format!("{delivered} offsets, {events} events and {rows} rows, but {advance:?}");
                found.push((Category::Counts, text));
            }
        }
    }

    /// The states are those of the offsets (rule F7).
    fn check_states(&self, at: usize, found: &mut Vec<(Category, String)>) {
        let truth = &self.pipelines[at].truth;
        let Some(record) = truth.records.last() else { return };
        for advance in &record.partitions {
            let p = advance.partition;
            let expected: Vec<i64> =
                truth.offsets.get(&p).into_iter().flatten().copied().filter(|o| absorbed(*o)).collect();
            let state = advance.transforms.first().and_then(|work| work.state.as_ref());
            let bytes = state.and_then(|state| self.objects.get(&state.key));
            let (offsets, _) = read_state(bytes.map_or(&[], |(bytes, _)| bytes));
            if offsets != expected {
                let text = format!("the state of {p} at {} holds {offsets:?}, not {expected:?}", advance.to);
                found.push((Category::Memory, text));
            }
        }
    }

    /// A pipeline removes something.
    pub(super) fn remove(&mut self, pipeline: usize, key: &str) {
        self.removed.insert(key.into());
        for at in 0..self.pipelines.len() {
            let truth = &self.pipelines[at].truth;
            if truth.live(key) || truth.needs_state(key) {
                self.violate(Category::Removed, format!("{key} is named by the log and was removed"));
            }
            let staged = self.pipelines[at].keys.epoch_of(key).is_some();
            if at != pipeline && staged {
                self.violate(Category::Foreign, format!("{key} was removed by pipeline {pipeline}"));
            }
        }
    }
}

/// Offsets that a state has taken in, and how many windows it has closed.
pub(super) fn read_state(bytes: &[u8]) -> (Vec<i64>, i64) {
    let text = String::from_utf8_lossy(bytes);
    let (windows, offsets) = text.split_once(':').unwrap_or(("0", ""));
    let offsets = offsets.split(',').filter_map(|offset| offset.parse().ok()).collect();
    (offsets, windows.parse().unwrap_or_default())
}

/// … as bytes.
pub(super) fn write_state(offsets: &[i64], windows: i64) -> Vec<u8> {
    let offsets: Vec<String> = offsets.iter().map(i64::to_string).collect();
    format!("{windows}:{}", offsets.join(",")).into_bytes()
}
