//! `tidemill erase`

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use clap::Args;

use super::compact::{after, swept_json};
use super::moment::{Moment, moment};
use super::produce::duration;
use super::progress::Bar;
use super::{say, size, table};
use crate::config::{Config, Flags};
use crate::env::Micros;
use crate::history::erase::{Order, Report, Subject, Taken, erase};
use crate::history::{Swept, named, open, sweep};
use crate::{Error, Result, env};

/// A value's bytes, at most.
const LONGEST: u64 = 64 << 10;

/// Takes every row of one subject out of the lake.
#[derive(Args)]
#[command(
    group = clap::ArgGroup::new("what").args(["where", "sweep"]).required(true),
    after_help = "For requests of people who want to be forgotten. A row goes
  out of the raw table and rejected_events  if the event's JSON has FIELD (a member, or a JSON Pointer as /user/id)
                                            with exactly this value; with --key also if the event's Kafka key is it
  out of a transform's table                if its column FIELD (or --column) has the value, or if the event that it
                                            stems from (kafka_partition, kafka_offset) goes
Hours that have such rows are written anew without them, each by a record of the log that names the field, how many
rows went and a salted hash, never the value. It may run beside hosts, readers and itself, be killed at any time and
be run again: then it finds what is left. Tables whose rows stem from many events are said and left alone.

The rows are gone for readers of the catalog and of the views at once. THE FILES THAT HELD THEM STAY until --keep has
passed and a later `erase`, `compact` or `retain` has removed them: the command says when. What it does not reach is
in docs/security.md: Kafka, states of transforms, old versions of a versioned bucket, copies.

A value on the command line is seen by others on this machine: give it on standard input or in a file.

Examples:
  tidemill erase --where user_id=- --dry-run < value      what would go, by table
  tidemill erase --where user_id=- < value                take it out
  tidemill erase --where user_id --value-file value       the same
  tidemill erase --where /user/id=4711 --column user_id   a member within a member
  tidemill erase --sweep                                  an hour later: remove the files that held it
  tidemill erase --where user_id=- --keep 0s < value      … at once, though queries that run now may fail"
)]
pub(super) struct Erase {
    /// Whose rows: a field of events and tables and its value; - reads the value from standard input
    #[arg(id = "where", long = "where", value_name = "FIELD=VALUE")]
    subject: Option<String>,
    /// The value is the text of this file, without the end of its line
    #[arg(long, value_name = "FILE", requires = "where")]
    value_file: Option<PathBuf>,
    /// The tables' column, if it is not called FIELD
    #[arg(long, value_name = "NAME", requires = "where")]
    column: Option<String>,
    /// Events with this value as their key in Kafka go, too
    #[arg(long, requires = "where")]
    key: bool,
    /// Only this table; repeatable. The raw table last: rows without the column are found by it
    #[arg(long, value_name = "NAME", requires = "where")]
    table: Vec<String>,
    /// Only hours from then on: so long ago, or a date or hour in UTC (2026-11-29, 2026-11-29T10)
    #[arg(long, value_name = "WHEN", value_parser = moment, requires = "where")]
    since: Option<Moment>,
    /// Only hours before then
    #[arg(long, value_name = "WHEN", value_parser = moment, requires = "where")]
    until: Option<Moment>,
    /// How long readers may need what was taken away
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
    keep: Duration,
    /// Only say what would go
    #[arg(long, requires = "where")]
    dry_run: bool,
    /// Only remove the files that were taken away longer than --keep ago
    #[arg(long)]
    sweep: bool,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: Flags,
}

impl Erase {
    pub(super) fn run(self) -> Result<()> {
        let config = Config::load(&self.flags)?;
        let env = env::machine();
        let asked = self.asked()?;
        let runtime = super::runtime()?;
        let Some((field, value)) = asked else {
            let (swept, left) = runtime.block_on(async {
                let (mut lake, specs) = open(&config, &env, "erase").await?;
                let swept = sweep(&mut lake, &specs, self.keep).await?;
                Ok::<_, Error>((swept, lake.log.view().retired().len()))
            })?;
            return say(&self.swept(&swept, left));
        };
        let subject = Subject::new(&field, &value, self.column.as_deref(), self.key, &env)?;
        let report = runtime.block_on(async {
            let (mut lake, specs) = open(&config, &env, "erase").await?;
            named(&specs, &self.table)?;
            let now = lake.env.now();
            let order = Order {
                tables: self.table.clone(),
                since: self.since.map(|when| when.at(now)),
                until: self.until.map(|when| when.at(now)),
                memory: 2 * config.memory.merging(),
                keep: self.keep,
                dry: self.dry_run,
            };
            let bar = Bar::new();
            let done = erase(&mut lake, &specs, &subject, &order, &|text| bar.tell(text)).await;
            bar.end();
            done
        })?;
        say(&if self.json { self.json(&subject, &report) } else { self.text(&subject, &report) })?;
        match report.undone.len() {
            0 => Ok(()),
            places => Err(Error::stop(format!(
                "rows may still be in {places} places, which are named above: see to them and run it again"
            ))),
        }
    }

