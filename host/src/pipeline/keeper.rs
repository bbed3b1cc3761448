//! Keeps the lanes on the transforms that the commit log names.
//!
//! ```text
//! directory ──change──> load ──> plan ──> rehearse ──> tables ──> record ──┐
//!                                                                          v
//! another host's record ──────────> load ──> plan ──> rehearse ──> tables ──> lanes: swap
//! a partition that stands still <──────────────────────────────── the set before ──┘
//! ```
//!
//! The contract:
//!
//! * Hosts follow the log. A directory only proposes: what changed in it since this host last took it in, on top of
//!   what the log names now. So hosts with different directories do not fight.
//! * What does not load, fit, restore or get its tables changes nothing: the lanes go on, and the reason is told.
//! * A directory without any transform proposes nothing: nobody means a disk that is not mounted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::dispatch::Doors;
use super::lane::Command;
use super::lane::remembered;
use super::listing::{self, Listing};
use super::loader::{Loader, package};
use super::program::{Broken, Program};
use crate::catalog::Catalog;
use crate::commit::record::Deployed;
use crate::commit::{Base, Log, Policy, Request, Topic, owner};
use crate::env::Env;
use crate::observe::Board;
use crate::sink::Stores;
use crate::transform::run::Runner;
use crate::transform::watch::Watch;
use crate::transform::{Package, registry};
use crate::wait::{blocking, tries};
use crate::{Error, Kind, Result};

/// How often something is tried that a store or catalog does not answer.
const TRIES: u32 = 5;
/// A set of another host that could not be run is tried again after this.
const AGAIN: Duration = Duration::from_secs(30);

/// Everything that keeping needs.
pub(super) struct Keeper {
    pub(super) env: Env,
    pub(super) loader: Loader,
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
    /// Partitions that were sent back to an older set since then.
    pub(super) fell_back: BTreeSet<i32>,
}

impl Keeper {
    /// Runs until it is dropped. `told` changes when the log names another set; `broken` is what lanes report.
    pub(super) async fn run(
        mut self,
        mut watch: Watch,
        mut told: watch::Receiver<Option<u64>>,
        mut broken: mpsc::UnboundedReceiver<Broken>,
    ) {
        loop {
            let behind = *told.borrow() > self.program.set;
            tokio::select! {
                () = watch.changed() => self.look().await,
                changed = told.changed() => match changed {
                    Ok(()) => self.follow().await,
                    Err(_) => return,
                },
                report = broken.recv() => match report {
                    Some(report) => self.help(report).await,
                    None => return,
                },
                () = tokio::time::sleep(AGAIN), if behind => self.follow().await,
            }
        }
    }

    /// Takes in what changed in the directory.
    pub(super) async fn look(&mut self) {
        let packages = match read(&self.loader.config.transforms).await {
            Ok(packages) => Arc::new(packages),
            Err(e) => {
                tracing::warn!("the transforms stay as they are: {e}");
                return self.board.refused("", &e.to_string());
            }
        };
        self.board.clear_refused();
        let now = listing::of_packages(&packages);
        let changed = listing::changed(&self.listing, &now);
        if changed.is_empty() {
            return;
        }
        // Together first: they may need each other. Then one by one, so that one that is broken stops no other.
        if changed.len() > 1 && self.accept(&packages, &now, &changed).await.is_ok() {
            return;
        }
        for file in changed {
            if let Err(e) = self.accept(&packages, &now, std::slice::from_ref(&file)).await {
                tracing::error!(file, "the last good transforms go on: {e}");
                self.board.refused(&file, &e.to_string());
            }
        }
    }

    async fn accept(&mut self, packages: &[Package], now: &Listing, files: &[String]) -> Result<()> {
        self.propose(packages, files).await?;
        for file in files {
            match now.get(file) {
                Some(entry) => drop(self.listing.insert(file.clone(), entry.clone())),
                None => drop(self.listing.remove(file)),
            }
        }
        listing::remember(&self.loader.config, &self.listing);
        Ok(())
    }

    /// Has the log name a set in which these files are as they are in the directory.
    async fn propose(&mut self, packages: &[Package], files: &[String]) -> Result<()> {
        loop {
            self.log.refresh().await?;
            let (previous, components) = match self.log.view().transforms() {
                Some((seq, set)) => (Some(seq), set.components.clone()),
                None => (None, vec![]),
            };
            let wanted = self.wanted(&components, packages, files).await?;
            if listing::of_packages(&wanted) == listing::of_set(&components) {
                return Ok(());
            }
            let program = self.loader.program(&self.stores, &Arc::new(wanted), previous).await?;
            self.prepare(&program).await?;
            if let Some(program) = program.named(&mut self.log).await? {
                let names: Vec<String> = program.desired.components.iter().map(shown).collect();
                let transforms = names.join(", ");
                tracing::info!(set = program.set, transforms, "the commit log names new transforms");
                self.adopt(program).await;
                return Ok(());
            }
        }
    }

