//! `tidemill reprocess`

use std::fmt::Write;
use std::time::Duration;

use clap::Args;

use super::moment::{Moment, moment};
use super::produce::duration;
use super::progress::Bar;
use super::{say, table, worked};
use crate::config::{Config, Flags};
use crate::env::HOUR;
use crate::history::{now, open};
use crate::pipeline::reprocess::{
    Changes, Doing, Order, Rebuilt, Report, Restoration, Sample, reprocess, restore,
};
use crate::table::Hour;
use crate::{Error, Result, env};

/// A column of a row that changes: its name, what it says, and what it would say.
type Column = (String, Option<String>, Option<String>);

/// Makes tables of a time range anew from the raw zone.
#[derive(Args)]
#[command(
    after_help = "The events of the raw zone go once more through the transforms that the commit log names: those that the
hosts run. Deploy a mended transform first, then make the hours anew that it had spoilt. One record puts all hours in
place in all tables of the transforms and in rejected_events; until then nothing has changed, and streaming goes on
meanwhile: what arrives for these hours is taken along. What was there before is kept until it is swept (compact,
retain: --keep), and --undo puts it back, with what came since.

All events since the first hour are read, since an event may come as late as it likes; --late says how late yours do.

Examples:
  tidemill reprocess --since 2025-12-02T09 --until 2025-12-02T12 --diff    what would change
  tidemill reprocess --since 2025-12-02T09 --until 2025-12-02T12           make it so
  tidemill reprocess --since 7d --late 1d --transform sessions             one transform, and those that read it
  tidemill reprocess --undo                                                put the last ones back"
)]
pub(super) struct Reprocess {
    /// The first hour: when, in UTC, or how long ago
    #[arg(long, value_name = "TIME", value_parser = moment, required_unless_present = "undo")]
    since: Option<Moment>,
    /// The end, likewise; the hour in which it lies is left out [default: an hour ago]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Moment>,
    /// Only the tables of this transform, and of those that read what it makes; repeatable
    #[arg(long, value_name = "NAME")]
    transform: Vec<String>,
    /// How long after an hour's end its events may have come [default: at any time]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    late: Option<Duration>,
    /// How long before the first hour events are read: sessions that reach into it began there
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
    warm_up: Duration,
    /// Show what would change, row by row, and change nothing
    #[arg(long, conflicts_with_all = ["dry_run", "undo"])]
    diff: bool,
    /// Rows to show of each kind of change and table
    #[arg(long, value_name = "N", default_value_t = 3, requires = "diff")]
    samples: usize,
    /// Put the hours of this record back, or of the last reprocessing
    #[arg(long, value_name = "RECORD", num_args = 0..=1, conflicts_with_all = ["since", "until", "transform", "late"])]
    undo: Option<Option<u64>>,
    /// Only say what would be read and rewritten
    #[arg(long)]
    dry_run: bool,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: Flags,
}

impl Reprocess {
    pub(super) fn run(self) -> Result<()> {
        let config = Config::load(&self.flags)?;
        let runtime = super::runtime()?;
        runtime.block_on(async {
            let (mut lake, specs) = open(&config, &env::machine(), "reprocess").await?;
            let bar = Bar::new();
            if let Some(record) = self.undo {
                let done = restore(&mut lake, &specs, record, self.dry_run, &|text| bar.tell(text)).await;
                bar.end();
                let done = done?;
                return say(&if self.json { restored_json(&done) } else { restored(&done) });
            }
            let order = self.order(now(&lake).await?, 2 * config.memory.merging())?;
            let report = reprocess(&config, &mut lake, &order, &|text| bar.tell(text)).await;
            bar.end();
            let report = report?;
            say(&if self.json { self.json(&order, &report) } else { self.text(&order, &report) })
        })
    }

    fn order(&self, now: i64, memory: usize) -> Result<Order> {
        let Some(since) = self.since else { return Err(Error::usage("--since is missing")) };
        let since = since.hour(now);
        let last = Hour::of(now.saturating_sub(HOUR));
        let until = self.until.map_or(last, |until| until.within(now));
        if until.0 > Hour::of(now).0 {
            return Err(Error::usage(format!("--until is to come: the last hour that is over is {last}")));
        }
        if since >= until {
            return Err(Error::usage(format!(
                "there is no whole hour from --since ({since}) to --until ({until})"
            )));
        }
        let doing = match (self.diff, self.dry_run) {
            (true, _) => Doing::Compare(self.samples),
            (_, true) => Doing::Plan,
            _ => Doing::Flip,
        };
        Ok(Order {
            transforms: self.transform.clone(),
            since,
            until,
            warm_up: self.warm_up,
            late: self.late,
            of: None,
            memory,
            doing,
        })
    }

    fn text(&self, order: &Order, report: &Report) -> String {
        let mut text = String::new();
        let last = Hour(order.until.0 - 1);
        let (would, events) = (if order.doing == Doing::Plan { "would be" } else { "were" }, report.events);
        let _ = writeln!(text, "{} to {last}: {events} events {would} read", order.since);
        if report.undecoded > 0 {
            let _ = writeln!(text, "  {} of them could not be decoded", report.undecoded);
        }
        report.transforms.iter().for_each(|work| worked(&mut text, work));
        rebuilt(&mut text, &report.tables, order.doing == Doing::Plan);
        report.changes.iter().for_each(|changes| changed(&mut text, changes));
        if report.carried > 0 {
            let _ = writeln!(text, "{} rows that came meanwhile were taken along", report.carried);
        }
        if let Some(why) = &report.untold {
            let _ = writeln!(text, "the catalog does not know all of it yet, hosts go on with it: {why}");
        }
        let records: Vec<String> = report.records.iter().map(u64::to_string).collect();
        let _ = match order.doing {
            Doing::Flip if records.is_empty() => writeln!(text, "there is nothing to make anew"),
            Doing::Flip => writeln!(
                text,
                "true by records {0}; to put it back: tidemill reprocess --undo {1}",
                records.join(", "),
                records.last().map_or("", String::as_str)
            ),
            Doing::Plan | Doing::Compare(_) => writeln!(text, "nothing was written"),
        };
        text
    }

