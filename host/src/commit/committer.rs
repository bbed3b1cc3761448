//! The committer: one task per host and commit log. It takes partitions over, and makes the lanes' parts true.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::after::states;
use super::laps::{Counted, Laps};
use super::pauses::Pauses;
use super::record::{StateRef, Topic};
use super::registrar::Registrar;
use super::stage::{self, Staged};
use super::{
    Base, Lanes, Log, Offsets, Order, Outcome, Part, PartitionKey, Policy, Together, Until, Up, Verdict,
};
use crate::catalog::{Catalog, TableSpec};
use crate::env::Env;
use crate::failpoint::failpoint;
use crate::observe::{Stats, Step};
use crate::shard::Shard;
use crate::sink::Stores;
use crate::wait::blocking;
use crate::{Error, Kind, Result};

/// What the rest of the host asks of the committer.
pub enum Request {
    /// These partitions are ours now.
    Take(Taken),
    /// These partitions go to another member: commit first, or, if they are lost, drop.
    Release {
        /// The partitions.
        partitions: Vec<i32>,
        /// They are somebody else's already.
        lost: bool,
        /// Told when they may go.
        done: oneshot::Sender<()>,
    },
    /// These tables may get files from now on.
    Tables(Vec<TableSpec>),
    /// Commit now: something waits for the end of the epoch.
    Commit,
    /// A person is needed.
    Fail(Error),
    /// Commit and end.
    Stop,
}

/// Partitions that this host takes over.
pub struct Taken {
    /// The partitions.
    pub partitions: Vec<i32>,
    /// Told where each goes on.
    pub bases: oneshot::Sender<Result<Vec<Base>>>,
}

/// What a committer works with.
pub struct Setup {
    /// The zones.
    pub stores: Stores,
    /// The log, read to its tail.
    pub log: Log,
    /// The topic.
    pub topic: Topic,
    /// Where partitions begin that the log does not know, and what to do about offsets that are gone.
    pub policy: Policy,
    /// The catalog.
    pub catalog: Arc<dyn Catalog>,
    /// All tables, with their locations.
    pub tables: Vec<TableSpec>,
    /// The way down to the lanes.
    pub lanes: Arc<dyn Lanes>,
    /// The brokers.
    pub offsets: Arc<dyn Offsets>,
    /// What is told to the outside.
    pub stats: Arc<Stats>,
    /// Clock.
    pub env: Env,
    /// How often to commit.
    pub interval: Duration,
    /// Where to end.
    pub until: Until,
    /// The host's committers.
    pub together: Together,
    /// The partitions that are its business.
    pub shard: Shard,
    /// Told when the log names another set of transforms.
    pub transforms: watch::Sender<Option<u64>>,
}

/// A lane that does not finish its epoch within this (or two intervals) is left out of the record.
const BARRIER: Duration = Duration::from_secs(10);
/// … and when somebody waits: a partition's next owner, or whoever stops the host.
const HURRY: Duration = Duration::from_secs(4);
/// How often a host looks for what others left unpublished (rule F4).
const IDLE: Duration = Duration::from_secs(10);
/// Makes the lanes' parts true, one commit at a time.
pub struct Committer {
    pub(super) setup: Setup,
    pub(super) registrar: Registrar,
    /// When the catalog may be asked again.
    pub(super) catalog: Pauses,
    pub(super) up: mpsc::UnboundedReceiver<Up>,
    pub(super) requests: mpsc::Receiver<Request>,
    /// The partitions of this host.
    pub(super) mine: BTreeSet<i32>,
    /// Lanes that were asked for a part and have not sent it.
    pub(super) asked: Vec<bool>,
    /// A lane asked for a commit while one was under way.
    pub(super) full: bool,
    /// Partitions whose offsets are gone.
    pub(super) gone: BTreeSet<i32>,
    /// States by partition: of the last record, and of the one before.
    pub(super) states: BTreeMap<i32, [Vec<StateRef>; 2]>,
    /// Offsets on their way to the group.
    pub(super) telling: Option<JoinHandle<()>>,
    /// When this host last looked around; none: it is due.
    pub(super) looked: Option<Instant>,
    /// The maintenance record whose hours were taken over for the catalog.
    pub(super) maintained: Option<u64>,
    /// Its partitions are committed up to where the run ends.
    pub(super) there: bool,
}

