//! Where readers learn which tables there are and in which hours to look.
//!
//! A catalog follows the lake, never the other way round (rules F5, M6): what it says is made equal to
//! what was committed, again and again, and an outage of it delays discovery but never data. So every
//! operation may be repeated, by any number of hosts at once:
//!
//! * [`ensure`](Catalog::ensure): the database and the tables exist, with at least these columns. New
//!   columns are added at the end; none is ever removed. A column that has another type already is refused
//!   with both types named, and so is a table that lies elsewhere.
//! * [`register`](Catalog::register): these hours exist as partitions at the place of their generation. "Exists
//!   already" is success; one at another place is put right, but for one of a later generation: whoever put it there
//!   has read more of the log.
//! * [`withdraw`](Catalog::withdraw): these hours are no partitions. "There is none" is success.
//! * [`partitions`](Catalog::partitions), [`shown`](Catalog::shown): what the catalog shows its readers, for those who
//!   go by it.
//!
//! Every implementation passes the one suite in `conformance`.

#[cfg(test)]
mod conformance;
mod counted;
mod glue;
mod local;
mod none;
mod schema;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

pub use glue::Glue;
pub(crate) use glue::endpoint as glue_endpoint;
pub use local::Local;
pub use none::NoCatalog;
pub use schema::{Column, columns, hive_type};

use crate::error::Result;
use crate::generations::Place;
use crate::sink::Keys;
use crate::table::{Hour, Table};

/// What a catalog is told about a table.
#[derive(Clone, Debug, PartialEq)]
pub struct TableSpec {
    /// Its name and columns.
    pub table: Arc<Table>,
    /// Its folder: `s3://bucket/prefix/table` or `file:///folder/table`, without a slash at the end.
    pub location: String,
    /// What it is, for people.
    pub description: Option<String>,
    /// How rows of equal keys are put together, by column: `key`, `sum`, `min` or `max`. Empty for a table
    /// whose rows stand for themselves.
    pub merge: BTreeMap<String, String>,
    /// Whether Athena works partitions out by itself; none: as it is. Other catalogs do not know it.
    pub projection: Option<Projection>,
}

/// Partition projection of Athena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Projection {
    /// Athena looks at the partitions that are registered.
    Off,
    /// … at all hours of so many days until now, whether they are registered or not, and at no others.
    Days(u32),
}

impl TableSpec {
    /// A table at a place, without description and merging.
    pub fn new(table: Arc<Table>, location: impl Into<String>) -> TableSpec {
        TableSpec {
            table,
            location: location.into(),
            description: None,
            merge: BTreeMap::new(),
            projection: None,
        }
    }

    /// Where an hour of it lies.
    pub fn partition(&self, place: impl Into<Place>) -> String {
        format!("{}/{}", self.location, Keys::folder(place.into()))
    }

    /// Whether a partition at this address is of a later generation than that.
    fn is_later(&self, address: &str, place: Place) -> bool {
        Keys::generation_at(&self.location, address).is_some_and(|there| there > place.generation)
    }
}

/// A catalog of tables and partitions. See the [module](self) for what every one promises.
#[async_trait]
pub trait Catalog: Send + Sync {
    /// Makes sure that the tables exist with at least these columns.
    async fn ensure(&self, tables: &[TableSpec]) -> Result<()>;

    /// Makes sure that these hours of a table, which was ensured, exist as partitions.
    async fn register(&self, table: &TableSpec, places: &[Place]) -> Result<()>;

    /// Makes sure that these hours of a table are no partitions.
    async fn withdraw(&self, table: &TableSpec, hours: &[Hour]) -> Result<()>;

    /// Forgets which hours of a table this process has registered: they are looked at again.
    fn forget(&self, _table: &str) {}

    /// The partitions of a table, in the order of their date and hour. None: this catalog cannot tell. A table that
    /// it does not have is an error that a person must see to.
    async fn partitions(&self, _table: &str) -> Result<Option<Vec<Partition>>> {
        Ok(None)
    }

    /// A table as its readers see it. None: this catalog cannot tell, or does not have it.
    async fn shown(&self, _table: &str) -> Result<Option<Shown>> {
        Ok(None)
    }
}

/// A table as its readers see it, whoever made it so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Its columns, also those that no transform makes any more; without the partition columns.
    pub columns: Vec<Column>,
    /// Its readers work partitions out by themselves and look at no registered place.
    pub projected: bool,
}

/// A partition: its date, its hour, and where it lies.
pub type Partition = (String, String, String);

/// What this process registered already, so that each hour is registered once.
#[derive(Debug, Default)]
struct Registered(Mutex<HashSet<(String, Place)>>);

impl Registered {
    /// Beyond this many hours everything is forgotten, which costs nothing but registering again.
    const LIMIT: usize = 100_000;

    /// The hours that are new, each place once: hours beyond the calendar share one.
    fn unknown(&self, table: &TableSpec, hours: &[Place]) -> Vec<Place> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let name = &table.table.name;
        let mut places = HashSet::new();
        let new = hours.iter().copied().filter(|hour| !known.contains(&(name.clone(), *hour)));
        new.filter(|place| places.insert(place.hour.values())).collect()
    }

    fn forget(&self, table: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(name, _)| name != table);
    }

    fn forget_hours(&self, table: &str, hours: &[Hour]) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(name, place)| name != table || !hours.contains(&place.hour));
    }

    fn add(&self, table: &TableSpec, hours: &[Place]) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() + hours.len() > Self::LIMIT {
            known.clear();
        }
        known.extend(hours.iter().take(Self::LIMIT).map(|hour| (table.table.name.clone(), *hour)));
    }
}
