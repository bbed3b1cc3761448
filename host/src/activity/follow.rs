//! Finds the files of the aggregate tables that are new, newest hours first, and has them read.
//!
//! Each round looks at what may have come since the last one: names of files begin with the time of their epoch.
//! Everything else of the last day is listed at the start and every [`AGAIN`], for late rows and slow publishers.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashSet};
use std::hash::BuildHasher;
use std::time::{Duration, Instant};

use futures::StreamExt;

use super::Shared;
use super::rows::{self, TABLES};
use crate::Result;
use crate::env::{HOUR, Micros};
use crate::table::Hour;

/// How often all hours are listed.
const AGAIN: Duration = Duration::from_secs(300);
/// An epoch is this old at most when its files become visible, but for those that a full listing finds.
const OLDEST: Micros = 300_000_000;
/// Hours that are followed: a day, and the one that has begun.
const HOURS: i64 = 25;
/// Files of an hour that are read.
const FILES: usize = 50_000;
/// Files that are read side by side.
const ABREAST: usize = 8;
/// Files after which the sums are shown, and looked for what is newer.
const SHOWN: usize = 200;

/// What was read.
#[derive(Default)]
pub(super) struct Follower {
    /// Keys that were read, hashed, by hour.
    seen: BTreeMap<i64, HashSet<u64>>,
    hasher: RandomState,
    /// When all hours were listed.
    listed: Option<Instant>,
    /// What waits to be read: table and key, the newest last.
    waiting: Vec<(usize, i64, String)>,
}

impl Follower {
    /// Looks for files, and reads some. What cannot be done is tried again in the next round.
    pub(super) async fn round(&mut self, shared: &Shared) {
        let done = self.look(shared).await;
        let done = match done {
            Ok(()) => self.read(shared).await,
            Err(e) => Err(e),
        };
        let mut state = shared.state();
        (state.begun, state.loading) = (true, self.waiting.len());
        state.error = done.err().map(|e| e.to_string());
        state.sums.forget(shared.env.now());
    }

    async fn look(&mut self, shared: &Shared) -> Result<()> {
        let now = shared.env.now();
        let hour = now.div_euclid(HOUR);
        self.seen = self.seen.split_off(&(hour - HOURS));
        self.waiting.retain(|(_, of, _)| *of > hour - HOURS);
        let all = self.listed.is_none_or(|listed| listed.elapsed() > AGAIN);
        let mut found = Vec::new();
        let mut missing = Vec::new();
        for (table, (name, _)) in TABLES.iter().enumerate() {
            if all && shared.store.list(name, 1).await?.is_empty() {
                missing.push(*name);
            }
            // A clock of a producer may be ahead.
            for of in (hour - HOURS + 1)..=hour + 1 {
                let at = Hour::of(of * HOUR);
                let keys = match all {
                    true => {
                        let folder = format!("{name}/{at}");
                        shared.store.list(&folder, FILES).await?.into_iter().map(|(key, _)| key).collect()
                    }
                    false if of >= hour - 1 => {
                        let since = shared.keys.data_since(name, at, now - OLDEST);
                        shared.store.after(&format!("{name}/{at}"), &since, FILES).await?
                    }
                    false => continue,
                };
                found.extend(keys.into_iter().map(|key| (table, of, key)));
            }
        }
        if all {
            self.listed = Some(Instant::now());
            shared.state().missing = missing;
        }
        let Follower { seen, hasher, waiting, .. } = self;
        found.retain(|(_, of, key)| {
            key.ends_with(".parquet") && seen.entry(*of).or_default().insert(hasher.hash_one(key))
        });
        waiting.extend(found);
        waiting.sort_by(|a, b| (a.1, &a.2).cmp(&(b.1, &b.2)));
        Ok(())
    }

    async fn read(&mut self, shared: &Shared) -> Result<()> {
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
                    rows::read(file.0, &file.2, bytes, |row| shared.state().sums.add(file.0, row))
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
