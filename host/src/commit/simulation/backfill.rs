//! History that is brought beside the stream, in the simulation: sources of a few rows, which any host brings, with or
//! without a claim.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Filled;
use super::super::record::{Backfilled, Brought, Claim, Claimed, Source, partition};
use super::host::{Host, stage};
use super::world::{Row, State, What};
use crate::Result;

/// Sources.
const SOURCES: usize = 2;
/// Rows of each.
const ROWS: i64 = 7;

fn source(at: usize) -> Source {
    Source::File(format!("source-{at}"))
}

impl Host {
    /// Brings some rows of a source that are not true yet.
    pub(super) async fn backfill(&mut self) -> Result<()> {
        self.log.refresh().await?;
        self.log.roll_forward(None).await?;
        let (at, claims, most) = {
            let mut state = self.process.world.state();
            (state.random.below(SOURCES), state.random.chance(600), 1 + state.random.below(3))
        };
        let source = source(at);
        let gaps = self.log.view().covered().gaps(&source, 0, ROWS);
        let Some((from, to)) = gaps.first().copied() else { return Ok(()) };
        let to = to.min(from + i64::try_from(most).expect("few"));
        let mut number = self.log.view().covered().source(&source).and_then(|cover| cover.number);
        // The first claim gives it a number; later ones only keep others away.
        if claims || number.is_none() {
            let part = Claimed { source: source.clone(), name: "n".into(), number: Some(u32::MAX), from, to };
            let holder = format!("{}-{}", self.process.host, self.process.number);
            let claim = Claim { holder, seconds: 1, parts: vec![part], chains: vec![] };
            let claimed = self.log.claim(claim, &BTreeSet::new(), self.told).await?;
            let Some(record) = claimed else { return Ok(()) };
            number = record.claim.as_ref().and_then(|claim| claim.parts[0].number);
        }
        let place = partition(number.expect("a claim gives it"));
        let mut hours: BTreeMap<usize, Vec<Row>> = BTreeMap::new();
        for row in from..to {
            let hour = usize::try_from(row % 2).expect("0 or 1");
            let row = Row { pipeline: self.process.pipeline, what: What::Event, partition: place, at: row };
            hours.entry(hour).or_default().push(row);
        }
        let (epoch, mut files) = (self.env.fresh_id(), Vec::new());
        for (hour, rows) in hours {
            let name = self.keys.file_name(&epoch, 7, u32::try_from(files.len()).expect("few"));
            let now = self.generation(0, hour);
            files.push(stage(&self.process, &epoch, (0, now), hour, &name, &rows).await?);
        }
        let events = u64::try_from(to - from).expect("some");
        let (name, ends, offsets) = ("n".into(), to == ROWS, vec![]);
        let part = Brought { source, name, number, from, to, ends, events, offsets };
        let portion = Backfilled { epoch, parts: vec![part], ..Backfilled::default() };
        match self.log.backfill(files, portion, self.told).await? {
            Filled::True(record) => self.tell(&record).await,
            Filled::Done | Filled::Moved => self.process.world.state().fire("backfill lost its race"),
            Filled::Twice(why) => unreachable!("no source is a raw zone: {why}"),
        }
        Ok(())
    }
}

impl State {
    /// What of history is not visible once, though it is true.
    pub(super) fn history(&self, of: usize) -> Vec<String> {
        let truth = &self.pipelines[of].truth;
        let portions = truth.records.iter().filter_map(|record| record.backfilled.as_ref());
        let mut found = Vec::new();
        for part in portions.flat_map(|portion| &portion.parts) {
            for at in part.from..part.to {
                let partition = partition(part.number.expect("each has one"));
                let row = Row { pipeline: of, what: What::Event, partition, at };
                let shown = self.shown.get(&row).copied().unwrap_or_default();
                if shown + u32::from(truth.expired.contains(&row)) != 1 {
                    found.push(format!("row {at} of {:?} is visible {shown} times", part.source));
                }
            }
        }
        found
    }
}
