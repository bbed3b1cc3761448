//! Taking partitions over: where they begin, and with which states. The same for a first start, a start after a
//! crash, a rebalance and a lane that lost its race.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;

use super::log::{Body, Draft, Log};
use super::position::PartitionKey;
use super::record::{Advance, Owed, Record, RecordKind, StateRef, Topic};
use super::rules::Rule;
use super::store::again;
use crate::batch::EventTime;
use crate::digest::sha256;
use crate::failpoint::failpoint;
use crate::{Error, Result};

/// First and last offsets by partition: `low..high`.
pub type Ends = BTreeMap<i32, (i64, i64)>;

/// What a person decided about beginnings.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy {
    /// A topic that the log does not know begins at its end instead of its beginning.
    pub latest: bool,
    /// Offsets that are gone are recorded and skipped instead of stopping the host.
    pub skip_lost: bool,
}

/// Where a partition stands: its last record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Base {
    /// The partition.
    pub partition: i32,
    /// Its last record.
    pub prev: Option<u64>,
    /// The offset to go on from.
    pub at: i64,
    /// What its transforms remember.
    pub states: Vec<Memory>,
    /// How far event time has come.
    pub time: EventTime,
}

/// What a transform remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The transform.
    pub transform: String,
    /// The version of the state's format.
    pub version: u32,
    /// The state.
    pub bytes: Vec<u8>,
}

impl Log {
    /// Takes partitions of a topic over: publishes what others left (rule F4), writes down where new ones
    /// begin (rule L6), and finds where each stands.
    ///
    /// The log is to be read on before `ends` are read: the topic was truncated if it ends before a position that
    /// was known *then*. What is written later may well lie behind ends that are old by now.
    pub async fn take(
        &mut self,
        topic: &Topic,
        partitions: &[i32],
        ends: &Ends,
        policy: Policy,
    ) -> Result<Vec<Base>> {
        let position = |p: &i32| Some((*p, self.view.position(topic, *p)?));
        let known: BTreeMap<i32, i64> = partitions.iter().filter_map(position).collect();
        loop {
            self.refresh().await?;
            self.same_topic(topic, policy)?;
            if self.rules.on(Rule::PublishOnTake) {
                let keys: Vec<PartitionKey> = partitions.iter().map(|p| (topic.clone(), *p)).collect();
                self.roll_forward(Some(&keys)).await?;
            }
            if self.rules.on(Rule::LoggedStart) && self.begin(topic, ends, policy).await? {
                continue;
            }
            if !self.skip(topic, &known, partitions, ends, policy).await? {
                break;
            }
        }
        self.bases(topic, partitions, ends, policy).await
    }

    /// The topic as the log knows it: brokers that give no id mean the one of that name.
    pub fn identify(&self, topic: &Topic) -> Topic {
        let same = |known: &&Topic| known.name == topic.name && (known.id.is_empty() || topic.id.is_empty());
        self.view.topic.as_ref().filter(same).unwrap_or(topic).clone()
    }

    /// Publishes the last records of partitions (none: of all) and the last maintenance record (rule F4). Gives
    /// back those that were not known to be published.
    pub async fn roll_forward(&mut self, partitions: Option<&[PartitionKey]>) -> Result<Vec<Arc<Record>>> {
        let records = self.pending(partitions);
        for record in &records {
            let (seq, writer) = (record.seq, record.writer.host.clone());
            let work = !record.files.is_empty() || record.cleanup.is_some();
            self.publish(record).await?;
            if work && writer != self.writer.host {
                tracing::info!(record = seq, writer, "rolled forward: what another host wrote is published");
            }
        }
        Ok(records)
    }

    fn same_topic(&self, topic: &Topic, policy: Policy) -> Result<()> {
        let Some(known) = &self.view.topic else { return Ok(()) };
        if known.name != topic.name {
            return Err(Error::usage(format!(
                "pipeline {} reads topic {}, not {} (settings `topic`, `pipeline`): give another topic a pipeline and \
                 tables of its own",
                self.pipeline, known.name, topic.name
            )));
        }
        if *known != self.identify(topic) && !policy.skip_lost {
            return Err(Error::stop(format!(
                "topic {} was created anew since the last commit: its id was {}, now it is {}; what had not been read \
                 of the old one is lost. To go on with the new one from its beginning: --on-data-loss continue",
                topic.name, known.id, topic.id
            )));
        }
        Ok(())
    }

    /// Has one of several logs of a topic begin, with the first positions of its partitions, of which there may be
    /// none: whatever partition comes to it later was not there before. All logs of a pipeline begin before anything
    /// is fetched: otherwise one whose first partition comes later could not tell, and might begin at its end.
    pub async fn commence(&mut self, topic: &Topic, ends: &Ends, policy: Policy) -> Result<()> {
        if self.view.topic.is_some() || self.begin(topic, ends, policy).await? {
            return Ok(());
        }
        self.write_positions(RecordKind::Start, topic, vec![], vec![]).await
    }

