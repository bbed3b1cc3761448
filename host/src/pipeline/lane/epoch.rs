//! The life of an epoch: filled, finished at the barrier, judged.

use std::collections::{BTreeMap, BTreeSet};

use super::owned::extend;
use super::{Lane, Owned};
use crate::batch::Span;
use crate::commit::{Base, Memory, Part, Progress, TransformWork, Up, Verdict};
use crate::transform::event_time::Due;
use crate::transform::run::Done;
use crate::{Error, Kind, Result};

/// A partition that had a poison row is run with care for so many epochs more.
const CALM: u32 = 3;
/// One that had none for so many epochs is well.
const WELL: u32 = 20;

impl Lane {
    /// Takes what was collected of a partition through the stages.
    pub(super) fn flow(&mut self, partition: i32) -> Result<()> {
        let Some(owned) = self.state.partitions.get_mut(&partition) else { return Ok(()) };
        let Some(delivered) = owned.collector.take() else { return Ok(()) };
        if self.state.epoch.is_none() {
            self.begin();
        }
        let Some(owned) = self.state.partitions.get_mut(&partition) else { return Ok(()) };
        let mut span = owned.span;
        let events = extend(&mut span, &delivered);
        let worker = &mut owned.worker;
        let flowed =
            self.stages.flow(delivered, &mut worker.decoder, &mut worker.runner, &mut self.state.rejects);
        match flowed {
            Ok(undecoded) => owned.undecoded += undecoded,
            Err(e) => return self.fault(partition, e),
        }
        owned.span = span;
        self.state.events += events;
        Ok(())
    }

    fn begin(&mut self) {
        let id = self.env.fresh_id();
        self.stages.writer.begin(&id, vec![]);
        self.state.epoch = Some(id);
    }

    /// Finishes the epoch and sends it up, whatever happens: the committer waits for it.
    pub(super) fn barrier(&mut self, release: &[i32]) {
        let epoch = self.state.epoch.clone().unwrap_or_default();
        let mut part =
            Part { lane: self.number, epoch, partitions: vec![], files: vec![], rejects: BTreeMap::new() };
        if self.state.failed.is_none() {
            let finished = self.finish(&mut part);
            if let Err(e) = finished {
                if matches!(e.kind(), Kind::Stop | Kind::Usage) {
                    return self.say(Up::Fatal(e));
                }
                self.fail(e);
            }
            if self.state.failed.is_some() {
                // Nothing of it may become true.
                (part.partitions, part.files) = (vec![], vec![]);
            }
        }
        for partition in release {
            self.state.partitions.remove(partition);
            self.board.went(*partition);
        }
        self.state.under_way = Some(part.partitions.iter().map(|progress| progress.span).collect());
        self.say(Up::Part(part));
        if self.state.failed.is_none() {
            self.swap();
        }
    }

    fn finish(&mut self, part: &mut Part) -> Result<()> {
        let partitions: Vec<i32> = self.state.partitions.keys().copied().collect();
        for partition in &partitions {
            self.flow(*partition)?;
        }
        let (mut progress, mut footer) = (Vec::new(), Footer::default());
        for partition in partitions {
            if self.state.failed.is_some() {
                return Ok(());
            }
            progress.extend(self.close(partition, &mut footer)?);
        }
        if self.state.failed.is_some() {
            return Ok(());
        }
        if progress.is_empty() {
            // Nothing was written: it must not look like work.
            self.stages.writer.abandon();
            self.state.epoch = None;
            return Ok(());
        }
        self.state.partitions.values_mut().for_each(|owned| owned.span = None);
        let footer = footer.of(&self.topic);
        part.epoch = self.state.epoch.take().unwrap_or_default();
        part.files = self.stages.finish(&footer)?;
        part.partitions = progress;
        part.rejects = std::mem::take(&mut self.state.rejects);
        (self.state.events, self.state.asked) = (0, false);
        Ok(())
    }

