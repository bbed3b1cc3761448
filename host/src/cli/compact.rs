//! `tidemill compact`

use std::time::Duration;

use clap::Args;

use super::produce::duration;
use super::progress::Bar;
use super::{age, say, size, table};
use crate::config::{Config, Flags};
use crate::history::{Done, Order, Report, Swept, compact, named, open};
use crate::rejects::Filter;
use crate::{Result, env};

/// Merges the small files of closed hours.
#[derive(Args)]
#[command(
    after_help = "Each hour that is over gets its rows in one file, or in files of 128 to 512 MiB, sorted by event time; rows of a
table that its transform declares additive are summed by key. The hour's new files lie in another folder (its next
generation, TABLE/_gen/N/), and one record makes all of them true at once. Readers that go by the catalog or by
`tidemill sql-view` see every row once, at every moment; a plain glob over date=*/hour=* sees rewritten hours no
more. It may run beside hosts, readers and other compactions, be killed at any time and be run again. What it took
away is removed by a later run, when it is older than --keep.

Examples:
  tidemill compact --dry-run                          which hours would be merged
  tidemill compact                                    merge them
  tidemill compact --table user_events --since 2d     the last two days of one table
  tidemill compact --json | jq '.hours[] | .bytes'"
)]
pub(super) struct Compact {
    /// Only this table; repeatable
    #[arg(long, value_name = "NAME")]
    table: Vec<String>,
    /// Only hours that began so long ago at most
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    since: Option<Duration>,
    /// Only hours that ended so long ago: later events are late
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
    closed_for: Duration,
    /// Only hours with at least so many files below 128 MiB
    #[arg(long, value_name = "N", default_value_t = 2)]
    files: usize,
    /// At most so many hours
    #[arg(long, value_name = "N")]
    hours: Option<usize>,
    /// How long readers may need what was taken away
    #[arg(long, value_name = "DURATION", default_value = "1d", value_parser = duration)]
    keep: Duration,
    /// Only say what would be merged
    #[arg(long)]
    dry_run: bool,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: Flags,
}

impl Compact {
    pub(super) fn run(self) -> Result<()> {
        let config = Config::load(&self.flags)?;
        let runtime = super::runtime()?;
        let report = runtime.block_on(async {
            let (mut lake, specs) = open(&config, &env::machine(), "compact").await?;
            named(&specs, &self.table)?;
            let order = Order {
                tables: self.table.clone(),
                since: self.since.map(|ago| Filter::before(lake.env.now(), ago)),
                closed: self.closed_for,
                files: self.files,
                hours: self.hours,
                memory: 2 * config.memory.merging(),
                rate: None,
                keep: self.keep,
                dry: self.dry_run,
            };
            let bar = Bar::new();
            let done = compact(&mut lake, &specs, &order, &|text| bar.tell(text)).await;
            bar.end();
            done
        })?;
        say(&if self.json { self.json(&report) } else { self.text(&report) })
    }

    fn text(&self, report: &Report) -> String {
        let made = |value: Option<u64>, text: fn(u64) -> String| value.map_or("-".into(), text);
        let head = ["table", "hour", "files", "", "bytes", "", "rows", "", "record", "took"]
            .map(str::to_owned)
            .to_vec();
        let row = |done: &Done| {
            vec![
                done.table.clone(),
                done.hour.to_string(),
                done.files.0.to_string(),
                format!("-> {}", made(done.files.1, |n| n.to_string())),
                size(done.bytes.0),
                format!("-> {}", made(done.bytes.1, size)),
                done.rows.0.to_string(),
                format!("-> {}", made(done.rows.1, |n| n.to_string())),
                done.record.map_or("-".into(), |seq| seq.to_string()),
                format!("{:.1}s", done.took.as_secs_f64()),
            ]
        };
        let mut text = String::new();
        if report.hours.is_empty() {
            text.push_str("there is nothing to merge\n");
        } else {
            let rows: Vec<Vec<String>> = std::iter::once(head).chain(report.hours.iter().map(row)).collect();
            text.push_str(&table(&rows, &[0, 1, 3, 5, 7]));
        }
        for why in &report.left {
            text.push_str(&format!("left alone: {why}\n"));
        }
        text.push_str(&after(&report.swept, self.keep, report.untold.as_deref()));
        if self.dry_run && !report.hours.is_empty() {
            text.push_str("nothing was written; to merge them: tidemill compact\n");
        }
        text
    }

    fn json(&self, report: &Report) -> String {
        let one = |done: &Done| {
            serde_json::json!({
                "table": done.table,
                "hour": done.hour.to_string(),
                "files": {"before": done.files.0, "after": done.files.1},
                "bytes": {"before": done.bytes.0, "after": done.bytes.1},
                "rows": {"before": done.rows.0, "after": done.rows.1},
                "record": done.record,
                "seconds": done.took.as_secs_f64(),
            })
        };
        let hours: Vec<_> = report.hours.iter().map(one).collect();
        let object = serde_json::json!({
            "dry_run": self.dry_run,
            "hours": hours,
            "left": report.left,
            "swept": swept_json(&report.swept),
            "untold": report.untold,
        });
        format!("{object}\n")
    }
}

/// What came behind the hours, for people: what was removed, and what the catalog could not be told.
pub(super) fn after(swept: &Swept, keep: Duration, untold: Option<&str>) -> String {
    let mut text = String::new();
    if !swept.records.is_empty() {
        let records: Vec<String> = swept.records.iter().map(u64::to_string).collect();
        let (files, bytes) = (swept.files, size(swept.bytes));
        text.push_str(&format!(
            "removed {files} files ({bytes}) that were taken away longer than {} ago (records {})\n",
            age(keep),
            records.join(", ")
        ));
    }
    if swept.left > 0 {
        text.push_str(&format!("files of {} records stay for readers, for now\n", swept.left));
    }
    if let Some(why) = &swept.why {
        text.push_str(&format!("some stay longer: {why}\n"));
    }
    if let Some(why) = untold {
        text.push_str(&format!("the catalog does not know all of it yet, hosts go on with it: {why}\n"));
    }
    text
}

pub(super) fn swept_json(swept: &Swept) -> serde_json::Value {
    serde_json::json!({
        "records": swept.records, "files": swept.files, "bytes": swept.bytes, "left": swept.left, "why": swept.why,
    })
}
