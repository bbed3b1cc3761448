//! Which rows of a file go back, and to whom.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::commit::record::DataFile;
use crate::pipeline::offline::Lake;
use crate::rejects::{Columns, Filter, Shaped, batches, shaped};
use crate::sink::Parts;
use crate::transform::graph::Graph;
use crate::wait::blocking;
use crate::{Error, Result};

/// An event, and the transform that refused it.
type Place = (i32, i64, Arc<str>);

/// A file with rows that are meant.
#[derive(Clone)]
pub(super) struct Picked {
    pub(super) file: DataFile,
    /// How many are meant.
    pub(super) rows: u64,
    /// Events of which a transform refused more than one row: which of them would be made again is not known.
    several: Arc<HashSet<Place>>,
}

/// Where a row goes; none: to all transforms that read the topic.
pub(super) type Route = Option<Arc<str>>;

/// What happens to a row.
pub(super) enum Fate {
    /// It is not meant.
    Other,
    /// It is meant and stays, with the reason.
    Left(&'static str),
    Goes(Route),
}

/// Rows that stay, by why.
pub(super) const GONE: &str = "the transform that refused it is not in the set that runs";
pub(super) const SEVERAL: &str =
    "its transform reads another one, of whose output more than one row was refused";
pub(super) const NOT_ONE: &str = "its transform reads another one, which makes not exactly one row of it now";
pub(super) const UNREAD: &str = "it was decoded before and cannot be decoded with the fields of this set";

impl Picked {
    /// What happens to a row of the file.
    pub(super) fn fate(&self, wanted: &Filter, graph: &Graph, rows: &Shaped, row: usize) -> Fate {
        let by = rows.by(row);
        if !wanted.takes(rows.time.value(row), by, rows.reason.value(row)) {
            return Fate::Other;
        }
        let Some(by) = by else { return Fate::Goes(None) };
        match graph.reads_another(by) {
            None => Fate::Left(GONE),
            Some(false) => Fate::Goes(Some(by.into())),
            Some(true) => {
                let by: Arc<str> = by.into();
                let place = (rows.partition.value(row), rows.offset.value(row), by.clone());
                if self.several.contains(&place) { Fate::Left(SEVERAL) } else { Fate::Goes(Some(by)) }
            }
        }
    }
}

/// Looks a file through. None: it is not true any more.
pub(super) async fn pick(
    lake: &Lake,
    wanted: &Filter,
    graph: &Arc<Graph>,
    file: DataFile,
) -> Result<Option<Picked>> {
    let store = lake.stores.of(file.file.zone).clone();
    let parts = Parts::new(&store, &lake.env, &file.file.key, file.file.bytes)?;
    let (wanted, graph) = (wanted.clone(), graph.clone());
    match blocking("reading a file", move || through(parts, &wanted, &graph)).await? {
        Ok((rows, several)) => Ok(Some(Picked { file, rows, several: Arc::new(several) })),
        Err(_) if store.size(&file.file.key).await?.is_none() => Ok(None),
        Err(why) => Err(Error::stop(format!("{} cannot be read: {why}", file.file.key))),
    }
}

fn through(file: Parts, wanted: &Filter, graph: &Graph) -> Result<(u64, HashSet<Place>), String> {
    let (mut meant, mut times) = (0, HashMap::<Place, u32>::new());
    let mut names: BTreeMap<String, Arc<str>> = BTreeMap::new();
    for batch in batches(file, Columns::Who, None)? {
        let rows = shaped(&batch.map_err(|e| e.to_string())?)?;
        for row in 0..rows.rows() {
            let by = rows.by(row);
            if wanted.takes(rows.time.value(row), by, rows.reason.value(row)) {
                meant += 1;
            }
            // Whatever the reason: two rows of one event are two rows.
            if let Some(by) = by.filter(|by| graph.reads_another(by) == Some(true)) {
                let name = names.entry(by.to_owned()).or_insert_with(|| by.into()).clone();
                *times.entry((rows.partition.value(row), rows.offset.value(row), name)).or_default() += 1;
            }
        }
    }
    times.retain(|_, times| *times > 1);
    Ok((meant, times.into_keys().collect()))
}
