//! Chains of portions: what is remembered behind one, for whoever makes the next.

use std::collections::{BTreeMap, BTreeSet};

use super::plan::Work;
use super::portion::Portion;
use super::run::{Run, Sources};
use crate::Result;
use crate::commit::record::{Backfilled, Kept, Link, Remembers, StateRef};
use crate::commit::{Covered, LaneMemory};
use crate::pipeline::offline::Lake;
use crate::pipeline::stages::stored;

/// What is remembered behind a portion, by lane.
pub(super) type Lanes = BTreeMap<String, LaneMemory>;

impl Run<'_> {
    /// What the chains of a portion remember, by chain. None: they have gone on.
    pub(super) async fn before(
        &self,
        lake: &mut Lake,
        work: &Work,
    ) -> Result<Option<BTreeMap<String, Lanes>>> {
        let mut before = BTreeMap::new();
        for (chain, _) in &work.chains {
            let lanes = match (self.order.dry, self.covered(lake).chain(chain)) {
                (true, _) if self.memories.contains_key(chain) => self.memories[chain].clone(),
                (_, None) => Lanes::new(),
                (_, Some(at)) => match lake.log.chain(at.seq, chain).await? {
                    Some(lanes) => lanes,
                    None => return Ok(None),
                },
            };
            before.insert(chain.clone(), lanes);
        }
        Ok(Some(before))
    }

    /// The links of a portion, with what is remembered but for where it is stored.
    pub(super) fn links(
        &self,
        work: &Work,
        portion: &Portion,
        covered: &Covered,
        before: &BTreeMap<String, Lanes>,
    ) -> Vec<Link> {
        let mut links = Vec::new();
        for (chain, takes) in &work.chains {
            let ends = match &self.sources {
                Sources::Files(_) => portion.ended,
                Sources::Topic(partitions) => takes.iter().all(|at| {
                    let take = &work.takes[*at];
                    let part = portion.read.parts.iter().find(|part| part.source == take.source);
                    part.is_some_and(|part| partitions.ends(covered, take, part.to))
                }),
            };
            let mine = |lane: &str| match &self.sources {
                Sources::Files(_) => true,
                Sources::Topic(_) => takes.iter().any(|at| work.takes[*at].name == lane),
            };
            let made = portion.made.memories.keys().filter(|lane| mine(lane));
            let mut lanes: BTreeSet<String> = made.cloned().collect();
            lanes.extend(before.get(chain).into_iter().flat_map(|lanes| lanes.keys().cloned()));
            let kept = |lane| Kept { lane, ..Kept::default() };
            let lanes = if ends { vec![] } else { lanes.into_iter().map(kept).collect() };
            let previous = covered.chain(chain).map(|chain| chain.seq);
            let mine = portion
                .read
                .parts
                .iter()
                .rev()
                .find(|part| takes.iter().any(|at| work.takes[*at].source == part.source));
            let (source, at) = (mine.map(|part| part.source.clone()), mine.map_or(0, |part| part.to));
            links.push(Link { chain: chain.clone(), previous, source, at, ends, lanes });
        }
        links
    }

    /// Of a dry run: goes on as if it had become true.
    pub(super) fn assume(
        &mut self,
        lake: &Lake,
        before: BTreeMap<String, Lanes>,
        portion: &Portion,
        links: Vec<Link>,
    ) {
        for (chain, lanes) in before {
            let mine = links.iter().filter(|link| link.chain == chain).flat_map(|link| &link.lanes);
            let made = mine.filter_map(|kept| portion.made.memories.get_key_value(&kept.lane));
            let made = made.map(|(lane, memory)| (lane.clone(), memory.clone()));
            let lanes = lanes.into_iter().chain(made).collect();
            self.memories.insert(chain, lanes);
        }
        let portion =
            Backfilled { parts: portion.read.parts.clone(), chains: links, ..Backfilled::default() };
        if let Some(assumed) = &mut self.assumed {
            assumed.assume(lake.log.view().next(), &portion);
        }
    }
}

/// Stores what is remembered behind a portion, and writes into its links where. What has not changed stays where it
/// is. Gives back all places that the links name.
pub(super) async fn store(
    lake: &Lake,
    epoch: &str,
    links: &mut [Link],
    made: &Lanes,
    before: &BTreeMap<String, Lanes>,
) -> Result<BTreeSet<String>> {
    let (mut kept, mut number) = (BTreeSet::new(), 0);
    for link in links {
        for lane in &mut link.lanes {
            let old = before.get(&link.chain).and_then(|lanes| lanes.get(&lane.lane));
            let Some(memory) = made.get(&lane.lane).or(old) else { continue };
            lane.newest = memory.time.newest;
            let mut transforms: BTreeMap<String, Remembers> = BTreeMap::new();
            for (name, reached) in &memory.time.reached {
                let one = Remembers { name: name.clone(), reached: Some(*reached), ..Remembers::default() };
                transforms.insert(name.clone(), one);
            }
            for state in &memory.states {
                let same = |place: &&StateRef| place.sha256 == crate::digest::sha256(&state.bytes);
                let known = old.and_then(|old| old.places.iter().find(same)).cloned();
                let place = match known {
                    Some(known) => known,
                    None => lake.log.store_state(epoch, number, state).await.map_err(stored)?,
                };
                kept.insert(place.key.clone());
                let one = transforms.entry(state.transform.clone()).or_default();
                (one.name, one.state) = (state.transform.clone(), Some(place));
            }
            lane.transforms = transforms.into_values().collect();
            number += 1;
        }
    }
    Ok(kept)
}

/// Removes states that nobody goes on from any more.
pub(super) async fn forget(lake: &Lake, before: &BTreeMap<String, Lanes>, kept: &BTreeSet<String>) {
    remove(lake, places(before).filter(|key| !kept.contains(*key))).await;
}

/// Removes states of a portion that came to nothing.
pub(super) async fn forget_new(lake: &Lake, before: &BTreeMap<String, Lanes>, kept: &BTreeSet<String>) {
    let old: BTreeSet<&str> = places(before).collect();
    remove(lake, kept.iter().map(String::as_str).filter(|key| !old.contains(key))).await;
}

fn places(before: &BTreeMap<String, Lanes>) -> impl Iterator<Item = &str> {
    let lanes = before.values().flat_map(|lanes| lanes.values());
    lanes.flat_map(|lane| &lane.places).map(|place| place.key.as_str())
}

async fn remove(lake: &Lake, keys: impl Iterator<Item = &str>) {
    for key in keys {
        if let Err(e) = lake.stores.processed.clear(key, None, None).await {
            tracing::debug!("an old state is left to clean-up: {e}");
        }
    }
}
