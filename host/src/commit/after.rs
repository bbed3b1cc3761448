//! What follows a commit, and what no commit waits for: the catalog, the group, old states, counters.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::committer::{Committer, Setup};
use super::laps::Laps;
use super::record::{Advance, DataFile, Record, StateRef};
use super::stage::Staged;
use crate::observe::{Advanced, Commit};
use crate::{Kind, Result};

/// How long the end waits for the group to take the last offsets.
const OFFSETS: Duration = Duration::from_secs(2);

impl Committer {
    /// Last, so that trouble with the catalog can neither hold up the data nor bring them twice.
    ///
    /// Not even where a person is needed: the data go on, and the hours wait until somebody has seen to it.
    pub(super) async fn register(&mut self, files: &[DataFile]) {
        self.registrar.remember(files);
        if !self.catalog.due(Instant::now()) {
            return;
        }
        let asked = self.registrar.go_on(&mut self.setup.log).await;
        self.catalog.was(asked.is_ok(), Instant::now());
        let Err(e) = asked else { return };
        let partitions = self.registrar.waiting();
        match e.kind() {
            Kind::Retry | Kind::Abandon => tracing::warn!(partitions, "not registered yet: {e}; retrying"),
            Kind::Stop | Kind::Usage => {
                tracing::error!(partitions, "not registered, and the data go on: {e}; retrying");
            }
        }
    }

    /// Tells the group where we stand. It is not waited for: nothing depends on it.
    pub(super) fn offsets(&mut self) {
        if self.telling.as_ref().is_some_and(|telling| !telling.is_finished()) {
            return;
        }
        let Setup { log, topic, offsets, .. } = &self.setup;
        let at = |p: &i32| Some((*p, log.view().position(topic, *p)?));
        let list: Vec<(i32, i64)> = self.mine.iter().filter_map(at).collect();
        if list.is_empty() {
            return;
        }
        let keeper = offsets.clone();
        self.telling = Some(tokio::task::spawn_blocking(move || {
            if let Err(e) = keeper.commit(&list) {
                tracing::debug!("{e}; offered again with the next commit");
            }
        }));
    }

    /// Removes states that two later records have made useless.
    pub(super) fn drop_states(&mut self, record: &Arc<Record>) {
        let mut useless = Vec::new();
        for advance in &record.partitions {
            let now = states(Some((record, advance)));
            let kept = self.states.entry(advance.partition).or_default();
            let before = std::mem::replace(&mut kept[0], now);
            let old = std::mem::replace(&mut kept[1], before);
            useless.extend(old.into_iter().filter(|state| !kept.iter().flatten().any(|k| k == state)));
        }
        if useless.is_empty() {
            return;
        }
        let store = self.setup.stores.processed.clone();
        tokio::spawn(async move {
            for state in useless {
                if let Err(e) = store.clear(&state.key, None, None).await {
                    tracing::debug!("an old state is left to clean-up: {e}");
                }
            }
        });
    }

    /// Everything is committed; catalog and group may still be told.
    pub(super) async fn end(mut self) -> Result<()> {
        let mut result = Ok(());
        if self.registrar.waiting() > 0 {
            let registered = self.registrar.go_on(&mut self.setup.log);
            match tokio::time::timeout(OFFSETS, registered).await {
                Ok(Ok(())) => {}
                Ok(Err(e)) if e.kind() != Kind::Retry => result = Err(e),
                Ok(Err(_)) | Err(_) => tracing::warn!(
                    partitions = self.registrar.waiting(),
                    "not registered yet: the next host does it, or tidemill verify --repair"
                ),
            }
        }
        let told = async {
            if let Some(telling) = self.telling.take() {
                let _ = telling.await;
            }
            self.offsets();
            if let Some(telling) = self.telling.take() {
                let _ = telling.await;
            }
        };
        // It is only for those who watch the group.
        let _ = tokio::time::timeout(OFFSETS, told).await;
        result
    }

    /// Counts a commit, and tells its story in a line.
    pub(super) fn tell(&self, record: &Record, done: Vec<Staged>, laps: &Laps) -> Commit {
        let events: u64 = done.iter().flat_map(|p| &p.spans).map(|s| s.events).sum();
        let files = record.files.iter().map(|f| (f.file.table.clone(), f.file.rows, f.file.bytes));
        let oldest = done.iter().flat_map(|p| &p.spans).filter_map(|s| s.oldest).min();
        let now = self.setup.env.now();
        let freshness = oldest.map(|t| now - t);
        let mut commit = Commit {
            log: self.setup.shard.label(),
            events,
            files: files.collect(),
            freshness,
            record: record.seq,
            at: record.time,
            took: laps.took(),
            ..Commit::default()
        };
        for span in done.iter().flat_map(|p| &p.spans) {
            let freshness = span.oldest.map(|t| now - t);
            commit.advances.push(Advanced { partition: span.partition, to: span.to, freshness });
        }
        for (reason, count) in done.iter().flat_map(|p| &p.rejects) {
            *commit.rejects.entry(reason.clone()).or_default() += count;
        }
        commit.works = done.into_iter().flat_map(|p| p.works).collect();
        let Commit { files, took, .. } = &commit;
        let bytes: u64 = files.iter().map(|(_, _, bytes)| bytes).sum();
        let rejected: u64 = commit.rejects.values().sum();
        let partitions = commit.advances.len();
        let freshness = freshness.map(|micros| micros as f64 / 1e6);
        tracing::info!(
            log = commit.log,
            record = record.seq,
            partitions,
            events,
            rejected,
            files = files.len(),
            bytes,
            ?took,
            freshness,
            "committed"
        );
        self.setup.stats.committed(&commit);
        commit
    }
}

/// The states that a record names for a partition.
pub(super) fn states(found: Option<(&Arc<Record>, &Advance)>) -> Vec<StateRef> {
    let works = found.map_or(&[][..], |(_, advance)| &advance.transforms);
    works.iter().filter_map(|work| work.state.clone()).collect()
}
