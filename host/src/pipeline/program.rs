//! What lanes run: a set of transforms, loaded.

use std::sync::Arc;

use crate::catalog::TableSpec;
use crate::commit::record::TransformSet;
use crate::transform::Package;
use crate::transform::graph::Graph;

/// A set of transforms, loaded and planned.
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
