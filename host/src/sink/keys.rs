//! The one owner of every object key.
//!
//! A key is relative to the root of its zone and uses `/` on every system:
//!
//! ```text
//! <table>/date=YYYY-MM-DD/hour=HH/<pipeline>-<epoch>-<lane>-<n>.parquet   data, seen by readers
//! <table>/_gen/<generation>/date=…/hour=…/<file>                   … of a later generation of its hour (rule M7)
//! <table>/_gen/0/date=none/hour=none/<pipeline>.parquet            no rows: what a view finds where there is nothing
//! _tidemill/<pipeline>/staging/<pipeline>-<epoch>-<lane>-<n>.parquet      local disk: not yet published
//! _tidemill/<pipeline>/catalog/<table>/table.json                  local catalog
//! _tidemill/<pipeline>/catalog/<table>/partitions/date=…,hour=….json
//! _tidemill/<pipeline>/log/<seq>.json                              commit records (processed zone)
//! _tidemill/<pipeline>/summaries/<seq>.json                        … summed up each hundred
//! _tidemill/<pipeline>/inventory/<table>/<date>/<seq>.json         live files of a table and date
//! _tidemill/<pipeline>/components/<sha256>.wasm                    transforms that records name
//! _tidemill/<pipeline>/state/<epoch>/<partition>-<transform>.bin   what transforms remember
//! _tidemill/<pipeline>/views/<table>.sql                           what DuckDB reads instead of a catalog
//! _tidemill/<pipeline>/told/<seq>                                  since when readers know of all records up to that
//! _tidemill/<pipeline>/clock/<id>                                  asks the store for the time, and is removed
//! _tidemill/<pipeline>/doctor/<id>/…                               what `tidemill doctor` tries, and removes
//! _tidemill/@owners/<table>.json                                   the pipeline that a table belongs to
//! ```
//!
//! Where a pipeline has more than one log, each shard is `<pipeline>@<number>` in the place of `<pipeline>`, but for
//! folders that they share: staging, the catalog, and components.
//!
//! `_tidemill` begins with an underscore, which hides it from Hive readers. Everything under it names the
//! pipeline, so that two pipelines in one zone never touch each other's files (rule L7).

use crate::env::Micros;
use crate::error::{Error, Result};
use crate::generations::{FIRST, Place};
use crate::shard::{MARK, Shard};
use crate::table::Hour;

/// The folder of a zone that readers do not look into.
const HOUSE: &str = "_tidemill";
/// The folder of a table in which the generations after the first lie.
const GENERATIONS: &str = "_gen";
/// The longest name of a pipeline, in bytes before escaping.
const LONGEST_NAME: usize = 128;

/// The keys of one pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    pipeline: String,
    /// The pipeline's name as one harmless path segment.
    segment: String,
    /// The name and the segment of the pipeline as a whole.
    whole: String,
    home: String,
}

impl Keys {
    /// The keys of the pipeline of that name, which may be any consumer group's.
    pub fn new(pipeline: &str) -> Result<Keys> {
        if pipeline.is_empty() {
            return Err(Error::usage("the pipeline's name is empty (setting `pipeline`)"));
        }
        if pipeline.len() > LONGEST_NAME {
            return Err(Error::usage(format!(
                "the pipeline's name has {} bytes, at most {LONGEST_NAME} are possible (setting `pipeline`): {}…",
                pipeline.len(),
                pipeline.chars().take(32).collect::<String>(),
            )));
        }
        let segment = escape(pipeline);
        Ok(Keys { pipeline: pipeline.into(), whole: pipeline.into(), home: segment.clone(), segment })
    }

    /// The keys of a shard of this pipeline.
    pub fn shard(&self, shard: Shard) -> Keys {
        let pipeline = shard.name(&self.pipeline);
        let segment = match shard.label() {
            Some(number) => format!("{}{MARK}{number}", self.segment),
            None => self.segment.clone(),
        };
        Keys { pipeline, segment, ..self.clone() }
    }

    /// The pipeline's name as it was given, also if these are the keys of a shard.
    pub fn whole(&self) -> &str {
        &self.whole
    }

    /// The pipeline's name as it was given; the shard's, if these are the keys of one.
    pub fn pipeline(&self) -> &str {
        &self.pipeline
    }

    /// The pipeline's name as one harmless path segment.
    pub fn segment(&self) -> &str {
        &self.segment
    }

    /// The name of a data file. It is used once: the epoch's id is never used again, and `n` counts the
    /// files of one lane in one epoch. It tells whose it is (rule L7).
    pub fn file_name(&self, epoch: &str, lane: u32, n: u32) -> String {
        format!("{}-{epoch}-{lane}-{n}.parquet", self.segment)
    }

