//! The commit record: the truth about one commit, as a person can read it.
//!
//! A record is one JSON object. Its format has a version: an older one is read for ever (golden files in
//! `host/tests/golden/log`), a newer one is refused. Within a version, members may be added that an older reader may
//! ignore; anything that it may not ignore is a new version.

mod backfill;
mod history;
mod kind;
#[cfg(test)]
pub(super) mod tests;

use serde::{Deserialize, Serialize};

use crate::batch::{Counts, EventTime, Identity};
use crate::env::Micros;
use crate::generations::FIRST;
use crate::sink::{Keys, Publish, StagedFile};
use crate::table::Zone;
use crate::{Error, Result};

pub use backfill::{Backfilled, Brought, Claim, Claimed, Kept, Link, Offsets, Remembers, Source, partition};
pub use history::{Compacted, Erased, Flip, Replayed, Reprocessed, Restored, Stretch};
pub use kind::{FORMAT, RecordKind};

/// One commit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`FORMAT`].
    pub format: u32,
    /// Its slot: dense from 0 (rule L1).
    pub seq: u64,
    /// Tells its bytes from any other's: whoever finds this id in the slot has written it.
    pub id: String,
    /// What it is about.
    pub kind: RecordKind,
    /// The pipeline that the log belongs to.
    pub pipeline: String,
    /// When it was made, by the writer's clock.
    #[serde(with = "time")]
    pub time: Micros,
    /// Who made it.
    pub writer: Writer,
    /// The topic; none in records about files alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<Topic>,
    /// The partitions that go ahead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partitions: Vec<Advance>,
    /// The files that become true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<DataFile>,
    /// Files that are true no more; they are removed before `files` become visible.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub supersedes: Vec<DataFile>,
    /// The record whose files these take the place of; only in repairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repairs: Option<u64>,
    /// What is removed for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cleanup: Option<Cleanup>,
    /// The maintenance record before this one; only in maintenance records (rule M2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<u64>,
    /// Hours that the catalog had not taken when this was written (rule F5).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owed: Vec<Owed>,
    /// The transforms to run; only in records about them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transforms: Option<TransformSet>,
    /// What became of rejected rows; only in replays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replayed: Option<Replayed>,
    /// Hours that have another generation from now on (rule M4); only in flips.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flips: Vec<Flip>,
    /// What went into the merge; only in compactions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compacted: Option<Compacted>,
    /// Events from before that are not kept any longer; only in expiries.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "maybe_time")]
    pub before: Option<Micros>,
    /// What hours were made anew from; only in reprocessings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reprocessed: Option<Reprocessed>,
    /// What hours were put back to; only in restores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<Restored>,
    /// Who works on which parts of sources of history; only in claims.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<Claim>,
    /// What of history became true; only in backfills.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backfilled: Option<Backfilled>,
    /// What went for good, and of whom; only in erasures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erased: Option<Erased>,
    /// Flips whose superseded files are removed; only in sweeps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sweeps: Vec<u64>,
    /// Of these, flips with too many files for one record: only these files are removed with this one. A reader that
    /// does not know of stretches removes all of them, which is as right, but takes longer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stretches: Vec<Stretch>,
}

/// The transforms that hosts are to run, in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransformSet {
    /// The record with the set before this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<u64>,
    /// The transforms.
    pub components: Vec<Deployed>,
}

/// A transform of a set. Its bytes lie beside the log under its digest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployed {
    /// The name of its file, without the ending.
    pub file: String,
    /// What it calls itself.
    pub name: String,
    /// The version it gives itself.
    pub version: String,
    /// SHA-256 of the component.
    pub digest: String,
    /// The text of its sidecar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sidecar: Option<String>,
    /// Its signature, if it was put there with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

/// Who wrote a record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writer {
    /// The host: its instance id, or one made at its start.
    pub host: String,
    /// The version of tidemill.
    pub version: String,
}

/// A topic. One that was created anew under the same name has another id.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// The id that the brokers gave it; empty where they give none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
}

/// How far a partition goes with this record: it accounts for the offsets `from..to`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advance {
    /// The partition.
    pub partition: i32,
    /// The epoch that did it; empty where no lane was at work.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub epoch: String,
    /// The last record of this partition before this one (rule L3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prev: Option<u64>,
    /// The record with the set of transforms that were at work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<u64>,
    /// The first offset.
    pub from: i64,
    /// The offset after the last.
    pub to: i64,
    /// Events that were delivered; a compacted topic has holes (rule F8).
    #[serde(default)]
    pub events: u64,
    /// Those of them that could not be decoded.
    #[serde(default)]
    pub undecoded: u64,
    /// The newest Kafka timestamp up to here: no event time counts beyond it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<Micros>,
    /// What became of the rows, by transform.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transforms: Vec<Work>,
}

impl Advance {
    /// How far event time has come with it.
    pub(crate) fn event_time(&self) -> EventTime {
        let reached = self.transforms.iter().filter_map(|work| Some((work.name.clone(), work.reached?)));
        EventTime { newest: self.newest, reached: reached.collect() }
    }
}

/// What one transform did in one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// What it calls itself.
    pub name: String,
    /// The version it gives itself.
    pub version: String,
    /// SHA-256 of the component.
    pub digest: String,
    /// The transform whose output it reads; none: the topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reads: Option<String>,
    /// The tables that it makes.
    pub tables: Vec<String>,
    /// Rows that it received.
    pub input: u64,
    /// Of these, rows that are in at least one output.
    pub emitted: u64,
    /// … that were refused.
    pub rejected: u64,
    /// … that were left out.
    pub filtered: u64,
    /// … that its state took in.
    pub absorbed: u64,
    /// Its state after exactly the offsets before `to` (rule F7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<StateRef>,
    /// The event time that its input has reached: what a watermark is made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reached: Option<Micros>,
    /// Up to where event time is complete, as its last flush was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark: Option<Micros>,
}

