//! The world of a run: object store, Kafka, catalog and group, all in memory, and everything that goes wrong.
//!
//! A write is a [`Request`]. It may be lost on its way, lose its answer, or arrive later than whoever sent it
//! is ready to wait: to the sender the three look the same. Reads are true when they are answered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use super::super::record::Remains;
use super::super::rules::{Rule, Rules};
use super::checks::{Category, Truth, Violation};
use super::host::HOURS;
use super::variants::Variant;
use crate::shard::Shard;
use crate::sink::Keys;
use crate::table::Zone;
use crate::{Error, Result};

/// Randomness that is the same for the same seed (splitmix64).
pub(in crate::commit) struct Random(u64);

impl Random {
    pub(in crate::commit) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is not 0.
    pub(in crate::commit) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).expect("below a usize")
    }

    /// True so many times in a thousand.
    pub(super) fn chance(&mut self, permille: usize) -> bool {
        self.below(1000) < permille
    }
}

/// A row that a reader could see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Row {
    pub(super) pipeline: usize,
    pub(super) what: What,
    pub(super) partition: i32,
    /// Its offset, or the number of the window.
    pub(super) at: i64,
}

/// What a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    /// An event in the raw zone.
    Event,
    /// What the transform made of it.
    Emitted,
    /// A window that time has closed.
    Window,
}

/// A write on its way.
#[derive(Clone, Debug)]
pub(super) enum Request {
    Stage {
        upload: String,
        key: String,
        epoch: String,
        rows: Vec<Row>,
    },
    Create {
        key: String,
        bytes: Vec<u8>,
    },
    Complete {
        upload: String,
    },
    Abort {
        pipeline: usize,
        upload: String,
    },
    Delete {
        pipeline: usize,
        key: String,
    },
    /// Partitions are put where these generations lie; none: taken away.
    Register {
        pipeline: usize,
        table: String,
        hours: Vec<(i64, Option<u32>)>,
    },
}

/// A multipart upload that is not completed.
pub(super) struct Upload {
    pub(super) key: String,
    pub(super) epoch: String,
    pub(super) rows: Vec<Row>,
    pub(super) born: u64,
}

/// One pipeline's topic, group and catalog, and what is true of it.
pub(super) struct Pipeline {
    pub(super) keys: Keys,
    /// First and last offsets by partition.
    pub(super) ends: Vec<(i64, i64)>,
    /// The host that has each partition.
    pub(super) owner: Vec<usize>,
    /// The generations of hours that the catalog shows; none: it was told to show them no more. Of hours that it was
    /// never told of readers see the first.
    pub(super) registered: BTreeMap<(String, i64), Option<u32>>,
    /// What the catalog has turned away from: a late request may bring it back for a while.
    pub(super) left: BTreeSet<((String, i64), Option<u32>)>,
    pub(super) truth: Truth,
}

/// An operation that waits for its turn.
pub(super) struct Waiting {
    pub(super) process: usize,
    pub(super) turn: u64,
    pub(super) waker: Waker,
}

pub(super) struct State {
    pub(super) random: Random,
    pub(super) variant: &'static Variant,
    pub(super) rules: Rules,
    /// Whether anything goes wrong.
    pub(super) faults: bool,
    pub(super) step: u64,
    pub(super) ids: u64,
    pub(super) waiting: Vec<Waiting>,
    pub(super) granted: Option<u64>,
    /// Objects beside the tables, with the step at which they were made.
    pub(super) objects: BTreeMap<String, (Vec<u8>, u64)>,
    pub(super) uploads: BTreeMap<String, Upload>,
    /// What readers see.
    pub(super) visible: BTreeMap<String, Vec<Row>>,
    pub(super) shown: BTreeMap<Row, u32>,
    /// The rows of every file that there ever was.
    pub(super) rows: BTreeMap<String, Vec<Row>>,
    /// Keys that hosts have removed.
    pub(super) removed: BTreeSet<String>,
    pub(super) late: Vec<Request>,
    pub(super) pipelines: Vec<Pipeline>,
    pub(super) fired: BTreeMap<&'static str, u64>,
    /// The only kinds of violations that count; empty: all.
    pub(super) watched: &'static [Category],
    pub(super) violation: Option<Violation>,
    pub(super) told: bool,
}

