//! A pipeline owns its tables (rule L7), and tables without a log are refused (rule L6).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::log::Log;
use super::record::Topic;
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
        if found.is_none() {
            return Err(Error::retry(format!("{key} in {} is neither there nor free", store.location())));
        }
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

/// The tables that a pipeline has claimed, whether they have files or not.
pub async fn owned(stores: &Stores, pipeline: &str) -> Result<Vec<(Zone, String)>> {
    let mut tables = Vec::new();
    for zone in [Zone::Raw, Zone::Processed] {
        let store = stores.of(zone);
        for (key, _) in store.list(Keys::owners(), usize::MAX).await? {
            let Some(bytes) = store.read(&key).await? else { continue };
            let owner: Option<Owner> = serde_json::from_slice(&bytes).ok();
            let table = key.rsplit('/').next().and_then(|name| name.strip_suffix(".json"));
            if let (Some(owner), Some(table)) = (owner, table)
                && owner.pipeline == pipeline
            {
                tables.push((zone, table.to_owned()));
            }
        }
    }
    Ok(tables)
}

/// Refuses a log that ends before what the group was told, which happens after a record is written: the log has
/// lost its end. `told` is to be read before the log.
pub fn whole(log: &Log, topic: &Topic, told: &BTreeMap<i32, Option<i64>>, skip_lost: bool) -> Result<()> {
    for (partition, told) in told {
        let (Some(at), Some(told)) = (log.view().position(topic, *partition), *told) else { continue };
        if told <= at {
            continue;
        }
        let text = format!(
            "the commit log ends partition {partition} of {} at offset {at}, but the consumer group was told {told}: the \
             log has lost its last records ({} in the processed zone), and their events would come again; restore it",
            topic.name,
            log.keys.log()
        );
        if !skip_lost {
            return Err(Error::stop(text));
        }
        // A topic that was truncated is gone on with from an earlier offset, on a person's word.
        tracing::warn!("{text}");
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
