//! What is to be done next: parts of sources that are not true, and that nobody else works on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use sha2::{Digest, Sha256};

use super::Bounds;
use super::feed::Take;
use crate::commit::record::{Claimed, Source};
use crate::commit::{Cover, Covered, Held, Topic};
use crate::env::Micros;
use crate::past::{self, File, Format, Reader};
use crate::wait::blocking;
use crate::{Error, Result};

/// Files that are digested side by side.
const ABREAST: usize = 4;
/// A smaller file is done as a whole.
const SMALL: u64 = 64 << 20;
/// Files of a portion, at most.
const MANY: usize = 500;
/// Bytes of a row in a file, about: no more is claimed than a portion may be.
const ROW: u64 = 32;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Work(Work),
    /// Others work on all that is left: up to then, as far as their claims say.
    Wait {
        who: String,
        until: Micros,
    },
    Done,
}

/// A portion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Work {
    pub(super) takes: Vec<Take>,
    /// The chains that it is a link of, with the places of their takes; none: portions are independent.
    pub(super) chains: Vec<(String, Vec<usize>)>,
    /// Nothing of its one chain comes after it.
    pub(super) last: bool,
}

/// What others hold, and how portions follow from each other.
pub(super) struct Around<'a> {
    pub(super) covered: &'a Covered,
    pub(super) others: &'a [&'a Held],
    /// Each portion goes on from the one before.
    pub(super) serial: bool,
    pub(super) bounds: &'a Bounds,
}

impl Around<'_> {
    /// Who works on a chain.
    fn holder(&self, chain: &str) -> Option<&Held> {
        self.others.iter().find(|held| held.claim.chains.iter().any(|held| held == chain)).copied()
    }

    /// Of the rows of a source that are not true the first that nobody works on, and who works on others.
    fn free(&self, source: &Source, from: i64, to: i64) -> (Option<(i64, i64)>, Option<&Held>) {
        let mut holder = None;
        for (mut from, to) in self.covered.gaps(source, from, to) {
            let mut theirs: Vec<(&Held, &Claimed)> = Vec::new();
            for held in self.others {
                let of_source = held.claim.parts.iter().filter(|part| part.source == *source);
                theirs.extend(of_source.map(|part| (*held, part)));
            }
            theirs.sort_by_key(|(_, part)| part.from);
            let mut end = to;
            for (held, part) in theirs {
                if part.to <= from || part.from >= end {
                    continue;
                }
                holder = Some(held);
                match part.from <= from {
                    true => from = part.to.min(end),
                    false => end = part.from,
                }
            }
            if from < end {
                return (Some((from, end)), holder);
            }
        }
        (None, holder)
    }
}

fn wait(held: &Held) -> Next {
    Next::Wait { who: held.claim.holder.clone(), until: held.until }
}

/// Of two that are waited for the one that comes first.
fn sooner(known: Option<Next>, other: Next) -> Option<Next> {
    match (&known, &other) {
        (Some(Next::Wait { until, .. }), Next::Wait { until: later, .. }) if until <= later => known,
        _ => Some(other),
    }
}

/// Files, in the order of their names.
pub(super) struct Files {
    pub(super) files: Arc<Vec<File>>,
    known: Vec<Option<Known>>,
    /// The chain over all of them.
    chain: String,
    /// Where files end, as far as this run has seen.
    pub(super) ends: BTreeMap<usize, i64>,
}

/// What is known of a file.
#[derive(Clone)]
struct Known {
    source: Source,
    /// Its events have partitions of their own.
    raw: bool,
}

impl Files {
    pub(super) fn new(files: Vec<File>) -> Files {
        let mut digest = Sha256::new();
        for file in &files {
            digest.update(format!("{} {}\n", file.name, file.bytes));
        }
        let digest: String = digest.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let known = vec![None; files.len()];
        Files { files: Arc::new(files), known, chain: format!("files {digest}"), ends: BTreeMap::new() }
    }

