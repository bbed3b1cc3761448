//! A partition stands still because its transforms are broken: which set it goes back to.
//!
//! It goes back set by set, at most [`MOST`] of them, until a newer one is named. Sets that it never committed
//! anything with are passed over: they may be just as broken. So a good set with any number of broken ones after it
//! is found at once, and a fault in the events does not lead back to the transforms of last year.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::lane::Command;
use super::super::program::Broken;
use super::{Keeper, TRIES};
use crate::commit::Request;
use crate::wait::tries;
use crate::{Error, Result};

/// Sets that a partition goes back.
const MOST: u32 = 3;

/// Partitions that do not run the set that the others run.
#[derive(Debug, Default)]
pub(super) struct Back {
    newest: Option<u64>,
    /// They do not go over to the newest set by themselves.
    apart: BTreeSet<i32>,
    /// How often each was sent back.
    steps: BTreeMap<i32, u32>,
}

/// What to do about a partition that stands still.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Nothing: the newest set is on its way to it.
    Wait,
    /// Send it back to the set before this one.
    Before(u64),
    /// A person is needed.
    Nothing,
}

impl Back {
    /// All are to run this set from now on.
    pub(super) fn adopted(&mut self, newest: Option<u64>) {
        *self = Back { newest, ..Back::default() };
    }

    /// It runs another set than the newest, and stays with it.
    fn refused(&mut self, partition: i32, set: Option<u64>) {
        if set == self.newest {
            self.apart.insert(partition);
        }
    }

    fn broken(&mut self, partition: i32, set: Option<u64>) -> Next {
        self.refused(partition, set);
        if !self.apart.contains(&partition) {
            return Next::Wait;
        }
        match (set, self.steps.get(&partition).copied().unwrap_or_default() < MOST) {
            (Some(set), true) => Next::Before(set),
            _ => Next::Nothing,
        }
    }

    fn went(&mut self, partition: i32) {
        *self.steps.entry(partition).or_default() += 1;
    }
}

impl Keeper {
    /// A partition stands still: a set before takes over, if there is one. Or it stays with what it has, which is
    /// only noted.
    pub(super) async fn help(&mut self, report: Broken) {
        let (partition, set) = (report.partition, report.set);
        self.state.helpless.remove(&partition);
        if !report.paused {
            return self.state.back.refused(partition, set);
        }
        let before = match self.state.back.broken(partition, set) {
            Next::Wait => return,
            Next::Before(broken) => self.before(partition, broken).await,
            Next::Nothing => Ok(None),
        };
        let helped = match before {
            Ok(None) => return self.alone(&report).await,
            Ok(Some(seq)) => self.send_back(partition, seq).await,
            Err(e) => Err(e),
        };
        match helped {
            Ok(()) => {}
            Err(e) if self.loader.config.until_end => self.fail(e).await,
            Err(e) => {
                tracing::error!(partition, "cannot fall back to a set before yet: {e}");
                self.state.helpless.insert(partition, report);
            }
        }
    }

    /// The set to go back to: the one before, or the last that this partition committed something with, if that is
    /// older.
    async fn before(&mut self, partition: i32, broken: u64) -> Result<Option<u64>> {
        self.log.catch_up().await?;
        let Some(before) = self.log.set(broken).await?.previous else { return Ok(None) };
        let last = self.log.view().partition(&self.topic, partition).and_then(|(_, advance)| advance.set);
        Ok(Some(last.map_or(before, |last| last.min(before))))
    }

    async fn send_back(&mut self, partition: i32, seq: u64) -> Result<()> {
        let program = {
            let Keeper { loader, log, stores, env, .. } = &*self;
            tries(env, TRIES, || loader.of_record(log, stores, seq, &[])).await?
        };
        let _ = self.requests.send(Request::Tables(program.tables.clone())).await;
        self.state.back.went(partition);
        self.doors.send(self.doors.of(partition), Command::FallBack(partition, Arc::new(program)));
        Ok(())
    }

    /// There is nothing that this host can do about a partition.
    async fn alone(&mut self, report: &Broken) {
        let Broken { partition, reason, .. } = report;
        tracing::error!(
            partition,
            "there is no set of transforms to fall back to: put a mended component into {}; {reason}",
            self.loader.config.transforms_place()
        );
        if self.loader.config.until_end {
            // Nobody waits for a mended one.
            self.fail(Error::stop(reason.clone())).await;
        }
    }

    async fn fail(&mut self, error: Error) {
        let _ = self.requests.send(Request::Fail(error)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_goes_back_set_by_set_and_not_for_ever() {
        let mut back = Back::default();
        back.adopted(Some(9));
        assert_eq!(back.broken(0, Some(5)), Next::Wait, "the newest is on its way");
        assert_eq!(back.broken(0, Some(9)), Next::Before(9));
        back.went(0);
        assert_eq!(back.broken(0, Some(5)), Next::Before(5));
        back.went(0);
        assert_eq!(back.broken(0, Some(2)), Next::Before(2));
        back.went(0);
        assert_eq!(back.broken(0, Some(1)), Next::Nothing);
        assert_eq!(back.broken(1, Some(9)), Next::Before(9), "each partition for itself");
        back.adopted(Some(20));
        assert_eq!(back.broken(0, Some(1)), Next::Wait, "a mended one came");
        assert_eq!(back.broken(0, Some(20)), Next::Before(20));
    }

    #[test]
    fn one_that_would_not_go_over_is_helped_when_its_own_set_breaks() {
        let mut back = Back::default();
        back.adopted(Some(9));
        back.refused(0, Some(5));
        assert_eq!(back.broken(0, Some(5)), Next::Wait, "that was an older one");
        back.refused(0, Some(9));
        assert_eq!(back.broken(0, Some(5)), Next::Before(5));
        assert_eq!(back.broken(1, Some(5)), Next::Wait);
    }
}
