//! What the host is doing right now, noted by those who do it: transforms, partitions, the last commit.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use super::stats::Commit;
use super::status::{
    About, At, LastCommit, PartitionStatus, RECENT, Refused, Status, TransformState, TransformStatus, Trouble,
};
use crate::batch::{Counts, Identity, Vitals};
use crate::commit::record::Deployed;
use crate::env;

/// Letters of an error that are kept.
const LETTERS: usize = 500;
/// Refused changes that are kept.
const REFUSED: usize = 100;
/// Transforms whose counts are kept, of all sets that there were.
const COUNTED: usize = 200;
/// Different reasons of rejected events that are told apart; the rest is counted together.
const REASONS: usize = 100;

/// The state of a running host, shared between its parts and whoever shows it.
#[derive(Default)]
pub struct Board(Mutex<Notes>);

#[derive(Default)]
struct Notes {
    /// Times that a lane went over to other transforms, and changes that were refused, since the start.
    swaps: u64,
    refusals: u64,
    /// Without what follows from the rest.
    status: Status,
    /// The sets that partitions run, and the one that they are to run.
    sets: BTreeMap<Option<u64>, Vec<Deployed>>,
    /// Since when all partitions run a transform of the set.
    since: Vec<(Deployed, At)>,
    /// What transforms did, by name and digest.
    totals: BTreeMap<(String, String), Total>,
}

#[derive(Clone, Default)]
struct Total {
    rows: Counts,
    busy: Duration,
    poison: u64,
    /// What it holds, by partition.
    holds: BTreeMap<i32, Vitals>,
    error: Option<Trouble>,
}

impl Board {
    fn change(&self, change: impl FnOnce(&mut Notes)) {
        if let Ok(mut notes) = self.0.lock() {
            change(&mut notes);
            notes.settle();
        }
    }

    /// A host begins.
    pub fn begins(&self, host: About) {
        self.change(|notes| notes.status.host = host);
    }

    /// The dashboard can be looked at.
    pub fn dashboard(&self, url: &str) {
        self.change(|notes| notes.status.host.dashboard = url.into());
    }

    /// The lanes are to run these transforms.
    pub fn set(&self, set: Option<u64>, components: &[Deployed]) {
        self.change(|notes| {
            notes.status.set = set;
            notes.sets.insert(set, components.to_vec());
        });
    }

    /// A change of the directory, or a set of another host, was not taken in.
    pub fn refused(&self, file: &str, reason: &str) {
        let refused = Refused { file: file.into(), reason: short(reason), at: now() };
        self.change(|notes| {
            let all = &mut notes.status.refused;
            // It may be tried again and again.
            if all.iter().any(|known| known.file == refused.file && known.reason == refused.reason) {
                return;
            }
            notes.refusals += 1;
            all.retain(|known| known.file != refused.file);
            if all.len() < REFUSED {
                all.push(refused);
            }
        });
    }

    /// What was refused under this name was taken in after all.
    pub fn not_refused(&self, file: &str) {
        self.change(|notes| notes.status.refused.retain(|refused| refused.file != file));
    }

    /// The directory is looked at anew.
    pub fn clear_refused(&self) {
        self.change(|notes| notes.status.refused.clear());
    }

    /// A partition is run by a lane with a set of transforms.
    pub fn runs(&self, partition: i32, lane: usize, set: Option<u64>, components: &[Deployed]) {
        self.change(|notes| {
            let fresh = || PartitionStatus { since: now(), ..PartitionStatus::default() };
            let entry = notes.status.partitions.entry(partition).or_insert_with(fresh);
            if entry.set != set {
                (entry.error, entry.fell_back_from) = (None, None);
            }
            (entry.lane, entry.set, entry.paused) = (lane, set, false);
            notes.sets.entry(set).or_insert_with(|| components.to_vec());
        });
    }

    /// A partition that stood still goes on with the set before.
    pub fn fell_back(
        &self,
        partition: i32,
        from: Option<u64>,
        (set, components): (Option<u64>, &[Deployed]),
    ) {
        self.change(|notes| {
            let entry = notes.status.partitions.entry(partition).or_default();
            (entry.set, entry.fell_back_from, entry.paused) = (set, from, false);
            notes.sets.entry(set).or_insert_with(|| components.to_vec());
        });
    }