impl Work {
    /// Adds what a transform did to what it, and others, did before.
    pub(crate) fn add_to(&self, works: &mut Vec<Work>) {
        let same = works.iter_mut().find(|w| (&w.name, &w.digest) == (&self.name, &self.digest));
        let Some(sum) = same else { return works.push(self.clone()) };
        sum.input += self.input;
        sum.emitted += self.emitted;
        sum.rejected += self.rejected;
        sum.filtered += self.filtered;
        sum.absorbed += self.absorbed;
    }

    /// What a transform did with the rows of these counts.
    pub(crate) fn new(
        identity: &Identity,
        reads: Option<String>,
        tables: Vec<String>,
        counts: Counts,
        state: Option<StateRef>,
    ) -> Work {
        let Counts { input, emitted, rejected, filtered, absorbed } = counts;
        Work {
            name: identity.name.clone(),
            version: identity.version.clone(),
            digest: identity.digest.clone(),
            reads,
            tables,
            input,
            emitted,
            rejected,
            filtered,
            absorbed,
            state,
            reached: None,
            watermark: None,
        }
    }
}

/// Where a transform's state lies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateRef {
    /// Its key in the processed zone.
    pub key: String,
    /// The version of its format, as the transform counts it.
    pub version: u32,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
}

/// A file, with the epoch that staged it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFile {
    /// The epoch that staged it.
    pub epoch: String,
    /// The generation of its table's hour: 1 until something rewrites hours (rule M4).
    #[serde(default = "first")]
    pub generation: u32,
    /// Where it goes and how.
    #[serde(flatten)]
    pub file: StagedFile,
}

fn first() -> u32 {
    FIRST
}

impl DataFile {
    /// A file of an epoch. Its key says its generation.
    pub fn new(epoch: &str, file: StagedFile) -> DataFile {
        let generation = Keys::place_of(&file.key).map_or(FIRST, |(_, generation, _)| generation);
        DataFile { epoch: epoch.into(), generation, file }
    }

    /// The same without what only publishing needs: as it stands in a record that takes it away.
    pub fn taken_away(mut self) -> DataFile {
        if let Publish::Upload { parts, .. } = &mut self.file.how {
            parts.clear();
        }
        self
    }
}

/// What clean-up removes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cleanup {
    /// Epochs that may never become true (rule M1).
    pub epochs: Vec<String>,
    /// What they had staged.
    pub remains: Vec<Remains>,
}

/// Something that an epoch left behind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Remains {
    /// The epoch.
    pub epoch: String,
    /// The zone that it lies in.
    #[serde(with = "crate::sink::zone_name")]
    pub zone: Zone,
    /// The key that readers would see, or the key of a state. For a file in staging on a disk that no record names,
    /// where it waits: nobody knows its table any more, and nobody can have published it.
    pub key: String,
    /// The multipart upload, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<String>,
    /// The file in staging, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staging: Option<String>,
}

/// Hours of a table that wait to be registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owed {
    /// The table.
    pub table: String,
    /// Hours since 1970.
    pub hours: Vec<i64>,
}

impl Record {
    /// What of a flip's files a sweep removes; none: all of them.
    pub fn stretch(&self, flip: u64) -> Option<&Stretch> {
        self.stretches.iter().find(|stretch| stretch.flip == flip)
    }

    /// When it was made, as it stands in it.
    pub fn when(&self) -> String {
        when(self.time)
    }

    /// Its bytes: one line, so that the log can be searched with plain tools.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(self)
            .map_err(|e| Error::stop(format!("cannot write a commit record: {e}")))?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads a record. `key` is named in errors.
    pub fn decode(key: &str, bytes: &[u8]) -> Result<Record> {
        check_format(key, bytes)?;
        serde_json::from_slice(bytes)
            .map_err(|e| Error::stop(format!("{key} is no commit record that this version can read: {e}")))
    }
}

/// A time as it stands in records.
pub fn when(time: Micros) -> String {
    time::text(time)
}

/// Refuses a newer format before anything else of it is looked at.
pub(super) fn check_format(key: &str, bytes: &[u8]) -> Result<()> {
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let Version { format } = serde_json::from_slice(bytes)
        .map_err(|e| Error::stop(format!("{key} is damaged: expected a JSON object with a `format`: {e}")))?;
    if format > FORMAT {
        return Err(Error::stop(format!(
            "{key} has format {format}, this version of tidemill reads up to {FORMAT}: a newer version wrote to this \
             log; run that one or a newer one"
        )));
    }
    Ok(())
}

/// A time that may be missing, likewise.
mod maybe_time {
    use serde::{Deserializer, Serializer};

    use super::time;
    use crate::env::Micros;

    pub(super) fn serialize<S: Serializer>(time: &Option<Micros>, to: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => time::serialize(time, to),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Micros>, D::Error> {
        time::deserialize(from).map(Some)
    }
}

/// A time in RFC 3339, UTC, with microseconds.
pub(crate) mod time {
    use chrono::{DateTime, SecondsFormat};
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::env::Micros;

    pub(in crate::commit) fn text(time: Micros) -> String {
        let time = DateTime::from_timestamp_micros(time).unwrap_or_default();
        time.to_rfc3339_opts(SecondsFormat::Micros, true)
    }

    pub(crate) fn serialize<S: Serializer>(time: &Micros, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&text(*time))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Micros, D::Error> {
        let text = String::deserialize(from)?;
        let time = DateTime::parse_from_rfc3339(&text).map_err(serde::de::Error::custom)?;
        Ok(time.timestamp_micros())
    }
}