    /// The epoch that staged a file of this pipeline; none: the file is not this pipeline's.
    pub fn epoch_of(&self, key: &str) -> Option<String> {
        let name = key.rsplit('/').next()?.strip_suffix(".parquet")?;
        let mut parts = name.strip_prefix(&self.segment)?.strip_prefix('-')?.split('-');
        let (epoch, lane, n) = (parts.next()?, parts.next()?, parts.next()?);
        let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let whole = parts.next().is_none() && number(lane) && number(n);
        let ours = epoch.len() == 32 && epoch.bytes().all(|b| b.is_ascii_hexdigit());
        (whole && ours).then(|| epoch.to_owned())
    }

    /// The folder of the commit log, in the processed zone.
    pub fn log(&self) -> String {
        format!("{HOUSE}/{}/log", self.segment)
    }

    /// The record that a key is of; none: it is none of this pipeline's records.
    pub fn seq_of(&self, key: &str) -> Option<u64> {
        let name = key.strip_prefix(&self.log())?.strip_prefix('/')?.strip_suffix(".json")?;
        let seq = name.parse().ok()?;
        (self.record(seq) == key).then_some(seq)
    }

    /// A commit record.
    pub fn record(&self, seq: u64) -> String {
        format!("{}/{seq:012}.json", self.log())
    }

    /// The summary of all records up to `seq`.
    pub fn summary(&self, seq: u64) -> String {
        format!("{HOUSE}/{}/summaries/{seq:012}.json", self.segment)
    }

    /// The files of a table and date that became true in the records that a summary adds.
    pub fn inventory(&self, table: &str, date: &str, seq: u64) -> String {
        format!("{HOUSE}/{}/inventory/{table}/{date}/{seq:012}.json", self.segment)
    }

    /// A transform's component, by its digest.
    pub fn component(&self, digest: &str) -> String {
        format!("{HOUSE}/{}/components/{digest}.wasm", self.home)
    }

    /// The folder of all states.
    pub fn states(&self) -> String {
        format!("{HOUSE}/{}/state", self.segment)
    }

    /// The state of a transform in a partition as an epoch left it.
    pub fn state(&self, epoch: &str, partition: i32, transform: &str) -> String {
        format!("{}/{epoch}/{partition}-{transform}.bin", self.states())
    }

    /// The view of a table for DuckDB.
    pub fn view(&self, table: &str) -> String {
        format!("{HOUSE}/{}/views/{table}.sql", self.segment)
    }

    /// A Parquet file without rows, of a generation that no hour has: with it a view finds something to read where its
    /// table has no files.
    pub fn no_rows(&self, table: &str) -> String {
        format!("{table}/{GENERATIONS}/0/date=none/hour=none/{}.parquet", self.segment)
    }

    /// The folder of the notes since when readers know of records.
    pub fn told_folder(&self) -> String {
        format!("{HOUSE}/{}/told", self.segment)
    }

    /// The note that readers know of all records up to this one.
    pub fn told(&self, seq: u64) -> String {
        format!("{}/{seq:012}", self.told_folder())
    }

    /// The record that such a note is about; none: it is no such note.
    pub fn told_of(&self, key: &str) -> Option<u64> {
        let seq = key.strip_prefix(&self.told_folder())?.strip_prefix('/')?.parse().ok()?;
        (self.told(seq) == key).then_some(seq)
    }

    /// An object that is written to ask the store for the time.
    pub fn clock(&self, id: &str) -> String {
        format!("{HOUSE}/{}/clock/{id}", self.segment)
    }

    /// The folder of what `tidemill doctor` writes while it tries a zone.
    pub fn doctor(&self, id: &str) -> String {
        format!("{HOUSE}/{}/doctor/{id}", self.segment)
    }

