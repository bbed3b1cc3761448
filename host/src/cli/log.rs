//! `tidemill log`

use std::fmt::Write;

use clap::Args;
use futures::{StreamExt, stream};

use super::{say, size, table};
use crate::commit::Record;
use crate::commit::record::{
    Advance, Backfilled, Brought, Claim, Claimed, Compacted, DataFile, Erased, Flip, Replayed, Reprocessed,
    Restored, Source, Stretch, Work, partition,
};
use crate::config::{Config, Flags};
use crate::pipeline::offline::Lake;
use crate::sink::Publish;
use crate::table::Hour;
use crate::{Error, Result, env};

/// Prints the commit log.
#[derive(Args)]
#[command(after_help = "A record is true if and only if it is in the log; all of the lake follows from it.

Examples:
  tidemill log                           the last 20 commits
  tidemill log --last 500 --json         … as they are stored, a line each
  tidemill log 17                        everything about one
  tidemill log --shard 3 17              … of the log of shard 3, where there are several
  tidemill log --raw file:///lake/raw --processed file:///lake/processed")]
pub(super) struct Log {
    /// Only this record, with everything in it
    seq: Option<u64>,
    /// The newest N records
    #[arg(long, value_name = "N", default_value_t = 20, conflicts_with = "seq")]
    last: u64,
    /// Only the log of this shard, where there are several [default: all, by time]
    #[arg(long, value_name = "S")]
    shard: Option<u32>,
    /// Records as they are stored, one a line, oldest first
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: Flags,
}

/// Records that are read side by side.
const ABREAST: usize = 16;
/// Partitions that a line of the table names at most.
const NAMED: usize = 6;

impl Log {
    pub(super) fn run(self) -> Result<()> {
        let config = Config::load(&self.flags)?;
        // The log lies in the processed zone: the raw one need not even exist.
        let config = Config { raw: config.processed.clone(), ..config };
        let runtime = super::runtime()?;
        runtime.block_on(async {
            let mut lakes = Lake::open(&config, &env::machine(), "log").await?;
            let logs = lakes.len();
            if let Some(wanted) = self.shard {
                lakes.retain(|lake| lake.shard.number() == wanted);
            }
            match (self.seq, &mut lakes[..]) {
                (_, []) => Err(Error::usage(format!(
                    "there is no such --shard: the lake has {logs} of them, from 0 on"
                ))),
                (Some(seq), [lake]) => self.one(lake, seq).await,
                (Some(seq), _) => Err(Error::usage(format!(
                    "each of the {logs} logs may have a record {seq}: say which with --shard (0 to {})",
                    logs - 1
                ))),
                (None, [lake]) => self.newest(lake).await,
                (None, lakes) => self.merged(lakes).await,
            }
        })
    }

    async fn one(&self, lake: &mut Lake, seq: u64) -> Result<()> {
        let Some(record) = lake.log.read(seq).await? else {
            lake.log.open().await?;
            let known = match lake.log.view().next() {
                0 => "the log is empty".to_string(),
                next => format!("the log has records 0 to {}", next - 1),
            };
            return Err(Error::stop(format!("there is no record {seq} in {}: {known}", lake.place())));
        };
        say(&if self.json { line(&record)? } else { whole(&record) })
    }

    async fn newest(&self, lake: &mut Lake) -> Result<()> {
        lake.log.open().await?;
        let next = lake.log.view().next();
        if next == 0 && !self.json {
            return say(&format!("nothing was committed yet: there is no record in {}\n", lake.place()));
        }
        let mut rows = vec![HEAD.map(str::to_owned).to_vec()];
        let log = &lake.log;
        let slots = next.saturating_sub(self.last)..next;
        let mut records =
            stream::iter(slots).map(|seq| async move { (seq, log.read(seq).await) }).buffered(ABREAST);
        while let Some((seq, record)) = records.next().await {
            let record = record?.ok_or_else(|| {
                Error::stop(format!("record {seq} is missing in {}: restore it", lake.place()))
            })?;
            match self.json {
                true => say(&line(&record)?)?,
                false => rows.push(row(&record)),
            }
        }
        if self.json { Ok(()) } else { say(&table(&rows, &[1, 2, 3, 4])) }
    }
}

