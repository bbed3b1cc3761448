//! Telling the catalog what was committed, beside the commits and never in their way (rule F5).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::flips::Shown;
use super::log::Log;
use super::record::{DataFile, Flip, Owed, Record};
use crate::catalog::{Catalog, TableSpec};
use crate::generations::{Place, Standing};
use crate::table::Hour;
use crate::{Error, Kind, Result};

/// Hours of one table that a record carries at most: a catalog that is away for years is reconciled by hand.
const OWED: usize = 20_000;

/// Registers partitions, and remembers those that the catalog did not take yet: an outage of the
/// catalog delays discovery, never data (rule F5).
pub(crate) struct Registrar {
    catalog: Arc<dyn Catalog>,
    tables: HashMap<String, TableSpec>,
    waiting: BTreeMap<String, BTreeSet<Hour>>,
    /// Expired hours that the catalog goes on to show, because it may not be told.
    denied: BTreeSet<(String, Hour)>,
}

impl Registrar {
    pub(crate) fn new(catalog: Arc<dyn Catalog>, tables: Vec<TableSpec>) -> Self {
        let tables = tables.into_iter().map(|t| (t.table.name.clone(), t)).collect();
        Registrar { catalog, tables, waiting: BTreeMap::new(), denied: BTreeSet::new() }
    }

    /// Tables that may have files from now on.
    pub(super) fn know(&mut self, tables: Vec<TableSpec>) {
        self.tables.extend(tables.into_iter().map(|t| (t.table.name.clone(), t)));
    }

    /// The partitions of these files wait from now on.
    pub(super) fn remember(&mut self, files: &[DataFile]) {
        for DataFile { file, .. } in files {
            self.waiting.entry(file.table.clone()).or_default().insert(file.hour);
        }
    }