    /// Finds out what a file is, and the next ones with it.
    async fn know(&mut self, at: usize) -> Result<Known> {
        if let Some(known) = &self.known[at] {
            return Ok(known.clone());
        }
        let unknown = (at..self.files.len()).filter(|at| self.known[*at].is_none()).take(ABREAST);
        let work: Vec<_> = unknown
            .map(|at| {
                let file = self.files[at].clone();
                async move { blocking("reading a file", move || look(&file)).await?.map(|known| (at, known)) }
            })
            .collect();
        let found: Vec<(usize, Known)> = stream::iter(work).buffered(ABREAST).try_collect().await?;
        for (at, known) in found {
            self.known[at] = Some(known);
        }
        self.known[at].clone().ok_or_else(|| Error::stop("a file was not looked at; this is a bug"))
    }

    /// The whole of a file from some row on.
    fn take(&self, at: usize, known: &Known, (from, to): (i64, i64)) -> Take {
        let number = (!known.raw).then_some(u32::MAX);
        let name = self.files[at].name.clone();
        Take { at, source: known.source.clone(), name, number, from, to }
    }

    /// How many of them are done, but for some.
    pub(super) fn done(&self, covered: &Covered, but: &BTreeSet<Source>) -> usize {
        let whole = |known: &&Known| {
            covered.source(&known.source).is_some_and(Cover::whole) && !but.contains(&known.source)
        };
        self.known.iter().flatten().filter(whole).count()
    }

    pub(super) async fn next(&mut self, around: &Around<'_>) -> Result<Next> {
        // Once begun as a chain it goes on as one.
        if around.serial || around.covered.chain(&self.chain).is_some() {
            return self.link(around).await;
        }
        let (mut takes, mut bytes, mut waiting) = (Vec::new(), 0, None);
        let enough = around.bounds.rows.saturating_mul(ROW).min(SMALL);
        for at in 0..self.files.len() {
            let known = self.know(at).await?;
            let end = self.ends.get(&at).copied().unwrap_or(i64::MAX);
            let (free, holder) = around.free(&known.source, 0, end);
            let Some((from, to)) = free else {
                waiting = holder.map(wait).map_or(waiting.clone(), |wait| sooner(waiting, wait));
                continue;
            };
            let size = self.files[at].bytes;
            if (from, to) == (0, i64::MAX) && size <= SMALL {
                takes.push(self.take(at, &known, (from, to)));
                bytes += size;
                if takes.len() < MANY && bytes < enough {
                    continue;
                }
            } else if takes.is_empty() {
                let most = i64::try_from(around.bounds.rows).unwrap_or(i64::MAX);
                takes.push(self.take(at, &known, (from, to.min(from.saturating_add(most)))));
            }
            break;
        }
        Ok(match takes.is_empty() {
            false => Next::Work(Work { takes, ..Work::default() }),
            true => waiting.unwrap_or(Next::Done),
        })
    }

    /// The next portion of the chain over all files.
    async fn link(&mut self, around: &Around<'_>) -> Result<Next> {
        let (mut takes, mut bytes, mut last) = (Vec::new(), 0, true);
        for at in 0..self.files.len() {
            let known = self.know(at).await?;
            let gaps = around.covered.gaps(&known.source, 0, self.ends.get(&at).copied().unwrap_or(i64::MAX));
            let Some(gap) = gaps.first().copied() else { continue };
            if takes.len() >= MANY || bytes >= around.bounds.bytes {
                last = false;
                break;
            }
            let of_other = around
                .covered
                .chains()
                .find(|(name, chain)| *name != self.chain && chain.source == known.source);
            if let Some((_, chain)) = of_other {
                return Err(Error::stop(format!(
                    "{} was begun by a backfill of other files, which was not finished (record {}): what its transforms \
                     remember goes on there; run that one again first, with the same files",
                    self.files[at].name, chain.seq
                )));
            }
            takes.push(self.take(at, &known, gap));
            bytes += self.files[at].bytes;
            if gaps.len() > 1 {
                last = false;
                break;
            }
        }
        if takes.is_empty() && around.covered.chain(&self.chain).is_none() {
            return Ok(Next::Done);
        }
        if let Some(held) = around.holder(&self.chain) {
            return Ok(wait(held));
        }
        let chains = vec![(self.chain.clone(), (0..takes.len()).collect())];
        Ok(Next::Work(Work { takes, chains, last }))
    }
}