impl Log {
    /// The newest records of several logs, by their time.
    async fn merged(&self, lakes: &mut [Lake]) -> Result<()> {
        Lake::read(lakes).await?;
        let mut found: Vec<(u32, Record)> = Vec::new();
        for lake in &*lakes {
            let (log, next) = (&lake.log, lake.log.view().next());
            let slots = next.saturating_sub(self.last)..next;
            let mut records =
                stream::iter(slots).map(|seq| async move { (seq, log.read(seq).await) }).buffered(ABREAST);
            while let Some((seq, record)) = records.next().await {
                let missing = || format!("record {seq} is missing in {}: restore it", lake.place());
                found.push((lake.shard.number(), record?.ok_or_else(|| Error::stop(missing()))?));
            }
        }
        found.sort_by_key(|(log, record)| (record.time, *log, record.seq));
        let old = found.len().saturating_sub(usize::try_from(self.last).unwrap_or(usize::MAX));
        found.drain(..old);
        if self.json {
            return found.iter().try_for_each(|(_, record)| say(&line(record)?));
        }
        if found.is_empty() {
            return say(&format!("nothing was committed yet: there is no record in {}\n", lakes[0].place()));
        }
        let mut rows = vec![std::iter::once("log").chain(HEAD).map(str::to_owned).collect::<Vec<_>>()];
        rows.extend(found.iter().map(|(log, record)| {
            let mut cells = vec![log.to_string()];
            cells.extend(row(record));
            cells
        }));
        say(&table(&rows, &[2, 3, 4, 5]))
    }
}

const HEAD: [&str; 9] = ["seq", "time", "kind", "writer", "partitions", "events", "files", "rows", "bytes"];

/// A record as it is stored.
fn line(record: &Record) -> Result<String> {
    Ok(String::from_utf8_lossy(&record.encode()?).into_owned())
}

fn row(record: &Record) -> Vec<String> {
    let partitions = record.partitions.iter().take(NAMED);
    let mut partitions: Vec<String> =
        partitions.map(|a| format!("{}:{}..{}", a.partition, a.from, a.to)).collect();
    if record.partitions.len() > NAMED {
        partitions.push(format!("and {} more", record.partitions.len() - NAMED));
    }
    let rows: u64 = record.files.iter().map(|file| file.file.rows).sum();
    let bytes = record.files.iter().map(|file| file.file.bytes).sum();
    vec![
        record.seq.to_string(),
        record.when(),
        record.kind.name().into(),
        short(&record.writer.host),
        if partitions.is_empty() { "-".into() } else { partitions.join(" ") },
        events(record).to_string(),
        record.files.len().to_string(),
        rows.to_string(),
        size(bytes),
    ]
}

fn events(record: &Record) -> u64 {
    let streamed: u64 = record.partitions.iter().map(|advance| advance.events).sum();
    streamed + record.backfilled.as_ref().map_or(0, Backfilled::events)
}

/// A host's name in a column. Ids made at the same time differ at their end.
fn short(host: &str) -> String {
    let letters = host.chars().count();
    let made = letters == 32 && host.bytes().all(|b| b.is_ascii_hexdigit());
    match (made, letters > 16) {
        (true, _) => format!("…{}", &host[24..]),
        (false, true) => format!("{}…", host.chars().take(15).collect::<String>()),
        (false, false) => host.into(),
    }
}