    /// The folder of everything that the host keeps beside the tables, for all pipelines.
    pub fn house() -> &'static str {
        HOUSE
    }

    /// Says which pipeline a table belongs to (rule L7); in the table's own zone. No pipeline's folder has
    /// this name: `@` would be escaped.
    pub fn owner(table: &str) -> String {
        format!("{}/{table}.json", Self::owners())
    }

    /// The folder of all that say so.
    pub fn owners() -> &'static str {
        "_tidemill/@owners"
    }

    /// Where readers find a data file.
    pub fn data(table: &str, place: impl Into<Place>, file_name: &str) -> String {
        format!("{table}/{}/{file_name}", Keys::folder(place.into()))
    }

    /// The folder of an hour's generation in its table's: later ones lie outside of `date=*/hour=*`.
    pub fn folder(Place { hour, generation }: Place) -> String {
        match generation {
            FIRST => hour.to_string(),
            later => format!("{GENERATIONS}/{later}/{hour}"),
        }
    }

    /// The table, the generation and the date of a data file's key; none: it is no such key.
    pub fn place_of(key: &str) -> Option<(&str, u32, &str)> {
        let (table, rest) = key.split_once('/')?;
        let (generation, rest) = match rest.strip_prefix(GENERATIONS).and_then(|rest| rest.strip_prefix('/'))
        {
            None => (FIRST, rest),
            Some(later) => {
                let (number, rest) = later.split_once('/')?;
                (number.parse().ok().filter(|number| *number > FIRST)?, rest)
            }
        };
        Some((table, generation, rest.split('/').next()?.strip_prefix("date=")?))
    }

    /// The generation of a partition at an address, of a table at its own; none: it lies elsewhere.
    pub fn generation_at(table: &str, partition: &str) -> Option<u32> {
        let folder = partition.strip_prefix(table)?.trim_matches('/');
        Keys::place_of(&format!("t/{folder}")).map(|(_, generation, _)| generation)
    }

    /// A key before those of this pipeline's files in an hour whose epochs began at that time or later.
    pub fn data_since(&self, table: &str, place: impl Into<Place>, time: Micros) -> String {
        let millis = u64::try_from(time / 1000).unwrap_or_default();
        // Epochs are UUIDv7s: their first 48 bits are milliseconds.
        let folder = Keys::folder(place.into());
        format!("{table}/{folder}/{}-{:012x}", self.segment, millis.min((1 << 48) - 1))
    }

    /// Where a data file waits on a local disk until it is published.
    pub fn staging(&self, file_name: &str) -> String {
        format!("{}/{file_name}", self.staging_folder())
    }

    /// The folder of everything that waits.
    pub fn staging_folder(&self) -> String {
        format!("{HOUSE}/{}/staging", self.segment)
    }

    /// The root of the local catalog, in the processed zone.
    pub fn catalog(&self) -> String {
        format!("{HOUSE}/{}/catalog", self.segment)
    }

    /// A table in the local catalog, relative to the catalog's root.
    pub fn catalog_table(table: &str) -> String {
        format!("{table}/table.json")
    }

    /// The folder of a table's partitions in the local catalog, relative to the catalog's root.
    pub fn catalog_partitions(table: &str) -> String {
        format!("{table}/partitions")
    }

    /// A partition in the local catalog, relative to the catalog's root.
    pub fn catalog_partition(table: &str, hour: Hour) -> String {
        let (date, hour) = hour.values();
        format!("{}/date={date},hour={hour}.json", Keys::catalog_partitions(table))
    }
}

