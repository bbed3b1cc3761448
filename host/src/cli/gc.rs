//! `tidemill gc`

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Args;

use super::produce::duration;
use super::{Written, age, say, size, table};
use crate::audit::{Leftover, leftovers};
use crate::commit::record::Remains;
use crate::config::{Config, Flags};
use crate::pipeline::offline::Lake;
use crate::sink::zone_name;
use crate::{Error, Result, env};

/// Lists and removes what no record names.
#[derive(Args)]
#[command(
    after_help = "Hosts that were killed leave multipart uploads, files in staging and states that never became true. They cost
money and nothing else. Without --apply they are only listed. What any record names is never removed, nor is
anything of another pipeline; an upload to the key of a file that is true is left to the bucket's own rule.

Examples:
  tidemill gc                            what could be removed
  tidemill gc --apply                    remove it
  tidemill gc --older-than 7d --json | jq -r '.leftovers[].key'"
)]
pub(super) struct Gc {
    /// Leave alone what is younger: an epoch that a host is working on
    #[arg(long, value_name = "DURATION", default_value = "1d", value_parser = duration)]
    older_than: Duration,
    /// Remove it
    #[arg(long)]
    apply: bool,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: Flags,
}

/// Younger things may belong to an epoch that a running host has not committed yet.
const OPEN: Duration = Duration::from_secs(3600);
/// Things whose fate is asked for at a time: no more than clean-up names in one record.
const ABREAST: usize = 1000;

impl Gc {
    pub(super) fn run(self) -> Result<()> {
        let config = Config::load(&self.flags)?;
        if self.apply && self.older_than < OPEN {
            eprintln!(
                "warning: epochs that running hosts have not committed yet may be removed, too (--older-than is below \
                 1h): no event is lost, but they are read again"
            );
        }
        let runtime = super::runtime()?;
        let (victims, records) = runtime.block_on(async {
            let mut lakes = Lake::open(&config, &env::machine(), "gc").await?;
            Lake::read(&mut lakes).await?;
            let found = leftovers(&lakes, self.older_than).await?;
            // A clean-up of an empty log would be its first record, and hide that the log was lost.
            let empty = |(lake, found): &(&Lake, &Vec<Leftover>)| lake.log.view().next() == 0 && !found.is_empty();
            if let Some((lake, found)) = lakes.iter().zip(&found).find(empty) {
                return Err(Error::stop(format!(
                    "{} things are staged, but there is no record in {}: the log was lost, or no host has begun yet; \
                     nothing is removed",
                    found.len(),
                    lake.place()
                )));
            }
            let (mut all, mut records) = (Vec::new(), Vec::new());
            for (lake, found) in lakes.iter_mut().zip(found) {
                let (of_log, written) = match self.apply {
                    true => apply(lake, found).await?,
                    false => (victims(lake, found).await?, vec![]),
                };
                all.extend(of_log);
                records.extend(written.into_iter().map(|seq| (lake.shard.label(), seq)));
            }
            all.sort_by(|a, b| (a.remains.zone, &a.remains.key).cmp(&(b.remains.zone, &b.remains.key)));
            Ok((all, records))
        })?;
        say(&if self.json { self.json(&victims, &records) } else { self.text(&victims, &records) })
    }

    fn text(&self, victims: &[Leftover], records: &[Written]) -> String {
        if victims.is_empty() {
            return "there is nothing to remove\n".into();
        }
        let head = ["zone", "kind", "age", "bytes", "key"].map(str::to_owned).to_vec();
        let row = |left: &Leftover| {
            let zone = zone_name::name(left.remains.zone).to_owned();
            let bytes = left.bytes.map_or("-".into(), size);
            vec![zone, left.what.name().into(), age(left.age), bytes, left.remains.key.clone()]
        };
        let rows: Vec<Vec<String>> = std::iter::once(head).chain(victims.iter().map(row)).collect();
        let end = match self.apply {
            false => format!("nothing was removed; to remove these {}: tidemill gc --apply", victims.len()),
            true => {
                let records: Vec<String> = records.iter().map(super::record).collect();
                format!("removed {} (records {})", victims.len(), records.join(", "))
            }
        };
        format!("{}{end}\n", table(&rows, &[0, 1, 4]))
    }

    fn json(&self, victims: &[Leftover], records: &[Written]) -> String {
        let one = |left: &Leftover| {
            serde_json::json!({
                "zone": zone_name::name(left.remains.zone),
                "kind": left.what.name(),
                "key": left.remains.key,
                "upload": left.remains.upload,
                "epoch": left.remains.epoch,
                "age": left.age.as_secs(),
                "bytes": left.bytes,
            })
        };
        let leftovers: Vec<_> = victims.iter().map(one).collect();
        let records = super::records(records);
        let object = serde_json::json!({"removed": self.apply, "leftovers": leftovers, "records": records});
        format!("{object}\n")
    }
}

/// What no record needs.
async fn victims(lake: &Lake, found: Vec<Leftover>) -> Result<Vec<Leftover>> {
    let staged: Vec<Remains> = found.iter().map(|left| left.remains.clone()).collect();
    let mut victims = BTreeSet::new();
    for some in staged.chunks(ABREAST) {
        victims.extend(lake.log.victims(some).await?);
    }
    Ok(found.into_iter().filter(|left| victims.contains(&left.remains)).collect())
}

/// Removes it, a record at a time. Also returns the records that say so.
async fn apply(lake: &mut Lake, found: Vec<Leftover>) -> Result<(Vec<Leftover>, Vec<u64>)> {
    let mut staged: Vec<Remains> = found.iter().map(|left| left.remains.clone()).collect();
    let (mut removed, mut records) = (BTreeSet::new(), Vec::new());
    while let Some(record) = lake.log.clean_up(staged.clone()).await? {
        records.push(record.seq);
        removed.extend(record.cleanup.iter().flat_map(|cleanup| cleanup.remains.iter().cloned()));
        // They are gone; a store that still lists an upload for a while must not make this go on for ever.
        staged.retain(|remains| !removed.contains(remains));
    }
    Ok((found.into_iter().filter(|left| removed.contains(&left.remains)).collect(), records))
}
