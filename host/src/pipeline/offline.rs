//! The lake without a host: for commands that need no Kafka.

use std::sync::Arc;

use crate::Result;
use crate::catalog::{Catalog, TableSpec};
use crate::commit::{CannotRemake, Log};
use crate::config::Config;
use crate::env::Env;
use crate::sink::{Keys, Stores};
use crate::table;

/// A lake, its catalog and its commit log, which was not read yet.
pub struct Lake {
    /// The zones.
    pub stores: Stores,
    /// The catalog.
    pub catalog: Arc<dyn Catalog>,
    /// The pipeline's keys.
    pub keys: Keys,
    /// The commit log.
    pub log: Log,
    /// The clock.
    pub env: Env,
}

impl Lake {
    /// Opens the lake of a configuration. `who` is the writer of what becomes a record, as in `gc`.
    pub async fn open(config: &Config, env: &Env, who: &str) -> Result<Lake> {
        let keys = Keys::new(&config.pipeline)?;
        let (stores, catalog) = super::lake(config, &keys, env).await?;
        let store = Arc::new(stores.clone());
        let log = Log::new(store, env.clone(), &keys, who, Arc::new(CannotRemake));
        Ok(Lake { stores, catalog, keys, log, env: env.clone() })
    }

    /// Where the commit log lies, for people.
    pub fn place(&self) -> String {
        self.stores.processed.location().join(&self.keys.log())
    }

    /// What the catalog is told of all tables that the transforms of a configuration make. Loads them.
    pub async fn specs(&self, config: &Config) -> Result<Vec<TableSpec>> {
        let graph = super::loaded(config).await?;
        let (raw, rejected) = (Arc::new(table::raw(&config.topic)), Arc::new(table::rejected()));
        Ok(super::specs(&graph, &self.stores, &raw, &rejected))
    }
}