/// A name as one path segment: what is no ASCII letter, digit, `-`, `_` or inner `.` becomes `=` and two
/// hexadecimal digits. Two names never become the same segment.
fn escape(name: &str) -> String {
    let mut segment = String::with_capacity(name.len());
    for (at, byte) in name.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => segment.push(char::from(byte)),
            b'.' if at > 0 => segment.push('.'),
            other => segment.push_str(&format!("={other:02X}")),
        }
    }
    segment
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn a_data_file_lies_under_its_hour() {
        let keys = Keys::new("my-line").expect("a plain name");
        let name = keys.file_name("0198", 2, 7);
        let key = Keys::data("user_events", Hour::of(1_764_669_599_999_999), &name);
        assert_eq!(key, "user_events/date=2025-12-02/hour=09/my-line-0198-2-7.parquet");
    }

    #[test]
    fn a_file_names_its_epoch_to_its_own_pipeline_only() {
        let keys = Keys::new("my-line").expect("a plain name");
        let epoch = "0198a0000000700080000000000000ff";
        let key = Keys::data("t", Hour(0), &keys.file_name(epoch, 2, 7));
        assert_eq!(keys.epoch_of(&key).as_deref(), Some(epoch));
        for other in ["my", "my-line-0198", "other"] {
            assert_eq!(Keys::new(other).expect("a plain name").epoch_of(&key), None, "{other}");
        }
        for key in ["t/my-line-x.parquet", "t/part-0.parquet", "", "t/my-line-0198-2-7.parquet"] {
            assert_eq!(keys.epoch_of(key), None, "{key}");
        }
    }

    #[test]
    fn a_later_generation_lies_outside_of_the_glob_and_is_known_by_its_key() {
        let place = Place { hour: Hour(0), generation: 12 };
        let key = Keys::data("t", place, "f.parquet");
        assert_eq!(key, "t/_gen/12/date=1970-01-01/hour=00/f.parquet");
        assert_eq!(Keys::place_of(&key), Some(("t", 12, "1970-01-01")));
        assert_eq!(Keys::place_of(&Keys::data("t", Hour(0), "f")), Some(("t", 1, "1970-01-01")));
        for key in
            ["t/_gen/1/date=1970-01-01/f", "t/_gen/x/date=1970-01-01/f", "t/f", "_tidemill/p/log/1.json"]
        {
            assert_eq!(Keys::place_of(key), None, "{key}");
        }
        let at = |partition: &str| Keys::generation_at("s3://b/t", partition);
        assert_eq!(at("s3://b/t/date=1970-01-01/hour=00/"), Some(1));
        assert_eq!(at(&format!("s3://b/t/{}", Keys::folder(place))), Some(12));
        assert_eq!((at("s3://b/other/date=1970-01-01/hour=00"), at("s3://b/t")), (None, None));
        let empty = Keys::new("my-line").expect("a plain name").no_rows("t");
        assert_eq!(
            (empty.as_str(), Keys::place_of(&empty)),
            ("t/_gen/0/date=none/hour=none/my-line.parquet", None)
        );
    }

    #[test]
    fn a_shard_has_keys_that_no_pipeline_has() {
        let keys = Keys::new("my-line").expect("a plain name");
        let shards: Vec<Keys> = Shard::all(12).map(|shard| keys.shard(shard)).collect();
        assert_eq!(shards[1].record(7), "_tidemill/my-line@1/log/000000000007.json");
        assert_eq!(keys.shard(Shard::WHOLE), keys);
        let epoch = "0198a0000000700080000000000000ff";
        let file = Keys::data("t", Hour(0), &shards[1].file_name(epoch, 2, 7));
        let named = |name: &str| Keys::new(name).expect("can be escaped");
        let others = [keys, shards[0].clone(), shards[11].clone(), named("my-line@1"), named("my-line.1")];
        assert_eq!(shards[1].epoch_of(&file).as_deref(), Some(epoch));
        for other in others {
            assert_eq!(
                (other.epoch_of(&file), other.seq_of(&shards[1].record(7))),
                (None, None),
                "{other:?}"
            );
        }
    }

    #[test]
    fn a_record_is_known_by_its_key() {
        let keys = Keys::new("my-line").expect("a plain name");
        assert_eq!(keys.seq_of(&keys.record(1_234)), Some(1_234));
        for key in [
            "_tidemill/my-line/log/1.json",
            "_tidemill/my-line/log/.x.tmp",
            "_tidemill/other/log/000000000001.json",
        ] {
            assert_eq!(keys.seq_of(key), None, "{key}");
        }
    }

    #[test]
    fn a_note_is_known_by_its_key() {
        let keys = Keys::new("my-line").expect("a plain name");
        assert_eq!(keys.told(1_234), "_tidemill/my-line/told/000000001234");
        assert_eq!(keys.told_of(&keys.told(1_234)), Some(1_234));
        for key in
            ["_tidemill/my-line/told/.x.tmp", "_tidemill/my-line/told/7", "_tidemill/o/told/000000001234"]
        {
            assert_eq!(keys.told_of(key), None, "{key}");
        }
    }

    #[test]
    fn everything_else_is_the_pipelines_own() {
        let keys = Keys::new("tidemill").expect("a plain name");
        assert_eq!(keys.staging("a-0-1.parquet"), "_tidemill/tidemill/staging/a-0-1.parquet");
        assert_eq!(keys.catalog(), "_tidemill/tidemill/catalog");
        assert_eq!(Keys::catalog_table("t"), "t/table.json");
        assert_eq!(Keys::catalog_partition("t", Hour(0)), "t/partitions/date=1970-01-01,hour=00.json");
    }

    #[test]
    fn a_name_cannot_leave_its_folder_or_meet_another() {
        for (name, segment) in
            [("..", "=2E."), ("a/b", "a=2Fb"), ("a=2Fb", "a=3D2Fb"), ("größe", "gr=C3=B6=C3=9Fe")]
        {
            assert_eq!(Keys::new(name).expect("can be escaped").segment, segment);
        }
        assert_eq!(Keys::new("").expect_err("empty").kind(), Kind::Usage);
        assert_eq!(Keys::new(&"x".repeat(129)).expect_err("too long").kind(), Kind::Usage);
    }

    #[test]
    fn no_hour_panics() {
        for time in [i64::MIN, i64::MAX, 0, -1] {
            assert!(Keys::data("t", Hour::of(time), "f").starts_with("t/date="));
        }
    }
}
