//! Each hour of each table: what readers see in its folder, what the log's own lists of files say, and what the
//! catalog shows.

use std::collections::{BTreeMap, BTreeSet};

use super::books::Print;
use super::inspect::Inspection;
use super::patiently;
use super::whole::Whole;
use crate::commit::owner;
use crate::generations::Place;
use crate::pipeline::offline::Lake;
use crate::sink::Keys;
use crate::table::{self, Zone};
use crate::{Kind, Result};

impl Whole<'_> {
    /// Any of the lakes: they have the same zones and the same catalog.
    fn lake(&self) -> &Lake {
        self.shards[0].lake
    }

    pub(super) async fn places(&mut self) -> Result<()> {
        let tables: BTreeSet<(Zone, String)> =
            self.shards.iter().flat_map(|shard| shard.books.tables.keys().cloned()).collect();
        for (zone, table) in &tables {
            (self.progress)(format!("listing {table}"));
            self.strays(*zone, table).await?;
        }
        // Tables that no record names may have files all the same: if the log has lost records.
        let lake = self.lake();
        let (env, stores, pipeline) = (lake.env.clone(), lake.stores.clone(), lake.keys.whole().to_owned());
        for (zone, table) in patiently(&env, || owner::owned(&stores, &pipeline)).await? {
            if tables.iter().all(|(_, known)| *known != table) {
                self.shards[0].books.tables.entry((zone, table.clone())).or_default();
                self.strays(zone, &table).await?;
            }
        }
        for shard in &mut self.shards {
            shard.inventories().await?;
        }
        self.collect();
        for (zone, table) in &tables {
            (self.progress)(format!("asking the catalog for {table}"));
            self.shown(*zone, table).await?;
        }
        Ok(())
    }

    /// Files of the host's own tables without any record: the log was lost, or lies elsewhere.
    pub(super) async fn lost(&mut self, topic: &str) -> Result<()> {
        for table in [table::raw(topic), table::rejected()] {
            let (store, env) = (self.lake().stores.of(table.zone).clone(), self.lake().env.clone());
            if let Some((key, _)) = patiently(&env, || store.list(&table.name, 1)).await?.first() {
                let (address, place) = (store.location().join(key), self.lake().place());
                self.findings.add("stray", format!("{address} is visible, but there is no log in {place}"));
            }
        }
        Ok(())
    }

    /// Every Parquet file in a table's folder must be true.
    async fn strays(&mut self, zone: Zone, table: &str) -> Result<()> {
        let (store, env) = (self.lake().stores.of(zone).clone(), self.lake().env.clone());
        let listed = patiently(&env, || store.list(table, usize::MAX)).await?;
        let no_rows = self.lake().keys.no_rows(table);
        let mut folders: BTreeMap<(String, usize), (Print, Vec<String>)> = BTreeMap::new();
        for (key, _) in listed.into_iter().filter(|(key, _)| key.ends_with(".parquet") && *key != no_rows) {
            let folder = key.strip_prefix(table).and_then(|rest| rest.strip_prefix('/')).unwrap_or(&key);
            let folder = folder.rsplit_once('/').map_or("", |(folder, _)| folder);
            let (print, keys) = folders.entry((folder.to_owned(), self.shard_of(&key))).or_default();
            print.add(&key);
            keys.push(key);
        }
        // A file is in the log before it is visible: what was seen must be there by now.
        self.catch_up().await?;
        let mut without_log: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for ((folder, at), (print, keys)) in folders {
            let shard = &mut self.shards[at];
            let places = shard.books.tables.get(&(zone, table.to_owned()));
            if places.and_then(|places| places.get(&folder)).is_some_and(|place| place.print == print) {
                continue;
            }
            if shard.next == 0 && shard.lake.shard.label().is_some() {
                without_log.entry(at).or_default().extend(keys);
                continue;
            }
            for key in keys {
                if let Some(why) = shard.stray(&key).await? {
                    let address = store.location().join(&key);
                    self.findings.add("stray", format!("{address} is visible, but {why}"));
                }
            }
        }
        for (at, keys) in without_log {
            let (place, address) = (self.shards[at].lake.place(), store.location().join(&keys[0]));
            let more = match keys.len() - 1 {
                0 => "is".into(),
                more => format!("and {more} more files of its shard are"),
            };
            self.findings.add("stray", format!("{address} {more} visible, but there is no log in {place}"));
        }
        Ok(())
    }

    /// The place of the shard that a file is of; of the first, which says so, if it is of none.
    fn shard_of(&self, key: &str) -> usize {
        let of = |shard: &Inspection<'_>| shard.lake.keys.epoch_of(key).is_some();
        self.shards.iter().position(of).unwrap_or_default()
    }

    /// The catalog shows the hours that have files, where they lie, and no others.
    async fn shown(&mut self, zone: Zone, table: &str) -> Result<()> {
        let before: BTreeMap<(String, String), Place> = self.hours(zone, table);
        let (catalog, env) = (self.lake().catalog.clone(), self.lake().env.clone());
        let listed = match patiently(&env, || catalog.partitions(table)).await {
            Ok(Some(listed)) => listed,
            Ok(None) => return Ok(()),
            // It answered, and needs a person: nothing is proved of this table, but of the others.
            Err(e) if e.kind() == Kind::Stop => {
                self.catalog = true;
                self.findings.add("catalog", e.to_string());
                return Ok(());
            }
            Err(e) => return Err(e),
        };
        self.catalog = true;
        self.catch_up().await?;
        let (after, location) = (self.hours(zone, table), self.lake().stores.of(zone).location().clone());
        let mut shown = BTreeSet::new();
        for (date, of_day, place) in listed {
            let name = format!("date={date}/hour={of_day}");
            let hour = after.get(&(date.clone(), of_day.clone()));
            let folder = hour.map(|place| Keys::folder(*place)).unwrap_or_default();
            let wanted = location.join(&format!("{table}/{folder}"));
            if hour.is_none() {
                self.findings
                    .add("catalog", format!("table {table}: the catalog shows {name}, which has no files"));
            } else if place.trim_end_matches('/') != wanted {
                self.findings.add(
                    "catalog",
                    format!("table {table}: the catalog has {name} at {place} instead of {wanted}"),
                );
            }
            shown.insert((date, of_day));
        }
        for (date, of_day) in before.into_keys().filter(|hour| !shown.contains(hour)) {
            self.findings.add(
                "catalog",
                format!("table {table}: the catalog lacks date={date}/hour={of_day}, which has files"),
            );
        }
        Ok(())
    }

    fn hours(&self, zone: Zone, table: &str) -> BTreeMap<(String, String), Place> {
        let of = (zone, table.to_owned());
        let places = self.shards.iter().filter_map(|shard| shard.books.tables.get(&of));
        let places = places.flat_map(|places| places.values()).filter(|place| place.print.files > 0);
        let place = |place: &super::books::Place| Place { hour: place.hour, generation: place.generation };
        places.map(|at| (at.hour.values(), place(at))).collect()
    }
}

