//! Keeps the lanes on the transforms that the commit log names.
//!
//! ```text
//! directory ──change──> load ──> plan ──> rehearse ──> tables ──> record ──┐      (propose.rs)
//!                                                                          v
//! another host's record ──────────> load ──> plan ──> rehearse ──> tables ──> lanes: swap
//! a partition that stands still <──────────────────────────────── a set before ──┘ (help.rs)
//! ```
//!
//! The contract:
//!
//! * Hosts follow the log. A directory only proposes: what changed in it since this host last took it in, on top of
//!   what the log names now. So hosts with different directories do not fight.
//! * What does not load, fit, restore or get its tables changes nothing: the lanes go on, and the reason is told.
//! * What failed because somebody did not answer is tried again.
//! * A directory without any transform proposes nothing: nobody means a disk that is not mounted.

mod help;
mod propose;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::dispatch::Doors;
use super::lane::Command;
use super::lane::remembered;
use super::listing::{self, Listing};
use super::loader::Loader;
use super::program::{Broken, Program};
use super::shelf::Watching;
use crate::catalog::Catalog;
use crate::commit::{Base, Lanes, Log, Policy, Request, Topic, owner};
use crate::config::Config;
use crate::env::Env;
use crate::observe::Board;
use crate::sink::{Keys, Stores};
use crate::transform::run::Runner;
use crate::wait::{blocking, tries};
use crate::{Error, Kind, Result};
use help::Back;
use propose::Unloadable;

/// How often something is tried that a store or catalog does not answer.
const TRIES: u32 = 5;
/// What came to nothing for a reason that may pass is tried again after this.
const AGAIN: Duration = Duration::from_secs(10);

/// Everything that keeping needs.
pub(super) struct Keeper {
    pub(super) env: Env,
    pub(super) loader: Loader,
    /// Of its shard.
    pub(super) keys: Keys,
    pub(super) log: Log,
    pub(super) topic: Topic,
    pub(super) stores: Stores,
    pub(super) catalog: Arc<dyn Catalog>,
    pub(super) doors: Arc<Doors>,
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) board: Arc<Board>,
    /// What the directory had when this host last took it in.
    pub(super) listing: Listing,
    /// What the lanes run.
    pub(super) program: Arc<Program>,
    pub(super) state: State,
}

/// What changes while a keeper runs.
#[derive(Default)]
pub(super) struct State {
    unloadable: Unloadable,
    /// Partitions that do not run the set that the others run.
    back: Back,
    /// Partitions that stand still and could not be helped just then.
    helpless: BTreeMap<i32, Broken>,
    /// The directory could not be taken in just then.
    look_again: bool,
    /// When all that is tried once more.
    again: Option<Instant>,
}

impl State {
    /// The lanes begin with this set.
    pub(super) fn new(set: Option<u64>) -> State {
        let mut state = State::default();
        state.back.adopted(set);
        state
    }
}

/// Tells the keepers of all shards that the directory has changed. As long as it runs they may be told.
pub(super) async fn pass_on(mut watching: Watching, change: watch::Sender<()>) {
    loop {
        watching.changed().await;
        // There is nobody to be told when the host ends.
        let _ = change.send(());
    }
}

impl Keeper {
    /// Remembers what of the directory was taken in.
    pub(super) fn remember(&self) {
        listing::remember(&self.loader.config, &self.keys, &self.listing);
    }

    /// Runs until it is dropped. `changed` when the directory has; `told` changes when the log names another set; `broken` is what lanes report.
    pub(super) async fn run(
        mut self,
        mut changed: watch::Receiver<()>,
        mut told: watch::Receiver<Option<u64>>,
        mut broken: mpsc::UnboundedReceiver<Broken>,
    ) {
        loop {
            let behind = *told.borrow() > self.program.set;
            let due = behind || self.state.look_again || !self.state.helpless.is_empty();
            self.state.again = due.then(|| self.state.again.unwrap_or_else(|| Instant::now() + AGAIN));
            let again = self.state.again.unwrap_or_else(Instant::now);
            tokio::select! {
                Ok(()) = changed.changed() => self.look().await,
                changed = told.changed() => match changed {
                    Ok(()) => self.follow().await,
                    Err(_) => return,
                },
                report = broken.recv() => match report {
                    Some(report) => self.help(report).await,
                    None => return,
                },
                () = tokio::time::sleep_until(again), if due => {
                    self.state.again = None;
                    self.once_more(behind).await;
                }
            }
        }
    }

