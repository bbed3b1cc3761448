//! The lake without a host: for commands that need no Kafka.
//!
//! How many logs a pipeline has is said by the lake, not by the configuration: whoever looks at it need not know.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};

use super::loader::Loader;
use super::program::Program;
use crate::catalog::{Catalog, TableSpec};
use crate::commit::{CannotRemake, Log, Record, Registrar, owner};
use crate::config::Config;
use crate::env::Env;
use crate::shard::Shard;
use crate::sink::{Keys, Stores};
use crate::wait::tries;
use crate::{Error, Result};

/// How often the lake is asked how many logs it has.
const TRIES: u32 = 4;
/// Logs that are read side by side.
const ABREAST: usize = 8;

/// A lake, its catalog and a commit log, which was not read yet.
pub struct Lake {
    /// The zones.
    pub stores: Stores,
    /// The catalog.
    pub catalog: Arc<dyn Catalog>,
    /// The keys of the pipeline, or of the shard.
    pub keys: Keys,
    /// The partitions that the log is about.
    pub shard: Shard,
    /// The commit log.
    pub log: Log,
    /// The clock.
    pub env: Env,
}

impl Lake {
    /// Opens the lake of a configuration: once for each commit log that it has, in the order of their numbers, or
    /// that it is to have. `who` is the writer of what becomes a record, as in `gc`.
    pub async fn open(config: &Config, env: &Env, who: &str) -> Result<Vec<Lake>> {
        let keys = Keys::new(&config.pipeline)?;
        let (stores, catalog) = super::lake(config, &keys, env, None).await?;
        let logs = tries(env, TRIES, || owner::logs(&stores, &config.pipeline)).await?;
        let lake = |shard| {
            let (keys, store) = (keys.shard(shard), Arc::new(stores.clone()));
            let log = Log::new(store, env.clone(), &keys, who, Arc::new(CannotRemake));
            let (stores, catalog, env) = (stores.clone(), catalog.clone(), env.clone());
            Lake { stores, catalog, keys, shard, log, env }
        };
        Ok(Shard::all(logs.unwrap_or(config.logs)).map(lake).collect())
    }

    /// Reads all logs.
    pub async fn read(lakes: &mut [Lake]) -> Result<()> {
        let opened: Vec<_> = lakes.iter_mut().map(|lake| lake.log.open()).collect();
        stream::iter(opened).buffer_unordered(ABREAST).try_collect().await
    }

    /// Where the commit log lies, for people.
    pub fn place(&self) -> String {
        self.stores.processed.location().join(&self.keys.log())
    }

    /// The transforms that the log names, which was read; `known` if it is these.
    pub(super) async fn program(&self, config: &Config, known: Option<Program>) -> Result<Program> {
        let view = self.log.view();
        let (Some((seq, _)), Some(topic)) = (view.transforms(), view.topic()) else {
            return Err(Error::stop(format!(
                "no record in {} names transforms: a running host writes one (tidemill run)",
                self.place()
            )));
        };
        if let Some(known) = known.filter(|known| known.set == Some(seq)) {
            return Ok(known);
        }
        let config = Config { topic: topic.name.clone(), ..config.clone() };
        Loader::new(&config)?.of_record(&self.log, &self.stores, seq, &[]).await
    }

    /// Tells the catalog of a record's hours. What it does not take is said, and stands in the log for hosts to go on
    /// with.
    pub(super) async fn tell(&mut self, tables: &[TableSpec], record: &Record) -> Option<String> {
        let mut registrar = Registrar::new(self.catalog.clone(), tables.to_vec());
        match self.catalog.ensure(tables).await {
            Ok(()) => registrar.tell(record, &mut self.log).await,
            Err(e) => Some(e.to_string()),
        }
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
