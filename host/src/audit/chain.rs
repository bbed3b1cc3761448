//! The log by itself: chains of partitions and of maintenance, fences, positions, and sums of counts. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::findings::Findings;
use crate::commit::record::{Advance, Backfilled, DataFile, RecordKind, Replayed, Source, Work};
use crate::commit::{Covered, PartitionKey, Record, Topic};
use crate::shard::Shard;
use crate::table::REJECTED;

/// What the records before said.
pub(super) struct Chain {
    /// The partitions that the log is about.
    shard: Shard,
    /// Slots with nothing readable in them: found already, so nothing that follows from them is found again.
    pub(super) absent: BTreeSet<u64>,
    /// Each partition's last record, and its position.
    pub(super) last: BTreeMap<PartitionKey, (u64, i64)>,
    pub(super) topic: Option<Topic>,
    pub(super) events: u64,
    pub(super) notes: Vec<String>,
    maintenance: Option<u64>,
    /// What of history is true.
    pub(super) covered: Covered,
    /// Where the stream begins in each partition.
    starts: BTreeMap<PartitionKey, i64>,
    /// Epochs that may never become true, and the record that says so.
    fenced: BTreeMap<String, u64>,
}

/// Notes that are kept.
const NOTES: usize = 1000;

impl Chain {
    /// Nothing was read yet.
    pub(super) fn new(shard: Shard) -> Chain {
        Chain {
            shard,
            absent: BTreeSet::new(),
            last: BTreeMap::new(),
            topic: None,
            events: 0,
            notes: vec![],
            maintenance: None,
            covered: Covered::default(),
            starts: BTreeMap::new(),
            fenced: BTreeMap::new(),
        }
    }

    /// Takes in the record of the next slot.
    pub(super) fn take(&mut self, record: &Record, findings: &mut Findings) {
        let seq = record.seq;
        self.same_topic(record, findings);
        for advance in &record.partitions {
            self.advance(record, advance, findings);
            if let Some(topic) = &record.topic {
                let key = (topic.clone(), advance.partition);
                self.starts.entry(key.clone()).or_insert(advance.from);
                self.last.insert(key, (seq, advance.to));
            }
            self.events += advance.events;
        }
        let epochs: BTreeSet<&str> = record.partitions.iter().map(|advance| advance.epoch.as_str()).collect();
        let staged = record.files.iter().map(|file| file.epoch.as_str());
        for epoch in epochs.into_iter().chain(staged).collect::<BTreeSet<&str>>() {
            if let Some(by) = self.fenced.get(epoch) {
                findings.add(
                    "fenced",
                    format!("record {seq} makes epoch {epoch} true, which clean-up {by} had ruled out"),
                );
            }
        }
        if record.kind.is_maintenance() {
            if record.previous != self.maintenance && !self.lost(record.previous) {
                let (found, wanted) = (number(record.previous), number(self.maintenance));
                findings.add(
                    "chain",
                    format!("record {seq} follows maintenance record {found} instead of {wanted}"),
                );
            }
            self.maintenance = Some(seq);
        }
        if let Some(replayed) = &record.replayed {
            self::replayed(record, replayed, findings);
        }
        if let Some(portion) = &record.backfilled {
            self.backfilled(record, portion, findings);
        }
        self.covered.take(record);
        for epoch in record.cleanup.iter().flat_map(|cleanup| &cleanup.epochs) {
            self.fenced.entry(epoch.clone()).or_insert(seq);
        }
    }