/// The world, shared by all hosts.
pub(super) struct World(Mutex<State>);

impl World {
    pub(super) fn new(seed: u64, variant: &'static Variant, off: Option<Rule>, told: bool) -> World {
        let mut random = Random::new(seed);
        let mut pipelines = Vec::new();
        let logs = if variant.shards { 2 } else { 1 };
        let shards = Shard::all(logs).cycle();
        for (name, shard) in ["sim", "other"].iter().zip(shards).take(1 + usize::from(variant.second)) {
            let partitions = if *name == "sim" { variant.partitions } else { 1 };
            let hosts = if *name == "sim" { variant.hosts } else { 1 };
            pipelines.push(Pipeline {
                keys: Keys::new(if variant.shards { "sim" } else { name })
                    .expect("a plain name")
                    .shard(shard),
                ends: vec![(0, 0); partitions],
                owner: (0..partitions).map(|_| random.below(hosts)).collect(),
                registered: BTreeMap::new(),
                left: BTreeSet::new(),
                truth: Truth::default(),
            });
        }
        World(Mutex::new(State {
            random,
            variant,
            rules: Rules { off },
            faults: true,
            step: 0,
            ids: 0,
            waiting: vec![],
            granted: None,
            objects: BTreeMap::new(),
            uploads: BTreeMap::new(),
            visible: BTreeMap::new(),
            shown: BTreeMap::new(),
            rows: BTreeMap::new(),
            removed: BTreeSet::new(),
            late: vec![],
            pipelines,
            fired: BTreeMap::new(),
            watched: &[],
            violation: None,
            told,
        }))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts something that has happened.
    pub(super) fn fire(&mut self, what: &'static str) {
        *self.fired.entry(what).or_default() += 1;
    }

    /// Writes down what happened, for somebody who looks into one seed.
    pub(super) fn tell(&self, text: impl FnOnce() -> String) {
        if self.told {
            eprintln!("{:>6} {}", self.step, text());
        }
    }

    pub(super) fn violate(&mut self, category: Category, text: impl Into<String>) {
        let watched = self.watched.is_empty() || self.watched.contains(&category);
        if watched && self.violation.is_none() {
            self.violation = Some(Violation { category, text: text.into() });
        }
    }

    /// An identifier that sorts by time.
    pub(super) fn fresh_id(&mut self) -> String {
        self.ids += 1;
        format!("{:032x}", self.ids)
    }

    /// Sends a write. The answer of a Complete is whether there was such an upload, that of a Create whether
    /// there was no such object.
    pub(super) fn send(&mut self, request: Request) -> Result<bool> {
        let fate = if self.faults { self.random.below(100) } else { 100 };
        let lost = || Error::retry("no answer from the store");
        match fate {
            0..6 => {
                self.fire("request lost");
                self.tell(|| format!("  lost: {request:?}"));
                Err(lost())
            }
            6..12 => {
                self.fire("reply lost");
                self.perform(request);
                Err(lost())
            }
            12..18 => {
                self.fire("request late");
                self.tell(|| format!("  later: {request:?}"));
                self.late.push(request);
                Err(lost())
            }
            _ => Ok(self.perform(request)),
        }
    }

    /// A read may go unanswered; if it is answered it is true.
    pub(super) fn answer(&mut self) -> Result<()> {
        if self.faults && self.random.chance(30) {
            self.fire("read failed");
            return Err(Error::retry("no answer from the store"));
        }
        Ok(())
    }

    /// What a request does when it arrives.
    pub(super) fn perform(&mut self, request: Request) -> bool {
        self.tell(|| match &request {
            Request::Create { key, bytes } => format!("  create {key} {}", String::from_utf8_lossy(bytes)),
            other => format!("  {other:?}"),
        });
        match request {
            Request::Stage { upload, key, epoch, rows } => {
                let born = self.step;
                self.uploads.insert(upload, Upload { key, epoch, rows, born });
                true
            }
            Request::Create { key, bytes } => {
                if self.objects.contains_key(&key) {
                    return false;
                }
                self.objects.insert(key.clone(), (bytes, self.step));
                self.created(&key);
                true
            }
            Request::Complete { upload } => {
                if !self.uploads.contains_key(&upload) {
                    return false;
                }
                if self.faults && self.variant.early && self.random.chance(100) {
                    // Another call holds the claim, and then fails.
                    self.fire("200 too early");
                    return true;
                }
                let upload = self.uploads.remove(&upload).expect("was there");
                self.show(upload.key, upload.rows);
                true
            }
            Request::Abort { pipeline, upload } => {
                if let Some(upload) = self.uploads.remove(&upload) {
                    self.remove(pipeline, &upload.key);
                }
                true
            }
            Request::Delete { pipeline, key } => {
                if self.is_seen(&key) && self.is_retired(&key) && !self.was_left(&key) {
                    self.violate(
                        Category::Hidden,
                        format!("{key} is removed, and the catalog still shows its hour there"),
                    );
                }
                let seen = self.is_seen(&key);
                if let Some(rows) = self.visible.remove(&key) {
                    for row in rows.into_iter().filter(|_| seen) {
                        *self.shown.entry(row).or_default() -= 1;
                    }
                    self.remove(pipeline, &key);
                }
                if self.objects.remove(&key).is_some() {
                    self.remove(pipeline, &key);
                }
                true
            }
            Request::Register { pipeline, table, hours } => {
                for (hour, generation) in hours {
                    self.turn_to(pipeline, (table.clone(), hour), generation);
                }
                true
            }
        }
    }

    /// The hour that a file is of, by its pipeline, and the file's generation.
    fn home(&self, key: &str) -> Option<(usize, (String, i64), u32)> {
        let at = self.pipelines.iter().position(|p| p.keys.epoch_of(key).is_some())?;
        let (table, generation, date) = Keys::place_of(key)?;
        let hour = HOURS.iter().find(|hour| hour.values().0 == date)?;
        Some((at, (table.to_owned(), hour.0), generation))
    }

    /// Whether readers would see a file: they go by the catalog.
    pub(super) fn is_seen(&self, key: &str) -> bool {
        self.home(key).is_some_and(|(at, hour, generation)| {
            self.pipelines[at].registered.get(&hour).copied().unwrap_or(Some(1)) == Some(generation)
        })
    }

    /// Whether a compaction or an expiry has taken a file away.
    fn is_retired(&self, key: &str) -> bool {
        self.home(key).is_some_and(|(at, _, _)| {
            let truth = &self.pipelines[at].truth;
            let by = truth.superseded.get(key).and_then(|seq| usize::try_from(*seq).ok());
            by.is_some_and(|seq| truth.records[seq].kind.flips())
        })
    }

    /// Whether the catalog has once shown this generation or a later one, and turned away from it: what shows it again is
    /// a late request.
    fn was_left(&self, key: &str) -> bool {
        self.home(key).is_some_and(|(at, hour, generation)| {
            let mut left = self.pipelines[at].left.iter();
            left.any(|(of, shown)| *of == hour && *shown >= Some(generation))
        })
    }

    /// The catalog shows another generation of an hour.
    fn turn_to(&mut self, at: usize, hour: (String, i64), generation: Option<u32>) {
        let before = self.pipelines[at].registered.insert(hour.clone(), generation).unwrap_or(Some(1));
        if before == generation {
            return;
        }
        self.pipelines[at].left.insert((hour.clone(), before));
        if generation.is_none() {
            // Withdrawn: it has turned away from all that lies before the generation that is empty. Who has not heard of
            // that yet may show such a one again, and nothing that is true is missing there.
            let pipeline = &mut self.pipelines[at];
            let empty = pipeline.truth.generations.get(&hour).copied().unwrap_or(1);
            pipeline.left.insert((hour.clone(), Some(empty - 1)));
        }
        let of = |generation: Option<u32>| -> Vec<(String, Vec<Row>)> {
            let there = |key: &&String| self.home(key) == generation.map(|g| (at, hour.clone(), g));
            let files = self.visible.iter().filter(|(key, _)| generation.is_some() && there(key));
            files.map(|(key, rows)| (key.clone(), rows.clone())).collect()
        };
        let (old, new) = (of(before), of(generation));
        for row in old.iter().flat_map(|(_, rows)| rows) {
            *self.shown.entry(*row).or_default() -= 1;
        }
        for (key, rows) in new {
            self.reveal(&key, &rows);
        }
        // Forward, a reader loses nothing, but what has expired. Repairs and replays hide rows for a moment.
        let calm = self.variant.replays == 0 && self.variant.life_cycle == 0;
        if calm && generation > before {
            let truth = &self.pipelines[at].truth;
            let gone = old.iter().flat_map(|(_, rows)| rows).find(|row| {
                self.shown.get(*row).copied().unwrap_or_default() == 0 && !truth.expired.contains(row)
            });
            if let Some(row) = gone.copied() {
                self.violate(
                    Category::Hidden,
                    format!("{row:?} is not in generation {generation:?} of {hour:?}"),
                );
            }
        }
    }

    fn show(&mut self, key: String, rows: Vec<Row>) {
        if self.is_seen(&key) {
            self.reveal(&key, &rows);
        }
        self.visible.insert(key, rows);
    }

    fn reveal(&mut self, key: &str, rows: &[Row]) {
        for row in rows {
            let count = self.shown.entry(*row).or_default();
            *count += 1;
            if *count > 1 {
                let text = format!("{row:?} is visible {count} times, now also in {key}");
                self.violate(Category::Twice, text);
            }
        }
    }

    /// What a pipeline's clean-up finds: uploads and states of some age.
    pub(super) fn remains(&self, pipeline: usize) -> Vec<Remains> {
        let keys = &self.pipelines[pipeline].keys;
        let old = |born: u64| self.step.saturating_sub(born) > self.variant.clean_up;
        let own = |key: &str| !self.rules.on(Rule::OwnOnly) || keys.epoch_of(key).is_some();
        let uploads = self.uploads.iter().filter(|(_, upload)| old(upload.born) && own(&upload.key));
        let uploads = uploads.map(|(id, upload)| Remains {
            epoch: upload.epoch.clone(),
            zone: if upload.key.contains("_raw/") { Zone::Raw } else { Zone::Processed },
            key: upload.key.clone(),
            upload: Some(id.clone()),
            staging: None,
        });
        let folder = format!("{}/", keys.states());
        let states = self.objects.range(folder.clone()..).take_while(|(key, _)| key.starts_with(&folder));
        let states = states.filter(|(_, (_, born))| old(*born)).map(|(key, _)| Remains {
            epoch: key[folder.len()..].split('/').next().unwrap_or_default().into(),
            zone: Zone::Processed,
            key: key.clone(),
            upload: None,
            staging: None,
        });
        uploads.chain(states).collect()
    }

    /// A bucket's life cycle aborts an upload.
    pub(super) fn expire(&mut self) {
        let old: Vec<String> =
            self.uploads.iter().filter(|(_, u)| self.step - u.born > 20).map(|(id, _)| id.clone()).collect();
        if old.is_empty() {
            return;
        }
        let id = &old[self.random.below(old.len())];
        self.tell(|| format!("the life cycle aborts {id}"));
        self.uploads.remove(id);
        self.fire("upload vanished");
    }

    /// Removes old slots behind a summary, but not those that a reader would look for (only without rule L1).
    pub(super) fn truncate(&mut self) {
        let every = super::super::EVERY;
        let pipeline = &self.pipelines[0];
        let next = pipeline.truth.records.len() as u64;
        let summed = next.saturating_sub(1) / every * every;
        let needed: BTreeSet<u64> =
            pipeline.truth.last.values().flat_map(|(seq, prev)| [Some(*seq), *prev]).flatten().collect();
        let goes = |seq: &u64| !seq.is_multiple_of(every) && !needed.contains(seq);
        let slots: Vec<String> = (0..summed).filter(goes).map(|seq| pipeline.keys.record(seq)).collect();
        self.objects.retain(|key, _| !slots.contains(key));
    }
}