    /// Tries again what came to nothing.
    async fn once_more(&mut self, behind: bool) {
        let ours = self.board.partitions();
        for report in std::mem::take(&mut self.state.helpless).into_values() {
            // Another host may have it by now.
            if ours.contains(&report.partition) {
                self.help(report).await;
            }
        }
        if behind {
            self.follow().await;
        }
        if self.state.look_again {
            self.look().await;
        }
    }

    /// Goes over to the set that the log names, which another host put there.
    pub(super) async fn follow(&mut self) {
        let followed = async {
            self.log.catch_up().await?;
            let Some((seq, _)) = self.log.view().transforms() else { return Ok(()) };
            if self.program.set == Some(seq) {
                return Ok(());
            }
            let near = self.loader.read().await.unwrap_or_default();
            let program = self.loader.of_record(&self.log, &self.stores, seq, &near).await?;
            self.prepare(&program).await?;
            tracing::info!(set = seq, "following the commit log to new transforms");
            self.adopt(program).await;
            Ok::<(), Error>(())
        };
        if let Err(e) = followed.await {
            tracing::error!("the commit log names transforms that do not run here, the old ones go on: {e}");
            self.board.refused("", &e.to_string());
        }
    }

    /// Everything that can fail before a program is the lanes': its states, its tables.
    async fn prepare(&mut self, program: &Program) -> Result<()> {
        self.rehearse(program).await?;
        let (names, env) = (program.names(), &self.env);
        let Config { pipeline, logs, .. } = &*self.loader.config;
        let stores = &self.stores;
        tries(env, TRIES, || owner::own(stores, pipeline, *logs, &names, false)).await?;
        tries(env, TRIES, || owner::own(stores, pipeline, *logs, &names, true)).await?;
        tries(env, TRIES, || self.catalog.ensure(&program.tables)).await
    }

    /// Restores the states of this host's partitions as of their last commits, to see that they can be.
    async fn rehearse(&mut self, program: &Program) -> Result<()> {
        let mine = self.board.partitions();
        // Before there are any: all that the log knows.
        let known = self.log.view().positions().filter(|((topic, _), _)| *topic == self.topic);
        let known = known.map(|((_, partition), _)| *partition);
        let partitions: Vec<i32> = known.filter(|p| mine.is_empty() || mine.contains(p)).collect();
        rehearse(program, None).await?;
        // One at a time: all states at once may be more than there is memory for.
        for partition in partitions {
            let bases =
                self.log.bases(&self.topic, &[partition], &BTreeMap::new(), Policy::default()).await?;
            for base in bases {
                rehearse(program, Some(base)).await?;
            }
        }
        Ok(())
    }

    async fn adopt(&mut self, program: Program) {
        self.program = Arc::new(program);
        self.state.back.adopted(self.program.set);
        self.state.helpless.clear();
        self.board.set(self.program.set, &self.program.desired.components);
        self.board.not_refused("");
        // The committer hears of the tables before a lane can have files of them.
        let _ = self.requests.send(Request::Tables(self.program.tables.clone())).await;
        for lane in 0..self.doors.count() {
            self.doors.send(lane, Command::Swap(self.program.clone()));
        }
        // They go over when their epochs end.
        let _ = self.requests.send(Request::Commit).await;
    }
}

/// Has a program do once all that a commit asks of it: from the states of a partition, or with nothing to remember.
pub(super) async fn rehearse(program: &Program, base: Option<Base>) -> Result<()> {
    let graph = program.graph.clone();
    let rehearsed = blocking("the rehearsal", move || match base {
        Some(base) => Runner::rehearse(&graph, base.partition, &remembered(&base)),
        None => Runner::rehearse(&graph, 0, &[]),
    });
    // Nothing was begun that could be abandoned.
    rehearsed.await?.map_err(|e| match e.kind() {
        Kind::Abandon => Error::usage(e.to_string()),
        _ => e,
    })
}
