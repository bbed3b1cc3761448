//! From one program to another, a partition at a time, between two of its epochs.
//!
//! The epoch that was just finished names the old set in its record, the next one the new set. If the finished one
//! comes to nothing, its offsets are read again by the new program: it starts from the states of the last commit.

use std::sync::Arc;
use std::time::Instant;

use super::owned::Worker;
use super::{Lane, Program};
use crate::batch::Identity;
use crate::pipeline::program::Broken;
use crate::{Error, Result};

/// Why a partition does not go over to a program, and the transform that it is for, if it is one.
struct Refusal {
    transform: Option<Arc<Identity>>,
    error: Error,
}

impl Lane {
    /// Goes over to the lane's program where a partition has another one. To be called when no partition has
    /// anything in the open epoch.
    pub(super) fn swap(&mut self) {
        let program = self.program.clone();
        let old = |lane: &Lane, partition: &i32| {
            lane.state
                .partitions
                .get(partition)
                .is_some_and(|owned| owned.refused != program.set && owned.worker.program.set != program.set)
        };
        let all: Vec<i32> = self.state.partitions.keys().copied().collect();
        let partitions: Vec<i32> = all.into_iter().filter(|partition| old(self, partition)).collect();
        if partitions.is_empty() {
            return;
        }
        let began = Instant::now();
        for partition in &partitions {
            match self.go_over(*partition, &program) {
                Ok(()) => {
                    self.board.runs(*partition, self.number, program.set, &program.desired.components);
                }
                Err(refusal) => self.refused(*partition, &program, &refusal),
            }
        }
        let stalled = began.elapsed();
        tracing::info!(lane = self.number, set = program.set, ?partitions, ?stalled, "runs new transforms");
        self.board.swapped(stalled);
    }

    /// A partition that stands still goes on with another program.
    pub(super) fn fall_back(&mut self, partition: i32, program: &Arc<Program>) -> Result<()> {
        let paused = self.state.partitions.get(&partition).filter(|owned| owned.paused);
        let Some(broken) = paused.map(|owned| owned.worker.program.set) else { return Ok(()) };
        if self.state.failed.is_some() {
            // Only then is everything as of the last commit.
            self.state.fallbacks.insert(partition, program.clone());
            return Ok(());
        }
        match self.go_over(partition, program) {
            Ok(()) => {
                let to = (program.set, &program.desired.components[..]);
                self.board.fell_back(partition, broken, to);
                tracing::warn!(partition, set = program.set, "the partition goes on with the set before")
            }
            Err(Refusal { error, .. }) => {
                let (set, reason) = (program.set, error.to_string());
                tracing::error!(partition, "the set before does not run either: {reason}");
                self.report(Broken { partition, set, reason, paused: true });
            }
        }
        Ok(())
    }

    fn go_over(&mut self, partition: i32, program: &Arc<Program>) -> Result<(), Refusal> {
        let Some(owned) = self.state.partitions.get_mut(&partition) else { return Ok(()) };
        let mut runner = owned.worker.runner.succeed(&program.graph);
        if let Err(error) = runner.start() {
            return Err(Refusal { transform: runner.take_trouble().map(|(_, transform)| transform), error });
        }
        // Rows that made the old one fail may be around.
        runner.careful(owned.paused);
        owned.worker = Worker::new(program, runner, self.largest);
        let stood = std::mem::replace(&mut owned.paused, false);
        (owned.faults, owned.calm, owned.in_vain) = (0, 0, 0);
        if stood {
            // It fell behind while it stood still, and what it had collected was dropped.
            if let Err(e) = owned.go_back(partition, &self.group) {
                // Not the program's fault: the lane tries again when it recovers.
                self.fail(e);
            }
        }
        Ok(())
    }

    /// The last good program goes on, if there is one.
    fn refused(&mut self, partition: i32, program: &Arc<Program>, refusal: &Refusal) {
        let Refusal { transform, error } = refusal;
        let Some(owned) = self.state.partitions.get_mut(&partition) else { return };
        owned.refused = program.set;
        let (set, paused) = (program.set, owned.paused);
        tracing::error!(partition, set, "the new transforms do not run here, the old ones go on: {error}");
        if let Some(transform) = transform {
            self.board.troubled(transform, partition, &error.to_string());
        }
        self.board.refuses(partition, set, &error.to_string());
        self.report(Broken { partition, set, reason: error.to_string(), paused });
    }
}