    /// No row of a source comes twice, and nothing that the stream brings.
    fn backfilled(&mut self, record: &Record, portion: &Backfilled, findings: &mut Findings) {
        let at = format!("record {}", record.seq);
        if let Err(why) = self.covered.admits(portion) {
            findings.add("twice", format!("{at}: {why}"));
        }
        for part in &portion.parts {
            let most = u64::try_from(part.to.saturating_sub(part.from)).unwrap_or_default();
            if part.events > most {
                let (name, events) = (&part.name, part.events);
                findings.add("counts", format!("{at}: {name} has {events} events in {most} rows"));
            }
            let of_topic = match &part.source {
                Source::Partition(topic, partition) => Some((topic.name.clone(), *partition, part.to)),
                Source::File(_) => None,
            };
            let of_raw = part.offsets.iter().map(|known| (known.topic.clone(), known.partition, known.to));
            for (topic, partition, to) in of_topic.into_iter().chain(of_raw) {
                let begun =
                    self.starts.iter().filter(|((known, p), _)| known.name == topic && *p == partition);
                if let Some(start) = begun.map(|(_, start)| *start).min().filter(|start| to > *start) {
                    findings.add(
                        "twice",
                        format!(
                            "{at}: {} has events of partition {partition} up to offset {to}, which the stream brings from                              {start} on",
                            part.name
                        ),
                    );
                }
            }
        }
        self.events += portion.events();
        let given = portion.events().saturating_sub(portion.undecoded);
        for work in &portion.transforms {
            fates(&at, work, findings);
            if work.reads.is_none() && work.input != given {
                findings.add(
                    "counts",
                    format!(
                        "{at}: transform {} received {} rows of {given} that could be decoded",
                        work.name, work.input
                    ),
                );
            }
        }
    }

    /// Whether a record is the last one of its chain: what it names may still be under way.
    pub(super) fn is_last(&self, seq: u64) -> bool {
        self.maintenance == Some(seq) || self.last.values().any(|(last, _)| *last == seq)
    }

    fn same_topic(&mut self, record: &Record, findings: &mut Findings) {
        let (seq, Some(topic)) = (record.seq, &record.topic) else { return };
        if let Some(known) = self.topic.as_ref().filter(|known| *known != topic) {
            if known.name != topic.name {
                findings.add(
                    "topic",
                    format!("record {seq} is about topic {} instead of {}", topic.name, known.name),
                );
            } else if known.id.is_empty() || topic.id.is_empty() {
                findings.add(
                    "topic",
                    format!(
                        "record {seq} names topic {} with id \"{}\", those before it with id \"{}\": its partitions began \
                         anew, so its events may be there twice",
                        topic.name, topic.id, known.id
                    ),
                );
            } else {
                self.note(format!("topic {} was created anew before record {seq}", topic.name));
            }
        }
        self.topic = Some(topic.clone());
    }

    fn advance(&mut self, record: &Record, advance: &Advance, findings: &mut Findings) {
        let (seq, Advance { partition, prev, from, to, .. }) = (record.seq, advance);
        let at = format!("record {seq}, partition {partition}");
        let known =
            record.topic.as_ref().and_then(|topic| self.last.get(&(topic.clone(), *partition)).copied());
        if record.topic.is_none() {
            findings.add("record", format!("{at}: the record names no topic"));
        }
        if !self.shard.has(*partition) {
            let (number, logs) = (Shard::number_of(*partition, self.shard.logs()), self.shard.logs());
            findings.add("shard", format!("{at}: with {logs} logs the partition is of log {number}"));
        }
        if record.partitions.iter().filter(|other| other.partition == *partition).count() > 1 {
            findings.add("chain", format!("{at}: it goes ahead twice in one record"));
        }
        if known.map(|(seq, _)| seq) != *prev && !self.lost(*prev) {
            let (found, wanted) = (number(*prev), number(known.map(|(seq, _)| seq)));
            findings.add("chain", format!("{at}: it follows record {found} instead of {wanted}"));
        } else if let Some((_, position)) =
            known.filter(|(last, position)| Some(*last) == *prev && position != from)
        {
            findings.add(
                "chain",
                format!("{at}: it begins at offset {from}, the one before ended at {position}"),
            );
        }
        if known.is_none() && prev.is_none() && record.kind != RecordKind::Start {
            findings.add("chain", format!("{at}: no record says where the partition begins"));
        }
        match record.kind {
            RecordKind::Start if from != to => {
                findings.add("chain", format!("{at}: a start takes it from offset {from} to {to}"));
            }
            RecordKind::Gap if to < from => {
                self.note(format!(
                    "{at}: the topic was truncated to offset {to}, events up to {from} are there"
                ));
            }
            RecordKind::Gap => self.note(format!("{at}: offsets {from}..{to} were gone and were skipped")),
            _ if to < from => findings.add("chain", format!("{at}: it goes back from offset {from} to {to}")),
            _ => {}
        }
        sums(&at, record.kind, advance, findings);
    }

