//! How long each step of a commit took: for metrics, for the line in the log, and for traces.

use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::IntGauge;

use crate::env::{Env, Micros};
use crate::observe::{Lap, Meters, Step};

/// The clock of one commit.
pub(super) struct Laps {
    meters: Arc<Meters>,
    /// When it began, on the wall.
    at: Micros,
    began: Instant,
    last: Instant,
    laps: Vec<Lap>,
}

impl Laps {
    /// A commit begins.
    pub(super) fn new(meters: Arc<Meters>, env: &Env) -> Laps {
        let now = Instant::now();
        Laps { meters, at: env.now(), began: now, last: now, laps: Vec::new() }
    }

    /// A step ends here.
    pub(super) fn step(&mut self, step: Step) {
        let now = Instant::now();
        self.laps.push(Lap { step, began: self.at + micros(self.last - self.began), took: now - self.last });
        self.last = now;
    }

    /// From the lanes' parts to visible files.
    pub(super) fn took(&self) -> Duration {
        let ours = self.laps.iter().filter(|lap| !matches!(lap.step, Step::Barrier | Step::Register));
        ours.map(|lap| lap.took).sum()
    }

    /// The commit is done.
    pub(super) fn end(self) -> Vec<Lap> {
        let took = self.last - self.began;
        self.laps.iter().for_each(|lap| self.meters.step(lap.step, lap.took));
        self.meters.step(Step::Total, took);
        let mut laps = vec![Lap { step: Step::Total, began: self.at, took }];
        laps.extend(self.laps);
        laps
    }
}

fn micros(time: Duration) -> Micros {
    Micros::try_from(time.as_micros()).unwrap_or(Micros::MAX)
}

/// Bytes that are counted in a gauge as long as this is there.
pub(super) struct Counted {
    gauge: IntGauge,
    bytes: i64,
}

impl Counted {
    /// Counts them.
    pub(super) fn new(gauge: &IntGauge, bytes: u64) -> Counted {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        gauge.add(bytes);
        Counted { gauge: gauge.clone(), bytes }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.gauge.sub(self.bytes);
    }
}
