//! What flips took away is removed, when no reader needs it any more (rule M6).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::clock;
use super::tell::Teller;
use super::told::Told;
use crate::Result;
use crate::catalog::TableSpec;
use crate::commit::Record;
use crate::commit::record::DataFile;
use crate::env::Micros;
use crate::pipeline::offline::Lake;
use crate::table::Hour;
use crate::wait::tries;

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

/// Removes what was taken away, if readers were told of that longer than `keep` ago. The log was read to its tail.
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
    let view = lake.log.view();
    let (retired, known, begun) = (view.retired().clone(), view.next(), !view.sweeping().is_empty());
    let mut due = BTreeSet::new();
    if !retired.is_empty() {
        match teller.reconcile(lake, specs).await? {
            true => due = known_for(lake, &retired, known, keep, teller).await?,
            false => swept.why.clone_from(&teller.untold),
        }
    }
    let mut going = BTreeSet::new();
    for seq in due {
        match removable(lake, seq, teller, &mut swept).await? {
            Some(why) => swept.why = Some(why),
            None => drop(going.insert(seq)),
        }
    }
    swept.left = (retired.len() - going.len()) as u64;
    if going.is_empty() && !begun {
        return Ok(swept);
    }
    // A record has a bound; what an earlier run has begun with goes along.
    while let Some(record) = lake.log.sweep(&going, teller.told).await? {
        swept.records.push(record.seq);
        teller.tell(lake, &record).await;
    }
    Told::read(lake).await?.tidy(lake, lake.log.view().retired().iter().copied(), known).await?;
    Ok(swept)
}

/// Flips that readers have known of for so long, by the store's clock. Catalog and views were just seen to be right as
/// of record `next`, if need be after they were corrected: what was corrected is younger.
async fn known_for(
    lake: &Lake,
    retired: &BTreeSet<u64>,
    next: u64,
    keep: Duration,
    teller: &Teller,
) -> Result<BTreeSet<u64>> {
    let mut told = Told::read(lake).await?;
    if !teller.corrected.is_empty() {
        for seq in retired {
            let record = lake.log.read(*seq).await?;
            if record.is_some_and(|record| is_corrected(&record, teller)) {
                told.forget(lake, *seq).await?;
                break;
            }
        }
    }
    if retired.last().is_some_and(|last| told.since(*last).is_none()) {
        told.note(lake, next.saturating_sub(1)).await?;
    }
    let keep = Micros::try_from(keep.as_micros()).unwrap_or(Micros::MAX);
    let before = clock::now(lake).await?.saturating_sub(keep);
    Ok(retired.iter().copied().filter(|seq| told.since(*seq).is_some_and(|since| since <= before)).collect())
}

fn is_corrected(record: &Record, teller: &Teller) -> bool {
    let corrected = |table: &String, hour: i64| teller.corrected.contains(&(table.clone(), Hour(hour)));
    record.flips.iter().any(|flip| corrected(&flip.table, flip.hour))
}

/// Why what a flip took away must stay though it is old enough: readers may still be sent there, or it is all that
/// there is of the rows, since what the flip brought is not there.
async fn removable(lake: &Lake, seq: u64, teller: &Teller, swept: &mut Swept) -> Result<Option<String>> {
    let Some(record) = lake.log.read(seq).await? else { return Ok(Some(format!("record {seq} is missing"))) };
    if is_corrected(&record, teller) {
        return Ok(Some(format!(
            "the catalog showed hours of record {seq} where they were before, until now: its readers get their time"
        )));
    }
    if let Some(flip) = record.flips.iter().find(|flip| !teller.has_told(&flip.table)) {
        return Ok(Some(format!(
            "the catalog cannot be told of table {} of record {seq}: no transform of now makes it",
            flip.table
        )));
    }
    let mut days: BTreeMap<(&str, String), BTreeMap<String, DataFile>> = BTreeMap::new();
    for file in &record.files {
        let (key, day) = (&file.file.key, (file.file.table.as_str(), file.file.hour.values().0));
        if !days.contains_key(&day) {
            days.insert(day.clone(), lake.log.live(day.0, &day.1).await?);
        }
        let store = lake.stores.of(file.file.zone);
        if days[&day].contains_key(key)
            && tries(&lake.env, TRIES, || store.size(key)).await? != Some(file.file.bytes)
        {
            return Ok(Some(format!("{key} of record {seq} is not there as it should be (tidemill verify)")));
        }
    }
    swept.files += record.supersedes.len() as u64;
    swept.bytes += record.supersedes.iter().map(|file| file.file.bytes).sum::<u64>();
    Ok(None)
}
