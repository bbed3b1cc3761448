//! What to do next, and saying so to others: claims.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::feed::Take;
use super::plan::{Around, Next, Work};
use super::run::{Run, Sources};
use crate::Result;
use crate::commit::record::{Claim, Claimed};
use crate::commit::{Covered, Held};
use crate::env::Micros;
use crate::pipeline::offline::Lake;
use crate::pipeline::program::Program;
use crate::pipeline::stages::stored;

impl Run<'_> {
    /// What is to be done that nobody else works on.
    pub(super) async fn next(&mut self, lake: &Lake, program: &Program) -> Result<Next> {
        let assumed = self.assumed.take();
        let covered = assumed.as_ref().unwrap_or(lake.log.view().covered());
        let ignored = self.ignored(covered, lake.env.now());
        let others: Vec<&Held> = match self.order.dry {
            // It takes nothing from anybody.
            true => vec![],
            false => covered
                .claims(lake.env.now())
                .filter(|held| held.claim.holder != self.holder && !ignored.contains(&held.seq))
                .collect(),
        };
        let around =
            Around { covered, others: &others, serial: !program.graph.splits(), bounds: &self.order.bounds };
        let next = match &mut self.sources {
            Sources::Files(files) => files.next(&around).await,
            Sources::Topic(partitions) => Ok(partitions.next(&around)),
        };
        self.assumed = assumed;
        next
    }

    /// Claims that were seen for longer than they last, whatever clocks say.
    fn ignored(&mut self, covered: &Covered, now: Micros) -> BTreeSet<u64> {
        let live: Vec<(u64, u32)> = covered.claims(now).map(|held| (held.seq, held.claim.seconds)).collect();
        self.seen.retain(|seq, _| live.iter().any(|(known, _)| known == seq));
        let mut ignored = BTreeSet::new();
        for (seq, seconds) in live {
            let since = *self.seen.entry(seq).or_insert_with(Instant::now);
            if since.elapsed() > Duration::from_secs(u64::from(seconds)) {
                ignored.insert(seq);
            }
        }
        ignored
    }

    /// Claims what is to be done. False: others were faster.
    pub(super) async fn claim(&mut self, lake: &mut Lake, work: &Work) -> Result<bool> {
        let parts = work.takes.iter().map(|take| Claimed {
            source: take.source.clone(),
            name: take.name.clone(),
            number: take.number,
            from: take.from,
            to: take.to,
        });
        let claim = Claim {
            holder: self.holder.clone(),
            seconds: u32::try_from(self.order.claim.as_secs()).unwrap_or(u32::MAX).max(1),
            parts: parts.collect(),
            chains: work.chains.iter().map(|(chain, _)| chain.clone()).collect(),
        };
        let ignored = self.ignored(&lake.log.view().covered().clone(), lake.env.now());
        Ok(lake.log.claim(claim, &ignored, self.told).await.map_err(stored)?.is_some())
    }

    /// Gives plain sources the numbers that they have in the log; in a dry run any.
    pub(super) fn number(&self, lake: &Lake, takes: &mut [Take]) {
        for take in takes.iter_mut().filter(|take| take.number.is_some()) {
            let known = lake.log.view().covered().source(&take.source).and_then(|cover| cover.number);
            take.number = Some(known.unwrap_or_default());
        }
    }
}