/// Blocks.
fn look(file: &File) -> Result<Known> {
    let raw = file.format == Format::Parquet && Reader::open(file, &BTreeMap::new())?.raw;
    Ok(Known { source: Source::File(past::digest(file)?), raw })
}

/// Partitions of the topic, with the offsets that are to be read of each.
pub(super) struct Partitions {
    pub(super) topic: Topic,
    pub(super) ranges: BTreeMap<i32, (i64, i64)>,
    /// So many at a time.
    pub(super) abreast: usize,
}

impl Partitions {
    /// Offsets that are not true.
    pub(super) fn left(&self, covered: &Covered) -> i64 {
        let gaps = self.ranges.iter().flat_map(|(partition, (from, to))| {
            covered.gaps(&Source::Partition(self.topic.clone(), *partition), *from, *to)
        });
        gaps.map(|(from, to)| to - from).sum()
    }

    /// How many of them have nothing left, but for some.
    pub(super) fn done(&self, covered: &Covered, but: &BTreeSet<Source>) -> usize {
        let whole = |(partition, (from, to)): &(&i32, &(i64, i64))| {
            let source = Source::Partition(self.topic.clone(), **partition);
            !but.contains(&source) && covered.gaps(&source, *from, *to).is_empty()
        };
        self.ranges.iter().filter(whole).count()
    }

    pub(super) fn next(&self, around: &Around<'_>) -> Next {
        let mut work = Work::default();
        let mut waiting: Option<Next> = None;
        let share = i64::try_from(around.bounds.rows / self.abreast.max(1) as u64).unwrap_or(i64::MAX).max(1);
        for (partition, (from, to)) in &self.ranges {
            if work.takes.len() >= self.abreast.max(1) {
                break;
            }
            let source = Source::Partition(self.topic.clone(), *partition);
            let name = format!("{}/{partition}", self.topic.name);
            let take = |from: i64, to: i64| Take {
                at: usize::try_from(*partition).unwrap_or_default(),
                source: source.clone(),
                name: name.clone(),
                number: None,
                from,
                to,
            };
            let begun = around.covered.chains().find(|(_, chain)| chain.source == source);
            if !around.serial && begun.is_none() {
                match around.free(&source, *from, *to) {
                    (Some((from, to)), _) => work.takes.push(take(from, to.min(from.saturating_add(share)))),
                    (None, Some(held)) => waiting = sooner(waiting, wait(held)),
                    (None, None) => {}
                }
                continue;
            }
            // A chain that was begun goes on where it stands, if that is among what is wanted.
            let gaps = around.covered.gaps(&source, *from, *to);
            let goes_on = begun.and_then(|(chain, at)| {
                let gap = gaps.iter().find(|(from, _)| *from == at.at)?;
                Some((chain.to_owned(), *gap))
            });
            let Some((chain, (from, to))) = goes_on.or_else(|| {
                let gap = gaps.first()?;
                Some((format!("{name} {} from {}", self.topic.id, gap.0), *gap))
            }) else {
                continue;
            };
            if let Some(held) = around.holder(&chain) {
                waiting = sooner(waiting, wait(held));
                continue;
            }
            work.chains.push((chain, vec![work.takes.len()]));
            work.takes.push(take(from, to.min(from.saturating_add(share))));
        }
        match work.takes.is_empty() {
            false => Next::Work(work),
            true => waiting.unwrap_or(Next::Done),
        }
    }

    /// Whether a portion that ends there is the last of its chain.
    pub(super) fn ends(&self, covered: &Covered, take: &Take, to: i64) -> bool {
        let partition = i32::try_from(take.at).unwrap_or(i32::MAX);
        let range = self.ranges.get(&partition).copied().unwrap_or_default();
        let gaps = covered.gaps(&take.source, range.0, range.1);
        gaps.iter().any(|(from, end)| *from == take.from && *end == to)
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
