//! Making epochs true: one record for what all lanes have done, checked a lane at a time.

use std::sync::Arc;

use async_trait::async_trait;

use super::log::{Body, Draft, Log};
use super::position::PartitionKey;
use super::record::{Advance, DataFile, Owed, Record, RecordKind, Topic, Work};
use super::rules::Rule;
use crate::Result;
use crate::failpoint::failpoint;

/// What one lane wants to make true: all of it or nothing.
#[derive(Clone, Debug)]
pub struct LanePart {
    /// The lane.
    pub lane: usize,
    /// Its epoch.
    pub epoch: String,
    /// How far its partitions go. A work without a state has the one that it had before.
    pub partitions: Vec<Advance>,
    /// Its files, staged.
    pub files: Vec<DataFile>,
}

/// What became of the lanes' parts.
pub struct Outcome {
    /// The record; none: no part became true.
    pub record: Option<Arc<Record>>,
    /// The parts that are true.
    pub done: Vec<LanePart>,
    /// The parts that can never become true, with the reason. No record with them can appear any more, so
    /// what they have staged may go.
    pub lost: Vec<(LanePart, String)>,
}

impl Log {
    /// Makes the lanes' parts true in one record. A part whose partitions have moved on, or whose files were
    /// cleaned up, is left out, and the record goes ahead with the others.
    pub async fn commit(&mut self, topic: &Topic, parts: Vec<LanePart>, owed: Vec<Owed>) -> Result<Outcome> {
        let mut body = Body::new(&self.env, RecordKind::Epoch);
        body.record.topic = Some(topic.clone());
        body.record.owed = owed;
        let mut draft = EpochDraft { topic: topic.clone(), body, parts, lost: vec![] };
        failpoint!("before-record");
        let record = self.append(&mut draft).await?;
        failpoint!("after-record");
        let EpochDraft { parts, mut lost, .. } = draft;
        let done = match record {
            Some(_) => parts,
            None => {
                lost.extend(parts.into_iter().map(|part| (part, "the slot was taken".into())));
                vec![]
            }
        };
        Ok(Outcome { record, done, lost })
    }
}

struct EpochDraft {
    topic: Topic,
    body: Body,
    parts: Vec<LanePart>,
    lost: Vec<(LanePart, String)>,
}

#[async_trait]
impl Draft for EpochDraft {
    fn partitions(&self) -> Vec<PartitionKey> {
        let advances = self.parts.iter().flat_map(|part| &part.partitions);
        advances.map(|advance| (self.topic.clone(), advance.partition)).collect()
    }

    async fn record(&mut self, log: &Log) -> Result<Option<Body>> {
        let (view, rules) = (&log.view, log.rules);
        for part in std::mem::take(&mut self.parts) {
            let checked =
                part.partitions.iter().try_for_each(|advance| view.check(rules, &self.topic, advance));
            let checked = checked.and_then(|()| view.check_places(rules, &part.files));
            match checked {
                Ok(()) => self.parts.push(part),
                Err(why) => {
                    self.lost.push((part, why));
                    // Other bytes, so another id: who finds the old one has found the old bytes.
                    self.body.id = log.env.fresh_id();
                }
            }
        }
        if self.parts.is_empty() {
            return Ok(None);
        }
        let record = &mut self.body.record;
        record.partitions = self.parts.iter().flat_map(|part| part.partitions.clone()).collect();
        record.files = self.parts.iter().flat_map(|part| part.files.clone()).collect();
        if !rules.on(Rule::LaneFiles) {
            record.files.extend(self.lost.iter().flat_map(|(part, _)| part.files.clone()));
        }
        for advance in &mut record.partitions {
            let Some((_, before)) = view.partition(&self.topic, advance.partition) else { continue };
            for work in advance.transforms.iter_mut().filter(|work| work.state.is_none()) {
                // Another version says itself what it remembers, or has no state any more.
                let same = |old: &&Work| old.name == work.name && old.digest == work.digest;
                let same = before.transforms.iter().find(same);
                work.state = same.and_then(|old| old.state.clone());
            }
        }
        Ok(Some(self.body.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::cleanup::tests::{Memory, log};
    use super::super::record::StateRef;
    use super::*;

    /// What a record names as the state of a transform that says of itself no other than before.
    async fn next(log: &mut Log, topic: &Topic, digest: &str, state: Option<StateRef>) -> Option<StateRef> {
        let at = log.view().position(topic, 0).unwrap();
        let work = Work { name: "w".into(), digest: digest.into(), state, ..Work::default() };
        let advance = Advance {
            prev: log.view().last(topic, 0),
            from: at,
            to: at + 1,
            transforms: vec![work],
            ..Advance::default()
        };
        let part = LanePart { lane: 0, epoch: "e".into(), partitions: vec![advance], files: vec![] };
        let record = log.commit(topic, vec![part], vec![]).await.unwrap().record.unwrap();
        record.partitions[0].transforms[0].state.clone()
    }

    #[tokio::test]
    async fn a_state_stays_with_the_version_that_wrote_it() {
        let (mut log, topic) = log(&Arc::new(Memory::default())).await;
        let state = Some(StateRef { key: "s".into(), ..StateRef::default() });
        assert_eq!(next(&mut log, &topic, "one", state.clone()).await, state);
        assert_eq!(next(&mut log, &topic, "one", None).await, state, "it has no other since");
        assert_eq!(next(&mut log, &topic, "two", None).await, None, "another version has none");
        assert_eq!(next(&mut log, &topic, "one", None).await, None, "and hands none on");
    }
}