    fn lost(&self, seq: Option<u64>) -> bool {
        seq.is_some_and(|seq| self.absent.contains(&seq))
    }

    fn note(&mut self, note: String) {
        if self.notes.len() < NOTES {
            self.notes.push(note);
        }
    }
}

/// Every event was delivered to the transforms or could not be decoded, and every row met one of four fates.
fn sums(at: &str, kind: RecordKind, advance: &Advance, findings: &mut Findings) {
    let Advance { from, to, events, undecoded, .. } = advance;
    let most = if kind == RecordKind::Epoch {
        u64::try_from(to.saturating_sub(*from)).unwrap_or_default()
    } else {
        0
    };
    if *events > most {
        findings
            .add("counts", format!("{at}: {events} events, where offsets {from}..{to} hold {most} at most"));
    }
    if undecoded > events {
        findings.add("counts", format!("{at}: {undecoded} of {events} events could not be decoded"));
    }
    for work in &advance.transforms {
        fates(at, work, findings);
        let given = events.saturating_sub(*undecoded);
        if work.reads.is_none() && work.input != given {
            findings.add(
                "counts",
                format!(
                    "{at}: transform {} received {} rows of {given} events that could be decoded",
                    work.name, work.input
                ),
            );
        }
    }
}

/// Every row met one of four fates.
fn fates(at: &str, work: &Work, findings: &mut Findings) {
    let fates = [work.emitted, work.rejected, work.filtered, work.absorbed];
    let sum: u128 = fates.iter().map(|count| u128::from(*count)).sum();
    if sum != u128::from(work.input) {
        findings.add(
            "counts",
            format!(
                "{at}: transform {} received {} rows, but {} emitted, {} rejected, {} filtered and {} absorbed are {sum}",
                work.name, work.input, work.emitted, work.rejected, work.filtered, work.absorbed
            ),
        );
    }
}

/// Every row of the files that a replay takes away went or stays, and those that stay or came back are in its files.
fn replayed(record: &Record, replayed: &Replayed, findings: &mut Findings) {
    let at = format!("record {}", record.seq);
    let Replayed { rows, kept, undecoded, again, transforms, .. } = replayed;
    let sum = |files: &[DataFile]| -> u128 {
        let rejected = files.iter().filter(|file| file.file.table == REJECTED);
        rejected.map(|file| u128::from(file.file.rows)).sum()
    };
    let before = sum(&record.supersedes);
    if before != u128::from(*rows) + u128::from(*kept) {
        findings.add(
            "counts",
            format!("{at}: it takes {before} rejected rows away, but {rows} went and {kept} stay"),
        );
    }
    let after = sum(&record.files);
    if after != u128::from(*kept) + u128::from(*again) {
        findings.add(
            "counts",
            format!(
                "{at}: its files have {after} rejected rows, but {kept} stay and {again} were rejected again"
            ),
        );
    }
    for other in record.supersedes.iter().filter(|file| file.file.table != REJECTED) {
        findings.add(
            "record",
            format!("{at}: a replay takes away {}, which has no rejected rows", other.file.key),
        );
    }
    for work in transforms {
        fates(&at, work, findings);
        if work.reads.is_none() && work.input > rows.saturating_sub(*undecoded) {
            findings.add(
                "counts",
                format!(
                    "{at}: transform {} received {} rows, {rows} went and {undecoded} of them could not be decoded",
                    work.name, work.input
                ),
            );
        }
    }
    let refused: u128 = transforms.iter().map(|work| u128::from(work.rejected)).sum();
    if u128::from(*again) > refused + u128::from(*undecoded) {
        findings.add(
            "counts",
            format!("{at}: {again} rows were rejected again, but transforms refused {refused} and {undecoded} could not be decoded"),
        );
    }
}

fn number(seq: Option<u64>) -> String {
    seq.map_or("none".into(), |seq| seq.to_string())
}