    /// Has a partition's transforms hand out what is due, and takes their states. None: nothing came of it.
    fn close(&mut self, partition: i32, footer: &mut Footer) -> Result<Option<Progress>> {
        let Some(owned) = self.state.partitions.get(&partition) else { return Ok(None) };
        let Some(span) = owned.accounts(partition) else { return Ok(None) };
        if self.state.epoch.is_none() {
            self.begin();
        }
        let Some(owned) = self.state.partitions.get_mut(&partition) else { return Ok(None) };
        let (due, runner) = (Due::Rows(owned.idle()), &mut owned.worker.runner);
        let flushed = self.stages.flush(runner, due).and_then(|rows| runner.snapshot().map(|()| rows));
        let rows = match flushed {
            Ok(rows) => rows,
            Err(e) => return self.fault(partition, e).map(|()| None),
        };
        if owned.span.is_none() && rows == 0 && !runner.changed() {
            return Ok(None);
        }
        calm_down(owned);
        footer.add(&span, owned);
        let works = owned.worker.runner.take_work().into_iter().map(work).collect();
        let undecoded = std::mem::take(&mut owned.undecoded);
        let (prev, set, newest) = (owned.prev, owned.worker.program.set, owned.worker.runner.newest());
        Ok(Some(Progress { span, prev, set, undecoded, newest, works }))
    }

    pub(super) fn verdict(&mut self, verdict: Verdict) {
        let spans = self.state.under_way.take().unwrap_or_default();
        match verdict {
            Verdict::Empty => {}
            Verdict::Committed(seq) => {
                self.state.failures = 0;
                for span in spans {
                    if let Some(owned) = self.state.partitions.get_mut(&span.partition) {
                        (owned.committed, owned.prev, owned.faults) = (span.to, Some(seq), 0);
                        owned.worker.runner.committed();
                    }
                }
            }
            // The committer has said why.
            Verdict::Abandon(bases) => {
                self.stand(&bases);
                self.fail(Error::retry("the last epoch could not be committed"));
            }
        }
    }

    /// Takes partitions to where the log says that they are. False: none of them is ours.
    pub(super) fn stand(&mut self, bases: &[Base]) -> bool {
        let mut any = false;
        for base in bases {
            self.forget(base.partition);
            if let Some(owned) = self.state.partitions.get_mut(&base.partition) {
                owned.stand(base);
                any = true;
            }
        }
        any
    }

    /// The verdict on what was done for a partition before does not concern it any more: where it stands now was
    /// read from the log.
    pub(super) fn forget(&mut self, partition: i32) {
        if let Some(spans) = &mut self.state.under_way {
            spans.retain(|span| span.partition != partition);
        }
    }

    pub(super) fn lose(&mut self, partitions: &[i32]) {
        partitions.iter().for_each(|partition| self.forget(*partition));
        let before = self.state.partitions.len();
        self.state.partitions.retain(|p, _| !partitions.contains(p));
        partitions.iter().for_each(|partition| self.board.went(*partition));
        // Their rows stand in the same files as those of the others.
        if self.state.partitions.len() < before && self.state.epoch.is_some() {
            self.fail(Error::retry(format!("partitions {partitions:?} were lost")));
        }
    }
}

/// Care costs something: it ends when there was nothing to find for a while. What fails again soon after that, and was
/// not to be found, fails for good.
fn calm_down(owned: &mut Owned) {
    let runner = &mut owned.worker.runner;
    owned.calm = if runner.poisoned() { 0 } else { owned.calm.saturating_add(1) };
    if owned.calm >= CALM {
        runner.careful(false);
    }
    if runner.poisoned() || owned.calm >= WELL {
        owned.in_vain = 0;
    }
}

/// What every file of an epoch says of itself.
#[derive(Default)]
struct Footer {
    offsets: BTreeMap<String, [i64; 2]>,
    /// Digests by transform: more than one where partitions run different sets.
    transforms: BTreeMap<String, BTreeSet<String>>,
}

impl Footer {
    fn add(&mut self, span: &Span, owned: &Owned) {
        self.offsets.insert(span.partition.to_string(), [span.from, span.to]);
        for component in owned.worker.program.graph.components() {
            let digests = self.transforms.entry(component.identity.name.clone()).or_default();
            digests.insert(component.identity.digest.clone());
        }
    }

    fn of(self, topic: &str) -> Vec<(String, String)> {
        let digests = |digests: BTreeSet<String>| digests.into_iter().collect::<Vec<_>>().join(",");
        let transforms: BTreeMap<String, String> =
            self.transforms.into_iter().map(|(name, all)| (name, digests(all))).collect();
        vec![
            ("tidemill.topic".into(), topic.to_string()),
            ("tidemill.offsets".into(), serde_json::json!(self.offsets).to_string()),
            ("tidemill.transforms".into(), serde_json::json!(transforms).to_string()),
        ]
    }
}

fn work(done: Done) -> TransformWork {
    let Done { identity, reads, tables, counts, busy, state, reached, watermark, vitals } = done;
    let transform = identity.name.clone();
    let state = state.map(|(version, bytes)| Memory { transform, version, bytes });
    TransformWork { identity, reads, tables, counts, busy, state, reached, watermark, vitals }
}
