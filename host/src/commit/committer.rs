//! The committer: one task per host.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::publish::{Registrar, publish};
use super::{Lanes, Offsets, Order, Part, Until, Up, Verdict, until};
use crate::batch::Span;
use crate::catalog::{Catalog, TableSpec};
use crate::env::Env;
use crate::observe::{Commit, Stats};
use crate::sink::{StagedFile, Stores};
use crate::{Error, Kind, Result};

/// What the rest of the host asks of the committer.
pub enum Request {
    /// These partitions go to another member: commit first, or, if they are lost, drop.
    Release {
        /// The partitions.
        partitions: Vec<i32>,
        /// They are somebody else's already.
        lost: bool,
        /// Told when they may go.
        done: oneshot::Sender<()>,
    },
    /// Commit and end.
    Stop,
}

/// What a committer works with.
pub struct Setup {
    /// The zones.
    pub stores: Stores,
    /// The catalog.
    pub catalog: Arc<dyn Catalog>,
    /// All tables, with their locations.
    pub tables: Vec<TableSpec>,
    /// The way down to the lanes.
    pub lanes: Arc<dyn Lanes>,
    /// The group's offsets.
    pub offsets: Arc<dyn Offsets>,
    /// What is told to the outside.
    pub stats: Arc<Stats>,
    /// Clock.
    pub env: Env,
    /// How often to commit.
    pub interval: Duration,
    /// Where to end.
    pub until: Until,
}

/// How long offsets are offered to the group.
const OFFSETS: Duration = Duration::from_secs(5);

/// Makes the lanes' parts true, one commit at a time.
pub struct Committer {
    setup: Setup,
    registrar: Registrar,
    up: mpsc::UnboundedReceiver<Up>,
    requests: mpsc::Receiver<Request>,
    /// A lane asked for a commit while one was under way.
    full: bool,
    /// Offsets that the group has not taken yet.
    owed: BTreeMap<i32, i64>,
}

/// A part whose files are finished.
struct Staged {
    lane: usize,
    spans: Vec<Span>,
    files: Vec<StagedFile>,
    rejects: BTreeMap<String, u64>,
}

impl Committer {
    /// A committer; lanes send to `up`, the rest of the host to `requests`.
    pub fn new(setup: Setup, up: mpsc::UnboundedReceiver<Up>, requests: mpsc::Receiver<Request>) -> Self {
        let registrar = Registrar::new(setup.catalog.clone(), setup.tables.clone());
        Committer { setup, registrar, up, requests, full: false, owed: BTreeMap::new() }
    }

