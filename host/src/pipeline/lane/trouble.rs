//! When something fails: the one way back, and transforms that keep failing.
//!
//! | what happened | what the lane does |
//! | --- | --- |
//! | the store, the log, lost partitions | back to the last commit, after a pause that grows |
//! | a call with rows failed | back to the last commit at once, and on with care: the rows to blame are rejected |
//! | a call with rows failed for the fifth time within some epochs, and never was a row to blame | it is broken |
//! | a call without rows failed (open, restore, flush, snapshot) | back, and again; the third time in a row it is broken |
//! | more poison rows than `poison-rows` between two commits | it is broken |
//! | broken | the partition stands still and the keeper is told, who has it fall back to the set before, or wait for the next one |

use std::time::{Duration, Instant};

use super::Lane;
use crate::commit::Up;
use crate::pipeline::program::{Broken, Program};
use crate::transform::run::Trouble;
use crate::{Error, Kind, Result};

/// Faults in a row without a row to blame that make a transform broken.
const FAULTS: u32 = 3;
/// Times in a row that rows fail together, and none of them by itself, before that makes a transform broken.
const IN_VAIN: u32 = 4;

/// Why the lane goes back, and when.
pub(super) struct Failure {
    error: Error,
    again: Instant,
}

impl Lane {
    /// Notes a failure. The first reason counts until the lane has recovered.
    pub(super) fn fail(&mut self, error: Error) {
        if self.state.failed.is_some() {
            return;
        }
        self.state.failures += 1;
        let pause = Duration::from_millis(200) * 2u32.pow(self.state.failures.min(5));
        self.state.failed = Some(Failure { error, again: Instant::now() + pause });
    }

    /// Notes a failure in the work on a partition. What is no transform's is given back.
    pub(super) fn fault(&mut self, partition: i32, error: Error) -> Result<()> {
        let Some(owned) = self.state.partitions.get_mut(&partition) else { return Err(error) };
        if error.kind() != Kind::Abandon {
            return Err(error);
        }
        self.stages.failures(&mut owned.worker.runner);
        let Some((trouble, transform)) = owned.worker.runner.take_trouble() else { return Err(error) };
        self.board.troubled(&transform, partition, &error.to_string());
        let vain = matches!(trouble, Trouble::Rows) && owned.in_vain >= IN_VAIN;
        let error = match vain {
            true => Error::abandon(format!(
                "it fails on whole batches again and again, and on no row by itself: {error}"
            )),
            false => error,
        };
        let broken = match trouble {
            _ if vain => true,
            Trouble::Rows => {
                owned.in_vain += 1;
                owned.worker.runner.careful(true);
                owned.calm = 0;
                let error = Error::retry(format!("{error}; looking for the rows to blame"));
                self.state.failed.get_or_insert(Failure { error, again: Instant::now() });
                return Ok(());
            }
            Trouble::Call => {
                owned.faults += 1;
                owned.faults >= FAULTS
            }
            Trouble::Poisoned => true,
        };
        self.board.failed(partition, &error.to_string());
        if broken {
            self.pause(partition, &error);
        }
        self.fail(Error::retry(error.to_string()));
        Ok(())
    }

    /// Nothing is polled for a partition until it gets another program.
    pub(super) fn pause(&mut self, partition: i32, error: &Error) {
        let Some(owned) = self.state.partitions.get_mut(&partition) else { return };
        owned.paused = true;
        let set = owned.worker.program.set;
        if set == self.program.set {
            // It does not go over to it again, whatever it runs meanwhile.
            owned.refused = set;
        }
        tracing::error!(partition, set, "the partition stands still: {error}");
        self.board.paused(partition, &error.to_string());
        self.report(Broken { partition, set, reason: error.to_string(), paused: true });
    }

    pub(super) fn report(&self, broken: Broken) {
        // The keeper is gone only when the host ends.
        let _ = self.broken.send(broken);
    }

    /// The one way back: to the last commit.
    pub(super) fn recover(&mut self) -> Result<()> {
        let Some(failure) = &self.state.failed else { return Ok(()) };
        if self.state.under_way.is_some() || Instant::now() < failure.again {
            return Ok(());
        }
        let error = self.state.failed.take().map(|f| f.error);
        self.stages.writer.abandon();
        self.state.epoch = None;
        (self.state.events, self.state.asked) = (0, false);
        self.state.rejects.clear();
        if let Some(error) = error {
            self.say(Up::Abandoned { lane: self.number, error });
        }
        let partitions: Vec<i32> = self.state.partitions.keys().copied().collect();
        for partition in partitions {
            let Some(owned) = self.state.partitions.get_mut(&partition) else { continue };
            (owned.span, owned.undecoded) = (None, 0);
            owned.worker.runner.rest();
            owned.go_back(partition, &self.group)?;
            self.open(partition);
        }
        for (partition, program) in std::mem::take(&mut self.state.fallbacks) {
            self.fall_back(partition, &program)?;
        }
        if self.state.failed.is_none() {
            self.swap();
        }
        Ok(())
    }

    /// Opens the instances of a partition as of the last commit.
    pub(super) fn open(&mut self, partition: i32) {
        let Some(owned) = self.state.partitions.get_mut(&partition) else { return };
        if owned.paused {
            return;
        }
        match owned.worker.runner.abandon() {
            Ok(()) => {
                let Program { set, desired, .. } = &*owned.worker.program;
                self.board.runs(partition, self.number, *set, &desired.components);
                self.board.stands(partition, owned.committed);
            }
            // It is not known yet what the others do: they are opened first.
            Err(e) => {
                if let Err(e) = self.fault(partition, e) {
                    self.fail(e);
                }
            }
        }
    }
}
