//! `tidemill retain`

use std::time::Duration;

use clap::Args;

use super::compact::{after, swept_json};
use super::produce::duration;
use super::progress::Bar;
use super::{say, size, table};
use crate::config::{Config, Flags};
use crate::history::{Expired, Retained, Retention, named, open, retain};
use crate::{Result, env};

/// Takes hours past their retention away.
#[derive(Args)]
#[command(
    after_help = "An hour goes when its last event is older than its table's days, by the store's clock: 90 days, the setting
retention-days, or retention-days of [tables.NAME] (\"forever\": never). Without --apply it is only listed. A record
takes the hours out of the lake, the catalog shows them no more, and their files are removed by a later run, when
that is longer ago than --keep. Files that no record names are never touched. A rule of the bucket that expires
objects must be later than that (Terraform: expire_days).

Examples:
  tidemill retain                                     what has expired
  tidemill retain --apply                             take it away
  tidemill retain --table user_events_raw --apply --keep 0s    … and remove the files at once"
)]
pub(super) struct Retain {
    /// Only this table; repeatable
    #[arg(long, value_name = "NAME")]
    table: Vec<String>,
    /// Take it away
    #[arg(long)]
    apply: bool,
    /// How long readers may need what was taken away
    #[arg(long, value_name = "DURATION", default_value = "1d", value_parser = duration)]
    keep: Duration,
    /// The pipeline has stood still for more than a week, and the time is right all the same
    #[arg(long)]
    standing_still: bool,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: Flags,
}

impl Retain {
    pub(super) fn run(self) -> Result<()> {
        let config = Config::load(&self.flags)?;
        let runtime = super::runtime()?;
        let report = runtime.block_on(async {
            let (mut lake, specs) = open(&config, &env::machine(), "retain").await?;
            named(&specs, &self.table)?;
            let days = |name: &String| (name.clone(), config.days_kept(name));
            let wanted = Retention {
                tables: self.table.clone(),
                days: specs.iter().map(|spec| days(&spec.table.name)).collect(),
                keep: self.keep,
                dry: !self.apply,
                still: self.standing_still,
            };
            let bar = Bar::new();
            let done = retain(&mut lake, &specs, &wanted, &|text| bar.tell(text)).await;
            bar.end();
            done
        })?;
        say(&if self.json { self.json(&report) } else { self.text(&report) })
    }

    fn text(&self, report: &Retained) -> String {
        let head =
            ["table", "days", "hours", "first", "last", "files", "rows", "bytes"].map(str::to_owned).to_vec();
        let row = |gone: &Expired| {
            let (first, last) =
                gone.span.map_or(("-".into(), "-".into()), |(a, b)| (a.to_string(), b.to_string()));
            let (days, hours, files, rows) = (gone.days, gone.hours, gone.files, gone.rows);
            let [days, files, rows] = [u64::from(days), files, rows].map(|n| n.to_string());
            vec![gone.table.clone(), days, hours.to_string(), first, last, files, rows, size(gone.bytes)]
        };
        let mut text = String::new();
        if report.tables.is_empty() {
            text.push_str("nothing has expired\n");
        } else {
            let rows: Vec<Vec<String>> = std::iter::once(head).chain(report.tables.iter().map(row)).collect();
            text.push_str(&table(&rows, &[0, 3, 4]));
        }
        for why in &report.left {
            text.push_str(&format!("left alone: {why}\n"));
        }
        text.push_str(&after(&report.swept, self.keep, report.untold.as_deref()));
        if !self.apply && !report.tables.is_empty() {
            text.push_str("nothing was taken away; to do it: tidemill retain --apply\n");
        }
        text
    }

    fn json(&self, report: &Retained) -> String {
        let one = |gone: &Expired| {
            serde_json::json!({
                "table": gone.table,
                "days": gone.days,
                "hours": gone.hours,
                "first": gone.span.map(|span| span.0.to_string()),
                "last": gone.span.map(|span| span.1.to_string()),
                "files": gone.files,
                "rows": gone.rows,
                "bytes": gone.bytes,
                "records": gone.records,
            })
        };
        let tables: Vec<_> = report.tables.iter().map(one).collect();
        let object = serde_json::json!({
            "applied": self.apply, "tables": tables, "left": report.left,
            "swept": swept_json(&report.swept), "untold": report.untold,
        });
        format!("{object}\n")
    }
}