    /// Writes down where partitions begin that have no record yet. True: there were some.
    async fn begin(&mut self, topic: &Topic, ends: &Ends, policy: Policy) -> Result<bool> {
        // A topic that was created anew is known, too: it is read from its beginning.
        let known = self.view.topic.is_some();
        let new = |p: &i32| self.view.last(topic, *p).is_none();
        let begin = |(partition, (low, high)): (&i32, &(i64, i64))| Advance {
            partition: *partition,
            // One that appears later was empty when it appeared: nothing of it may be missed.
            from: if policy.latest && !known { *high } else { *low },
            to: if policy.latest && !known { *high } else { *low },
            ..Advance::default()
        };
        let advances: Vec<Advance> = ends.iter().filter(|(p, _)| new(p)).map(begin).collect();
        if advances.is_empty() {
            return Ok(false);
        }
        self.write_positions(RecordKind::Start, topic, advances, vec![]).await?;
        failpoint!("start-record");
        Ok(true)
    }

    /// Records offsets that are gone, if a person allowed it. True: there were some.
    async fn skip(
        &mut self,
        topic: &Topic,
        known: &BTreeMap<i32, i64>,
        partitions: &[i32],
        ends: &Ends,
        policy: Policy,
    ) -> Result<bool> {
        let mut gaps = Vec::new();
        // The gap is the last record from now on: what the catalog may not have yet is its to carry (rule F5).
        let mut owed: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
        for partition in partitions {
            let (Some((record, last)), Some((low, high))) =
                (self.view.partition(topic, *partition), ends.get(partition))
            else {
                continue;
            };
            let truncated = last.to > *high && known.get(partition).is_some_and(|at| at > high);
            let to = if last.to < *low { *low } else { *high };
            if last.to >= *low && !truncated {
                continue;
            }
            if !policy.skip_lost {
                return Err(self.lost(topic, *partition, last.to, (*low, *high)));
            }
            tracing::warn!(partition, from = last.to, to, "offsets are gone and are skipped");
            for Owed { table, hours } in &record.owed {
                owed.entry(table.clone()).or_default().extend(hours);
            }
            for file in record.files.iter().map(|file| &file.file) {
                owed.entry(file.table.clone()).or_default().insert(file.hour.0);
            }
            // States stay: they hold what came before.
            let carried = last.transforms.iter().map(|work| super::record::Work {
                input: 0,
                emitted: 0,
                rejected: 0,
                filtered: 0,
                absorbed: 0,
                ..work.clone()
            });
            gaps.push(Advance {
                partition: *partition,
                prev: Some(record.seq),
                from: last.to,
                to,
                newest: last.newest,
                transforms: carried.collect(),
                ..Advance::default()
            });
        }
        if gaps.is_empty() {
            return Ok(false);
        }
        let owed = owed.into_iter().map(|(table, hours)| Owed { table, hours: hours.into_iter().collect() });
        self.write_positions(RecordKind::Gap, topic, gaps, owed.collect()).await?;
        Ok(true)
    }

    fn lost(&self, topic: &Topic, partition: i32, at: i64, (low, high): (i64, i64)) -> Error {
        let name = &topic.name;
        Error::stop(if at < low {
            format!(
                "partition {partition} of {name}: offsets {at} to {} are gone: the topic begins at {low}, its retention \
                 has passed the last commit. To record the gap and go on: --on-data-loss continue",
                low - 1
            )
        } else {
            format!(
                "partition {partition} of {name}: the last commit ends at offset {at}, the topic ends at {high}: it was \
                 truncated. To record that and go on from {high}: --on-data-loss continue"
            )
        })
    }

    async fn write_positions(
        &mut self,
        kind: RecordKind,
        topic: &Topic,
        advances: Vec<Advance>,
        owed: Vec<Owed>,
    ) -> Result<()> {
        let mut body = Body::new(&self.env, kind);
        body.record.topic = Some(topic.clone());
        body.record.partitions = advances;
        body.record.owed = owed;
        // If another host was faster, what it wrote is as good.
        let known = self.view.topic.as_ref() == Some(topic);
        self.append(&mut PositionDraft { topic: topic.clone(), known, body }).await.map(drop)
    }

