//! From a lane's part to something that a record can name: its files are stored, and its states.

use futures::future::{join, try_join_all};
use futures::{StreamExt, TryStreamExt, stream};

use super::log::Log;
use super::record::{Advance, DataFile, Work};
use super::{LanePart, Part, Progress, TransformWork};
use crate::batch::Span;
use crate::observe::Worked;
use crate::sink::{StagedFile, Stores};
use crate::{Error, Result};

/// Partitions whose states are stored side by side.
const ABREAST: usize = 16;

/// A part whose files and states are stored.
pub(super) struct Staged {
    pub(super) part: LanePart,
    pub(super) spans: Vec<Span>,
    pub(super) rejects: std::collections::BTreeMap<String, u64>,
    /// What the transforms did: for those who watch the host, the record has its own.
    pub(super) works: Vec<Worked>,
}

/// Waits for a part's files, and stores its states. If one fails, all of it is dropped.
pub(super) async fn stage(log: &Log, stores: &Stores, part: Part) -> Result<Staged, Error> {
    let Part { lane, epoch, partitions, files, rejects } = part;
    let spans = partitions.iter().map(|progress| progress.span).collect();
    let worked = |p: &Progress| p.works.iter().map(|w| worked(p.span.partition, w)).collect::<Vec<_>>();
    let works = partitions.iter().flat_map(worked).collect();
    let (files, advances) = join(stored(stores, files), advances(log, &epoch, partitions)).await;
    // If it is the files that fail, the states are left to clean-up, as those of a host that dies here.
    let files: Vec<DataFile> = files?.into_iter().map(|file| DataFile::new(&epoch, file)).collect();
    let advances = match advances {
        Ok(advances) => advances,
        Err(e) => {
            discard(stores, &files).await;
            return Err(e);
        }
    };
    Ok(Staged { part: LanePart { lane, epoch, partitions: advances, files }, spans, rejects, works })
}

fn worked(partition: i32, work: &TransformWork) -> Worked {
    let TransformWork { identity, counts, busy, vitals, .. } = work;
    Worked { partition, identity: identity.clone(), counts: *counts, busy: *busy, vitals: *vitals }
}

async fn stored(stores: &Stores, pending: Vec<crate::sink::PendingFile>) -> Result<Vec<StagedFile>> {
    let staged = futures::future::join_all(pending.into_iter().map(|file| file.staged())).await;
    let (mut files, mut failure) = (Vec::with_capacity(staged.len()), None);
    for file in staged {
        match file {
            Ok(file) => files.push(file),
            Err(e) => failure = Some(e),
        }
    }
    let Some(e) = failure else { return Ok(files) };
    for file in &files {
        give_back(stores, file).await;
    }
    Err(e)
}

/// How far an epoch takes its partitions, its states stored.
pub(super) async fn advances(log: &Log, epoch: &str, partitions: Vec<Progress>) -> Result<Vec<Advance>> {
    let work: Vec<_> = partitions.into_iter().map(|progress| advance(log, epoch, progress)).collect();
    stream::iter(work).buffered(ABREAST).try_collect().await
}

async fn advance(log: &Log, epoch: &str, progress: Progress) -> Result<Advance> {
    let Span { partition, from, to, events, .. } = progress.span;
    let states = progress.works.iter().map(async |work| match &work.state {
        Some(memory) => log.store_state(epoch, partition, memory).await.map(Some),
        None => Ok(None),
    });
    let states = try_join_all(states).await?;
    let mut transforms = Vec::with_capacity(progress.works.len());
    for (work, state) in progress.works.into_iter().zip(states) {
        let TransformWork { identity, reads, tables, counts, reached, watermark, .. } = work;
        transforms.push(Work { reached, watermark, ..Work::new(&identity, reads, tables, counts, state) });
    }
    Ok(Advance {
        partition,
        epoch: epoch.into(),
        prev: progress.prev,
        set: progress.set,
        from,
        to,
        events,
        undecoded: progress.undecoded,
        newest: progress.newest,
        transforms,
    })
}

/// Takes staged files back that no record can ever name. Only to be called when that is known (rule L4).
pub(super) async fn discard(stores: &Stores, files: &[DataFile]) {
    for file in files {
        give_back(stores, &file.file).await;
    }
}

async fn give_back(stores: &Stores, file: &StagedFile) {
    if let Err(e) = stores.discard(file).await {
        tracing::warn!("left to clean-up (tidemill gc): {e}");
    }
}
