//! `tidemill rejects replay`

use std::fmt::Write;

use clap::Args;

use super::super::progress::Bar;
use super::super::{Written, record, say, worked};
use super::Which;
use crate::config::{Config, Flags};
use crate::pipeline::offline::Lake;
use crate::pipeline::replay::{Order, Report, replay};
use crate::rejects::Reason;
use crate::{Error, Result, env};

/// Sends rejected events back through the transforms that run now.
#[derive(Args)]
#[command(
    after_help = "The events of a reason leave rejected_events and go through the transforms that the commit log names: what
could not be decoded through all of them, what a transform refused through that one and those that read its output.
What becomes of them is true in one record for each portion, exactly once; what is refused again stays with its new
reason. It may run beside hosts. It needs no Kafka, and the [tables] and max-event-size that the hosts have.

Examples:
  tidemill rejects replay --reason \"user_id is null\" --dry-run
  tidemill rejects replay --reason \"user_id is null\" --transform clean --since 7d"
)]
pub(super) struct Replay {
    /// Rows with exactly this reason
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    which: Which,
    /// Only say what would become of them
    #[arg(long)]
    dry_run: bool,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: Flags,
}

impl Replay {
    pub(super) fn run(self) -> Result<()> {
        let config = Config::load(&self.flags)?;
        let runtime = super::super::runtime()?;
        let (report, records) = runtime.block_on(async {
            let env = env::machine();
            let mut lakes = Lake::open(&config, &env, "replay").await?;
            Lake::read(&mut lakes).await?;
            let wanted = self.which.filter(env.now(), Some(Reason::Exactly(self.reason.clone())));
            let bar = Bar::new();
            let order = Order { wanted, dry: self.dry_run, ..Order::default() };
            let done = all(&config, &mut lakes, &order, &bar).await;
            bar.end();
            done
        })?;
        if let Some(why) = &report.untold {
            eprintln!(
                "warning: the catalog does not show new hours yet: {why}; a running host registers them, or tidemill \
                 verify --repair"
            );
        }
        say(&if self.json { self.json(&report, &records) } else { self.text(&report, &records) })?;
        match report.rows == 0 && !report.left.is_empty() {
            true => Err(Error::stop("none of the rows could go back: see above")),
            false => Ok(()),
        }
    }

    /// What was done, for people. Writing to a string cannot fail.
    fn text(&self, report: &Report, records: &[Written]) -> String {
        let mut text = String::new();
        let left: u64 = report.left.values().sum();
        if report.rows == 0 && left == 0 {
            return format!("there are no rejected events with the reason \"{}\" like that\n", self.reason);
        }
        let Report { rows, undecoded, again, .. } = report;
        let would = if self.dry_run { "would go" } else { "went" };
        let _ = writeln!(text, "{rows} rejected events {would} back through the transforms");
        report.transforms.iter().for_each(|work| worked(&mut text, work));
        for (table, rows) in &report.tables {
            let _ = writeln!(text, "  table {table}: {rows} rows");
        }
        if *again > 0 {
            let _ = writeln!(
                text,
                "  {again} rejected again, {undecoded} of them because they cannot be decoded"
            );
        }
        for (why, rows) in &report.left {
            let _ = writeln!(text, "{rows} stay as they are: {why}");
        }
        let records: Vec<String> = records.iter().map(record).collect();
        match self.dry_run {
            true => text.push_str("nothing was written; without --dry-run it becomes true\n"),
            false if records.is_empty() => text.push_str("nothing became true\n"),
            false => drop(writeln!(text, "true by records {}", records.join(", "))),
        }
        text
    }

    fn json(&self, report: &Report, records: &[Written]) -> String {
        let object = serde_json::json!({
            "dry_run": self.dry_run,
            "reason": self.reason,
            "rows": report.rows,
            "left": report.left,
            "undecoded": report.undecoded,
            "again": report.again,
            "tables": report.tables,
            "transforms": report.transforms,
            "records": super::super::records(records),
        });
        format!("{object}\n")
    }
}

/// The rows of each log go for themselves, into records of that log. One that is done stays so if another fails.
async fn all(
    config: &Config,
    lakes: &mut [Lake],
    order: &Order,
    bar: &Bar,
) -> Result<(Report, Vec<Written>)> {
    let (mut report, mut records) = (Report::default(), Vec::new());
    for lake in lakes {
        let (label, prefix) = (lake.shard.label(), lake.shard.prefix());
        let done = replay(config, lake, order, &|text| bar.tell(format!("{prefix}{text}"))).await;
        let done = done.map_err(|e| Error::new(e.kind(), format!("{prefix}{e}")))?;
        records.extend(done.records.iter().map(|seq| (label, *seq)));
        report.join(done);
    }
    Ok((report, records))
}
