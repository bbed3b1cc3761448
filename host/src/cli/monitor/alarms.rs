//! What is an alarm. Pure: from what was seen to a verdict.
//!
//! **Freshness.** An idle topic is fresh, however long ago its last commit was: there is an alarm only where events
//! wait (the topic ends beyond the last commit) and the oldest of them is older than the bound. How old that one is
//! nobody says. It is no older than the last commit's age and the age that the oldest event in it had (in the log:
//! than the age of the newest event in it), since events of a partition are committed in order: if that is within the
//! bound, all is well. Otherwise it may have come this moment, after a long silence. Then there is a *doubt*, and only
//! looking again settles it: see [`Waits`]. Who looks once looks on until what waited is in the lake, or the bound is
//! over.

use std::time::Duration;

use serde::Serialize;

use super::lake::Facts;
use super::waits::{Waits, between, storage};
use crate::cli::{age, short};
use crate::env::Micros;
use crate::observe::{PartitionStatus, Status};

/// How long a host may start, and how long brokers or zones may be silent, before it is an alarm.
const STARTS: Duration = Duration::from_secs(60);
pub(super) const SILENT: Duration = Duration::from_secs(5);

/// When an alarm goes on.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    /// An event may wait so long.
    pub(super) freshness: Duration,
    /// So many events may wait.
    pub(super) lag: Option<u64>,
    /// The last commit may be so old, even if nothing waits.
    pub(super) silence: Option<Duration>,
    /// Somebody asked for one of the first two: then not to know is an alarm, too.
    pub(super) asked: bool,
}

/// What an alarm is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    /// The host says that it needs a person.
    Attention,
    /// Events wait for too long.
    Freshness,
    /// Too many events wait.
    Lag,
    /// Nothing was committed for too long.
    Silence,
    /// A host does not come further than its start.
    Starting,
    /// Nobody knows how many events wait.
    Unknown,
    /// A zone does not answer the host.
    Storage,
    /// A host does not answer.
    Unanswered,
    /// A host was there and is no more.
    Gone,
    /// The lake cannot be read.
    Unreadable,
}

/// An alarm that is on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Alarm {
    /// What it is about.
    pub(super) kind: Kind,
    /// The host's process; none: the lake.
    pub(super) process: Option<u32>,
    /// The partition for which it is worst, if it is about partitions.
    pub(super) partition: Option<i32>,
    /// A line for a person.
    pub(super) what: String,
}

/// What is to be said of one host, or of the lake.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// What is on.
    pub(super) alarms: Vec<Alarm>,
    /// It takes another look to know.
    pub(super) doubts: bool,
}

/// Judges what a host, or the log (then with its facts), says. With `settle` what is in doubt counts as an alarm.
pub(super) fn judge(
    status: &Status,
    lake: Option<&Facts>,
    waits: &Waits,
    bounds: &Bounds,
    settle: bool,
) -> Verdict {
    let mut verdict = Verdict::default();
    let process = lake.is_none().then_some(status.host.pid);
    let mut on = |kind, partition, what| verdict.alarms.push(Alarm { kind, process, partition, what });
    for line in &status.attention {
        on(Kind::Attention, None, line.clone());
    }
    let now = status.at.0;
    let up = between(status.host.started.0, now);
    if lake.is_none() && status.set.is_none() && up > STARTS {
        let what = "brokers, zones or catalog have not answered (its log says which)";
        on(Kind::Starting, None, format!("it has been starting for {}: {what}", age(up)));
    }
    let mut late: Vec<(Duration, bool, i32)> = Vec::new();
    let mut doubts = false;
    for (number, one) in status.partitions.iter().filter(|(_, one)| one.lag.is_some_and(|lag| lag > 0)) {
        let waited = waits.of(*number, now).unwrap_or_default();
        let most = at_most(*number, one, lake, now);
        let doubtful = most.is_none_or(|most| most > bounds.freshness);
        if waited > bounds.freshness {
            late.push((waited, true, *number));
        } else if doubtful && settle {
            late.push((most.unwrap_or(waited), false, *number));
        } else {
            doubts |= doubtful;
        }
    }
    if let Some((time, certain, number)) = late.iter().max() {
        let more = match late.len() - 1 {
            0 => String::new(),
            more => format!(", and those of {more} more partitions too long"),
        };
        let (bound, time) = (short(bounds.freshness), short(*time));
        let how = if *certain { "at least" } else { "perhaps" };
        let what = format!("events of partition {number} wait for {how} {time} (bound {bound}){more}");
        on(Kind::Freshness, Some(*number), what);
    }
    let known = || status.partitions.iter().filter_map(|(number, one)| Some((one.lag?, *number)));
    if let Some(bound) = bounds.lag {
        let lag: u64 = known().map(|(lag, _)| lag).sum();
        if let Some((_, worst)) = known().max().filter(|_| lag > bound) {
            on(Kind::Lag, Some(worst), format!("{lag} events wait (bound {bound})"));
        }
    }
    let matters = lake.is_none() || bounds.asked;
    if let Some(silent) = waits.silent(now).filter(|_| matters) {
        if silent >= SILENT || settle {
            let why = lake.and_then(|lake| lake.silent.clone());
            let why = why.unwrap_or_else(|| "the brokers do not tell the host where partitions end".into());
            on(Kind::Unknown, None, format!("how many events wait is not known: {why}"));
        } else {
            doubts = true;
        }
    }
    if let Some((silent, what)) = waits.shut(now).zip(storage(status)) {
        if silent >= SILENT || settle {
            on(Kind::Storage, None, what.into());
        } else {
            doubts = true;
        }
    }
    let works = lake.is_some() || !status.partitions.is_empty();
    if let Some(bound) = bounds.silence.filter(|_| works) {
        let last = status.last_commit.as_ref().map(|last| last.at.0);
        let since = last.or(lake.is_none().then_some(status.host.started.0));
        let silent = since.map(|since| between(since, now));
        if silent.is_none_or(|silent| silent > bound) {
            let for_long = silent.map_or("ever".into(), |silent| format!("for {}", age(silent)));
            on(Kind::Silence, None, format!("nothing was committed {for_long} (bound {})", short(bound)));
        }
    }
    verdict.doubts = doubts;
    verdict
}

/// The oldest event of a partition that waits is no older than this; none: nobody knows.
fn at_most(number: i32, one: &PartitionStatus, lake: Option<&Facts>, now: Micros) -> Option<Duration> {
    match lake {
        Some(lake) => lake.newest.get(&number).map(|newest| between(*newest, now)),
        None => {
            let fresh = u64::try_from(one.freshness_ms?).unwrap_or_default();
            Some(between(one.last_commit?.0, now) + Duration::from_millis(fresh))
        }
    }
}

#[cfg(test)]
mod tests;
