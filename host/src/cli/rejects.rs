//! `tidemill rejects`

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::IsTerminal;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, SecondsFormat};
use clap::{Args, Subcommand};

use super::produce::duration;
use super::progress::Bar;
use super::{say, table};
use crate::config::{Config, Flags};
use crate::env::Micros;
use crate::pipeline::offline::Lake;
use crate::rejects::{Filter, Group, List, Reason, Sample, list};
use crate::{Result, env};

mod replay;

/// Counts rejected events by reason, and shows some of them.
#[derive(Args)]
#[command(
    after_help = "Each event that could not be decoded, or that a transform refused, stands in the table rejected_events with
its reason, its key and its value. This reads the table as the commit log names it.

Examples:
  tidemill rejects                              how many, by reason
  tidemill rejects --since 24h --samples 3      … of the last day, with three events each
  tidemill rejects --reason timestamp --json    … whose reason contains this text
  tidemill rejects replay --reason \"user_id is null\" --dry-run",
    args_conflicts_with_subcommands = true
)]
pub(super) struct Rejects {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    which: Which,
    /// Only reasons that contain this text
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Show so many events of each reason
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1000))]
    samples: u32,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Subcommand)]
enum Action {
    /// Send rejected events back through the transforms that run now, exactly once
    Replay(replay::Replay),
}

/// Which rejected events are meant.
#[derive(Args)]
struct Which {
    /// Only events of the last hours or days, by their time in Kafka
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    since: Option<Duration>,
    /// Only events of this day in UTC, by their time in Kafka
    #[arg(long, value_name = "YYYY-MM-DD", conflicts_with = "since")]
    date: Option<NaiveDate>,
    /// Only what the transform of this name refused
    #[arg(long, value_name = "NAME")]
    transform: Option<String>,
}

impl Which {
    fn filter(&self, now: Micros, reason: Option<Reason>) -> Filter {
        let since = self.since.map(|ago| Filter::before(now, ago));
        Filter { since, date: self.date, reason, transform: self.transform.clone() }
    }
}

/// Partitions that a line of the table names at most.
const NAMED: usize = 6;

impl Rejects {
    pub(super) fn run(self) -> Result<()> {
        if let Some(Action::Replay(replay)) = self.action {
            return replay.run();
        }
        let config = Config::load(&self.flags)?;
        // All of it lies in the processed zone: the raw one need not even exist.
        let config = Config { raw: config.processed.clone(), ..config };
        let runtime = super::runtime()?;
        let text = runtime.block_on(async {
            let env = env::machine();
            let mut lakes = Lake::open(&config, &env, "rejects").await?;
            Lake::read(&mut lakes).await?;
            let wanted = self.which.filter(env.now(), self.reason.clone().map(Reason::Contains));
            let bar = Bar::new();
            let samples = usize::try_from(self.samples).unwrap_or_default();
            let list = all(&mut lakes, &wanted, samples, &bar).await;
            bar.end();
            let list = list?;
            Ok::<_, crate::Error>(if self.json { json(&lakes, &list) } else { text(&lakes, &list, &wanted) })
        })?;
        say(&text)
    }
}

/// Over all logs.
async fn all(lakes: &mut [Lake], wanted: &Filter, samples: usize, bar: &Bar) -> Result<List> {
    let mut all = List::default();
    for lake in lakes {
        let prefix = lake.shard.prefix();
        let of_log = list(lake, wanted, samples, &|text| bar.tell(format!("{prefix}{text}"))).await?;
        all.join(of_log, samples);
    }
    Ok(all)
}

/// The versions of transforms by digest, as far as the logs still have them.
fn versions(lakes: &[Lake]) -> BTreeMap<&str, &str> {
    lakes.iter().flat_map(|lake| lake.log.view().versions()).collect()
}