    /// A partition would not go over to a set: what it has goes on.
    pub fn refuses(&self, partition: i32, set: Option<u64>, error: &str) {
        self.change(|notes| {
            let entry = notes.status.partitions.entry(partition).or_default();
            (entry.fell_back_from, entry.error) = (set, Some(short(error)));
        });
    }

    /// Where the last commit of a partition ends.
    pub fn stands(&self, partition: i32, committed: i64) {
        self.change(|notes| {
            notes.status.partitions.entry(partition).or_default().committed = Some(committed);
        });
    }

    /// A partition is another member's.
    pub fn went(&self, partition: i32) {
        self.change(|notes| drop(notes.status.partitions.remove(&partition)));
    }

    /// Something went wrong with a transform in a partition.
    pub fn troubled(&self, transform: &Identity, partition: i32, error: &str) {
        self.change(|notes| {
            let trouble = Trouble { at: now(), partition, error: short(error) };
            notes.total(&transform.name, &transform.digest).error = Some(trouble);
        });
    }

    /// A partition could not go on with its transforms.
    pub fn failed(&self, partition: i32, error: &str) {
        self.change(|notes| {
            notes.status.partitions.entry(partition).or_default().error = Some(short(error));
        });
    }

    /// A partition stands still.
    pub fn paused(&self, partition: i32, error: &str) {
        self.change(|notes| {
            let entry = notes.status.partitions.entry(partition).or_default();
            (entry.paused, entry.error) = (true, Some(short(error)));
        });
    }

    /// Lanes stood still for so long to go over to other transforms.
    pub fn swapped(&self, stalled: Duration) {
        let stalled = u64::try_from(stalled.as_micros()).unwrap_or(u64::MAX);
        self.change(|notes| {
            notes.swaps += 1;
            notes.status.stalled_us = Some(stalled);
        });
    }

    /// How often lanes went over to other transforms, and how many changes were refused, since the start.
    pub(super) fn changes(&self) -> (u64, u64) {
        self.0.lock().map(|notes| (notes.swaps, notes.refusals)).unwrap_or_default()
    }

    /// Rejected events since the start, by reason.
    pub(super) fn rejects(&self) -> BTreeMap<String, u64> {
        self.0.lock().map(|notes| notes.status.rejects.clone()).unwrap_or_default()
    }

    /// A commit.
    pub(super) fn committed(&self, commit: &Commit) {
        self.change(|notes| {
            let status = &mut notes.status;
            status.commits += 1;
            status.events += commit.events;
            let last = LastCommit {
                log: commit.log,
                record: commit.record,
                at: At(commit.at),
                events: commit.events,
                files: commit.files.len() as u64,
                bytes: commit.files.iter().map(|(_, _, bytes)| bytes).sum(),
                took_ms: u64::try_from(commit.took.as_millis()).unwrap_or(u64::MAX),
                freshness_ms: commit.freshness.map(|micros| micros / 1000),
            };
            if status.recent.len() >= RECENT {
                status.recent.remove(0);
            }
            status.recent.push(last.clone());
            status.last_commit = Some(last);
            for (reason, count) in &commit.rejects {
                let known = status.rejects.len() < REASONS || status.rejects.contains_key(reason);
                let reason = if known { reason.as_str() } else { "other reasons" };
                *status.rejects.entry(reason.into()).or_default() += count;
            }
            for advance in &commit.advances {
                // It may have gone to another member meanwhile.
                let Some(entry) = status.partitions.get_mut(&advance.partition) else { continue };
                entry.committed = entry.committed.max(Some(advance.to));
                entry.last_commit = Some(At(commit.at));
                entry.freshness_ms = advance.freshness.map(|micros| micros / 1000).or(entry.freshness_ms);
                if !entry.paused && entry.fell_back_from.is_none() {
                    entry.error = None;
                }
            }
            for done in &commit.works {
                let total = notes.total(&done.identity.name, &done.identity.digest);
                total.rows += done.counts;
                total.busy += done.busy;
                total.poison += done.vitals.poison;
                total.holds.insert(done.partition, done.vitals);
            }
        });
    }

    /// A lane's epoch came to nothing.
    pub(super) fn abandoned(&self) {
        self.change(|notes| notes.status.abandoned += 1);
    }

    /// The partitions of this host.
    pub fn partitions(&self) -> Vec<i32> {
        self.0.lock().map(|notes| notes.status.partitions.keys().copied().collect()).unwrap_or_default()
    }

