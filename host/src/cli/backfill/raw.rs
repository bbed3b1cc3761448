//! `tidemill backfill raw`

use std::fmt::Write;
use std::time::Duration;

use clap::Args;

use super::super::moment::{Moment, moment};
use super::super::produce::duration;
use super::super::progress::Bar;
use super::super::reprocess::{rebuilt, rebuilt_json};
use super::super::{say, worked};
use crate::config::{Config, Flags};
use crate::env::HOUR;
use crate::history::{now, open};
use crate::pipeline::reprocess::{Doing, Filling, Order, Report, fill};
use crate::table::Hour;
use crate::{Error, Result, env};

/// Gives the tables of transforms their past, out of the lake's own raw zone.
#[derive(Args)]
#[command(
    after_help = "A transform that came later than the events has tables without a past. This makes their hours out of the raw zone,
as `tidemill reprocess` does, in portions of a day: each becomes true in one record, which says which transforms have
made which hours. So hours that they have are skipped, it may be killed and run again, and several at once share the
work. A transform that is changed begins anew. Run it when the hosts run the transform.

Examples:
  tidemill backfill raw --transform sessions --dry-run
  tidemill backfill raw --transform sessions --since 30d
  tidemill backfill raw --transform sessions --late 3d      events come up to three days late"
)]
pub(super) struct Raw {
    /// The transform whose tables lack their past, with those that read what it makes; repeatable
    #[arg(long, value_name = "NAME", required = true)]
    transform: Vec<String>,
    /// The first hour: when, in UTC, or how long ago [default: where the raw zone begins]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Moment>,
    /// The end, likewise; the hour in which it lies is left out [default: an hour ago]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Moment>,
    /// How long after the end of a portion its events may have come
    #[arg(long, value_name = "DURATION", default_value = "1d", value_parser = duration)]
    late: Duration,
    /// How long before a portion events are read: sessions that reach into it began there
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
    warm_up: Duration,
    /// So many hours become true together
    #[arg(long, value_name = "HOURS", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..))]
    portion: u32,
    /// Others take what this run works on for abandoned after so long
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    claim_for: Duration,
    /// Only say which hours would be made
    #[arg(long)]
    dry_run: bool,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: Flags,
}

impl Raw {
    pub(super) fn run(self) -> Result<()> {
        let config = Config::load(&self.flags)?;
        let runtime = super::super::runtime()?;
        let (report, known, failed) = runtime.block_on(async {
            let (mut lake, _) = open(&config, &env::machine(), "backfill").await?;
            let filling = self.filling(now(&lake).await?, 2 * config.memory.merging())?;
            let bar = Bar::new();
            let done = fill(&config, &mut lake, &filling, &|text| bar.tell(text)).await;
            bar.end();
            Ok::<_, Error>(done)
        })?;
        if failed.is_none() || !report.records.is_empty() {
            say(&if self.json { self.json(&report, known) } else { self.text(&report, known) })?;
        }
        match failed {
            Some(e) => Err(e),
            None => self.missed(&report),
        }
    }

    fn filling(&self, now: i64, memory: usize) -> Result<Filling> {
        let last = Hour::of(now.saturating_sub(HOUR));
        let until = self.until.map_or(last, |until| until.within(now));
        let since = self.since.map_or(Hour(i64::MIN / HOUR), |since| since.hour(now));
        if until > Hour::of(now) || since >= until {
            return Err(Error::usage(format!(
                "there is no whole hour that is over from --since to --until ({until})"
            )));
        }
        let order = Order {
            transforms: self.transform.clone(),
            since,
            until,
            warm_up: self.warm_up,
            late: Some(self.late),
            of: None,
            memory,
            doing: if self.dry_run { Doing::Plan } else { Doing::Flip },
        };
        Ok(Filling { order, portion: self.portion, claim: self.claim_for })
    }

    /// Rows that no portion has: the hours are to be made once more.
    fn missed(&self, report: &Report) -> Result<()> {
        let (Some(first), Some(last)) = (report.missed.first(), report.missed.last()) else { return Ok(()) };
        let of = |hour: Hour| {
            let (date, hour) = hour.values();
            format!("{date}T{hour}")
        };
        Err(Error::stop(format!(
            "{} hours lack rows whose events came later than --late: tidemill reprocess --since {} --until {} --transform {}",
            report.missed.len(),
            of(*first),
            of(Hour(last.0 + 1)),
            self.transform.join(" --transform ")
        )))
    }

    /// What was done, for people. Writing to a string cannot fail.
    fn text(&self, report: &Report, known: u64) -> String {
        let mut text = String::new();
        if known > 0 {
            let _ =
                writeln!(text, "{known} hours have been made before by these transforms, and were skipped");
        }
        let would = if self.dry_run { "would be" } else { "were" };
        let _ = writeln!(text, "{} events {would} read", report.events);
        report.transforms.iter().for_each(|work| worked(&mut text, work));
        rebuilt(&mut text, &report.tables, self.dry_run);
        if let Some(why) = &report.untold {
            let _ = writeln!(text, "the catalog does not know all of it yet, hosts go on with it: {why}");
        }
        let _ = match (self.dry_run, &report.records[..]) {
            (true, _) => writeln!(text, "nothing was written; without --dry-run it becomes true"),
            (false, []) => writeln!(text, "nothing became true"),
            (false, [one]) => writeln!(text, "true by record {one}"),
            (false, [first, .., last]) => {
                writeln!(text, "true by {} records, {first} to {last}", report.records.len())
            }
        };
        text
    }

    fn json(&self, report: &Report, known: u64) -> String {
        let object = serde_json::json!({
            "dry_run": self.dry_run,
            "of": "raw",
            "known": known,
            "events": report.events,
            "undecoded": report.undecoded,
            "transforms": report.transforms,
            "tables": rebuilt_json(&report.tables),
            "carried": report.carried,
            "missed": report.missed.iter().map(Hour::to_string).collect::<Vec<_>>(),
            "records": report.records,
            "untold": report.untold,
        });
        format!("{object}\n")
    }
}