fn text(lakes: &[Lake], list: &List, wanted: &Filter) -> String {
    let unseen = match list.unseen {
        0 => String::new(),
        rows => format!(
            "not counted: {rows} rows that were committed and are not visible yet; a running host publishes them, or \
             tidemill verify --repair\n"
        ),
    };
    if list.groups.is_empty() {
        let such = if *wanted == Filter::default() { "" } else { " like that" };
        let places: Vec<String> = lakes.iter().take(1).map(Lake::place).collect();
        return format!("there are no rejected events{such} in {}\n{unseen}", places.concat());
    }
    let head = ["rows", "stage", "transform", "version", "digest", "first", "last", "partitions", "reason"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let versions = versions(lakes);
    rows.extend(list.groups.iter().map(|group| row(&versions, group)));
    let mut lines: Vec<String> = table(&rows, &[1, 2, 3, 4, 5, 6, 7, 8]).lines().map(str::to_owned).collect();
    let width = width();
    let mut text = format!("{}\n", lines.remove(0));
    for (line, group) in lines.into_iter().zip(&list.groups) {
        let _ = writeln!(text, "{line}");
        for sample in &group.samples {
            let _ = writeln!(text, "{}", cut(&shown(sample), width));
        }
    }
    let (rows, reasons, files) = (list.rows(), list.groups.len(), list.files);
    let _ = writeln!(text, "{rows} rejected events, {reasons} reasons, {files} files");
    text + &unseen
}

fn row(versions: &BTreeMap<&str, &str>, group: &Group) -> Vec<String> {
    let version = group.digest.as_deref().and_then(|digest| versions.get(digest).copied());
    let digest = group.digest.as_deref().map(|digest| digest.get(..12).unwrap_or(digest));
    let mut partitions: Vec<String> = group.partitions.iter().take(NAMED).map(i32::to_string).collect();
    if group.partitions.len() > NAMED {
        partitions.push(format!("and {} more", group.partitions.len() - NAMED));
    }
    let or_none = |text: Option<&str>| text.filter(|text| !text.is_empty()).unwrap_or("-").to_owned();
    vec![
        group.rows.to_string(),
        or_none(Some(&group.stage)),
        or_none(group.transform.as_deref()),
        or_none(version),
        or_none(digest),
        time(group.first),
        time(group.last),
        partitions.join(" "),
        escaped(group.reason.as_bytes()),
    ]
}

fn shown(sample: &Sample) -> String {
    let bytes = |bytes: &Option<Vec<u8>>| match bytes {
        Some(bytes) => format!("\"{}\"", escaped(bytes)),
        None => "null".into(),
    };
    let Sample { partition, offset, time, key, value } = sample;
    let time = self::time(*time);
    format!("    {partition}:{offset}  {time}  key {}  value {}", bytes(key), bytes(value))
}

fn json(lakes: &[Lake], list: &List) -> String {
    let versions = versions(lakes);
    let bytes = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| escaped(bytes));
    let sample = |sample: &Sample| {
        serde_json::json!({
            "partition": sample.partition,
            "offset": sample.offset,
            "time": time(sample.time),
            "key": bytes(&sample.key),
            "value": bytes(&sample.value),
        })
    };
    let group = |group: &Group| {
        serde_json::json!({
            "rows": group.rows,
            "stage": group.stage,
            "transform": group.transform,
            "version": group.digest.as_deref().and_then(|digest| versions.get(digest)),
            "digest": group.digest,
            "reason": group.reason,
            "first": time(group.first),
            "last": time(group.last),
            "partitions": group.partitions,
            "samples": group.samples.iter().map(sample).collect::<Vec<_>>(),
        })
    };
    let object = serde_json::json!({
        "rows": list.rows(),
        "files": list.files,
        "unseen": list.unseen,
        "reasons": list.groups.iter().map(group).collect::<Vec<_>>(),
    });
    format!("{object}\n")
}

fn time(time: Micros) -> String {
    let time = DateTime::from_timestamp_micros(time).unwrap_or_default();
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Bytes as text on one line that a terminal can be trusted with.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '\\' => text.push_str("\\\\"),
                // Quotes are what JSON is full of: escaped, nobody could read it.
                '"' | '\'' => text.push(letter),
                _ => text.extend(letter.escape_debug()),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// What fits on a line; none: all of it.
fn width() -> Option<usize> {
    let terminal = std::io::stdout().is_terminal().then(terminal_size::terminal_size).flatten();
    terminal.map(|(width, _)| usize::from(width.0))
}

fn cut(text: &str, width: Option<usize>) -> String {
    let Some(width) = width.filter(|width| text.chars().count() > *width) else { return text.into() };
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_harmless_and_fits() {
        assert_eq!(escaped(b"{\"a\":\"\xc3\xa9\"}\n\x1b[31m\xff\\"), "{\"a\":\"é\"}\\n\\u{1b}[31m\\xff\\\\");
        assert_eq!(cut("abcdef", Some(4)), "abc…");
        assert_eq!(cut("abcdef", Some(6)), "abcdef");
        assert_eq!(cut("abcdef", None), "abcdef");
    }
}
