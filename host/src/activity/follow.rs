//! Finds the files of the aggregate tables that are new, newest hours first, and has them read.
//!
//! Each round looks at what may have come since the last one: names of files begin with the time of their epoch.
//! Everything else of the last day is listed at the start and every [`AGAIN`], for late rows and slow publishers.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashSet};
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};

use super::Shared;
use super::rows::{self, TABLES};
use crate::Result;
use crate::env::{HOUR, Micros};
use crate::generations::Place;
use crate::sink::Keys;
use crate::table::Hour;
use crate::wait::blocking;

/// How often all hours are listed.
const AGAIN: Duration = Duration::from_secs(300);
/// An epoch is this old at most when its files become visible, but for those that a full listing finds.
const OLDEST: Micros = 300_000_000;
/// Hours of a day, and the one that has begun.
const DAY: i64 = 25;
/// Hours of the last sixty minutes.
const LAST: i64 = 2;
/// Files of an hour that are read.
const FILES: usize = 50_000;
/// Files that are asked for at a time, where those of other shards stand behind them.
const SOME: usize = 100;
/// Files that are read side by side.
const ABREAST: usize = 8;
/// Files after which the sums are shown.
const SHOWN: usize = 100;
/// How long a round reads before it is looked for what is newer.
const READING: Duration = Duration::from_secs(2);

/// The files of an hour whose epochs began at that time or later: names of each shard are in the order of time.
async fn lately(shared: &Shared, table: &str, hour: Place, time: Micros) -> Result<Vec<String>> {
    let folder = &format!("{table}/{}", Keys::folder(hour));
    if let [keys] = &shared.keys[..] {
        return shared.store.after(folder, &keys.data_since(table, hour, time), FILES).await;
    }
    let of_shard = |keys: Keys| async move {
        let (mut found, mut last) = (Vec::new(), keys.data_since(table, hour, time));
        loop {
            let some = shared.store.after(folder, &last, SOME).await?;
            let whole = some.len() == SOME;
            last = some.last().cloned().unwrap_or(last);
            let before = found.len();
            // Behind the last of a shard come those of the next.
            found.extend(some.into_iter().take_while(|key| keys.epoch_of(key).is_some()));
            if !whole || found.len() < before + SOME || found.len() >= FILES {
                return Ok(found);
            }
        }
    };
    let asked: Vec<_> = shared.keys.iter().cloned().map(of_shard).collect();
    let found: Vec<Vec<String>> = futures::stream::iter(asked).buffered(ABREAST).try_collect().await?;
    Ok(found.concat())
}

/// What was read.
#[derive(Default)]
pub(super) struct Follower {
    /// Keys that were read, hashed, by hour.
    seen: BTreeMap<i64, HashSet<u64>>,
    /// The generation in which an hour of a table was first looked for: what a compaction makes of its files has the
    /// same rows, and is not read as well.
    places: BTreeMap<(i64, usize), Place>,
    hasher: RandomState,
    /// When all hours were listed, and how many.
    listed: Option<(Instant, i64)>,
    /// The last round came to nothing.
    failed: bool,
    /// What waits to be read: table and key, the newest last.
    waiting: Vec<(usize, i64, String)>,
}

impl Follower {
    /// Looks for files, and reads some. What cannot be done is tried again in the next round.
    pub(super) async fn round(&mut self, shared: &Arc<Shared>) {
        let (began, mut done) = (Instant::now(), self.look(shared).await);
        loop {
            if done.is_ok() {
                done = self.read(shared).await;
            }
            let mut state = shared.state();
            (state.begun, state.loading) = (true, self.waiting.len());
            state.error = done.as_ref().err().map(ToString::to_string);
            state.sums.forget(shared.env.now());
            self.failed = done.is_err();
            if self.idle() || began.elapsed() > READING {
                return;
            }
        }
    }

    /// Whether there is nothing to do before the next round.
    pub(super) fn idle(&self) -> bool {
        self.failed || self.waiting.is_empty()
    }

    async fn look(&mut self, shared: &Shared) -> Result<()> {
        let now = shared.env.now();
        let hour = now.div_euclid(HOUR);
        let hours = if shared.state().day { DAY } else { LAST };
        self.seen = self.seen.split_off(&(hour - DAY));
        self.places = self.places.split_off(&(hour - DAY, 0));
        self.waiting.retain(|(_, of, _)| *of > hour - DAY);
        let all = self.listed.is_none_or(|(when, listed)| listed < hours || when.elapsed() > AGAIN);
        let mut found = Vec::new();
        let mut missing = Vec::new();
        for (table, (name, _)) in TABLES.iter().enumerate() {
            let before = found.len();
            // A clock of a producer may be ahead.
            for of in (hour - hours + 1)..=hour + 1 {
                let at = *self
                    .places
                    .entry((of, table))
                    .or_insert_with(|| shared.store.current(name, Hour::of(of * HOUR)));
                let folder = format!("{name}/{}", Keys::folder(at));
                let keys = match all {
                    true => {
                        shared.store.list(&folder, FILES).await?.into_iter().map(|(key, _)| key).collect()
                    }
                    false if of >= hour - 1 => lately(shared, name, at, now - OLDEST).await?,
                    false => continue,
                };
                found.extend(keys.into_iter().map(|key| (table, of, key)));
            }
            // Nothing of late, or nothing ever?
            if all && found.len() == before && shared.store.list(name, 1).await?.is_empty() {
                missing.push(*name);
            }
        }
        match all {
            true => {
                self.listed = Some((Instant::now(), hours));
                shared.state().missing = missing;
            }
            // It may have come meanwhile.
            false => shared
                .state()
                .missing
                .retain(|name| found.iter().all(|(table, _, _)| TABLES[*table].0 != *name)),
        }
        let Follower { seen, hasher, waiting, .. } = self;
        found.retain(|(_, of, key)| {
            key.ends_with(".parquet") && seen.entry(*of).or_default().insert(hasher.hash_one(key))
        });
        waiting.extend(found);
        waiting.sort_by(|a, b| (a.1, &a.2).cmp(&(b.1, &b.2)));
        Ok(())
    }

    async fn read(&mut self, shared: &Arc<Shared>) -> Result<()> {
        let some = self.waiting.split_off(self.waiting.len().saturating_sub(SHOWN));
        let read = some.into_iter().map(|file| async move {
            let content = shared.store.part(&file.2, 0..rows::LARGEST).await;
            (file, content)
        });
        let mut read = futures::stream::iter(read).buffer_unordered(ABREAST);
        let mut failure = None;
        while let Some((file, content)) = read.next().await {
            let done = match content {
                // It is gone: whoever took it away put something else there.
                Ok(None) => Ok(()),
                Ok(Some(bytes)) => {
                    let (shared, (table, _, key)) = (shared.clone(), file);
                    let add =
                        move || rows::read(table, &key, bytes, |row| shared.state().sums.add(table, row));
                    blocking("reading an aggregate table", add).await.and_then(|done| done)
                }
                Err(e) => {
                    self.waiting.push(file);
                    Err(e)
                }
            };
            failure = done.err().or(failure);
        }
        failure.map_or(Ok(()), Err)
    }
}