/// Everything about one record. Writing to a string cannot fail.
fn whole(record: &Record) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "record {}: {}", record.seq, record.kind.name());
    let mut facts = vec![
        ("time", record.when()),
        ("writer", format!("{} (tidemill {})", record.writer.host, record.writer.version)),
        ("pipeline", record.pipeline.clone()),
        ("id", record.id.clone()),
    ];
    if let Some(topic) = &record.topic {
        let id = if topic.id.is_empty() { String::new() } else { format!(" ({})", topic.id) };
        facts.push(("topic", format!("{}{id}", topic.name)));
    }
    if let Some(previous) = record.previous {
        facts.push(("after", format!("maintenance record {previous}")));
    }
    for (name, value) in facts {
        let _ = writeln!(text, "  {name:<9} {value}");
    }
    for partition in &record.partitions {
        advance(&mut text, partition);
    }
    if let Some(replayed) = &record.replayed {
        let Replayed { reason, set, rows, kept, undecoded, again, transforms } = replayed;
        let set = set.map_or(String::new(), |set| format!(" of record {set}"));
        let _ = writeln!(text, "\n{rows} rejected rows went through the transforms{set} again: {reason}");
        let _ = writeln!(
            text,
            "  {undecoded} could not be decoded, {again} rows were rejected again, {kept} others stay"
        );
        transforms.iter().for_each(|work| worked(&mut text, work));
    }
    for Flip { table, hour, generation } in &record.flips {
        let hour = Hour(*hour);
        let _ = writeln!(text, "\n{table}, {hour}: generation {generation} from now on");
    }
    if let Some(Compacted { rows, print, merged }) = &record.compacted {
        let merged = if *merged { ", put together by key" } else { "" };
        let print = print.as_ref().map(|print| format!(", events {print}")).unwrap_or_default();
        let _ = writeln!(text, "  made of {rows} rows{merged}{print}");
    }
    if let Some(Reprocessed { set, events, undecoded, carried, fills, transforms }) = &record.reprocessed {
        let set = set.map_or(String::new(), |set| format!(" of record {set}"));
        let _ = writeln!(text, "\n{events} events of the raw zone went through the transforms{set} again");
        let _ = writeln!(
            text,
            "  {undecoded} could not be decoded, {carried} rows that came meanwhile were kept"
        );
        if let Some(Brought { name, from, to, .. }) = fills {
            let _ = writeln!(text, "  the past of the tables of {name}, {} to {}", Hour(*from), Hour(to - 1));
        }
        transforms.iter().for_each(|work| worked(&mut text, work));
    }
    if let Some(Restored { record, carried, .. }) = &record.restored {
        let _ = writeln!(text, "\nas before record {record}, with {carried} rows that came since");
    }
    if let Some(Erased { field, salt, hash, rows, kept, print }) = &record.erased {
        let print = print.as_ref().map(|print| format!(", events {print}")).unwrap_or_default();
        let _ = writeln!(text, "  {rows} rows of one {field} are gone, {kept} stay{print}");
        let _ = writeln!(text, "  who: SHA-256 of salt and value {hash}\n  salt {salt}");
    }
    if let Some(before) = record.before {
        let _ = writeln!(text, "  with events from before {}", crate::commit::record::when(before));
    }
    if !record.sweeps.is_empty() {
        let seqs: Vec<String> = record.sweeps.iter().map(u64::to_string).collect();
        let _ = writeln!(text, "\nremoves what these records took away: {}", seqs.join(", "));
        for Stretch { flip, from, to, of } in &record.stretches {
            let _ = writeln!(text, "  of record {flip}, files {from}..{to} of {of}");
        }
    }
    if let Some(claim) = &record.claim {
        claimed(&mut text, claim);
    }
    if let Some(portion) = &record.backfilled {
        backfilled(&mut text, portion);
    }
    files(&mut text, "files", &record.files);
    files(&mut text, "supersedes", &record.supersedes);
    if let Some(cleanup) = &record.cleanup {
        let _ = writeln!(text, "\nremoves what {} epochs left:", cleanup.epochs.len());
        for remains in &cleanup.remains {
            let zone = crate::sink::zone_name::name(remains.zone);
            let upload = remains.upload.as_ref().map(|id| format!("  upload {id}")).unwrap_or_default();
            let _ = writeln!(text, "  {zone} {}{upload}", remains.key);
        }
    }
    for owed in &record.owed {
        let _ = writeln!(text, "\nowed to the catalog: {} hours of {}", owed.hours.len(), owed.table);
    }
    text
}

