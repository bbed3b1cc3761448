//! `tidemill backfill`

mod raw;

use std::fmt::Write;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::produce::duration;
use super::progress::Bar;
use super::{age, say, worked};
use crate::config::{Config, Flags};
use crate::past::{Format, Found, find};
use crate::pipeline::backfill::{Begin, Bounds, From, Order, Report, backfill, begin};
use crate::pipeline::offline::Lake;
use crate::{Error, Result, env};

/// Brings history that did not come through the stream.
#[derive(Args)]
#[command(
    after_help = "History goes through the transforms that the commit log names, into the raw zone and the same tables, beside hosts.
Each row becomes true exactly once: a file is known by what is in it, an event of the topic by its offset. So a
backfill may be killed at any time and run again, and several of them share the work.

Examples:
  tidemill backfill files 'old/*.json.gz' --time created_at --dry-run     what would become of it
  tidemill backfill files s3://archive/events/2024/ --time created_at     all files under a prefix
  tidemill backfill files '/lake/raw/user_events_raw/date=2025-1*/**'     the raw zone of another lake
  tidemill backfill kafka --from 2025-12-01T00:00:00Z                     what the topic has from before the lake began
  tidemill backfill raw --transform sessions                              the past of a transform that is new"
)]
pub(super) struct Backfill {
    #[command(subcommand)]
    source: Source,
}

#[derive(Subcommand)]
enum Source {
    /// JSON lines, CSV and Parquet, also the raw zone of another lake; plain, .gz or .zst; on a disk or on S3
    Files(Files),
    /// What the lake's topic has from before the lake began
    Kafka(Kafka),
    /// The lake's own raw zone, for tables of transforms that came later than the events
    Raw(raw::Raw),
}

/// Brings files.
#[derive(Args)]
#[command(
    after_help = "A row becomes an event whose value is a JSON object: a line of JSON as it is, a row of CSV (with a header) or Parquet
with its columns as members, of the types that the transforms declare. It is filed by the time in --time: RFC 3339
(without a zone: UTC), or seconds, milliseconds or microseconds since 1970; a row without one is rejected. Its topic
is the file's address, its partition a negative number that only this file has in the lake, its offset the row.
Parquet files with the columns of a raw table keep topic, partition, offset, timestamp, key and headers instead, and
events that this lake's own stream brings are left to it.

Patterns: * is anything within a folder, ** any folders, ? one letter; names that begin with _ or . are left out. A
folder stands for all that is in it. Files go in the order of their names.

Examples:
  tidemill backfill files 'old/*.json.gz' --time created_at --dry-run
  tidemill backfill files s3://archive/events/2024/ --time created_at
  tidemill backfill files export.csv.zst --time ts --json | jq .tables
  tidemill backfill files '/lake/raw/user_events_raw/date=2025-1*/**'"
)]
struct Files {
    /// Files, folders, or patterns of them: on this machine, or s3://bucket/prefix/*.gz
    #[arg(required = true, value_name = "PATTERN")]
    patterns: Vec<String>,
    /// The member, column or JSON Pointer that says when a row happened
    #[arg(long, value_name = "FIELD", default_value = "timestamp")]
    time: String,
    /// What files are whose names do not say it
    #[arg(long, value_enum)]
    format: Option<Format>,
    #[command(flatten)]
    how: How,
}

/// Brings offsets of the topic.
#[derive(Args)]
#[command(
    after_help = "A lake that was begun with `start = latest`, or while the topic had older events, lacks them. This reads each
partition's offsets from --from up to where the lake began, beside the hosts and without their group.

Examples:
  tidemill backfill kafka --dry-run
  tidemill backfill kafka --from earliest
  tidemill backfill kafka --from 2025-12-01T00:00:00Z
  tidemill backfill kafka --from 4711                 from this offset on, in each partition"
)]
struct Kafka {
    /// Where to begin: earliest, an offset, or a time
    #[arg(long, value_name = "WHERE", default_value = "earliest", value_parser = begin)]
    from: Begin,
    #[command(flatten)]
    how: How,
}

/// How it is done.
#[derive(Args)]
struct How {
    /// So many rows become true together
    #[arg(long, value_name = "ROWS", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    portion: u64,
    /// Others take what this run works on for abandoned after so long without a sign of life
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration)]
    claim_for: Duration,
    /// Only say what would become of it
    #[arg(long)]
    dry_run: bool,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: Flags,
}