impl Committer {
    /// A committer; lanes send to `up`, the rest of the host to `requests`.
    pub fn new(setup: Setup, up: mpsc::UnboundedReceiver<Up>, requests: mpsc::Receiver<Request>) -> Self {
        let registrar = Registrar::new(setup.catalog.clone(), setup.tables.clone());
        let asked = vec![false; setup.lanes.count()];
        Committer {
            setup,
            registrar,
            catalog: Pauses::default(),
            up,
            requests,
            mine: BTreeSet::new(),
            asked,
            full: false,
            gone: BTreeSet::new(),
            states: BTreeMap::new(),
            telling: None,
            looked: Some(Instant::now()),
            maintained: None,
            there: false,
        }
    }

    /// Commits every interval, and when a lane is full, until it is told to stop, the end is reached or
    /// a person is needed.
    pub async fn run(mut self) -> Result<()> {
        // The committers of a host take turns.
        let Setup { interval, shard, .. } = &self.setup;
        let first = *interval * (shard.logs() - shard.number()) / shard.logs();
        let mut tick = tokio::time::interval_at(tokio::time::Instant::now() + first, *interval);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            if std::mem::take(&mut self.full) {
                self.commit(&[], self.patience()).await?;
            }
            let set = self.setup.log.view().transforms().map(|(seq, _)| seq);
            self.setup.transforms.send_if_modified(|told| std::mem::replace(told, set) != set);
            if !self.gone.is_empty() {
                self.skip_gone().await?;
            }
            tokio::select! {
                biased;
                request = self.requests.recv() => match request {
                    Some(Request::Take(Taken { partitions, bases })) => {
                        let taken = self.take(&partitions).await;
                        // Whoever asked may have given up waiting, here and below.
                        let _ = bases.send(taken);
                    }
                    Some(Request::Release { partitions, lost, done }) => {
                        self.release(&partitions, lost).await?;
                        let _ = done.send(());
                    }
                    Some(Request::Tables(tables)) => self.registrar.know(tables),
                    Some(Request::Commit) => self.full = true,
                    Some(Request::Fail(error)) => return Err(error),
                    Some(Request::Stop) | None => {
                        self.commit(&[], HURRY).await?;
                        return self.end().await;
                    }
                },
                up = self.up.recv() => match up {
                    Some(Up::Part(part)) => self.make_true(vec![part], self.laps()).await?,
                    Some(other) => self.other(other)?,
                    None => return Err(Error::stop("all lanes have ended; this is a bug")),
                },
                () = self.setup.together.all(), if self.there => return self.end().await,
                _ = tick.tick() => {
                    self.commit(&[], self.patience()).await?;
                    self.look_around().await?;
                    self.reach().await?;
                }
            }
        }
    }

    fn patience(&self) -> Duration {
        BARRIER.max(self.setup.interval * 2)
    }

    /// Finds where partitions go on, and finishes what others have left of them.
    async fn take(&mut self, partitions: &[i32]) -> Result<Vec<Base>> {
        let shard = self.setup.shard;
        if let Some(other) = partitions.iter().find(|partition| !shard.has(**partition)) {
            let number = shard.number();
            return Err(Error::stop(format!("partition {other} came to log {number}; this is a bug")));
        }
        let keeper = self.setup.offsets.clone();
        // The log before the ends: others go on committing what arrives meanwhile.
        self.setup.log.refresh().await?;
        let (ends, id) =
            blocking("asking the brokers", move || Ok::<_, Error>((keeper.ends()?, keeper.topic_id()?)))
                .await??;
        // Others begin in logs of their own.
        let ends = shard.ours(&ends);
        let Setup { log, topic, policy, .. } = &mut self.setup;
        // It may have been created anew while we ran.
        let asked = Topic { name: topic.name.clone(), id };
        let bases = log.take(&asked, partitions, &ends, *policy).await?;
        *topic = log.identify(&asked);
        for partition in partitions {
            self.states.insert(*partition, [states(log.view().partition(topic, *partition)), vec![]]);
        }
        self.inherit(partitions);
        self.mine.extend(partitions);
        // What was inherited is registered soon, whether events come or not.
        self.looked = None;
        self.offsets();
        Ok(bases)
    }

    /// Takes over what the last records of partitions and the last maintenance record left for the catalog.
    fn inherit(&mut self, partitions: &[i32]) {
        let Setup { log, topic, .. } = &self.setup;
        let maintenance = log.view().maintenance().filter(|record| self.maintained != Some(record.seq));
        if let Some(record) = maintenance {
            self.registrar.inherit(record);
            self.maintained = Some(record.seq);
        }
        for (record, _) in partitions.iter().filter_map(|partition| log.view().partition(topic, *partition)) {
            self.registrar.inherit(record);
        }
    }

    async fn release(&mut self, partitions: &[i32], lost: bool) -> Result<()> {
        // A lane that owes an answer to an earlier barrier does not hear of this one.
        let unaware = self.asked.clone();
        if !lost {
            self.commit(partitions, HURRY).await?;
        }
        self.mine.retain(|partition| !partitions.contains(partition));
        for (lane, unaware) in unaware.into_iter().enumerate() {
            if lost || unaware || self.asked[lane] {
                self.setup.lanes.order(lane, Order::Lose(partitions.to_vec()));
            }
        }
        Ok(())
    }

    /// Whatever a lane says that is no part.
    fn other(&mut self, up: Up) -> Result<()> {
        match up {
            Up::Abandoned { lane, error } => {
                self.setup.stats.abandoned();
                tracing::warn!(lane, "going back to the last commit: {error}");
            }
            Up::Gone { partition } => drop(self.gone.insert(partition)),
            Up::Full => self.full = true,
            Up::Fatal(error) => return Err(error),
            Up::Part(_) => {}
        }
        Ok(())
    }

    /// Offsets went while we were reading: a person decides, or has decided.
    async fn skip_gone(&mut self) -> Result<()> {
        // What was delivered before the gap is committed first.
        self.commit(&[], self.patience()).await?;
        let gone = std::mem::take(&mut self.gone);
        let gone: Vec<i32> = gone.into_iter().filter(|partition| self.mine.contains(partition)).collect();
        if gone.is_empty() {
            return Ok(());
        }
        match self.take(&gone).await {
            Ok(bases) => self.everywhere(&Order::Move(bases)),
            Err(e) if e.kind() == Kind::Retry => {
                tracing::warn!("{e}; retrying");
                self.gone.extend(gone);
                self.setup.env.sleep(Duration::from_millis(500)).await;
            }
            Err(e) => return Err(e),
        }
        Ok(())
    }

    fn everywhere(&self, order: &Order) {
        for lane in 0..self.setup.lanes.count() {
            self.setup.lanes.order(lane, order.clone());
        }
    }

    /// One commit: a barrier, the lanes' parts, their verdicts.
    async fn commit(&mut self, release: &[i32], patience: Duration) -> Result<()> {
        let mut laps = self.laps();
        // Who is late already is not waited for again.
        let mut awaited = vec![false; self.asked.len()];
        for (lane, awaited) in awaited.iter_mut().enumerate() {
            if !std::mem::replace(&mut self.asked[lane], true) {
                self.setup.lanes.order(lane, Order::Barrier { release: release.to_vec() });
                *awaited = true;
            }
        }
        let deadline = tokio::time::Instant::now() + patience;
        let mut parts: Vec<Part> = Vec::with_capacity(self.asked.len());
        while awaited.contains(&true) {
            match tokio::time::timeout_at(deadline, self.up.recv()).await {
                Ok(Some(Up::Part(part))) => {
                    (self.asked[part.lane], awaited[part.lane]) = (false, false);
                    parts.push(part);
                }
                Ok(Some(other)) => self.other(other)?,
                Ok(None) => return Err(Error::stop("all lanes have ended; this is a bug")),
                Err(_) => {
                    let late: Vec<usize> = (0..awaited.len()).filter(|lane| awaited[*lane]).collect();
                    tracing::warn!(lanes = ?late, "slow lanes are left out of this commit; theirs comes later");
                    break;
                }
            }
        }
        laps.step(Step::Barrier);
        self.make_true(parts, laps).await
    }

    fn laps(&self) -> Laps {
        Laps::new(self.setup.stats.meters(), &self.setup.env)
    }

    /// Makes parts true: stored, written down, published, told.
    async fn make_true(&mut self, parts: Vec<Part>, mut laps: Laps) -> Result<()> {
        let (empty, parts): (Vec<Part>, Vec<Part>) = parts.into_iter().partition(|p| p.partitions.is_empty());
        for part in empty {
            self.asked[part.lane] = false;
            self.verdict(part.lane, Verdict::Empty);
        }
        if parts.is_empty() {
            return Ok(());
        }
        let lanes: Vec<(usize, Vec<i32>)> =
            parts.iter().map(|part| (part.lane, partitions_of(part))).collect();
        let (log, stores) = (&self.setup.log, &self.setup.stores);
        let staging = parts.into_iter().map(|part| stage::stage(log, stores, part));
        let mut staged: Vec<Staged> = Vec::new();
        let results: Vec<Result<Staged>> = futures::future::join_all(staging).await;
        for ((lane, partitions), result) in lanes.into_iter().zip(results) {
            self.asked[lane] = false;
            match result {
                Ok(part) => staged.push(part),
                Err(e) => self.abandon(lane, &partitions, &e).await?,
            }
        }
        failpoint!("staged");
        if staged.is_empty() {
            return Ok(());
        }
        laps.step(Step::Stage);
        let bytes = staged.iter().flat_map(|s| &s.part.files).map(|f| f.file.bytes).sum();
        let invisible = Counted::new(&self.setup.stats.meters().staged, bytes);
        let parts = staged.iter().map(|staged| staged.part.clone()).collect();
        let topic = self.setup.topic.clone();
        let Outcome { record, done, lost } =
            self.setup.log.commit(&topic, parts, self.registrar.owed()).await?;
        for (part, why) in lost {
            stage::discard(&self.setup.stores, &part.files).await;
            let partitions: Vec<i32> = part.partitions.iter().map(|advance| advance.partition).collect();
            self.abandon(part.lane, &partitions, &Error::retry(why)).await?;
        }
        let Some(record) = record else { return Ok(()) };
        laps.step(Step::Record);
        // The lanes go on at once. Their next barrier comes only when this record is published.
        for part in &done {
            self.verdict(part.lane, Verdict::Committed(record.seq));
        }
        self.setup.log.publish(&record).await?;
        failpoint!("published");
        laps.step(Step::Publish);
        drop(invisible);
        staged.retain(|staged| done.iter().any(|part| part.epoch == staged.part.epoch));
        let commit = self.tell(&record, staged, &laps);
        self.register(&record.files).await;
        laps.step(Step::Register);
        self.setup.stats.took(&commit, &laps.end());
        failpoint!("registered");
        self.offsets();
        failpoint!("offsets");
        self.drop_states(&record);
        Ok(())
    }

    fn verdict(&self, lane: usize, verdict: Verdict) {
        self.setup.lanes.order(lane, Order::Verdict(verdict));
    }

    /// The one way back, of one lane: to what the log says of its partitions.
    async fn abandon(&mut self, lane: usize, partitions: &[i32], error: &Error) -> Result<()> {
        if matches!(error.kind(), Kind::Stop | Kind::Usage) {
            return Err(Error::new(error.kind(), error.to_string()));
        }
        self.setup.stats.abandoned();
        tracing::warn!(lane, "the epoch is abandoned and its events are read again: {error}");
        let Setup { log, topic, policy, .. } = &mut self.setup;
        log.refresh().await?;
        let bases = log.bases(topic, partitions, &BTreeMap::new(), *policy).await?;
        // Ours is the next record: it carries what the catalog is owed by the one that was faster.
        self.inherit(partitions);
        self.verdict(lane, Verdict::Abandon(bases));
        Ok(())
    }

    /// What a host does now and then: read on, and finish what others have left of its partitions without events.
    async fn look_around(&mut self) -> Result<()> {
        if self.looked.is_some_and(|looked| looked.elapsed() < IDLE) {
            return Ok(());
        }
        // Also without partitions: the next one to come here must begin with the transforms that the log names.
        self.looked = Some(Instant::now());
        let Setup { log, topic, .. } = &mut self.setup;
        let mine: Vec<PartitionKey> = self.mine.iter().map(|p| (topic.clone(), *p)).collect();
        log.refresh().await?;
        for record in log.roll_forward(Some(&mine)).await? {
            self.registrar.inherit(&record);
        }
        self.inherit(&[]);
        self.register(&[]).await;
        Ok(())
    }

    /// Looks whether all members together have committed up to where this run ends. In all logs: see [`Together`].
    async fn reach(&mut self) -> Result<()> {
        let Some(until) = self.setup.until.clone().filter(|_| !self.there) else { return Ok(()) };
        let Setup { log, topic, .. } = &mut self.setup;
        log.refresh().await?;
        let there = until.iter().all(|(p, end)| log.view().position(topic, *p).is_some_and(|at| at >= *end));
        if there {
            // Whoever wrote the last records may be gone: done means that readers see it.
            for record in log.roll_forward(None).await? {
                self.registrar.inherit(&record);
            }
            self.there = true;
            self.setup.together.arrived();
        }
        Ok(())
    }
}

fn partitions_of(part: &Part) -> Vec<i32> {
    part.partitions.iter().map(|progress| progress.span.partition).collect()
}

#[cfg(test)]
#[path = "committer_tests.rs"]
mod tests;
