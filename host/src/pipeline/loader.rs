//! From bytes to a program: compiled, opened once, planned.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use tokio::sync::Mutex;

use super::program::Program;
use super::shelf::Shelf;
use crate::catalog::TableSpec;
use crate::commit::Log;
use crate::commit::record::{Deployed, TransformSet};
use crate::config::Config;
use crate::sink::Stores;
use crate::table::{self, Table};
use crate::transform::graph::{Graph, Surroundings};
use crate::transform::{Compiling, Component, Engine, Package};
use crate::wait::blocking;
use crate::{Error, Result};

/// Loads transforms. Whoever asks waits; a component is loaded on a thread that may block.
#[derive(Clone)]
pub(super) struct Loader {
    pub(super) config: Arc<Config>,
    pub(super) engine: Arc<Engine>,
    /// Where transforms are put.
    pub(super) shelf: Arc<Shelf>,
    /// What is loaded. Who loads keeps the others waiting: shards want the same at the same time.
    loaded: Arc<Mutex<Loaded>>,
}

/// What is loaded already.
#[derive(Default)]
struct Loaded {
    /// Graphs, as long as somebody has them, with what they were planned from.
    graphs: Vec<(Vec<Sign>, Weak<Graph>)>,
    /// Components that load by themselves.
    sound: Vec<Sign>,
}

/// What tells a package from another: its names, its digest, and the texts of its sidecar and its signature.
type Sign = (String, String, String, Option<String>, Option<String>);

fn sign(package: &Package) -> Sign {
    let Package { name, file, sidecar, signature, .. } = package;
    (name.clone(), file.clone(), package.digest(), sidecar.clone(), signature.clone())
}

/// Components that are remembered.
const SOUND: usize = 64;

impl Loader {
    pub(super) fn new(config: &Config) -> Result<Loader> {
        let engine = Engine::new(Compiling::of_process(), config.cache.as_deref())?;
        let shelf = Arc::new(Shelf::new(config));
        let loaded = Arc::default();
        Ok(Loader { config: Arc::new(config.clone()), engine: Arc::new(engine), shelf, loaded })
    }

    /// What is put on the shelf. None at all is an error.
    pub(super) async fn read(&self) -> Result<Vec<Package>> {
        self.shelf.read().await
    }

    /// Refuses what this host is not to take. An error names the file.
    pub(super) fn trusted(&self, packages: &[Package]) -> Result<()> {
        packages.iter().try_for_each(|package| self.config.trust.check(package))
    }

    /// Whether a transform is trusted and loads, whatever is beside it. An error names the file.
    pub(super) async fn loads(&self, package: &Package) -> Result<()> {
        self.config.trust.check(package)?;
        let mut loaded = self.loaded.lock().await;
        let sign = sign(package);
        if loaded.sound.contains(&sign) {
            return Ok(());
        }
        let (this, package) = (self.clone(), package.clone());
        blocking("loading a transform", move || Component::load(&this.engine, &package).map(drop)).await??;
        if loaded.sound.len() >= SOUND {
            loaded.sound.remove(0);
        }
        loaded.sound.push(sign);
        Ok(())
    }

    /// The graph of these packages, which others may have already.
    async fn graph(&self, packages: &Arc<Vec<Package>>) -> Result<Arc<Graph>> {
        let mut loaded = self.loaded.lock().await;
        loaded.graphs.retain(|(_, graph)| graph.strong_count() > 0);
        let signs: Vec<Sign> = packages.iter().map(sign).collect();
        let known = loaded.graphs.iter().find(|(known, _)| *known == signs);
        if let Some(graph) = known.and_then(|(_, graph)| graph.upgrade()) {
            return Ok(graph);
        }
        let (this, given) = (self.clone(), packages.clone());
        // A guest that prints goes through the runtime.
        let graph = Arc::new(blocking("loading transforms", move || this.plan(&given)).await??);
        loaded.graphs.push((signs, Arc::downgrade(&graph)));
        Ok(graph)
    }

    /// Plans how transforms work together. An error names the file.
    pub(super) fn plan(&self, packages: &[Package]) -> Result<Graph> {
        let load = |package| Component::load(&self.engine, package);
        planned(&self.config, packages.iter().map(load).collect::<Result<_>>()?)
    }

    /// Refuses settings of tables that no transform makes.
    pub(super) fn known_tables(&self, graph: &Graph) -> Result<()> {
        known_tables(&self.config, graph)
    }