    /// Commits every interval, and when a lane is full, until it is told to stop, the end is reached or
    /// a person is needed.
    pub async fn run(mut self) -> Result<()> {
        let mut tick = tokio::time::interval(self.setup.interval);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        tick.tick().await;
        loop {
            if std::mem::take(&mut self.full) {
                self.commit(vec![]).await?;
            }
            tokio::select! {
                biased;
                request = self.requests.recv() => match request {
                    Some(Request::Release { partitions, lost, done }) => {
                        self.release(partitions, lost).await?;
                        // Whoever asked may have given up waiting.
                        let _ = done.send(());
                    }
                    Some(Request::Stop) | None => return self.commit(vec![]).await,
                },
                up = self.up.recv() => match up {
                    Some(Up::Full) => self.commit(vec![]).await?,
                    Some(other) => self.other(other)?,
                    None => return Err(Error::stop("all lanes have ended; this is a bug")),
                },
                _ = tick.tick() => {
                    self.commit(vec![]).await?;
                    if self.reached().await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn release(&mut self, partitions: Vec<i32>, lost: bool) -> Result<()> {
        if !lost {
            self.commit(partitions.clone()).await?;
        }
        // From now on they are another member's, who must not be taken back.
        self.owed.retain(|partition, _| !partitions.contains(partition));
        if !lost {
            return Ok(());
        }
        for lane in 0..self.setup.lanes.count() {
            self.setup.lanes.order(lane, Order::Lose(partitions.clone()));
        }
        Ok(())
    }

    /// Whatever a lane says that is no part.
    fn other(&self, up: Up) -> Result<()> {
        match up {
            Up::Abandoned { lane, error } => {
                self.setup.stats.abandoned();
                tracing::warn!(lane, "going back to the last commit: {error}");
                Ok(())
            }
            Up::Fatal(error) => Err(error),
            Up::Part(_) | Up::Full => Ok(()),
        }
    }

    /// One commit: a barrier, the lanes' parts, their verdicts.
    async fn commit(&mut self, release: Vec<i32>) -> Result<()> {
        let started = Instant::now();
        let count = self.setup.lanes.count();
        for lane in 0..count {
            self.setup.lanes.order(lane, Order::Barrier { release: release.clone() });
        }
        let mut parts: Vec<Part> = Vec::with_capacity(count);
        while parts.len() < count {
            match self.up.recv().await {
                Some(Up::Part(part)) => parts.push(part),
                Some(Up::Full) => self.full = true,
                Some(other) => self.other(other)?,
                None => return Err(Error::stop("all lanes have ended; this is a bug")),
            }
        }
        let mut staged = Vec::new();
        for part in parts {
            let lane = part.lane;
            match self.stage(part).await {
                Ok(part) => staged.push(part),
                Err(e) => self.abandon(lane, &e)?,
            }
        }
        // Here the record will be written: one object that names all of it. Until then the offsets
        // below are the truth, and what is published above them may be published again.
        let mut done = Vec::new();
        for part in staged {
            match publish(&self.setup.stores, &part.files).await {
                Ok(()) => done.push(part),
                Err(e) => {
                    self.discard(&part.files).await;
                    self.abandon(part.lane, &e)?;
                }
            }
        }
        self.offsets(&done).await;
        for part in &done {
            self.setup.lanes.order(part.lane, Order::Verdict(Verdict::Committed));
        }
        self.tell(&done, started);
        // Last, so that trouble with the catalog can neither hold up the data nor bring them twice.
        let files: Vec<StagedFile> = done.iter().flat_map(|p| p.files.iter().cloned()).collect();
        if let Err(e) = self.registrar.register(&files).await {
            if e.kind() != Kind::Retry {
                return Err(e);
            }
            let waiting = self.registrar.waiting();
            tracing::warn!(partitions = waiting, "not registered yet: {e}; retrying at the next commit");
        }
        Ok(())
    }

    /// Waits for a part's files to be finished. If one fails, the others are dropped.
    async fn stage(&self, part: Part) -> Result<Staged> {
        let staged = futures::future::join_all(part.files.into_iter().map(|f| f.staged())).await;
        let (mut files, mut failure) = (Vec::with_capacity(staged.len()), None);
        for file in staged {
            match file {
                Ok(file) => files.push(file),
                Err(e) => failure = Some(e),
            }
        }
        if let Some(e) = failure {
            self.discard(&files).await;
            return Err(e);
        }
        for (identity, counts) in &part.counts {
            tracing::debug!(lane = part.lane, transform = identity.name, ?counts, "staged");
        }
        Ok(Staged { lane: part.lane, spans: part.spans, files, rejects: part.rejects })
    }

    /// Takes files back that will not become true. Its events are read again, so a file that is visible
    /// already would show them twice.
    async fn discard(&self, files: &[StagedFile]) {
        for file in files {
            if let Err(e) = self.setup.stores.remove(file).await {
                tracing::warn!("{e}");
            }
        }
    }

    fn abandon(&self, lane: usize, error: &Error) -> Result<()> {
        if matches!(error.kind(), Kind::Stop | Kind::Usage) {
            return Err(Error::stop(error.to_string()));
        }
        self.setup.stats.abandoned();
        tracing::warn!(lane, "the epoch is abandoned and its events are read again: {error}");
        self.setup.lanes.order(lane, Order::Verdict(Verdict::Abandon));
        Ok(())
    }

    /// Commits offsets to the group, those included that it did not take before.
    async fn offsets(&mut self, done: &[Staged]) {
        self.owed.extend(done.iter().flat_map(|p| &p.spans).map(|s| (s.partition, s.to)));
        let offsets: Vec<(i32, i64)> = self.owed.iter().map(|(p, o)| (*p, *o)).collect();
        if offsets.is_empty() {
            return;
        }
        // In the middle of a rebalance the group may not take them for a moment.
        let deadline = Instant::now() + OFFSETS;
        loop {
            let (keeper, list) = (self.setup.offsets.clone(), offsets.clone());
            match blocking(move || keeper.commit(&list)).await {
                Ok(()) => return self.owed.clear(),
                Err(e) if e.kind() == Kind::Retry && Instant::now() < deadline => {
                    tracing::debug!("{e}; retrying");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(e) => return tracing::warn!(?offsets, "{e}; offered again with the next commit"),
            }
        }
    }

    async fn reached(&self) -> Result<bool> {
        if self.setup.until.is_none() {
            return Ok(false);
        }
        let (until, keeper) = (self.setup.until.clone(), self.setup.offsets.clone());
        match blocking(move || until::reached(&until, keeper.as_ref())).await {
            Err(e) if e.kind() == Kind::Retry => {
                tracing::warn!("cannot tell yet whether the end is reached: {e}");
                Ok(false)
            }
            other => other,
        }
    }

    fn tell(&self, done: &[Staged], started: Instant) {
        let events: u64 = done.iter().flat_map(|p| &p.spans).map(|s| s.events).sum();
        let files = done.iter().flat_map(|p| &p.files);
        let files: Vec<(String, u64, u64)> = files.map(|f| (f.table.clone(), f.rows, f.bytes)).collect();
        if events == 0 && files.is_empty() {
            return;
        }
        let oldest = done.iter().flat_map(|p| &p.spans).filter_map(|s| s.oldest).min();
        let freshness = oldest.map(|t| self.setup.env.now() - t);
        let mut commit = Commit { events, files, freshness, ..Commit::default() };
        for (reason, count) in done.iter().flat_map(|p| &p.rejects) {
            *commit.rejects.entry(reason.clone()).or_default() += count;
        }
        let took = started.elapsed();
        tracing::info!(events, files = commit.files.len(), ?took, "committed");
        self.setup.stats.committed(&commit);
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(Error::stop(format!("a background task failed: {e}"))),
    }
}
