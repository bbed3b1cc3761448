//! Makes staged files visible and known to the catalog.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};

use crate::catalog::{Catalog, TableSpec};
use crate::sink::{StagedFile, Stores};
use crate::table::Hour;
use crate::{Kind, Result};

/// Files that are published side by side.
const ABREAST: usize = 16;

/// Publishes files, and retries for as long as the store is only away for a while. Publishing again
/// what is published is success, so this can be called as often as one likes.
pub(super) async fn publish(stores: &Stores, files: &[StagedFile]) -> Result<()> {
    let work = files.iter().map(|file| one(stores.clone(), file.clone())).collect::<Vec<_>>();
    stream::iter(work).buffer_unordered(ABREAST).try_collect::<()>().await
}

async fn one(stores: Stores, file: StagedFile) -> Result<()> {
    retry("publish", || stores.publish(&file)).await
}

/// Does something again until it works or there is no point in it.
async fn retry<F: Future<Output = Result<()>>>(what: &str, mut attempt: impl FnMut() -> F) -> Result<()> {
    let mut pause = Duration::from_millis(200);
    let mut said: Option<Instant> = None;
    loop {
        match attempt().await {
            Err(e) if e.kind() == Kind::Retry => {
                if said.is_none_or(|at| at.elapsed() > Duration::from_secs(10)) {
                    tracing::warn!("cannot {what} yet: {e}; retrying");
                    said = Some(Instant::now());
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(5));
            }
            other => return other,
        }
    }
}

/// Registers partitions, and remembers those that the catalog did not take yet: an outage of the
/// catalog delays discovery, never data (rule F5).
pub(super) struct Registrar {
    catalog: Arc<dyn Catalog>,
    tables: HashMap<String, TableSpec>,
    waiting: BTreeMap<String, BTreeSet<Hour>>,
}

impl Registrar {
    pub(super) fn new(catalog: Arc<dyn Catalog>, tables: Vec<TableSpec>) -> Self {
        let tables = tables.into_iter().map(|t| (t.table.name.clone(), t)).collect();
        Registrar { catalog, tables, waiting: BTreeMap::new() }
    }

    /// Registers the partitions of these files and all that wait. An error leaves them waiting.
    pub(super) async fn register(&mut self, files: &[StagedFile]) -> Result<()> {
        for file in files {
            self.waiting.entry(file.table.clone()).or_default().insert(file.hour);
        }
        let mut failure = None;
        for (name, hours) in std::mem::take(&mut self.waiting) {
            let Some(table) = self.tables.get(&name) else { continue };
            // After the first failure the rest only keeps waiting: an outage is not asked again and again.
            if failure.is_none() {
                let list: Vec<Hour> = hours.iter().copied().collect();
                failure = self.catalog.register(table, &list).await.err();
            }
            if failure.is_some() {
                self.waiting.insert(name, hours);
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// How many partitions wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.values().map(BTreeSet::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::sink::Publish;
    use crate::{Error, table};

    /// A catalog that fails so often, then notes what it is told.
    struct Flaky(Mutex<(u32, Vec<String>)>);

    #[async_trait::async_trait]
    impl Catalog for Flaky {
        async fn ensure(&self, _: &[TableSpec]) -> Result<()> {
            Ok(())
        }
        async fn register(&self, table: &TableSpec, hours: &[Hour]) -> Result<()> {
            let mut state = self.0.lock().unwrap();
            if state.0 > 0 {
                state.0 -= 1;
                return Err(Error::retry("away"));
            }
            state.1.extend(hours.iter().map(|hour| format!("{} {hour}", table.table.name)));
            Ok(())
        }
    }

    fn file(table: &str) -> StagedFile {
        StagedFile {
            zone: table::Zone::Raw,
            table: table.into(),
            hour: Hour(0),
            key: "k".into(),
            rows: 1,
            bytes: 1,
            first: 0,
            last: 0,
            how: Publish::Rename { staging: "s".into() },
        }
    }

    #[tokio::test]
    async fn an_outage_forgets_no_partition_of_any_table() {
        let catalog = Arc::new(Flaky(Mutex::new((1, vec![]))));
        let tables = [table::raw("a"), table::raw("b"), table::rejected()];
        let names: Vec<String> = tables.iter().map(|t| t.name.clone()).collect();
        let specs = tables.map(|t| TableSpec::new(Arc::new(t), "file:///t"));
        let mut registrar = Registrar::new(catalog.clone(), specs.into());
        let files: Vec<StagedFile> = names.iter().map(|name| file(name)).collect();
        assert!(registrar.register(&files).await.is_err());
        assert_eq!(registrar.waiting(), 3);
        registrar.register(&[]).await.unwrap();
        assert_eq!((registrar.waiting(), catalog.0.lock().unwrap().1.len()), (0, 3));
    }
}
