//! Reads the log's records past everything that a host refuses, to find all that is wrong and not the first.

use futures::{StreamExt, stream};

use super::patiently;
use crate::Result;
use crate::commit::Record;
use crate::env::Env;
use crate::sink::{Keys, Stores};

/// Slots that are read side by side.
const ABREAST: usize = 16;
/// Slots that are read ahead.
const AHEAD: u64 = 64;

/// What is in a slot of the log.
pub(super) enum Slot {
    /// Nothing: the log's end, or a hole.
    Free,
    /// Something that is no record, with the reason.
    Damaged(String),
    There(Box<Record>),
}

/// The log, slot by slot.
#[derive(Clone)]
pub(super) struct Records {
    stores: Stores,
    keys: Keys,
    env: Env,
}

impl Records {
    pub(super) fn new(stores: &Stores, keys: &Keys, env: &Env) -> Records {
        Records { stores: stores.clone(), keys: keys.clone(), env: env.clone() }
    }

    pub(super) async fn read(&self, seq: u64) -> Result<Slot> {
        let key = self.keys.record(seq);
        let bytes = patiently(&self.env, || self.stores.processed.read(&key)).await?;
        let Some(bytes) = bytes else { return Ok(Slot::Free) };
        Ok(match Record::decode(&key, &bytes) {
            Err(e) => Slot::Damaged(e.to_string()),
            Ok(record) if record.seq != seq || record.pipeline != self.keys.pipeline() => {
                let Record { seq, pipeline, .. } = record;
                Slot::Damaged(format!("{key} says that it is record {seq} of pipeline {pipeline}"))
            }
            Ok(record) => Slot::There(Box::new(record)),
        })
    }

    /// Some slots from here on, not beyond `end`; the last one may be free.
    pub(super) async fn some(&self, from: u64, end: u64) -> Result<Vec<(u64, Slot)>> {
        let slots = from..end.min(from.saturating_add(AHEAD));
        let mut read =
            stream::iter(slots).map(|seq| async move { (seq, self.read(seq).await) }).buffered(ABREAST);
        let mut found = Vec::new();
        while let Some((seq, slot)) = read.next().await {
            let slot = slot?;
            let end = matches!(slot, Slot::Free);
            found.push((seq, slot));
            if end {
                break;
            }
        }
        Ok(found)
    }

    /// The next slot after a free one that is taken; none: the free one is the log's end.
    pub(super) async fn beyond(&self, seq: u64) -> Result<Option<u64>> {
        let mut key = self.keys.record(seq);
        loop {
            let (store, folder) = (&self.stores.processed, self.keys.log());
            let found = patiently(&self.env, || store.after(&folder, &key, 100)).await?;
            if let Some(seq) = found.iter().find_map(|key| self.keys.seq_of(key)) {
                return Ok(Some(seq));
            }
            match found.into_iter().next_back() {
                Some(last) => key = last,
                None => return Ok(None),
            }
        }
    }
}