    /// Registers the partitions of these files and all that wait. An error leaves them waiting; so do hours of tables
    /// that are not known here. `now`: the generations to register; an hour that is empty is withdrawn.
    pub(crate) async fn register(&mut self, files: &[DataFile], now: Shown<'_>) -> Result<()> {
        self.remember(files);
        let mut failure = None;
        for (name, hours) in std::mem::take(&mut self.waiting) {
            let Some(table) = self.tables.get(&name) else {
                // Of a transform that is not here: records carry them to a host that has it.
                self.waiting.insert(name, hours);
                continue;
            };
            // In an outage the rest only keeps waiting: it is not asked again and again. A table that needs a person
            // holds up no other.
            let away = |e: &Error| matches!(e.kind(), Kind::Retry | Kind::Abandon);
            if failure.as_ref().is_some_and(away) {
                self.waiting.insert(name, hours);
                continue;
            }
            let (empty, full): (Vec<Hour>, Vec<Hour>) =
                hours.iter().partition(|hour| now.get(&name, **hour).empty);
            let places: Vec<Place> = full.into_iter().map(|hour| now.place(&name, hour)).collect();
            let told = async {
                self.catalog.register(table, &places).await?;
                if empty.is_empty() {
                    return Ok(());
                }
                match self.catalog.withdraw(table, &empty).await {
                    // Not a host's right, as a rule. A partition without files does no harm, and `verify` names it.
                    Err(e) if e.kind() == Kind::Stop => {
                        tracing::warn!(
                            table = name,
                            hours = empty.len(),
                            "the catalog still shows hours that have expired: {e}"
                        );
                        self.denied.extend(empty.iter().map(|hour| (name.clone(), *hour)));
                        Ok(())
                    }
                    done => done,
                }
            };
            if let Err(e) = told.await {
                failure = Some(e);
                self.waiting.insert(name, hours);
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Looks at all hours that were rewritten or have expired, and puts right what the catalog shows of them (rule
    /// M6): it has no compare-and-set, so a late request may have taken one back. Gives back which there were: until
    /// now readers were sent elsewhere.
    pub(crate) async fn reconcile(&mut self, now: Shown<'_>) -> Result<BTreeSet<(String, Hour)>> {
        let mut wrong = BTreeSet::new();
        self.denied.clear();
        for table in now.tables() {
            let Some(spec) = self.tables.get(table) else { continue };
            let Some(listed) = self.catalog.partitions(table).await? else { continue };
            let listed: HashMap<(String, String), String> =
                listed.into_iter().map(|(date, hour, address)| ((date, hour), address)).collect();
            let hours = now.runs(table).flat_map(|(first, last, standing)| {
                (first.0..=last.0).map(move |hour| (Hour(hour), standing))
            });
            let differs = |(hour, standing): &(Hour, Standing)| {
                let there = listed.get(&hour.values()).map(|address| address.trim_end_matches('/'));
                let place = Place { hour: *hour, generation: standing.generation };
                if standing.empty { there.is_some() } else { there != Some(&spec.partition(place)) }
            };
            let differing: Vec<Hour> = hours.filter(differs).map(|(hour, _)| hour).collect();
            if !differing.is_empty() {
                wrong.extend(differing.iter().map(|hour| (table.to_owned(), *hour)));
                self.catalog.forget(table);
                self.waiting.entry(table.to_owned()).or_default().extend(differing);
            }
        }
        if self.waiting() > 0 {
            self.register(&[], now).await?;
        }
        // What it may not be told is no correction: a partition without files does no harm.
        Ok(wrong.difference(&self.denied).cloned().collect())
    }

    /// Whether all hours of a table that had to be told are: those of a table that is not known here never are.
    pub(crate) fn has_told(&self, table: &str) -> bool {
        self.tables.contains_key(table) && !self.waiting.contains_key(table)
    }

    /// Hours that wait, as they stand in a record: whoever takes over goes on with them.
    pub(super) fn owed(&self) -> Vec<Owed> {
        let owed = |(table, hours): (&String, &BTreeSet<Hour>)| Owed {
            table: table.clone(),
            hours: hours.iter().take(OWED).map(|hour| hour.0).collect(),
        };
        self.waiting.iter().map(owed).collect()
    }

    /// Registers what waits, at the generations that a log shows.
    pub(crate) async fn go_on(&mut self, log: &mut Log) -> Result<()> {
        let now = log.shown().await?;
        self.register(&[], now).await
    }

    /// Registers what a record left; what could not be told, for people. It stands in the log for hosts to go on with.
    pub(crate) async fn tell(&mut self, record: &Record, log: &mut Log) -> Option<String> {
        self.inherit(record);
        match self.go_on(log).await {
            Ok(()) if self.waiting() > 0 => {
                Some("hours of tables that the transforms of now do not make are left to other hosts".into())
            }
            Ok(()) => None,
            Err(e) => Some(e.to_string()),
        }
    }

    /// Takes over what a record left to be registered: its own files, and what waited when it was written.
    pub(crate) fn inherit(&mut self, record: &Record) {
        for owed in &record.owed {
            let hours = owed.hours.iter().map(|hour| Hour(*hour));
            self.waiting.entry(owed.table.clone()).or_default().extend(hours);
        }
        for file in &record.files {
            self.waiting.entry(file.file.table.clone()).or_default().insert(file.file.hour);
        }
        for Flip { table, hour, .. } in &record.flips {
            self.waiting.entry(table.clone()).or_default().insert(Hour(*hour));
        }
    }

    /// How many partitions wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.values().map(BTreeSet::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::sink::{Publish, StagedFile};
    use crate::table;

    /// A catalog that fails so often, then notes what it is told.
    struct Flaky(Mutex<(u32, Vec<String>)>);

    #[async_trait::async_trait]
    impl Catalog for Flaky {
        async fn ensure(&self, _: &[TableSpec]) -> Result<()> {
            Ok(())
        }
        async fn register(&self, table: &TableSpec, hours: &[Place]) -> Result<()> {
            let mut state = self.0.lock().unwrap();
            if state.0 > 0 {
                state.0 -= 1;
                return Err(Error::retry("away"));
            }
            state.1.extend(hours.iter().map(|hour| format!("{} {}", table.table.name, hour.hour)));
            Ok(())
        }
        async fn withdraw(&self, _: &TableSpec, _: &[Hour]) -> Result<()> {
            Ok(())
        }
    }

    fn file(table: &str) -> DataFile {
        let file = StagedFile {
            zone: table::Zone::Raw,
            table: table.into(),
            hour: Hour(0),
            key: "k".into(),
            rows: 1,
            bytes: 1,
            first: 0,
            last: 0,
            how: Publish::Rename { staging: "s".into() },
        };
        DataFile { epoch: "e".into(), generation: 1, file }
    }

    #[tokio::test]
    async fn hours_of_a_table_that_is_not_known_here_are_carried_on() {
        let catalog = Arc::new(Flaky(Mutex::new((0, vec![]))));
        let spec = |table: table::Table| TableSpec::new(Arc::new(table), "file:///t");
        let mut registrar = Registrar::new(catalog.clone(), vec![spec(table::rejected())]);
        let raw = table::raw("a");
        registrar.register(&[file(&raw.name), file(&table::rejected().name)], Shown::first()).await.unwrap();
        assert_eq!(catalog.0.lock().unwrap().1.len(), 1);
        assert_eq!(registrar.owed().iter().map(|owed| &*owed.table).collect::<Vec<_>>(), [&*raw.name]);
        assert_eq!(registrar.waiting(), 1, "a record must carry them to a host that knows the table");
        registrar.know(vec![spec(raw)]);
        registrar.register(&[], Shown::first()).await.unwrap();
        assert_eq!((registrar.waiting(), catalog.0.lock().unwrap().1.len()), (0, 2));
    }

    #[tokio::test]
    async fn a_table_that_needs_a_person_holds_up_no_other() {
        struct Denied(Mutex<Vec<String>>);
        #[async_trait::async_trait]
        impl Catalog for Denied {
            async fn ensure(&self, _: &[TableSpec]) -> Result<()> {
                Ok(())
            }
            async fn register(&self, table: &TableSpec, _: &[Place]) -> Result<()> {
                self.0.lock().unwrap().push(table.table.name.clone());
                if table.table.name == "a_raw" { Err(Error::stop("denied")) } else { Ok(()) }
            }
            async fn withdraw(&self, _: &TableSpec, _: &[Hour]) -> Result<()> {
                Ok(())
            }
        }
        let catalog = Arc::new(Denied(Mutex::default()));
        let tables = [table::raw("a"), table::raw("b"), table::rejected()];
        let files: Vec<DataFile> = tables.iter().map(|t| file(&t.name)).collect();
        let specs = tables.map(|t| TableSpec::new(Arc::new(t), "file:///t"));
        let mut registrar = Registrar::new(catalog.clone(), specs.into());
        let error = registrar.register(&files, Shown::first()).await.expect_err("one is denied");
        assert_eq!((error.kind(), registrar.waiting()), (Kind::Stop, 1));
        assert_eq!(catalog.0.lock().unwrap().len(), 3);
    }

    #[tokio::test]
    async fn an_outage_forgets_no_partition_of_any_table() {
        let catalog = Arc::new(Flaky(Mutex::new((1, vec![]))));
        let tables = [table::raw("a"), table::raw("b"), table::rejected()];
        let names: Vec<String> = tables.iter().map(|t| t.name.clone()).collect();
        let specs = tables.map(|t| TableSpec::new(Arc::new(t), "file:///t"));
        let mut registrar = Registrar::new(catalog.clone(), specs.into());
        let files: Vec<DataFile> = names.iter().map(|name| file(name)).collect();
        assert!(registrar.register(&files, Shown::first()).await.is_err());
        assert_eq!(registrar.waiting(), 3);
        assert_eq!(registrar.owed().len(), 3, "a record carries them to whoever comes next");
        registrar.register(&[], Shown::first()).await.unwrap();
        assert_eq!((registrar.waiting(), catalog.0.lock().unwrap().1.len()), (0, 3));
    }
}