fn advance(text: &mut String, advance: &Advance) {
    let Advance { partition, from, to, events, undecoded, .. } = advance;
    let after = advance.prev.map_or("the first".into(), |prev| format!("after record {prev}"));
    let _ = writeln!(text, "\npartition {partition}: offsets {from}..{to}, {after}");
    let _ = writeln!(text, "  {events} events, {undecoded} of them could not be decoded");
    if !advance.epoch.is_empty() {
        let _ = writeln!(text, "  epoch {}", advance.epoch);
    }
    advance.transforms.iter().for_each(|work| worked(text, work));
}

fn claimed(text: &mut String, claim: &Claim) {
    let Claim { holder, seconds, parts, chains } = claim;
    let _ = writeln!(text, "\n{holder} works for {seconds} s on");
    for Claimed { name, number, from, to, .. } in parts {
        let to = if *to == i64::MAX { "the end".into() } else { to.to_string() };
        let numbered = number.map(|n| format!(", partition {}", partition(n))).unwrap_or_default();
        let _ = writeln!(text, "  {name}: rows {from} to {to}{numbered}");
    }
    for chain in chains {
        let _ = writeln!(text, "  chain {chain}");
    }
}

fn backfilled(text: &mut String, portion: &Backfilled) {
    let set = portion.set.map_or(String::new(), |set| format!(" of record {set}"));
    let (events, undecoded, skipped) = (portion.events(), portion.undecoded, portion.skipped);
    let _ = writeln!(text, "\n{events} events of history went through the transforms{set}:");
    for Brought { name, number, from, to, ends, events, source, .. } in &portion.parts {
        let end = if *ends { ", where it ends" } else { "" };
        let numbered = number.map(|n| format!(", partition {}", partition(n))).unwrap_or_default();
        let digest = match source {
            Source::File(digest) => format!(" ({})", digest.get(..12).unwrap_or(digest)),
            Source::Partition(..) | Source::Hours(_) => String::new(),
        };
        let _ = writeln!(text, "  {name}{digest}: {from}..{to}{end}, {events} events{numbered}");
    }
    let _ = writeln!(text, "  {undecoded} could not be decoded, {skipped} are the stream's");
    portion.transforms.iter().for_each(|work| worked(text, work));
    for link in &portion.chains {
        let after = link.previous.map_or("begins".into(), |seq| format!("goes on from record {seq}"));
        let ends = if link.ends { " and ends" } else { "" };
        let _ = writeln!(text, "  chain {} {after}{ends}", link.chain);
    }
}

fn worked(text: &mut String, work: &Work) {
    let Work { name, version, input, emitted, rejected, filtered, absorbed, .. } = work;
    let reads = work.reads.as_deref().unwrap_or("the topic");
    let digest = work.digest.get(..12).unwrap_or(&work.digest);
    let _ = writeln!(text, "  transform {name} {version} ({digest}) reads {reads}");
    let _ = writeln!(
        text,
        "    {input} rows in: {emitted} emitted, {rejected} rejected, {filtered} filtered, {absorbed} absorbed"
    );
    if !work.tables.is_empty() {
        let _ = writeln!(text, "    tables {}", work.tables.join(", "));
    }
    if let Some(state) = &work.state {
        let _ = writeln!(text, "    state {} ({}, version {})", state.key, size(state.bytes), state.version);
    }
}

fn files(text: &mut String, title: &str, files: &[DataFile]) {
    if files.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{title}:");
    let mut rows = Vec::with_capacity(files.len());
    for DataFile { file, .. } in files {
        let how = match &file.how {
            Publish::Upload { id, parts } => format!("upload {id} ({} parts)", parts.len()),
            Publish::Rename { staging } => format!("from {staging}"),
        };
        let zone = crate::sink::zone_name::name(file.zone).to_string();
        let (count, bytes) = (format!("{} rows", file.rows), size(file.bytes));
        rows.push(vec![format!("  {zone}"), file.key.clone(), count, bytes, how]);
    }
    text.push_str(&table(&rows, &[0, 1, 4]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_is_short_and_still_told_from_others() {
        assert_eq!(short("0198a0000000700080000000000000ff"), "…000000ff");
        assert_eq!(short("host-1"), "host-1");
        assert_eq!(short("a-very-long-name-of-a-host"), "a-very-long-nam…");
    }
}
