//! What lanes run: a set of transforms, loaded.

use std::sync::Arc;

use crate::Result;
use crate::catalog::TableSpec;
use crate::commit::Log;
use crate::commit::record::TransformSet;
use crate::table::Zone;
use crate::transform::Package;
use crate::transform::graph::Graph;

/// A set of transforms, loaded and planned.
#[derive(Clone)]
pub(super) struct Program {
    /// The record that names it; none: it is not in the log yet.
    pub(super) set: Option<u64>,
    /// What the record says.
    pub(super) desired: TransformSet,
    /// Their bytes.
    pub(super) packages: Arc<Vec<Package>>,
    /// The transforms.
    pub(super) graph: Arc<Graph>,
    /// The tables of the host and of the transforms.
    pub(super) tables: Vec<TableSpec>,
}

impl Program {
    /// Its tables with the zones that they are in.
    pub(super) fn names(&self) -> Vec<(Zone, String)> {
        self.tables.iter().map(|spec| (spec.table.zone, spec.table.name.clone())).collect()
    }

    /// Stores its components and has the log name it. None: another host was faster, and what it wrote must be
    /// looked at first.
    pub(super) async fn named(self, log: &mut Log) -> Result<Option<Program>> {
        for package in self.packages.iter() {
            let deployed = self.desired.components.iter().find(|deployed| deployed.file == package.name);
            if let Some(deployed) = deployed {
                log.store_component(&deployed.digest, &package.wasm).await?;
            }
        }
        let set = log.desire(self.desired.clone()).await?;
        Ok(set.map(|set| Program { set: Some(set), ..self }))
    }
}

/// What a lane has to say about a program.
pub(super) struct Broken {
    /// The partition.
    pub(super) partition: i32,
    /// The program that failed.
    pub(super) set: Option<u64>,
    /// Why.
    pub(super) reason: String,
    /// Whether the partition stands still: it needs another program.
    pub(super) paused: bool,
}
