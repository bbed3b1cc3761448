//! The past of tables that are younger than the events: made of the lake's own raw zone, in portions of hours that
//! several processes share (rule M8).
//!
//! Which hours the tables have is in the log, by what made them: the same transforms bring nothing twice, others begin
//! anew. A portion is a reprocessing, so what the stream brings meanwhile goes along, and of two that make the same
//! hours one comes to nothing.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::{Doing, Order, Report, one};
use crate::audit::Progress;
use crate::commit::record::{Brought, Claim, Claimed, Source};
use crate::config::Config;
use crate::failpoint::failpoint;
use crate::history::ended;
use crate::pipeline::offline::Lake;
use crate::pipeline::program::Program;
use crate::table::{self, Hour};
use crate::{Error, Kind, Result};

/// How often a portion is made anew because others have moved the log on.
const TRIES: u32 = 10;
/// How often those who wait look.
const LOOK: Duration = Duration::from_millis(500);

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Filling {
    /// The transforms whose tables lack their past, the hours and how they are read. [`Doing::Compare`] is not for it.
    pub order: Order,
    /// Hours that become true together.
    pub portion: u32,
    /// How long a claim lasts.
    pub claim: Duration,
}

/// Gives tables their past. What was done, with how many hours had been there; and what went wrong after it.
pub async fn fill(
    config: &Config,
    lake: &mut Lake,
    filling: &Filling,
    progress: Progress<'_>,
) -> (Report, u64, Option<Error>) {
    let mut report = Report::default();
    let mut known = None;
    let done = all(config, lake, filling, &mut report, &mut known, progress).await;
    (report, known.unwrap_or_default(), done.err())
}

async fn all(
    config: &Config,
    lake: &mut Lake,
    filling: &Filling,
    report: &mut Report,
    known: &mut Option<u64>,
    progress: Progress<'_>,
) -> Result<()> {
    let (holder, mut tries) = (lake.env.fresh_id(), 0);
    let (since, until) = span(lake, &filling.order);
    let mut program: Option<Program> = None;
    // What a dry run would have done.
    let mut dry = since.0;
    loop {
        lake.log.refresh().await?;
        let now = lake.program(config, program.take()).await?;
        let source = source(&now, &filling.order)?;
        let gaps = lake.log.view().covered().gaps(&source, since.0, until.0);
        let left: i64 = gaps.iter().map(|(from, to)| to - from).sum();
        known.get_or_insert_with(|| (until.0 - since.0).abs_diff(left));
        let portions = portions(&gaps, since, filling.portion);
        let held = |(from, to): &&(i64, i64)| !is_claimed(lake, &source, &holder, (*from, *to));
        let dry_run = filling.order.doing == Doing::Plan;
        let next = match dry_run {
            true => portions.iter().find(|(from, _)| *from >= dry),
            false => portions.iter().find(held),
        };
        let Some((from, to)) = next.copied() else {
            if portions.is_empty() || dry_run {
                return Ok(());
            }
            progress(format!("waiting for others who work on what is left: {left} hours"));
            lake.env.sleep(LOOK).await;
            program = Some(now);
            continue;
        };
        let name = now.graph.anew(&filling.order.transforms)?.join(", ");
        if !dry_run && !claimed(lake, filling, &source, &name, &holder, (from, to)).await? {
            program = Some(now);
            continue;
        }
        failpoint!("fill-claimed");
        let order = Order { of: Some((since, until, filling.portion)), ..filling.order.clone() };
        let fills = Brought {
            source,
            name,
            number: None,
            from,
            to,
            ends: false,
            events: to.abs_diff(from),
            offsets: vec![],
        };
        let total = (until.0 - since.0).max(1);
        let done = 100 * (total - left) / total;
        let say = |text: String| progress(format!("{done} % of {total} hours, now {}: {text}", Hour(from)));
        match one(config, lake, &now, &order, (Hour(from), Hour(to)), Some(fills), report, &say).await {
            Ok(()) => (tries, dry) = (0, to),
            Err(e) if e.kind() == Kind::Abandon && tries < TRIES => {
                tracing::debug!("hours are made once more: {e}");
                tries += 1;
            }
            Err(e) => return Err(ended(e)),
        }
        program = Some(now);
    }
}

/// The hours that are meant, from the first that has events on.
fn span(lake: &Lake, order: &Order) -> (Hour, Hour) {
    let topic = lake.log.view().topic().map(|topic| topic.name.clone()).unwrap_or_default();
    let raw = table::raw(&topic).name;
    let dates = lake.log.dates(&raw);
    let first = dates.iter().filter_map(|date| date.parse::<chrono::NaiveDate>().ok()).min();
    let first =
        first.and_then(|date| date.and_hms_opt(0, 0, 0)).map(|time| time.and_utc().timestamp() / 3600);
    // Events may be of the day before, or older still: whoever has such names the hour.
    let first = first.map_or(order.until.0, |hour| hour.saturating_sub(24));
    (Hour(order.since.0.max(first)), order.until)
}

/// What tells these transforms from others.
fn source(program: &Program, order: &Order) -> Result<Source> {
    let names = program.graph.anew(&order.transforms)?;
    let mut digest = Sha256::new();
    for deployed in
        program.desired.components.iter().filter(|deployed| names.contains(&deployed.name.as_str()))
    {
        let sidecar = deployed.sidecar.as_deref().unwrap_or_default();
        digest.update(format!("{} {} {}\n{sidecar}\n", deployed.name, deployed.digest, sidecar.len()));
    }
    Ok(Source::Hours(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()))
}

/// Gaps in parts of so many hours, counted from the first hour, so that all processes mean the same ones.
fn portions(gaps: &[(i64, i64)], since: Hour, hours: u32) -> Vec<(i64, i64)> {
    let hours = i64::from(hours.max(1));
    let mut portions = Vec::new();
    for (from, to) in gaps {
        let mut at = *from;
        while at < *to {
            let end = since.0 + ((at - since.0) / hours + 1) * hours;
            portions.push((at, end.min(*to)));
            at = end;
        }
    }
    portions
}

/// Whether others work on some of these hours.
fn is_claimed(lake: &Lake, source: &Source, holder: &str, (from, to): (i64, i64)) -> bool {
    let mut others =
        lake.log.view().covered().claims(lake.env.now()).filter(|held| held.claim.holder != holder);
    others.any(|held| {
        held.claim.parts.iter().any(|part| part.source == *source && part.from < to && from < part.to)
    })
}

/// Claims hours. False: others were faster.
async fn claimed(
    lake: &mut Lake,
    filling: &Filling,
    source: &Source,
    name: &str,
    holder: &str,
    (from, to): (i64, i64),
) -> Result<bool> {
    let part = Claimed { source: source.clone(), name: name.into(), number: None, from, to };
    let seconds = u32::try_from(filling.claim.as_secs()).unwrap_or(u32::MAX).max(1);
    let claim = Claim { holder: holder.into(), seconds, parts: vec![part], chains: vec![] };
    let record = lake.log.claim(claim, &std::collections::BTreeSet::new(), None).await.map_err(ended)?;
    Ok(record.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portions_are_the_same_whoever_asks() {
        assert_eq!(portions(&[(10, 70)], Hour(10), 24), [(10, 34), (34, 58), (58, 70)]);
        assert_eq!(portions(&[(15, 34), (40, 60)], Hour(10), 24), [(15, 34), (40, 58), (58, 60)]);
        assert!(portions(&[], Hour(10), 24).is_empty());
    }
}
