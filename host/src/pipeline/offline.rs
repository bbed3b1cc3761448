//! The lake without a host: for commands that need no Kafka.

use std::sync::Arc;

use super::loader::Loader;
use crate::Result;
use crate::catalog::{Catalog, TableSpec};
use crate::commit::{CannotRemake, Log};
use crate::config::Config;
use crate::env::Env;
use crate::sink::{Keys, Stores};

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
        let (stores, catalog) = super::lake(config, &keys, env, None).await?;
        let store = Arc::new(stores.clone());
        let log = Log::new(store, env.clone(), &keys, who, Arc::new(CannotRemake));
        Ok(Lake { stores, catalog, keys, log, env: env.clone() })
    }

    /// Where the commit log lies, for people.
    pub fn place(&self) -> String {
        self.stores.processed.location().join(&self.keys.log())
    }

    /// What the catalog is told of all tables that the transforms make: those that the log names, if it was read and
    /// names any, otherwise those of the directory. Loads them.
    pub async fn specs(&self, config: &Config) -> Result<Vec<TableSpec>> {
        let loader = Loader::new(config)?;
        let near = loader.read().await;
        if let Some((seq, _)) = self.log.view().transforms() {
            let near = near.unwrap_or_default();
            return Ok(loader.of_record(&self.log, &self.stores, seq, &near).await?.tables);
        }
        Ok(loader.program(&self.stores, &Arc::new(near?), None).await?.tables)
    }
}
