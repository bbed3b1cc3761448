//! No catalog: readers find the files by their paths.

use async_trait::async_trait;

use super::{Catalog, TableSpec, columns};
use crate::error::Result;
use crate::generations::Place;
use crate::table::Hour;

/// A catalog that keeps nothing. It still refuses columns that no catalog could hold, so that a later
/// change of the setting `catalog` brings no surprise.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCatalog;

#[async_trait]
impl Catalog for NoCatalog {
    async fn ensure(&self, tables: &[TableSpec]) -> Result<()> {
        tables.iter().try_for_each(|spec| columns(&spec.table).map(drop))
    }

    async fn register(&self, _: &TableSpec, _: &[Place]) -> Result<()> {
        Ok(())
    }

    async fn withdraw(&self, _: &TableSpec, _: &[Hour]) -> Result<()> {
        Ok(())
    }
}