    /// The field and the value; none: only a sweep is wanted. No error says what was given for the value.
    fn asked(&self) -> Result<Option<(String, String)>> {
        let Some(given) = &self.subject else { return Ok(None) };
        let (field, value) = match (given.split_once('='), &self.value_file) {
            (None, Some(file)) => {
                let name = file.display();
                let file = std::fs::File::open(file)
                    .map_err(|e| Error::usage(format!("cannot open {name} (--value-file): {e}")))?;
                (given.as_str(), read(file, &format!("{name} (--value-file)"))?)
            }
            (Some((field, "-")), None) => (field, read(std::io::stdin().lock(), "standard input")?),
            (Some((field, value)), None) => (field, value.to_owned()),
            (Some(_), Some(_)) => {
                return Err(Error::usage(
                    "with --value-file the value is in the file: expected --where FIELD",
                ));
            }
            (None, None) => {
                return Err(Error::usage(
                    "--where lacks its value: expected FIELD=VALUE, or FIELD=- for standard input",
                ));
            }
        };
        Ok(Some((field.to_owned(), value)))
    }

    fn text(&self, subject: &Subject, report: &Report) -> String {
        let head = ["table", "hours", "files", "bytes", "rows", "records", "read", "spared"];
        let row = |taken: &Taken| {
            let records = match (taken.records.first(), taken.records.last()) {
                (Some(first), Some(last)) if first != last => format!("{first} to {last}"),
                (Some(only), _) => only.to_string(),
                _ => "-".into(),
            };
            let [hours, files, rows, read, spared] =
                [taken.hours, taken.files, taken.rows, taken.read, taken.spared].map(|n| n.to_string());
            vec![taken.table.clone(), hours, files, size(taken.bytes), rows, records, read, spared]
        };
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        rows.extend(report.tables.iter().map(row));
        let mut text = table(&rows, &[0]);
        let gone: u64 = report.tables.iter().map(|taken| taken.rows).sum();
        let field = subject.field();
        match (gone, self.dry_run) {
            (0, _) => text.push_str(&format!("no row has this {field}\n")),
            (_, true) => text.push_str("nothing was written; to take these rows out leave out --dry-run\n"),
            (_, false) => {
                let (salt, hash) = subject.hash();
                text.push_str(&format!("{gone} rows of this {field} were taken out\n"));
                text.push_str(&format!("in the records: SHA-256 of salt and value {hash}, salt {salt}\n"));
                text.push_str(
                    "what transforms remember comes out when their windows close: run it again then\n",
                );
            }
        }
        for taken in report.tables.iter().filter(|taken| taken.unreadable > 0) {
            text.push_str(&format!(
                "{}: {} events are no JSON and have the value in them: they stay\n",
                taken.table, taken.unreadable
            ));
        }
        if report.alone > 0 {
            text.push_str(&format!(
                "of {} of these rows no event was found in the raw zone: it has expired there, or names {field} otherwise\n",
                report.alone
            ));
        }
        if report.late > 0 {
            text.push_str(&format!("{} events came meanwhile and are there: run it again\n", report.late));
        }
        for why in &report.left {
            text.push_str(&format!("left alone: {why}\n"));
        }
        for why in &report.undone {
            text.push_str(&format!("NOT DONE: {why}\n"));
        }
        text.push_str(&after(&report.swept, self.keep, report.untold.as_deref()));
        if let Some((records, time)) = report.kept {
            text.push_str(&format!(
                "the files that {records} records took away are still there; remove them after {}: tidemill erase --sweep\n",
                utc(time)
            ));
        }
        text
    }

    fn json(&self, subject: &Subject, report: &Report) -> String {
        let one = |taken: &Taken| {
            serde_json::json!({
                "table": taken.table,
                "hours": taken.hours,
                "rows": taken.rows,
                "files": taken.files,
                "bytes": taken.bytes,
                "read": taken.read,
                "spared": taken.spared,
                "unreadable": taken.unreadable,
                "records": taken.records,
            })
        };
        let tables: Vec<_> = report.tables.iter().map(one).collect();
        let (salt, hash) = subject.hash();
        let object = serde_json::json!({
            "dry_run": self.dry_run,
            "field": subject.field(),
            "salt": salt,
            "hash": hash,
            "tables": tables,
            "events": report.events,
            "alone": report.alone,
            "late": report.late,
            "left": report.left,
            "undone": report.undone,
            "swept": swept_json(&report.swept),
            "kept": report.kept.map(|(records, time)| serde_json::json!({"records": records, "until": utc(time)})),
            "untold": report.untold,
        });
        format!("{object}\n")
    }

    fn swept(&self, swept: &Swept, left: usize) -> String {
        if self.json {
            return format!("{}\n", serde_json::json!({"swept": swept_json(swept), "left": left}));
        }
        match (after(swept, self.keep, None), left) {
            (text, 0) if text.is_empty() => "there is nothing to remove\n".into(),
            (text, _) => text,
        }
    }
}

/// The text of a reader, without the end of its line.
fn read(from: impl Read, what: &str) -> Result<String> {
    let mut text = String::new();
    from.take(LONGEST + 1)
        .read_to_string(&mut text)
        .map_err(|e| Error::usage(format!("cannot read the value from {what}: {e}")))?;
    if text.len() as u64 > LONGEST {
        return Err(Error::usage(format!("the value in {what} is longer than {LONGEST} bytes")));
    }
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

fn utc(time: Micros) -> String {
    DateTime::from_timestamp_micros(time).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_without_the_end_of_its_line() {
        for (text, value) in
            [("ada\n", "ada"), ("ada\r\n", "ada"), ("ada", "ada"), ("a b\n\n", "a b\n"), ("", "")]
        {
            assert_eq!(read(text.as_bytes(), "a test").unwrap(), value);
        }
        let long = vec![b'a'; 70_000];
        assert!(read(&long[..], "a test").unwrap_err().to_string().contains("longer than 65536 bytes"));
        let error = read(&b"ada\xff"[..], "a test").unwrap_err().to_string();
        assert!(!error.contains("ada"), "{error}");
    }
}
