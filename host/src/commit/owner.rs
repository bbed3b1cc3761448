//! A pipeline owns its tables (rule L7), and tables without a log are refused (rule L6).
//!
//! What says whose a table is says how many logs the pipeline has, too: with another number a partition would be of
//! another shard, whose log does not know it, and its events would come again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::log::Log;
use super::record::Topic;
use crate::shard::{MARK, Shard};
use crate::sink::{Keys, Stores};
use crate::table::{self, Zone};
use crate::{Error, Result};

/// What is stored. Hosts from before there were shards read the name alone: with more than one log it is another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Owner {
    pipeline: String,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    logs: u32,
}

fn one() -> u32 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_one(logs: &u32) -> bool {
    *logs == 1
}

impl Owner {
    fn new(pipeline: &str, logs: u32) -> Owner {
        let mark = if logs == 1 { String::new() } else { format!("{MARK}{logs}") };
        Owner { pipeline: format!("{pipeline}{mark}"), logs }
    }

    fn pipeline(&self) -> &str {
        let mark = format!("{MARK}{}", self.logs);
        let mark = if self.logs == 1 { "" } else { mark.as_str() };
        self.pipeline.strip_suffix(mark).unwrap_or(&self.pipeline)
    }
}

/// Refuses tables that belong to another pipeline, or to this one with another number of logs; with `claim`, those
/// that belong to nobody are ours from now on.
pub async fn own(
    stores: &Stores,
    pipeline: &str,
    logs: u32,
    tables: &[(Zone, String)],
    claim: bool,
) -> Result<()> {
    let wanted = Owner::new(pipeline, logs);
    for (zone, table) in tables {
        let (store, key) = (stores.of(*zone), Keys::owner(table));
        let ours = serde_json::json!(wanted).to_string();
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
            Some(owner) if owner == wanted => {}
            Some(owner) if owner.pipeline() == pipeline => {
                let (place, had) = (store.location(), owner.logs);
                return Err(Error::usage(format!(
                    "table {table} in {place} was made by pipeline {pipeline} with {}, this host has {} (setting \
                     `logs`): a lake keeps its number of logs; set `logs` to {had}, or begin a new lake with another \
                     group, pipeline and place for the tables",
                    counted(had),
                    counted(logs),
                )));
            }
            Some(owner) => {
                return Err(Error::usage(format!(
                    "table {table} in {} belongs to pipeline {}, this one is {pipeline} (setting `pipeline`): use that \
                     name, or another place for the tables",
                    store.location(),
                    owner.pipeline()
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

fn counted(logs: u32) -> String {
    if logs == 1 { "1 log".into() } else { format!("{logs} logs") }
}

/// How many logs a pipeline has in a lake; none: it has claimed nothing there yet. Every pipeline has the table of
/// rejected events, in the zone where its logs are: who knows no more than that zone learns it there.
pub async fn logs(stores: &Stores, pipeline: &str) -> Result<Option<u32>> {
    let found = stores.processed.read(&Keys::owner(table::REJECTED)).await?;
    Ok(found.and_then(|bytes| logs_of(&bytes, pipeline)))
}

/// How many logs a pipeline has by what says whose a table is; none: the table is another pipeline's.
pub fn logs_of(owner: &[u8], pipeline: &str) -> Option<u32> {
    let owner: Owner = serde_json::from_slice(owner).ok()?;
    (owner.pipeline() == pipeline).then_some(owner.logs)
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
                && owner.pipeline() == pipeline
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
/// Of a shard's log only files and partitions of the shard tell.
pub async fn not_lost(
    log: &Log,
    shard: Shard,
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
        // Those of other shards stand in the same folders. It is looked through but once in a pipeline's life.
        let most = if shard.label().is_none() { 1 } else { usize::MAX };
        let found = store.list(table, most).await?;
        let of = |key: &str| shard.label().is_none() || log.keys.epoch_of(key).is_some();
        if let Some((key, _)) = found.iter().find(|(key, _)| of(key)) {
            return Err(Error::stop(format!(
                "{} has files of table {table}, such as {key}, but there is no commit log ({place}): it was lost or the \
                 files are another program's; restore the log, or use an empty place (settings `raw`, `processed`)",
                store.location()
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_log_is_stored_as_ever_and_more_are_no_pipeline_that_others_know() {
        let text = |owner: &Owner| serde_json::json!(owner).to_string();
        let (one, four) = (Owner::new("p", 1), Owner::new("p", 4));
        assert_eq!(text(&one), r#"{"pipeline":"p"}"#);
        assert_eq!(text(&four), r#"{"logs":4,"pipeline":"p@4"}"#);
        for owner in [one, four, Owner::new("p@4", 1), Owner::new("p@4", 4)] {
            let read: Owner = serde_json::from_str(&text(&owner)).unwrap();
            assert_eq!(read, owner);
        }
        assert_eq!(Owner::new("p", 4).pipeline(), "p");
        assert_eq!(Owner::new("p@4", 1).pipeline(), "p@4");
    }
}