impl Backfill {
    pub(super) fn run(self) -> Result<()> {
        match self.source {
            Source::Files(files) => {
                let Files { patterns, time, format, how } = files;
                how.run("files", time, async |how: &How| {
                    let found = find(&patterns, format, &env::machine()).await?;
                    let Found { files, others } = found;
                    if others > 0 && !how.json {
                        eprintln!("{others} files are no JSON lines, CSV or Parquet by their names, and are left out");
                    }
                    Ok(From::Files(files))
                })
            }
            Source::Raw(raw) => raw.run(),
            Source::Kafka(Kafka { from, how }) => {
                how.run("partitions", String::new(), async |_: &How| Ok(From::Topic(from)))
            }
        }
    }
}

impl How {
    fn run(self, what: &str, time: String, from: impl AsyncFnOnce(&How) -> Result<From>) -> Result<()> {
        let config = Config::load(&self.flags)?;
        let runtime = super::runtime()?;
        let (report, failed) = runtime.block_on(async {
            let mut lake = one(Lake::open(&config, &env::machine(), "backfill").await?)?;
            lake.log.open().await?;
            let order = Order {
                from: from(&self).await?,
                time,
                bounds: Bounds { rows: self.portion, ..Bounds::default() },
                claim: self.claim_for,
                dry: self.dry_run,
            };
            let bar = Bar::new();
            let done = backfill(&config, &mut lake, &order, &|text| bar.tell(text)).await;
            bar.end();
            Ok::<_, Error>(done)
        })?;
        if let Some(why) = &report.untold {
            eprintln!(
                "warning: the catalog does not show new hours yet: {why}; a running host registers them, or tidemill \
                 verify --repair"
            );
        }
        // What is true is said, whatever came after it.
        if failed.is_none() || !report.records.is_empty() {
            say(&if self.json { self.json(&report, what) } else { self.text(&report, what) })?;
        }
        failed.map_or(Ok(()), Err)
    }

    /// What was done, for people. Writing to a string cannot fail.
    fn text(&self, report: &Report, what: &str) -> String {
        let mut text = String::new();
        let Report { sources, known, rows, skipped, undecoded, rejected, .. } = report;
        let would = if self.dry_run { "would become" } else { "became" };
        let _ = writeln!(text, "{rows} rows of {sources} {what} {would} events");
        if *known > 0 {
            let _ = writeln!(
                text,
                "{known} {what} have been brought before, by what is in them, and were skipped"
            );
        }
        if *skipped > 0 {
            let _ = writeln!(text, "{skipped} rows are events that the stream brings, and were left to it");
        }
        report.transforms.iter().for_each(|work| worked(&mut text, work));
        for (table, rows) in &report.tables {
            let _ = writeln!(text, "  table {table}: {rows} rows");
        }
        if *rejected > 0 {
            let _ = writeln!(
                text,
                "  table rejected_events: {rejected} rows, {undecoded} of them without a time or not to be decoded"
            );
            let mut reasons: Vec<(&String, &u64)> = report.reasons.iter().collect();
            reasons.sort_by_key(|(_, rows)| std::cmp::Reverse(**rows));
            for (reason, rows) in reasons.into_iter().take(5) {
                let _ = writeln!(text, "    {rows}: {reason}");
            }
        }
        if *rows > 0 {
            let _ = writeln!(
                text,
                "{} on {:.1} processors, {:.2} s of one for a million rows",
                age(report.took),
                report.busy.as_secs_f64() / report.took.as_secs_f64().max(0.001),
                report.busy.as_secs_f64() * 1e6 / *rows as f64
            );
        }
        match (self.dry_run, &report.records[..]) {
            (true, _) => text.push_str("nothing was written; without --dry-run it becomes true\n"),
            (false, []) => text.push_str("nothing became true\n"),
            (false, [one]) => drop(writeln!(text, "true by record {one}")),
            (false, [first, .., last]) => {
                let count = report.records.len();
                let _ = writeln!(text, "true by {count} records, {first} to {last}");
            }
        }
        text
    }

    fn json(&self, report: &Report, what: &str) -> String {
        let object = serde_json::json!({
            "dry_run": self.dry_run,
            "of": what,
            "sources": report.sources,
            "known": report.known,
            "rows": report.rows,
            "skipped": report.skipped,
            "undecoded": report.undecoded,
            "rejected": report.rejected,
            "reasons": report.reasons,
            "tables": report.tables,
            "transforms": report.transforms,
            "records": report.records,
            "again": report.again,
            "seconds": report.took.as_secs_f64(),
            "cpu_seconds": report.busy.as_secs_f64(),
            "untold": report.untold,
        });
        format!("{object}\n")
    }
}

/// The lake to bring history into. Where there are several logs it is not said which of them a source is of.
fn one(lakes: Vec<Lake>) -> Result<Lake> {
    match <[Lake; 1]>::try_from(lakes) {
        Ok([lake]) => Ok(lake),
        Err(lakes) => Err(Error::stop(format!(
            "this lake has {} commit logs (setting `logs`): history can be brought only where there is one",
            lakes.len()
        ))),
    }
}
