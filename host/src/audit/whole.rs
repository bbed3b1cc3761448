//! An audit of all logs: each by itself, then together what readers see and what the catalog shows.

use std::collections::BTreeSet;

use super::findings::Findings;
use super::inspect::Inspection;
use super::{Progress, Report};
use crate::Result;
use crate::pipeline::offline::Lake;

/// The logs of a lake under audit.
pub(super) struct Whole<'a> {
    /// In the order of their numbers.
    pub(super) shards: Vec<Inspection<'a>>,
    pub(super) progress: Progress<'a>,
    pub(super) findings: Findings,
    /// There is a catalog that could tell.
    pub(super) catalog: bool,
}

impl<'a> Whole<'a> {
    pub(super) fn new(lakes: &'a mut [Lake], progress: Progress<'a>) -> Whole<'a> {
        let shards = lakes.iter_mut().map(|lake| Inspection::new(lake, progress)).collect();
        Whole { shards, progress, findings: Findings::default(), catalog: false }
    }

    pub(super) async fn run(mut self, topic: &str) -> Result<Report> {
        for shard in &mut self.shards {
            shard.catch_up(u64::MAX).await?;
        }
        self.collect();
        if self.shards.iter().all(|shard| shard.next == 0) {
            self.lost(topic).await?;
        }
        for shard in &mut self.shards {
            shard.run().await?;
        }
        self.collect();
        self.places().await?;
        let mut report = Report { logs: self.shards.len(), catalog: self.catalog, ..Report::default() };
        let (mut tables, mut hours) = (BTreeSet::new(), BTreeSet::new());
        for Inspection { lake, chain, books, next, .. } in self.shards {
            report.records += next - chain.absent.len() as u64;
            report.events += chain.events;
            report.files += books.files();
            report.partitions += chain.last.len();
            hours.extend(books.places().map(|(table, folder, _)| (table.clone(), folder.clone())));
            tables.extend(books.tables.into_keys());
            let prefix = lake.shard.prefix();
            report.notes.extend(chain.notes.into_iter().map(|note| format!("{prefix}{note}")));
        }
        (report.tables, report.hours, report.findings) = (tables.len(), hours.len(), self.findings);
        Ok(report)
    }

    /// Takes over what was found in each log.
    pub(super) fn collect(&mut self) {
        for shard in &mut self.shards {
            let found = std::mem::take(&mut shard.findings);
            // What is wrong with a record is why the log cannot be opened.
            shard.damaged |= found.any(&["hole", "record"]);
            self.findings.take(found, &shard.lake.shard.prefix());
        }
    }

    /// Reads all logs on.
    pub(super) async fn catch_up(&mut self) -> Result<()> {
        for shard in &mut self.shards {
            shard.catch_up(u64::MAX).await?;
        }
        self.collect();
        Ok(())
    }
}
