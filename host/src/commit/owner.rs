//! A pipeline owns its tables (rule L7), and tables without a log are refused (rule L6).

use serde::{Deserialize, Serialize};

use super::log::Log;
use crate::sink::{Keys, Stores};
use crate::table::Zone;
use crate::{Error, Result};

#[derive(Serialize, Deserialize)]
struct Owner {
    pipeline: String,
}

/// Refuses tables that belong to another pipeline; with `claim`, those that belong to nobody are ours from now on.
pub async fn own(stores: &Stores, pipeline: &str, tables: &[(Zone, String)], claim: bool) -> Result<()> {
    for (zone, table) in tables {
        let (store, key) = (stores.of(*zone), Keys::owner(table));
        let ours = serde_json::json!(Owner { pipeline: pipeline.into() }).to_string();
        // What is read is what counts, whoever wrote it.
        let found = match store.read(&key).await? {
            Some(found) => Some(found),
            None if !claim => continue,
            None if store.create(&key, ours.as_bytes()).await? => continue,
            None => store.read(&key).await?,
        };
        let owner: Option<Owner> = found.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        match owner {
            Some(owner) if owner.pipeline == pipeline => {}
            Some(owner) => {
                return Err(Error::usage(format!(
                    "table {table} in {} belongs to pipeline {}, this one is {pipeline} (setting `pipeline`): use that \
                     name, or another place for the tables",
                    store.location(),
                    owner.pipeline
                )));
            }
            None => {
                return Err(Error::stop(format!(
                    "{key} in {} does not say which pipeline table {table} belongs to; remove it if nobody uses the table",
                    store.location()
                )));
            }
        }
    }
    Ok(())
}

/// Refuses tables with files, or a group with offsets, where the log is empty: it was lost, or it lies elsewhere.
pub async fn not_lost(
    log: &Log,
    stores: &Stores,
    tables: &[(Zone, String)],
    group: Option<&str>,
) -> Result<()> {
    if log.view().next() > 0 {
        return Ok(());
    }
    let place = format!("{} in {}", log.keys.log(), stores.processed.location());
    if let Some(group) = group {
        return Err(Error::stop(format!(
            "consumer group {group} has committed offsets for this topic, but there is no commit log ({place}): it was \
             lost, or the group belongs to another program or to tidemill before it had a log; restore the log, or \
             begin anew with another group and empty zones (settings `group`, `raw`, `processed`)"
        )));
    }
    for (zone, table) in tables {
        let store = stores.of(*zone);
        if let Some((key, _)) = store.list(table, 1).await?.first() {
            return Err(Error::stop(format!(
                "{} has files of table {table}, such as {key}, but there is no commit log ({place}): it was lost or the \
                 files are another program's; restore the log, or use an empty place (settings `raw`, `processed`)",
                store.location()
            )));
        }
    }
    Ok(())
}