    fn json(&self, order: &Order, report: &Report) -> String {
        let object = serde_json::json!({
            "since": order.since.to_string(),
            "until": order.until.to_string(),
            "dry_run": order.doing == Doing::Plan,
            "diff": matches!(order.doing, Doing::Compare(_)),
            "events": report.events,
            "undecoded": report.undecoded,
            "transforms": report.transforms,
            "tables": rebuilt_json(&report.tables),
            "changes": report.changes.iter().map(changed_json).collect::<Vec<_>>(),
            "carried": report.carried,
            "records": report.records,
            "untold": report.untold,
        });
        format!("{object}\n")
    }
}

/// What became of tables, for people; of a plan only what there is.
pub(super) fn rebuilt(text: &mut String, tables: &[Rebuilt], plan: bool) {
    let made = |count: u64| if plan { "?".into() } else { count.to_string() };
    let head = ["table", "hours", "files", "", "rows", ""].map(str::to_owned).to_vec();
    let row = |done: &Rebuilt| {
        vec![
            done.table.clone(),
            done.hours.to_string(),
            done.files.0.to_string(),
            format!("-> {}", made(done.files.1)),
            done.rows.0.to_string(),
            format!("-> {}", made(done.rows.1)),
        ]
    };
    if !tables.is_empty() {
        let rows: Vec<Vec<String>> = std::iter::once(head).chain(tables.iter().map(row)).collect();
        text.push_str(&table(&rows, &[0, 3, 5]));
    }
}

pub(super) fn rebuilt_json(tables: &[Rebuilt]) -> Vec<serde_json::Value> {
    let one = |done: &Rebuilt| {
        serde_json::json!({
            "table": done.table,
            "hours": done.hours,
            "files": {"before": done.files.0, "after": done.files.1},
            "rows": {"before": done.rows.0, "after": done.rows.1},
        })
    };
    tables.iter().map(one).collect()
}

/// What would change in a table. Writing to a string cannot fail.
fn changed(text: &mut String, changes: &Changes) {
    let Changes { table, same, added, removed, changed, columns, samples } = changes;
    let _ =
        writeln!(text, "\n{table}: {added} rows more, {removed} fewer, {changed} others, {same} as they are");
    for (column, rows) in columns {
        let _ = writeln!(text, "  {column} changes in {rows} rows");
    }
    for Sample { hour, columns } in samples {
        let value = |value: &Option<String>| value.clone().unwrap_or_default();
        let column = |(name, was, is): &Column| match (was, is) {
            (Some(was), Some(is)) if was == is => format!("{name}={was}"),
            (Some(was), Some(is)) => format!("{name}: {was} -> {is}"),
            _ => format!("{name}={}{}", value(was), value(is)),
        };
        let sign = match columns.first() {
            Some((_, Some(_), None)) => '-',
            Some((_, None, Some(_))) => '+',
            _ => '~',
        };
        let columns: Vec<String> = columns.iter().map(column).collect();
        let _ = writeln!(text, "  {sign} {hour}  {}", columns.join("  "));
    }
}

fn changed_json(changes: &Changes) -> serde_json::Value {
    let sample = |sample: &Sample| {
        let side = |side: fn(&Column) -> Option<&String>| {
            let values =
                sample.columns.iter().filter_map(|column| Some((column.0.clone(), side(column)?.clone())));
            let values: std::collections::BTreeMap<String, String> = values.collect();
            (!values.is_empty()).then_some(values)
        };
        serde_json::json!({
            "hour": sample.hour.to_string(), "was": side(|c| c.1.as_ref()), "is": side(|c| c.2.as_ref()),
        })
    };
    serde_json::json!({
        "table": changes.table,
        "same": changes.same,
        "added": changes.added,
        "removed": changes.removed,
        "changed": changes.changed,
        "columns": changes.columns,
        "samples": changes.samples.iter().map(sample).collect::<Vec<_>>(),
    })
}

fn restored(done: &Restoration) -> String {
    let Restoration { of, hours, files, rows, carried, record, untold } = done;
    let mut text = format!(
        "record {of} had rewritten {hours} hours of tables: {files} files with {rows} rows from before it"
    );
    if *carried > 0 {
        let _ = write!(text, ", and {carried} rows that came since");
    }
    let _ = match record {
        Some(record) => writeln!(text, "\nare true again by record {record}"),
        None => writeln!(text, "\nwould be true again; nothing was written"),
    };
    if let Some(why) = untold {
        let _ = writeln!(text, "the catalog does not know all of it yet, hosts go on with it: {why}");
    }
    text
}

fn restored_json(done: &Restoration) -> String {
    let Restoration { of, hours, files, rows, carried, record, untold } = done;
    let object = serde_json::json!({
        "undoes": of, "hours": hours, "files": files, "rows": rows, "carried": carried, "record": record,
        "untold": untold,
    });
    format!("{object}\n")
}
