//! Fetches the partitions of a topic ([`Fetcher`]), each for whoever takes it ([`Feed`]).

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::super::client::Settings;
use super::cluster;
use super::limits::Limits;
use super::security::Security;
use super::shared::{Found, Partition, REFUSED, Shared, State, spawn};
use crate::{Kind, Result};

/// Where a broker listens that is named without it.
const PORT: u16 = 9092;
/// So often a host that starts asks brokers that refuse it: one that is starting may not know anybody yet.
const PROBES: u32 = 3;

/// Fetches partitions of a topic. When it is dropped its threads end.
pub(in super::super) struct Fetcher(Arc<Shared>);

impl Fetcher {
    /// Asks nobody yet. An error of the kind [`Usage`](crate::Kind::Usage): a property that is librdkafka's alone.
    pub(in super::super) fn new(settings: &Settings) -> Result<Fetcher> {
        Ok(Fetcher(Arc::new(Shared {
            topic: settings.topic.clone(),
            bootstrap: settings.brokers.split(',').map(address).collect(),
            security: Security::of(settings)?,
            limits: Limits::of(settings)?,
            state: Mutex::default(),
            changed: Condvar::new(),
        })))
    }

    /// Asks a broker who leads, so that whoever starts learns at once that it cannot sign in or trusts nobody. Brokers
    /// that are away are no error: they are asked again.
    pub(in super::super) fn probe(&self) -> Result<()> {
        for left in (0..PROBES).rev() {
            match cluster::ask(&self.0, &mut None) {
                Err(e) if matches!(e.kind(), Kind::Stop | Kind::Usage) => match left {
                    0 => return Err(e),
                    _ => self.0.pause(Duration::from_secs(1)),
                },
                _ => break,
            }
        }
        Ok(())
    }

    /// Begins to fetch a partition.
    pub(in super::super) fn take(&self, partition: i32, from: i64) -> Result<Feed> {
        let mut state = self.0.state();
        if !std::mem::replace(&mut state.led, true) {
            let shared = self.0.clone();
            spawn("kafka-leaders", move || cluster::run(&shared))?;
        }
        let turn = state.turn();
        let leader =
            state.leaders.get(&partition).copied().filter(|leader| state.served.contains(&leader.broker));
        state.stale |= leader.is_none();
        state.partitions.insert(partition, Partition { leader, ..Partition::new(from, turn) });
        self.0.changed.notify_all();
        Ok(Feed { shared: self.0.clone(), partition, first: turn })
    }
}

#[cfg(test)]
impl Fetcher {
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }

    /// The broker that a partition is fetched from.
    pub(super) fn leader(&self, partition: i32) -> Option<i32> {
        self.0.state().partitions.get(&partition)?.leader.map(|leader| leader.broker)
    }
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        self.0.state().ending = true;
        self.0.changed.notify_all();
    }
}

/// The other end of a partition: what was fetched of it.
pub(in super::super) struct Feed {
    shared: Arc<Shared>,
    partition: i32,
    /// The turn in which it was taken.
    first: u64,
}

impl Feed {
    pub(super) fn partition(&self) -> i32 {
        self.partition
    }

    /// What comes next, and the turn that it is of; none: nothing within the time, or it is another's by now.
    pub(super) fn next(&self, wait: Duration) -> Option<(u64, Found)> {
        let deadline = Instant::now() + wait;
        let mut state = self.shared.state();
        loop {
            let partition = self.of(&mut state)?;
            let turn = partition.turn;
            if let Some(found) = partition.waiting.pop_front() {
                let full = partition.bytes >= self.shared.limits.ahead;
                if let Found::Chunk(chunk) = &found {
                    partition.bytes = partition.bytes.saturating_sub(chunk.size());
                }
                if full {
                    self.shared.changed.notify_all();
                }
                return Some((turn, found));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The turn that it is in; none: it is another's by now.
    pub(super) fn turn(&self) -> Option<u64> {
        self.of(&mut self.shared.state()).map(|partition| partition.turn)
    }

    /// Takes the partition to an offset. Nothing that was fetched before comes any more.
    pub(super) fn seek(&self, offset: i64) {
        let mut state = self.shared.state();
        let turn = state.turn();
        if let Some(old) = self.of(&mut state) {
            let (first, leader, rest, least) = (old.first, old.leader, old.rest, old.least);
            *old = Partition { first, leader, rest, least, ..Partition::new(offset, turn) };
        }
        self.shared.changed.notify_all();
    }

    /// What was fetched could not be read: nothing more is fetched for a moment.
    pub(super) fn rest(&self) {
        if let Some(partition) = self.of(&mut self.shared.state()) {
            partition.rest = Some(Instant::now() + REFUSED);
        }
    }

    /// The partition, unless it was taken by another since.
    fn of<'a>(&self, state: &'a mut State) -> Option<&'a mut Partition> {
        state.partitions.get_mut(&self.partition).filter(|partition| partition.first == self.first)
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        if self.of(&mut state).is_some() {
            state.partitions.remove(&self.partition);
            self.shared.changed.notify_all();
        }
    }
}

/// Where a broker to begin with listens, as librdkafka takes it: `[protocol://]host[:port]`.
pub(super) fn address(broker: &str) -> String {
    let broker = broker.trim();
    let place = broker.split_once("://").map_or(broker, |(_, place)| place);
    let has_port = place.rsplit_once(':').is_some_and(|(host, _)| !host.contains(':') || host.ends_with(']'));
    if has_port { place.to_owned() } else { format!("{place}:{PORT}") }
}