    /// The set that the log names, with these files as the directory has them.
    async fn wanted(
        &self,
        components: &[Deployed],
        packages: &[Package],
        files: &[String],
    ) -> Result<Vec<Package>> {
        let mut wanted = Vec::new();
        for deployed in components.iter().filter(|deployed| !files.contains(&deployed.file)) {
            wanted.push(package(&self.log, deployed, packages).await?);
        }
        wanted.extend(packages.iter().filter(|package| files.contains(&package.name)).cloned());
        wanted.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(wanted)
    }

    /// Goes over to the set that the log names, which another host put there.
    async fn follow(&mut self) {
        let followed = async {
            self.log.refresh().await?;
            let Some((seq, _)) = self.log.view().transforms() else { return Ok(()) };
            if self.program.set == Some(seq) {
                return Ok(());
            }
            let near = read(&self.loader.config.transforms).await.unwrap_or_default();
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
        let (stores, pipeline) = (&self.stores, &self.loader.config.pipeline);
        tries(env, TRIES, || owner::own(stores, pipeline, &names, false)).await?;
        tries(env, TRIES, || owner::own(stores, pipeline, &names, true)).await?;
        tries(env, TRIES, || self.catalog.ensure(&program.tables)).await
    }

    /// Restores the states of this host's partitions as of their last commits, to see that they can be.
    async fn rehearse(&mut self, program: &Program) -> Result<()> {
        let mine = self.board.partitions();
        // Before there are any: all that the log knows.
        let known = self.log.view().positions().filter(|((topic, _), _)| *topic == self.topic);
        let known = known.map(|((_, partition), _)| *partition);
        let partitions: Vec<i32> = known.filter(|p| mine.is_empty() || mine.contains(p)).collect();
        let bases = self.log.bases(&self.topic, &partitions, &BTreeMap::new(), Policy::default()).await?;
        rehearse(program, bases).await
    }

    async fn adopt(&mut self, program: Program) {
        self.program = Arc::new(program);
        self.fell_back.clear();
        self.board.set(self.program.set, &self.program.desired.components);
        // The committer hears of the tables before a lane can have files of them.
        let _ = self.requests.send(Request::Tables(self.program.tables.clone())).await;
        for lane in 0..self.doors.0.len() {
            self.doors.send(lane, Command::Swap(self.program.clone()));
        }
        // They go over when their epochs end.
        let _ = self.requests.send(Request::Commit).await;
    }

    /// A partition stands still: the set before takes over, if there is one.
    async fn help(&mut self, report: Broken) {
        let Broken { partition, set, reason, paused } = report;
        if !paused {
            return;
        }
        if set < self.program.set && !self.fell_back.contains(&partition) {
            // A newer one is on its way to the lane.
            return;
        }
        let before = self.program.desired.previous.filter(|_| set == self.program.set);
        let Some(before) = before else {
            tracing::error!(
                partition,
                "there is no set of transforms to fall back to: put a mended component into {}; {reason}",
                self.loader.config.transforms.display()
            );
            if self.loader.config.until_end {
                // Nobody waits for a mended one.
                let _ = self.requests.send(Request::Fail(Error::stop(reason))).await;
            }
            return;
        };
        match self.loader.of_record(&self.log, &self.stores, before, &[]).await {
            Ok(program) => {
                let _ = self.requests.send(Request::Tables(program.tables.clone())).await;
                let lane = self.doors.of(partition);
                self.fell_back.insert(partition);
                self.doors.send(lane, Command::FallBack(partition, Arc::new(program)));
            }
            Err(e) => tracing::error!(partition, "cannot fall back to the set of record {before}: {e}"),
        }
    }
}

fn shown(deployed: &Deployed) -> String {
    format!("{} {} ({})", deployed.name, deployed.version, deployed.digest.get(..12).unwrap_or_default())
}

/// Has a program do once all that a commit asks of it: with nothing to remember, and from the states of partitions.
pub(super) async fn rehearse(program: &Program, bases: Vec<Base>) -> Result<()> {
    let graph = program.graph.clone();
    let rehearsed = blocking("the rehearsal", move || {
        Runner::rehearse(&graph, 0, &[])?;
        bases.iter().try_for_each(|base| Runner::rehearse(&graph, base.partition, &remembered(base)))
    });
    // Nothing was begun that could be abandoned.
    rehearsed.await?.map_err(|e| match e.kind() {
        Kind::Abandon => Error::usage(e.to_string()),
        _ => e,
    })
}

/// Reads a directory of transforms without holding up the runtime.
pub(super) async fn read(directory: &std::path::Path) -> Result<Vec<Package>> {
    let directory = directory.to_owned();
    blocking("reading the transforms", move || registry::read(&directory)).await?
}
