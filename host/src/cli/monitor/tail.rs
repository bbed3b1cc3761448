//! The end of a commit log, which is read on at each look.

use std::collections::VecDeque;

use futures::{StreamExt, TryStreamExt, stream};

use super::figures::RECENT;
use super::lake::Entry;
use crate::commit::Record;
use crate::commit::record::{Backfilled, RecordKind};
use crate::observe::{At, LastCommit};
use crate::pipeline::offline::Lake;
use crate::{Error, Result};

/// Records that are read side by side.
const ABREAST: usize = 16;

/// A commit log, and its last records.
pub(super) struct Tail {
    pub(super) lake: Lake,
    pub(super) recent: VecDeque<Entry>,
    /// The record with the set of transforms, and when that was written down.
    pub(super) set_at: Option<(u64, At)>,
    opened: bool,
}

impl Tail {
    /// Nothing was read yet.
    pub(super) fn new(lake: Lake) -> Tail {
        Tail { lake, recent: VecDeque::new(), set_at: None, opened: false }
    }

    pub(super) async fn refresh(&mut self) -> Result<()> {
        match self.opened {
            true => self.lake.log.catch_up().await?,
            false => self.lake.log.open().await?,
        }
        self.opened = true;
        let (log, label) = (&self.lake.log, self.lake.shard.label());
        let next = log.view().next();
        let known = self.recent.back().map_or(0, |last| last.commit.record + 1);
        let slots = known.max(next.saturating_sub(RECENT as u64))..next;
        let read = stream::iter(slots).map(|seq| async move {
            let missing = || Error::stop(format!("record {seq} of the commit log is missing: restore it"));
            log.read(seq).await?.ok_or_else(missing)
        });
        let new: Vec<Record> = read.buffered(ABREAST).try_collect().await?;
        self.recent.extend(new.iter().map(|record| entry(record, label)));
        while self.recent.len() > RECENT {
            self.recent.pop_front();
        }
        if let Some((seq, _)) = log.view().transforms()
            && self.set_at.is_none_or(|(known, _)| known != seq)
        {
            self.set_at = log.read(seq).await?.map(|record| (seq, At(record.time)));
        }
        Ok(())
    }
}

fn entry(record: &Record, log: Option<u32>) -> Entry {
    let commit = LastCommit {
        log,
        record: record.seq,
        at: At(record.time),
        events: record.partitions.iter().map(|advance| advance.events).sum::<u64>()
            + record.backfilled.as_ref().map_or(0, Backfilled::events),
        files: record.files.len() as u64,
        bytes: record.files.iter().map(|file| file.file.bytes).sum(),
        ..LastCommit::default()
    };
    let epoch = record.kind == RecordKind::Epoch;
    Entry { kind: record.kind.name(), writer: record.writer.host.clone(), commit, epoch }
}