    /// Everything, now. Only the brokers know where partitions end: see [`Status::ends`].
    pub fn status(&self) -> Status {
        let Ok(notes) = self.0.lock() else { return Status::default() };
        let mut status = notes.status.clone();
        status.at = now();
        status.transforms = notes.transforms();
        status.attention = status.needs();
        status
    }
}

impl Notes {
    fn total(&mut self, name: &str, digest: &str) -> &mut Total {
        let key = (name.to_owned(), digest.to_owned());
        if self.totals.len() >= COUNTED && !self.totals.contains_key(&key) {
            let used = |(name, digest): &(String, String)| {
                self.sets.values().flatten().any(|d| d.name == *name && d.digest == *digest)
            };
            let useless = self.totals.keys().find(|key| !used(key)).cloned();
            useless.and_then(|key| self.totals.remove(&key));
        }
        self.totals.entry(key).or_default()
    }

    /// After each change: sets that nobody runs are forgotten, and what all partitions run now is noted.
    fn settle(&mut self) {
        let (status, sets) = (&self.status, &mut self.sets);
        sets.retain(|set, _| *set == status.set || status.partitions.values().any(|p| p.set == *set));
        let Some(current) = self.sets.get(&self.status.set) else { return };
        self.since.retain(|(deployed, _)| current.contains(deployed));
        let fresh = current.iter().filter(|deployed| !self.since.iter().any(|(known, _)| known == *deployed));
        let fresh: Vec<Deployed> =
            fresh.filter(|d| self.running(d).len() == self.status.partitions.len()).cloned().collect();
        self.since.extend(fresh.into_iter().map(|deployed| (deployed, now())));
    }

    /// The partitions that run a transform.
    fn running(&self, deployed: &Deployed) -> Vec<i32> {
        let runs = |p: &PartitionStatus| self.sets.get(&p.set).is_some_and(|set| set.contains(deployed));
        self.status.partitions.iter().filter(|(_, p)| runs(p)).map(|(number, _)| *number).collect()
    }

    /// The transforms of the set, then those that partitions have from others.
    fn transforms(&self) -> Vec<TransformStatus> {
        let current = self.sets.get(&self.status.set).map_or(&[][..], Vec::as_slice);
        let mut all: Vec<TransformStatus> =
            current.iter().map(|d| self.transform(d, self.state(d))).collect();
        let mut old: Vec<&Deployed> = Vec::new();
        for deployed in self.sets.values().flatten() {
            if !current.contains(deployed) && !old.contains(&deployed) {
                old.push(deployed);
            }
        }
        all.extend(old.into_iter().map(|deployed| self.transform(deployed, TransformState::Old)));
        all
    }

    fn state(&self, deployed: &Deployed) -> TransformState {
        let running = self.running(deployed);
        let mut state = TransformState::Live;
        for (number, partition) in &self.status.partitions {
            match running.contains(number) {
                true if partition.paused => return TransformState::StandsStill,
                false if partition.fell_back_from.is_some() => state = TransformState::FellBack,
                false if state == TransformState::Live => state = TransformState::GoingOver,
                _ => {}
            }
        }
        state
    }

    fn transform(&self, deployed: &Deployed, state: TransformState) -> TransformStatus {
        let key = (deployed.name.clone(), deployed.digest.clone());
        let Total { rows, busy, poison, holds, error } = self.totals.get(&key).cloned().unwrap_or_default();
        let running = self.running(deployed);
        let holds = || running.iter().filter_map(|partition| holds.get(partition));
        let busy_ns = u64::try_from(busy.as_nanos()).unwrap_or(u64::MAX);
        let since = self.since.iter().find(|(known, _)| known == deployed);
        TransformStatus {
            file: deployed.file.clone(),
            name: deployed.name.clone(),
            version: deployed.version.clone(),
            digest: deployed.digest.clone(),
            state,
            memory_bytes: holds().map(|vitals| vitals.memory).sum(),
            state_bytes: holds().map(|vitals| vitals.state).sum(),
            poison_rows: poison,
            partitions: running.clone(),
            since: since.map(|(_, at)| *at),
            rows,
            busy_ns,
            ns_per_row: busy_ns.checked_div(rows.input),
            last_error: error,
        }
    }
}

fn now() -> At {
    At(env::machine().now())
}

/// An error as one line of bounded length.
fn short(text: &str) -> String {
    let text = text.replace(|c: char| c.is_control(), " ");
    match text.char_indices().nth(LETTERS) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

#[cfg(test)]
mod tests;
