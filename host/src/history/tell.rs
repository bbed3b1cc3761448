//! Telling those that readers ask where hours lie now: the catalog, and the views for DuckDB.

use std::collections::BTreeSet;

use super::views;
use crate::Result;
use crate::catalog::TableSpec;
use crate::commit::{Record, Registrar};
use crate::pipeline::offline::Lake;
use crate::table::Hour;

/// Who tells, and what it has told.
pub(crate) struct Teller {
    registrar: Registrar,
    /// The last maintenance record whose hours the catalog has.
    pub(super) told: Option<u64>,
    /// What could not be told, for people. It stands in the log for hosts to go on with.
    pub(super) untold: Option<String>,
    /// Hours that the catalog showed elsewhere, or not, until this run put them right.
    pub(super) corrected: BTreeSet<(String, Hour)>,
}

impl Teller {
    pub(crate) fn new(lake: &Lake, specs: &[TableSpec]) -> Teller {
        let registrar = Registrar::new(lake.catalog.clone(), specs.to_vec());
        Teller { registrar, told: None, untold: None, corrected: BTreeSet::new() }
    }

    /// Tells of a record.
    pub(crate) async fn tell(&mut self, lake: &mut Lake, record: &Record) {
        self.untold = self.registrar.tell(record, &mut lake.log).await;
        self.told = self.untold.is_none().then_some(record.seq);
    }

    /// The last maintenance record whose hours the catalog has.
    pub(crate) fn told(&self) -> Option<u64> {
        self.told
    }

    /// What could not be told, for people.
    pub(crate) fn untold(&self) -> Option<String> {
        self.untold.clone()
    }

    /// Makes the catalog show all hours where they lie, and the views likewise. False: it could not be done now.
    pub(super) async fn reconcile(&mut self, lake: &mut Lake, specs: &[TableSpec]) -> Result<bool> {
        match self.registrar.reconcile(lake.log.shown().await?).await {
            Ok(corrected) => self.corrected.extend(corrected),
            Err(e) => {
                self.untold = Some(e.to_string());
                return Ok(false);
            }
        }
        views::write_views(lake, specs).await.map(|()| true)
    }

    /// Whether the catalog was told of all that it had to be of a table. It never is of one that no transform makes.
    pub(super) fn has_told(&self, table: &str) -> bool {
        self.registrar.has_told(table)
    }
}
