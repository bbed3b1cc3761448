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
    let judge = Judge { status, lake, waits, bounds, settle, now: status.at.0 };
    let mut verdict = Verdict::default();
    verdict.alarms.extend(judge.attention());
    verdict.alarms.extend(judge.starting());
    let settled = [judge.freshness(), judge.unknown(), judge.storage()];
    verdict.doubts = settled.iter().any(|found| matches!(found, Found::Doubt));
    verdict.alarms.extend(settled.into_iter().filter_map(Found::alarm));
    verdict.alarms.extend(judge.lag());
    verdict.alarms.extend(judge.silence());
    verdict
}

/// What became of a question.
enum Found {
    Well,
    Doubt,
    Alarm(Alarm),
}

impl Found {
    fn alarm(self) -> Option<Alarm> {
        match self {
            Found::Alarm(alarm) => Some(alarm),
            Found::Well | Found::Doubt => None,
        }
    }
}

struct Judge<'a> {
    status: &'a Status,
    lake: Option<&'a Facts>,
    waits: &'a Waits,
    bounds: &'a Bounds,
    settle: bool,
    now: Micros,
}

impl Judge<'_> {
    fn alarm(&self, kind: Kind, partition: Option<i32>, what: String) -> Alarm {
        Alarm { kind, process: self.lake.is_none().then_some(self.status.host.pid), partition, what }
    }

    fn attention(&self) -> impl Iterator<Item = Alarm> {
        self.status.attention.iter().map(|line| self.alarm(Kind::Attention, None, line.clone()))
    }

    fn starting(&self) -> Option<Alarm> {
        let up = between(self.status.host.started.0, self.now);
        let starting = self.lake.is_none() && self.status.set.is_none() && up > STARTS;
        let what = "brokers, zones or catalog have not answered (its log says which)";
        let what = format!("it has been starting for {}: {what}", age(up));
        starting.then(|| self.alarm(Kind::Starting, None, what))
    }

    fn freshness(&self) -> Found {
        let bound = self.bounds.freshness;
        let (mut late, mut doubts) = (Vec::new(), false);
        let waiting = self.status.partitions.iter().filter(|(_, one)| one.lag.is_some_and(|lag| lag > 0));
        for (number, one) in waiting {
            let waited = self.waits.of(*number, self.now).unwrap_or_default();
            let most = self.at_most(*number, one);
            let doubtful = most.is_none_or(|most| most > bound);
            if waited > bound {
                late.push((waited, true, *number));
            } else if doubtful && self.settle {
                late.push((most.unwrap_or(waited), false, *number));
            } else {
                doubts |= doubtful;
            }
        }
        let Some((time, certain, number)) = late.iter().max() else {
            return if doubts { Found::Doubt } else { Found::Well };
        };
        let more = match late.len() - 1 {
            0 => String::new(),
            more => format!(", and those of {more} more partitions too long"),
        };
        let (bound, time) = (short(bound), short(*time));
        let how = if *certain { "at least" } else { "perhaps" };
        let what = format!("events of partition {number} wait for {how} {time} (bound {bound}){more}");
        Found::Alarm(self.alarm(Kind::Freshness, Some(*number), what))
    }

    /// The oldest event of a partition that waits is no older than this; none: nobody knows.
    fn at_most(&self, number: i32, one: &PartitionStatus) -> Option<Duration> {
        match self.lake {
            Some(lake) => lake.newest.get(&number).map(|newest| between(*newest, self.now)),
            None => {
                let fresh = u64::try_from(one.freshness_ms?).unwrap_or_default();
                Some(between(one.last_commit?.0, self.now) + Duration::from_millis(fresh))
            }
        }
    }

    fn lag(&self) -> Option<Alarm> {
        let bound = self.bounds.lag?;
        let known = || self.status.partitions.iter().filter_map(|(number, one)| Some((one.lag?, *number)));
        let lag: u64 = known().map(|(lag, _)| lag).sum();
        let (_, worst) = known().max().filter(|_| lag > bound)?;
        Some(self.alarm(Kind::Lag, Some(worst), format!("{lag} events wait (bound {bound})")))
    }

    fn unknown(&self) -> Found {
        let matters = self.lake.is_none() || self.bounds.asked;
        let silent = self.waits.silent(self.now).filter(|_| matters);
        self.lasts(silent, || {
            let why = self.lake.and_then(|lake| lake.silent.clone());
            let why = why.unwrap_or_else(|| "the brokers do not tell the host where partitions end".into());
            self.alarm(Kind::Unknown, None, format!("how many events wait is not known: {why}"))
        })
    }

    fn storage(&self) -> Found {
        let Some(what) = storage(self.status) else { return Found::Well };
        self.lasts(self.waits.shut(self.now), || self.alarm(Kind::Storage, None, what.into()))
    }

    /// What may last a moment.
    fn lasts(&self, time: Option<Duration>, alarm: impl FnOnce() -> Alarm) -> Found {
        match time {
            None => Found::Well,
            Some(time) if time >= SILENT || self.settle => Found::Alarm(alarm()),
            Some(_) => Found::Doubt,
        }
    }

    fn silence(&self) -> Option<Alarm> {
        let bound = self.bounds.silence?;
        if self.lake.is_none() && self.status.partitions.is_empty() {
            return None;
        }
        let last = self.status.last_commit.as_ref().map(|last| last.at.0);
        let since = last.or(self.lake.is_none().then_some(self.status.host.started.0));
        let silent = since.map(|since| between(since, self.now));
        let for_long = silent.map_or("ever".into(), |silent| format!("for {}", age(silent)));
        let what = format!("nothing was committed {for_long} (bound {})", short(bound));
        silent.is_none_or(|silent| silent > bound).then(|| self.alarm(Kind::Silence, None, what))
    }
}

#[cfg(test)]
mod tests;
