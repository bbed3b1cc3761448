//! What compactions and expiries took away is removed, when no reader needs it any more (rule M6).

use std::collections::BTreeSet;
use std::time::Duration;

use super::clock;
use super::tell::Teller;
use crate::Result;
use crate::catalog::TableSpec;
use crate::env::Micros;
use crate::pipeline::offline::Lake;
use crate::wait::tries;

/// Flips that one record sweeps.
const MOST: usize = 50;
/// How often a file is asked for that the store does not answer for.
const TRIES: u32 = 6;

/// What was swept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// The records that say so.
    pub records: Vec<u64>,
    /// Files that went.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Flips whose files stay for now: younger, or not everywhere known.
    pub left: u64,
    /// Why some stay that are old enough, for people.
    pub why: Option<String>,
}

/// Removes what was taken away longer than `keep` ago. The log was read to its tail.
pub async fn sweep(lake: &mut Lake, specs: &[TableSpec], keep: Duration) -> Result<Swept> {
    let mut teller = Teller::new(lake, specs);
    swept(lake, specs, keep, &mut teller).await
}

pub(super) async fn swept(
    lake: &mut Lake,
    specs: &[TableSpec],
    keep: Duration,
    teller: &mut Teller,
) -> Result<Swept> {
    let mut swept = Swept::default();
    if lake.log.view().retired().is_empty() {
        return Ok(swept);
    }
    let keep = Micros::try_from(keep.as_micros()).unwrap_or(Micros::MAX);
    let before = clock::now(lake).await?.saturating_sub(keep);
    let mut due = BTreeSet::new();
    for seq in lake.log.view().retired() {
        // They are in the order of their age.
        let key = lake.keys.record(*seq);
        let written = tries(&lake.env, TRIES, || lake.stores.processed.written(&key)).await?;
        if written.is_none_or(|written| written > before) {
            break;
        }
        due.insert(*seq);
    }
    swept.left = (lake.log.view().retired().len() - due.len()) as u64;
    if due.is_empty() {
        return Ok(swept);
    }
    if !teller.reconcile(lake, specs).await? {
        swept.left += due.len() as u64;
        swept.why = teller.untold.clone();
        return Ok(swept);
    }
    let due: Vec<u64> = due.into_iter().collect();
    for some in due.chunks(MOST) {
        let mut flips = BTreeSet::new();
        for seq in some {
            match whole(lake, *seq, &mut swept).await? {
                Some(why) => (swept.left, swept.why) = (swept.left + 1, Some(why)),
                None => drop(flips.insert(*seq)),
            }
        }
        if let Some(record) = lake.log.sweep(&flips, teller.told).await? {
            swept.records.push(record.seq);
            teller.tell(lake, &record).await;
        }
    }
    Ok(swept)
}

/// Whether what a flip brought is there: otherwise what it took away is all that there is of the rows, and stays.
async fn whole(lake: &Lake, seq: u64, swept: &mut Swept) -> Result<Option<String>> {
    let Some(record) = lake.log.read(seq).await? else { return Ok(Some(format!("record {seq} is missing"))) };
    for file in &record.files {
        let key = &file.file.key;
        let live = lake.log.live_in(&file.file.table, file.file.hour).await?.contains_key(key);
        let store = lake.stores.of(file.file.zone);
        if live && tries(&lake.env, TRIES, || store.size(key)).await? != Some(file.file.bytes) {
            return Ok(Some(format!("{key} of record {seq} is not there as it should be (tidemill verify)")));
        }
    }
    swept.files += record.supersedes.len() as u64;
    swept.bytes += record.supersedes.iter().map(|file| file.file.bytes).sum::<u64>();
    Ok(None)
}