    /// Where partitions stand now, with their states.
    pub async fn bases(
        &mut self,
        topic: &Topic,
        partitions: &[i32],
        ends: &Ends,
        policy: Policy,
    ) -> Result<Vec<Base>> {
        let mut bases = Vec::with_capacity(partitions.len());
        for partition in partitions {
            bases.push(loop {
                let Some((record, advance)) = self.view.partition(topic, *partition) else {
                    if self.rules.on(Rule::LoggedStart) {
                        return Err(Error::retry(format!(
                            "partition {partition} of {} is ours, but the brokers do not list it yet",
                            topic.name
                        )));
                    }
                    let (low, high) = ends.get(partition).copied().unwrap_or_default();
                    let at = if policy.latest { high } else { low };
                    break Base { partition: *partition, at, ..Base::default() };
                };
                let (seq, at, time) = (record.seq, advance.to, advance.event_time());
                if let Ok(states) = self.memories(advance).await? {
                    break Base { partition: *partition, prev: Some(seq), at, states, time };
                }
                // States are dropped when two later records are there: then this view is old.
                self.refresh().await?;
                if self.view.last(topic, *partition) == Some(seq) {
                    return Err(Error::stop(format!(
                        "record {seq} names a state of partition {partition} that does not exist; restore it from a \
                         backup of {}",
                        self.keys.states()
                    )));
                }
            });
        }
        Ok(bases)
    }

    /// Where a partition stood before a record: what it takes to do the record's work again.
    pub async fn base_before(&self, record: &Record, advance: &Advance) -> Result<Base> {
        let Some(prev) = advance.prev else {
            return Ok(Base { partition: advance.partition, at: advance.from, ..Base::default() });
        };
        let lacks =
            |what: &str| Error::stop(format!("record {} needs {what}, which does not exist", record.seq));
        let before = self.read(prev).await?.ok_or_else(|| lacks(&self.keys.record(prev)))?;
        let before = before.partitions.into_iter().find(|a| a.partition == advance.partition);
        let time = before.as_ref().map(Advance::event_time).unwrap_or_default();
        let states = match before {
            Some(before) => self.memories(&before).await?.map_err(|key| lacks(&key))?,
            None => vec![],
        };
        Ok(Base { partition: advance.partition, prev: Some(prev), at: advance.from, states, time })
    }

    /// What the transforms of a partition remembered after a record; or the key of a state that does not exist.
    async fn memories(&self, advance: &Advance) -> Result<Result<Vec<Memory>, String>> {
        let mut memories = Vec::new();
        for work in &advance.transforms {
            let Some(state) = &work.state else { continue };
            let Some(bytes) = self.read_state(state).await? else { return Ok(Err(state.key.clone())) };
            memories.push(Memory { transform: work.name.clone(), version: state.version, bytes });
        }
        Ok(Ok(memories))
    }

    /// The bytes of a state, proved to be the right ones; none: there is none.
    pub(super) async fn read_state(&self, state: &StateRef) -> Result<Option<Vec<u8>>> {
        let bytes = again(&self.env, "read a state", || self.store.read(&state.key)).await?;
        let Some(bytes) = bytes else { return Ok(None) };
        if sha256(&bytes) != state.sha256 {
            return Err(Error::stop(format!(
                "{} is not what its record says: expected SHA-256 {}, found {}",
                state.key,
                state.sha256,
                sha256(&bytes)
            )));
        }
        Ok(Some(bytes))
    }

    /// Stores what a transform remembers after an epoch, for that epoch's record to name.
    pub async fn store_state(&self, epoch: &str, partition: i32, memory: &Memory) -> Result<StateRef> {
        let key = self.keys.state(epoch, partition, &memory.transform);
        let state = StateRef {
            key,
            version: memory.version,
            bytes: memory.bytes.len() as u64,
            sha256: sha256(&memory.bytes),
        };
        self.write_once(&state.key, &memory.bytes).await?;
        Ok(state)
    }
}

/// A start or a gap. What another host has written meanwhile is left out.
struct PositionDraft {
    topic: Topic,
    /// Whether the log knew the topic when the positions were chosen.
    known: bool,
    body: Body,
}

#[async_trait]
impl Draft for PositionDraft {
    fn partitions(&self) -> Vec<PartitionKey> {
        self.body.record.partitions.iter().map(|a| (self.topic.clone(), a.partition)).collect()
    }

    async fn record(&mut self, log: &Log) -> Result<Option<Body>> {
        let before = self.body.record.partitions.len();
        let topic = &self.topic;
        let start = self.body.record.kind == RecordKind::Start;
        // Another host has begun the topic meanwhile: what is left now appeared later and begins elsewhere.
        if start && !self.known && log.view.topic.as_ref() == Some(topic) {
            return Ok(None);
        }
        self.body.record.partitions.retain(|advance| {
            let fresh = !start || log.view.last(topic, advance.partition).is_none();
            fresh && log.view.check(log.rules, topic, advance).is_ok()
        });
        if self.body.record.partitions.len() < before {
            self.body.id = log.env.fresh_id();
        }
        // One that has none from the beginning says that the topic is known from now on.
        let left = before == 0 || !self.body.record.partitions.is_empty();
        Ok(left.then(|| self.body.clone()))
    }
}
