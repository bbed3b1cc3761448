//! What a host runs for each of its pipeline's shards: lanes, a committer and a keeper, which share nothing with
//! those of other shards. A pipeline with one log has one of each of the last two.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::thread;

use tokio::sync::{mpsc, watch};

use super::begin::Begun;
use super::dispatch::{Door, Doors};
use super::keeper::{self, Keeper};
use super::lane::{self, Lane};
use super::loader::Loader;
use super::program::{Broken, Program};
use super::share::Share;
use super::stages::Stages;
use super::{listing, spawn, until};
use crate::catalog::Catalog;
use crate::commit::{Committer, Policy, Setup, Together, Up};
use crate::config::Config;
use crate::env::Env;
use crate::observe::{Board, Stats};
use crate::shard::Shard;
use crate::sink::{EpochWriter, Keys, Stores};
use crate::source::{Ends, Group, Start};
use crate::table::Table;
use crate::{Error, Result};

/// What the shards of a host have in common.
pub(super) struct Parts<'a> {
    pub(super) config: &'a Config,
    pub(super) env: &'a Env,
    pub(super) group: &'a Group,
    pub(super) stores: &'a Stores,
    pub(super) catalog: &'a Arc<dyn Catalog>,
    /// The pipeline's.
    pub(super) keys: &'a Keys,
    pub(super) raw: &'a Arc<Table>,
    pub(super) rejected: &'a Arc<Table>,
    pub(super) loader: &'a Loader,
    pub(super) stats: &'a Arc<Stats>,
    pub(super) ends: &'a Ends,
    pub(super) share: &'a Arc<Share>,
    pub(super) together: &'a Together,
}

/// A shard that is about to run: its lanes do already.
pub(super) struct Running {
    pub(super) door: Door,
    pub(super) threads: Vec<thread::JoinHandle<()>>,
    pub(super) committer: Committer,
    pub(super) keeper: Keeper,
    /// What its keeper hears.
    pub(super) told: watch::Receiver<Option<u64>>,
    pub(super) broken: mpsc::UnboundedReceiver<Broken>,
    /// As long as this is there, the keeper listens.
    pub(super) reports: mpsc::UnboundedSender<Broken>,
}

impl Parts<'_> {
    /// Starts a shard's lanes, and makes what runs beside them.
    pub(super) fn shard(&self, begun: Begun) -> Result<Running> {
        let Begun { shard, topic, log, program } = begun;
        let (config, program) = (self.config, Arc::new(program));
        let stats = self.stats.shard(shard);
        let board = stats.board();
        board.set(program.set, &program.desired.components);
        let (reports, broken) = mpsc::unbounded_channel();
        let (up, from_lanes) = mpsc::unbounded_channel();
        let (lanes, threads) = self.lanes(shard, &program, &board, &reports, &up)?;
        drop(up);
        let (requests, asked) = mpsc::channel(16);
        let (tell, told) = watch::channel(program.set);
        let keys = self.keys.shard(shard);
        let keeper = Keeper {
            env: self.env.clone(),
            listing: listing::recall(config, &keys)
                .unwrap_or_else(|| listing::of_set(&program.desired.components)),
            keys,
            loader: self.loader.clone(),
            log: log.clone(),
            topic: topic.clone(),
            stores: self.stores.clone(),
            catalog: self.catalog.clone(),
            doors: lanes.clone(),
            requests: requests.clone(),
            board,
            program: program.clone(),
            state: keeper::State::new(program.set),
        };
        let setup = Setup {
            stores: self.stores.clone(),
            log,
            topic,
            policy: policy(config),
            catalog: self.catalog.clone(),
            tables: program.tables.clone(),
            lanes: lanes.clone(),
            offsets: Arc::new(self.group.clone()),
            stats,
            env: self.env.clone(),
            interval: config.commit_interval,
            until: until(config, &shard.ours(self.ends)),
            together: self.together.clone(),
            shard,
            transforms: tell,
        };
        let committer = Committer::new(setup, from_lanes, asked);
        let door = Door { lanes, requests };
        Ok(Running { door, threads, committer, keeper, told, broken, reports })
    }

    fn lanes(
        &self,
        shard: Shard,
        program: &Arc<Program>,
        board: &Arc<Board>,
        broken: &mpsc::UnboundedSender<Broken>,
        up: &mpsc::UnboundedSender<Up>,
    ) -> Result<(Arc<Doors>, Vec<thread::JoinHandle<()>>)> {
        let (config, meters, keys) = (self.config, self.stats.meters(), self.keys.shard(shard));
        let (mut doors, mut threads) = (Vec::new(), Vec::new());
        for number in 0..lanes_of(config) {
            let (door, commands) = crossbeam_channel::unbounded();
            let writer = EpochWriter::new(
                self.stores.clone(),
                &keys,
                u32::try_from(number).unwrap_or(u32::MAX),
                config.sink(),
            );
            let lane = Lane {
                number,
                env: self.env.clone(),
                topic: config.topic.as_str().into(),
                group: self.group.clone(),
                program: program.clone(),
                stages: Stages {
                    writer,
                    raw: self.raw.clone(),
                    rejected: self.rejected.clone(),
                    meters: meters.clone(),
                },
                share: self.share.clone(),
                largest: config.max_event_size,
                batch: config.memory.batch(self.ends.len()),
                most_events: config.commit_events,
                most_bytes: config.commit_bytes,
                commands,
                up: up.clone(),
                broken: broken.clone(),
                board: board.clone(),
                state: lane::State::default(),
            };
            // Guests print through the runtime: without ours, wasmtime-wasi would start one of its own.
            let runtime = tokio::runtime::Handle::current();
            let name = match shard.label() {
                Some(log) => format!("lane-{log}.{number}"),
                None => format!("lane-{number}"),
            };
            threads.push(spawn(&name.clone(), move || {
                let _within = runtime.enter();
                let up = lane.up.clone();
                // The committer waits for every lane: one that dies must say so.
                if std::panic::catch_unwind(AssertUnwindSafe(|| lane.run())).is_err() {
                    let _ = up.send(Up::Fatal(Error::stop(format!("{name} panicked; this is a bug"))));
                }
            })?);
            doors.push(door);
        }
        Ok((Arc::new(Doors::new(doors, shard)), threads))
    }
}

/// Lanes of a shard: all shards together have as many as the setting says, but each has one.
fn lanes_of(config: &Config) -> usize {
    config.lanes.div_ceil(usize::try_from(config.logs).unwrap_or(usize::MAX).max(1))
}

/// What a person decided about beginnings.
pub(super) fn policy(config: &Config) -> Policy {
    Policy { latest: config.start == Start::Latest, skip_lost: config.skip_lost }
}
