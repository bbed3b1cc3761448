//! The flip: what came into the hours meanwhile goes along, so that a stream of late events holds nothing up.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use tokio::runtime::Handle;

use crate::commit::record::{DataFile, RecordKind};
use crate::commit::{Deed, Flipped, Record, Rewritten};
use crate::failpoint::failpoint;
use crate::generations::Place;
use crate::pipeline::offline::Lake;
use crate::pipeline::stages::stored;
use crate::sink::Summary;
use crate::table::Hour;
use crate::wait::{blocking, tries};
use crate::{Error, Result};

/// How often hours are looked at anew because something came into one of them.
const ROUNDS: u32 = 50;
/// Files that are copied side by side.
const ABREAST: usize = 8;
/// Bytes of a file that are read at a time.
const PART: u64 = 4 << 20;
/// How often a file is asked for that the store does not answer for.
const TRIES: u32 = 6;

/// Hours that are true now.
pub(super) struct Done {
    pub(super) record: Arc<Record>,
    /// Rows that came meanwhile.
    pub(super) carried: u64,
}

/// Makes rewritten hours true. `next`: the slot up to which the log was read when they were; `set`: the record with the
/// set of transforms whose work may go along, or any.
pub(super) async fn flip(
    lake: &mut Lake,
    mut rewritten: Rewritten,
    next: u64,
    set: Option<u64>,
    told: Option<u64>,
) -> Result<Done> {
    let mut carried = 0;
    for _ in 0..ROUNDS {
        let why = match lake.log.rewrite(&rewritten, told).await.map_err(stored)? {
            Flipped::True(record) => return Ok(Done { record, carried }),
            Flipped::Fenced => {
                "clean-up has removed what was made (tidemill gc with a short --older-than)".into()
            }
            Flipped::Changed => match late(lake, &rewritten, next, set).await? {
                Ok(late) => {
                    // Before they can be read.
                    while !lake.log.roll_forward(None).await.map_err(stored)?.is_empty() {}
                    let copies = copies(lake, &rewritten, &late).await?;
                    failpoint!("carried");
                    carried += late.iter().map(|file| file.file.rows).sum::<u64>();
                    rewritten.files.extend(copies);
                    rewritten.supersedes.extend(late);
                    match &mut rewritten.deed {
                        Deed::Reprocessed(deed) => deed.carried = carried,
                        Deed::Restored(deed) => deed.carried = carried,
                        Deed::Compacted(_) | Deed::Erased(_) => {}
                    }
                    continue;
                }
                Err(why) => why,
            },
        };
        lake.log.throw_away(&rewritten.files).await?;
        return Err(Error::stop(format!("nothing became true: {why}; do it again")));
    }
    lake.log.throw_away(&rewritten.files).await?;
    Err(Error::stop(
        "nothing became true: hosts keep writing to these hours; try later, or take hours that ended earlier",
    ))
}

/// What came into the hours since they were read. The inner error says why it cannot go along.
async fn late(
    lake: &Lake,
    rewritten: &Rewritten,
    next: u64,
    set: Option<u64>,
) -> Result<std::result::Result<Vec<DataFile>, String>> {
    let mut days: BTreeMap<(&str, String), BTreeMap<String, DataFile>> = BTreeMap::new();
    let mut late = Vec::new();
    for flip in &rewritten.flips {
        let hour = Hour(flip.hour);
        if lake.log.view().generations().get(&flip.table, hour).generation + 1 != flip.generation {
            return Ok(Err(format!("{}, {hour}, was rewritten by another command meanwhile", flip.table)));
        }
        let day = (flip.table.as_str(), hour.values().0);
        if !days.contains_key(&day) {
            let live = lake.log.live(day.0, &day.1).await?;
            days.insert(day.clone(), live);
        }
        let here = |file: &&DataFile| file.file.hour == hour && file.file.table == flip.table;
        let mut live: BTreeMap<&str, &DataFile> =
            days[&day].values().filter(here).map(|file| (file.file.key.as_str(), file)).collect();
        for file in rewritten.supersedes.iter().filter(here) {
            if live.remove(file.file.key.as_str()).is_none() {
                return Ok(Err(format!("{} was taken away by another command meanwhile", file.file.key)));
            }
        }
        late.extend(live.into_values().cloned());
    }
    if late.is_empty() {
        return Ok(Err("the log does not take it; this is a bug".into()));
    }
    if set.is_some() {
        let keys: Vec<&str> = late.iter().map(|file| file.file.key.as_str()).collect();
        for seq in next..lake.log.view().next() {
            let Some(record) = lake.log.read(seq).await? else { continue };
            let adds = record.files.iter().any(|file| keys.contains(&file.file.key.as_str()));
            if adds && !by(&record, set) {
                return Ok(Err(format!(
                    "record {seq} added rows that are not the work of the same transforms"
                )));
            }
        }
    }
    Ok(Ok(late))
}

/// Whether a record's rows were made by that set of transforms.
fn by(record: &Record, set: Option<u64>) -> bool {
    match record.kind {
        RecordKind::Epoch => record.partitions.iter().all(|advance| advance.set == set),
        RecordKind::Replay => record.replayed.as_ref().is_some_and(|replayed| replayed.set == set),
        // A file that vanished, made again: what it stands for is not known here.
        _ => false,
    }
}

/// These files once more, in the generations that their hours get.
pub(super) async fn copies(lake: &Lake, rewritten: &Rewritten, files: &[DataFile]) -> Result<Vec<DataFile>> {
    let epoch = lake.env.fresh_id();
    let generation = |file: &DataFile| {
        let mut flips = rewritten.flips.iter();
        flips
            .find(|flip| flip.table == file.file.table && flip.hour == file.file.hour.0)
            .map(|flip| flip.generation)
    };
    let copy = |(n, file): (u32, &DataFile)| {
        let (generation, file, epoch) = (generation(file), file.clone(), epoch.clone());
        async move {
            let generation = generation.ok_or_else(|| {
                Error::stop(format!("{} is of no hour that flips; this is a bug", file.file.key))
            })?;
            copy(lake, &file, Place { hour: file.file.hour, generation }, &epoch, n).await
        }
    };
    let work: Vec<_> = (0..).zip(files).map(copy).collect();
    stream::iter(work).buffered(ABREAST).try_collect().await
}

async fn copy(lake: &Lake, file: &DataFile, place: Place, epoch: &str, n: u32) -> Result<DataFile> {
    let store = lake.stores.of(file.file.zone).clone();
    let name = lake.keys.file_name(epoch, 0, n);
    let (from, env, runtime) = (file.file.clone(), lake.env.clone(), Handle::current());
    let written = blocking("copying a file", move || {
        let _within = runtime.enter();
        let mut to = store.stage_at(&from.table, place, &name)?;
        let mut at = 0;
        while at < from.bytes {
            let range = at..(at + PART).min(from.bytes);
            let part = runtime.block_on(tries(&env, TRIES, || store.part(&from.key, range.clone())))?;
            let part = part.filter(|part| part.len() as u64 == range.end - range.start);
            let part =
                part.ok_or_else(|| Error::stop(format!("{} is not there as it should be", from.key)))?;
            if let Err(e) = to.write_all(&part) {
                return Err(to.take_failure().unwrap_or_else(|| Error::stop(format!("{}: {e}", from.key))));
            }
            at = range.end;
        }
        to.finish(Summary { rows: from.rows, first: from.first, last: from.last })
    });
    let staged = written.await??.staged().await.map_err(stored)?;
    Ok(DataFile::new(epoch, staged))
}
