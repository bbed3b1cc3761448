//! Offsets of the lake's topic from before the stream began: partitions side by side.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::feed::{Out, Read, Take, lane_of};
use super::lane::{Job, Load};
use super::{Begin, Bounds};
use crate::commit::Topic;
use crate::commit::record::Brought;
use crate::env::Env;
use crate::source::{self, Group};
use crate::{Error, Kind, Result};

/// Reads up to a portion: an equal share of each partition. Blocks.
pub(super) fn read(
    settings: &source::Settings,
    env: &Env,
    takes: &[Take],
    bounds: &Bounds,
    load: &Load,
    out: &Out,
) -> Result<Read> {
    let bytes = Arc::new(AtomicU64::new(0));
    let parts: Vec<Result<(Brought, bool)>> = std::thread::scope(|scope| {
        let one = |take: &Take| {
            let (take, out, bytes) = (take.clone(), out.clone(), bytes.clone());
            scope.spawn(move || partition(settings, env, &take, bounds, load, out, &bytes))
        };
        let running: Vec<_> = takes.iter().map(one).collect();
        let panicked = || Error::stop("a thread that reads the topic panicked; this is a bug");
        running.into_iter().map(|thread| thread.join().map_err(|_| panicked())?).collect()
    });
    let mut read = Read { whole: true, ..Read::default() };
    for part in parts {
        let (part, whole) = part?;
        read.whole &= whole;
        if part.to > part.from {
            read.parts.push(part);
        }
    }
    Ok(read)
}

fn partition(
    settings: &source::Settings,
    env: &Env,
    take: &Take,
    bounds: &Bounds,
    load: &Load,
    mut out: Out,
    bytes: &AtomicU64,
) -> Result<(Brought, bool)> {
    let number = i32::try_from(take.at).unwrap_or(i32::MAX);
    let lane: Arc<str> = if out.chained { lane_of(&settings.topic, number).into() } else { "".into() };
    let (mut to, mut events) = (take.from, 0);
    source::replay(settings, env, (number, take.from, take.to), |delivered| {
        to = delivered.to;
        events += delivered.len() as u64;
        let all = bytes.fetch_add(delivered.value.value_data().len() as u64, Ordering::Relaxed);
        out.send(Job { lane: lane.clone(), delivered, plain: false, wrong: vec![] })?;
        Ok(all < bounds.bytes && load.files.load(Ordering::Relaxed) < bounds.files)
    })
    .map(|read| {
        // What lies behind the last event are holes.
        if read.whole {
            to = take.to;
        }
        let part = Brought {
            source: take.source.clone(),
            name: take.name.clone(),
            number: None,
            from: take.from,
            to,
            ends: false,
            events,
            offsets: vec![],
        };
        (part, read.whole)
    })
}

/// The offsets of each partition that are from before the stream began. Blocks.
pub(super) fn ranges(
    settings: source::Settings,
    topic: &Topic,
    begin: Begin,
    starts: &BTreeMap<i32, i64>,
) -> Result<BTreeMap<i32, (i64, i64)>> {
    let group = Group::new(source::Settings { instance: None, ..settings })?;
    let ended =
        |e: Error| Error::new(if e.kind() == Kind::Retry { Kind::Stop } else { e.kind() }, e.to_string());
    let id = group.topic_id().map_err(ended)?;
    if !id.is_empty() && !topic.id.is_empty() && id != topic.id {
        return Err(Error::stop(format!(
            "topic {} was created anew since the lake began with it: its id was {}, now it is {id}; what was before is \
             gone from it",
            topic.name, topic.id
        )));
    }
    let ends = group.ends().map_err(ended)?;
    let partitions: Vec<i32> = ends.keys().copied().collect();
    let firsts = match begin {
        Begin::Time(time) => group.since(&partitions, time).map_err(ended)?,
        Begin::Earliest | Begin::Offset(_) => BTreeMap::new(),
    };
    let mut ranges = BTreeMap::new();
    for (partition, (low, _)) in ends {
        let Some(start) = starts.get(&partition).copied() else { continue };
        let from = match begin {
            Begin::Earliest => low,
            Begin::Offset(offset) => offset.max(low),
            Begin::Time(_) => firsts.get(&partition).copied().flatten().map_or(start, |first| first.max(low)),
        };
        ranges.insert(partition, (from.min(start), start));
    }
    Ok(ranges)
}
