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
        for (name, hours) in std::mem::take(&mut self.waiting) {
            let Some(table) = self.tables.get(&name) else { continue };
            let list: Vec<Hour> = hours.iter().copied().collect();
            if let Err(e) = self.catalog.register(table, &list).await {
                self.waiting.insert(name, hours);
                return Err(e);
            }
        }
        Ok(())
    }

    /// How many partitions wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.values().map(BTreeSet::len).sum()
    }
}
