//! Which generation of each hour of each table is the one that readers see and hosts write (rules M4, M7).
//!
//! An hour begins with generation 1, whose files lie in `<table>/date=…/hour=…`. Whoever rewrites an hour puts the
//! result into the next generation, in a folder of its own, and a record makes that the current one. So memory is a
//! matter of boundaries: neighbouring hours that stand alike are one run.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::table::Hour;

/// The generation that an hour begins with.
pub const FIRST: u32 = 1;

/// An hour of a table in one of its generations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The hour.
    pub hour: Hour,
    /// The generation.
    pub generation: u32,
}

impl From<Hour> for Place {
    fn from(hour: Hour) -> Place {
        Place { hour, generation: FIRST }
    }
}

/// How an hour of a table stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The generation that is read and written.
    pub generation: u32,
    /// It has expired, and nothing has come since: no reader needs to know it.
    pub empty: bool,
}

const FRESH: Standing = Standing { generation: FIRST, empty: false };

/// Hours `first..=last`, which stand alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    last: i64,
    standing: Standing,
}

/// All hours that do not stand as they began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Generations(BTreeMap<String, BTreeMap<i64, Run>>);

impl Generations {
    /// How an hour stands.
    pub fn get(&self, table: &str, hour: Hour) -> Standing {
        self.run(table, hour).map_or(FRESH, |(_, run)| run.standing)
    }

    /// An hour in the generation that is read and written.
    pub fn place(&self, table: &str, hour: Hour) -> Place {
        Place { hour, generation: self.get(table, hour).generation }
    }

    /// Whether all hours are as they began.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tables that have other hours.
    pub fn tables(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Runs of hours that do not stand as they began: the first, the last, and how.
    pub fn runs(&self, table: &str) -> impl Iterator<Item = (Hour, Hour, Standing)> {
        let runs = self.0.get(table).into_iter().flatten();
        runs.map(|(first, run)| (Hour(*first), Hour(run.last), run.standing))
    }

    /// From now on an hour stands like this.
    pub fn set(&mut self, table: &str, hour: Hour, standing: Standing) {
        if self.get(table, hour) == standing {
            return;
        }
        let covering = self.run(table, hour);
        let Hour(at) = hour;
        let runs = self.0.entry(table.to_owned()).or_default();
        if let Some((first, run)) = covering {
            runs.remove(&first);
            if first < at {
                runs.insert(first, Run { last: at - 1, ..run });
            }
            if at < run.last {
                runs.insert(at + 1, run);
            }
        }
        if standing == FRESH {
            return;
        }
        let (mut first, mut last) = (at, at);
        let before = runs.range(..at).next_back().map(|(first, run)| (*first, *run));
        if let Some((of, run)) = before.filter(|(_, run)| run.standing == standing && run.last + 1 == at) {
            debug_assert!(run.last < at, "runs do not overlap");
            runs.remove(&of);
            first = of;
        }
        if let Some(run) = at.checked_add(1).and_then(|next| runs.get(&next).copied())
            && run.standing == standing
        {
            runs.remove(&(at + 1));
            last = run.last;
        }
        runs.insert(first, Run { last, standing });
    }

    /// Files have come into an hour.
    pub(crate) fn touch(&mut self, table: &str, hour: Hour) {
        let standing = self.get(table, hour);
        if standing.empty {
            self.set(table, hour, Standing { empty: false, ..standing });
        }
    }

    fn run(&self, table: &str, hour: Hour) -> Option<(i64, Run)> {
        let before = self.0.get(table)?.range(..=hour.0).next_back();
        before.filter(|(_, run)| hour.0 <= run.last).map(|(first, run)| (*first, *run))
    }
}

/// As it stands in a summary: by table, `[first hour, last hour, generation, whether it is empty]`.
impl Serialize for Generations {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let line =
            |(first, run): (&i64, &Run)| (*first, run.last, run.standing.generation, run.standing.empty);
        let tables = self.0.iter().map(|(table, runs)| (table, runs.iter().map(line).collect::<Vec<_>>()));
        to.collect_map(tables)
    }
}