impl Inspection<'_> {
    /// Why a file must not be seen.
    async fn stray(&mut self, key: &str) -> Result<Option<String>> {
        if let Some(by) = self.books.superseded(key) {
            // It stays for readers of the hour's former generation.
            if self.books.is_retired(by) {
                return Ok(None);
            }
            return Ok(Some(format!("record {by} put another in its place")));
        }
        let Some(epoch) = self.lake.keys.epoch_of(key) else {
            return Ok(Some(format!("it is no file of pipeline {}", self.lake.keys.whole())));
        };
        let named = self.named(&epoch, key, self.next).await?;
        Ok(named.is_none().then(|| "no record names it".into()))
    }

    /// The lists of true files that summaries lead to (what clean-up goes by) are what the records say.
    pub(super) async fn inventories(&mut self) -> Result<()> {
        if let Err(e) = self.lake.log.open().await {
            // What is wrong with a record was said, and is why the log cannot be opened.
            if !self.damaged && !self.findings.any(&["hole", "record"]) {
                self.findings.add("log", format!("no host can open the log: {e}"));
            }
            return Ok(());
        }
        while self.lake.log.view().next() != self.next {
            self.lake.log.refresh().await?;
            self.catch_up(self.lake.log.view().next()).await?;
        }
        let mut days: BTreeMap<(String, String), Print> = BTreeMap::new();
        for ((_, table), places) in &self.books.tables {
            for place in places.values() {
                days.entry((table.clone(), place.hour.values().0)).or_default().join(place.print);
            }
        }
        for ((table, date), wanted) in days {
            let mut print = Print::default();
            match self.lake.log.live(&table, &date).await {
                Ok(live) => live.keys().for_each(|key| print.add(key)),
                Err(e) if e.kind() == Kind::Stop => {
                    self.findings.add("inventory", e.to_string());
                    continue;
                }
                Err(e) => return Err(e),
            }
            if print != wanted {
                let (found, files) = (print.files, wanted.files);
                self.findings.add(
                    "inventory",
                    format!("the log's lists of {table}, {date}, have {found} files, which are not the {files} of its records"),
                );
            }
        }
        Ok(())
    }
}