    /// The set that these packages make, with its program. `previous` is the record of the set before.
    pub(super) async fn program(
        &self,
        stores: &Stores,
        packages: &Arc<Vec<Package>>,
        previous: Option<u64>,
    ) -> Result<Program> {
        let graph = self.graph(packages).await?;
        let identity = |package: &Package| {
            let found = graph.components().find(|component| component.file() == package.file);
            found.map(|component| component.identity.clone())
        };
        let deployed = packages.iter().filter_map(|package| {
            let identity = identity(package)?;
            Some(Deployed {
                file: package.name.clone(),
                name: identity.name.clone(),
                version: identity.version.clone(),
                digest: identity.digest.clone(),
                sidecar: package.sidecar.clone(),
                signature: package.signature.clone(),
            })
        });
        let desired = TransformSet { previous, components: deployed.collect() };
        let (raw, rejected) = (Arc::new(table::raw(&self.config.topic)), Arc::new(table::rejected()));
        let tables = specs(&self.config, &graph, stores, &raw, &rejected);
        Ok(Program { set: None, desired, packages: packages.clone(), graph, tables })
    }

    /// The program of a set that a record names, to be run. What `at_hand` has is not fetched.
    pub(super) async fn of_record(
        &self,
        log: &Log,
        stores: &Stores,
        seq: u64,
        at_hand: &[Package],
    ) -> Result<Program> {
        let set = log.set(seq).await?;
        let packages = packages(log, &set, at_hand).await?;
        self.trusted(&packages)?;
        self.of_set(stores, seq, &set, packages).await
    }

    /// The same for what is committed already, whoever is trusted by now: nothing new can come of it.
    pub(super) async fn of_past(&self, log: &Log, stores: &Stores, seq: u64) -> Result<Program> {
        let set = log.set(seq).await?;
        let packages = packages(log, &set, &[]).await?;
        self.of_set(stores, seq, &set, packages).await
    }

    async fn of_set(
        &self,
        stores: &Stores,
        seq: u64,
        set: &TransformSet,
        packages: Vec<Package>,
    ) -> Result<Program> {
        let program = self.program(stores, &Arc::new(packages), set.previous).await?;
        Ok(Program { set: Some(seq), ..program })
    }
}

/// The bytes of a set.
async fn packages(log: &Log, set: &TransformSet, at_hand: &[Package]) -> Result<Vec<Package>> {
    let mut packages = Vec::with_capacity(set.components.len());
    for deployed in &set.components {
        packages.push(package(log, deployed, at_hand).await?);
    }
    Ok(packages)
}

/// How these components work together. An error names the file.
pub(super) fn planned(config: &Config, components: Vec<Component>) -> Result<Graph> {
    let (raw, rejected) = (table::raw(&config.topic), table::rejected());
    let provenance: BTreeMap<String, bool> =
        config.tables.iter().map(|(name, table)| (name.clone(), table.provenance)).collect();
    let taken: &[&str] = &[&raw.name, &rejected.name];
    Graph::plan(components, &Surroundings { topic: &config.topic, taken, provenance: &provenance })
}

/// Refuses settings of tables that no transform makes.
pub(super) fn known_tables(config: &Config, graph: &Graph) -> Result<()> {
    let own = [table::raw(&config.topic).name, table::rejected().name];
    for (name, settings) in &config.tables {
        if own.contains(name) {
            // Their columns are what they are.
            if !settings.provenance {
                return Err(Error::usage(format!(
                    "[tables.{name}] in the configuration: `provenance` is for the tables of transforms"
                )));
            }
        } else if graph.tables().all(|t| t.name != *name) {
            return Err(Error::usage(format!(
                "[tables.{name}] in the configuration: no transform makes a table {name}"
            )));
        }
    }
    Ok(())
}

/// The bytes of a deployed transform.
pub(super) async fn package(log: &Log, deployed: &Deployed, at_hand: &[Package]) -> Result<Package> {
    let near = at_hand.iter().find(|p| p.name == deployed.file && p.digest() == deployed.digest);
    let (file, wasm) = match near {
        Some(package) => (package.file.clone(), package.wasm.clone()),
        None => {
            let short = deployed.digest.get(..12).unwrap_or_default();
            (
                format!("{}.wasm ({short} in the commit log)", deployed.file),
                log.component(&deployed.digest).await?,
            )
        }
    };
    let (sidecar, signature) = (deployed.sidecar.clone(), deployed.signature.clone());
    Ok(Package { name: deployed.file.clone(), file, wasm, sidecar, signature })
}

/// What the catalog is told of all tables.
pub(super) fn specs(
    config: &Config,
    graph: &Graph,
    stores: &Stores,
    raw: &Arc<Table>,
    rejected: &Arc<Table>,
) -> Vec<TableSpec> {
    [raw, rejected]
        .into_iter()
        .chain(graph.tables())
        .map(|table| TableSpec {
            merge: graph.merge(&table.name),
            projection: config.tables.get(&table.name).and_then(|settings| settings.projection),
            ..TableSpec::new(table.clone(), stores.of(table.zone).table_address(table))
        })
        .collect()
}