impl<'de> Deserialize<'de> for Generations {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Generations, D::Error> {
        let tables = BTreeMap::<String, Vec<(i64, i64, u32, bool)>>::deserialize(from)?;
        let run = |(first, last, generation, empty)| {
            (first, Run { last, standing: Standing { generation, empty } })
        };
        Ok(Generations(
            tables.into_iter().map(|(t, runs)| (t, runs.into_iter().map(run).collect())).collect(),
        ))
    }
}

/// The generations as the newest view of this process has them: who begins a file asks here.
#[derive(Clone, Debug, Default)]
pub struct Current {
    now: Arc<RwLock<(u64, Generations)>>,
    /// How many generations later new files go.
    ahead: u32,
}

impl Current {
    /// What the log says before record `next`. An older view changes nothing.
    pub fn follow(&self, next: u64, generations: &Generations) {
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        if next > now.0 {
            *now = (next, generations.clone());
        }
    }

    /// For files of the generations that come next.
    pub fn next(generations: &Generations) -> Current {
        Current { now: Arc::new(RwLock::new((u64::MAX, generations.clone()))), ahead: 1 }
    }

    /// An hour in the generation that new files of it go to.
    pub fn place(&self, table: &str, hour: Hour) -> Place {
        let Place { hour, generation } =
            self.now.read().unwrap_or_else(PoisonError::into_inner).1.place(table, hour);
        Place { hour, generation: generation.saturating_add(self.ahead) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever is set in whatever order, what was set last is what is said, and neighbours are one run.
    #[test]
    fn runs_say_what_single_hours_would() {
        let (mut runs, mut plain, mut seed) = (Generations::default(), BTreeMap::new(), 7_u64);
        let mut below = |n: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % n
        };
        for _ in 0..20_000 {
            let hour = Hour(i64::try_from(below(30)).unwrap() - 15);
            let standing =
                Standing { generation: 1 + u32::try_from(below(3)).unwrap(), empty: below(4) == 0 };
            runs.set("t", hour, standing);
            plain.insert(hour, standing);
            for (hour, standing) in &plain {
                assert_eq!(runs.get("t", *hour), *standing);
            }
            let listed: Vec<_> = runs.runs("t").collect();
            assert!(listed.windows(2).all(|two| two[0].1 < two[1].0), "{listed:?}");
            assert!(
                listed.windows(2).all(|two| two[0].2 != two[1].2 || two[0].1.0 + 1 < two[1].0.0),
                "{listed:?}"
            );
        }
        let text = serde_json::to_string(&runs).unwrap();
        assert_eq!(serde_json::from_str::<Generations>(&text).unwrap(), runs);
        assert_eq!(runs.get("other", Hour(0)), FRESH);
    }

    #[test]
    fn ninety_days_that_stand_alike_are_one_run() {
        let mut all = Generations::default();
        for hour in 0..90 * 24 {
            all.set("t", Hour(hour), Standing { generation: 2, empty: false });
        }
        assert_eq!(serde_json::to_string(&all).unwrap(), r#"{"t":[[0,2159,2,false]]}"#);
        all.set("t", Hour(7), Standing { generation: 3, empty: true });
        all.touch("t", Hour(7));
        all.touch("t", Hour(8));
        assert_eq!(all.runs("t").count(), 3);
        assert_eq!(all.place("t", Hour(7)), Place { hour: Hour(7), generation: 3 });
    }

    #[test]
    fn an_older_view_changes_nothing() {
        let (current, mut now) = (Current::default(), Generations::default());
        now.set("t", Hour(1), Standing { generation: 2, empty: false });
        current.follow(9, &now);
        current.follow(8, &Generations::default());
        assert_eq!(current.place("t", Hour(1)).generation, 2);
        let next = Current::next(&now);
        assert_eq!((next.place("t", Hour(1)).generation, next.place("t", Hour(2)).generation), (3, 2));
    }
}
