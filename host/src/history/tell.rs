//! Telling those that readers ask where hours lie now: the catalog, and the views for DuckDB.

use super::views;
use crate::Result;
use crate::catalog::TableSpec;
use crate::commit::{Record, Registrar};
use crate::pipeline::offline::Lake;

/// Who tells, and what it has told.
pub(crate) struct Teller {
    registrar: Registrar,
    /// The last maintenance record whose hours the catalog has.
    pub(super) told: Option<u64>,
    /// What could not be told, for people. It stands in the log for hosts to go on with.
    pub(super) untold: Option<String>,
}

impl Teller {
    pub(crate) fn new(lake: &Lake, specs: &[TableSpec]) -> Teller {
        Teller { registrar: Registrar::new(lake.catalog.clone(), specs.to_vec()), told: None, untold: None }
    }

    /// Tells of a record.
    pub(crate) async fn tell(&mut self, lake: &Lake, record: &Record) {
        self.untold = self.registrar.tell(record, lake.log.view().generations()).await;
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
            Ok(_) => {}
            Err(e) => {
                self.untold = Some(e.to_string());
                return Ok(false);
            }
        }
        views::write_views(lake, specs).await.map(|()| true)
    }
}
