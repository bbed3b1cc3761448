//! Wires the stages; the only module that knows them all.
//!
//! ```text
//!             ┌ group thread ┐   taken, released
//! Kafka ──────┤  rebalances  ├─────────┬──────────────┐
//!             └──────────────┘         v              v
//!                        ┌ lane ── lane ── lane ┐   committer ──> zones, catalog, offsets
//!  partition queues ────>│  decode, transform,  │──>  parts up,
//!                        │  encode, stage       │<──  barriers and verdicts down
//!                        └──────────────────────┘
//! ```
//!
//! Where the pipeline has several commit logs, there is a set of lanes and a committer for each of them (`shard.rs`);
//! the group's thread gives each partition to those of its shard.

pub mod backfill;
mod begin;
pub mod deploy;
mod dispatch;
mod keeper;
mod lane;
mod listing;
mod loader;
pub mod offline;
mod own;
mod program;
mod remake;
pub mod replay;
pub mod reprocess;
mod shard;
mod share;
mod shelf;
mod stages;
mod status;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use crate::catalog::{Catalog, Glue, Local, NoCatalog};
use crate::commit::{Lanes, Log, Order, Request, Together, Until};
use crate::config::{CatalogKind, Config};
use crate::env::Env;
use crate::history::Background;
use crate::observe::{Requests, Stats, Traces};
use crate::shard::Shard;
use crate::sink::{Aws, Keys, Location, Stores, ZoneStore};
use crate::source::{Ends, Group};
use crate::table::{self, Zone};
use crate::transform::Component;
use crate::transform::graph::Graph;
use crate::wait::blocking;
use crate::{Error, Result};
use begin::Ready;
use dispatch::{Dispatch, Door};
use loader::Loader;
pub use own::raw as raw_rows;
use remake::Again;
use shard::{Parts, Running};
use share::Share;
pub use shelf::Shelf;
use status::Answering;

/// Loads the transforms that a configuration names and plans how they work together.
pub async fn graph(config: &Config) -> Result<Graph> {
    let loader = Loader::new(config)?;
    let packages = loader.read().await?;
    loader.trusted(&packages)?;
    // A guest that prints goes through the runtime.
    let graph = blocking("loading transforms", move || {
        let graph = loader.plan(&packages)?;
        loader.known_tables(&graph)?;
        Ok(graph)
    });
    graph.await?
}

/// Plans how components that were loaded work together, as [`graph`] does.
pub fn plan(config: &Config, components: Vec<Component>) -> Result<Graph> {
    let graph = loader::planned(config, components)?;
    loader::known_tables(config, &graph)?;
    Ok(graph)
}

/// Runs the whole way of the data until `stop` is set, the end is reached (`until-end`) or a person is
/// needed. When it returns, everything that was done is committed or, with an error, abandoned.
pub async fn run(
    config: &Config,
    env: Env,
    stats: Arc<Stats>,
    mut stop: watch::Receiver<bool>,
) -> Result<()> {
    let group = Group::new(config.source())?;
    let keys = Keys::new(&config.pipeline)?;
    let (host, meters) = (host_name(config, &env), stats.meters());
    // Before anything is waited for: a host that waits can be asked, too.
    let answering = Answering::begin(config, &env, &host, &keys, &stats, &group);
    let (stores, catalog) = lake(config, &keys, &env, Some(&meters.requests)).await?;
    answering.lake(&stores);
    if let Some(collector) = &config.otlp {
        stats.trace(Traces::to(collector, &host, &config.pipeline)?);
    }
    let loader = Loader::new(config)?;
    let again = Again {
        loader: loader.clone(),
        env: env.clone(),
        keys: keys.clone(),
        stores: stores.clone(),
        raw: Arc::new(table::raw(&config.topic)),
        rejected: Arc::new(table::rejected()),
    };
    let log = |shard| {
        let keys = keys.shard(shard);
        let again = Again { keys: keys.clone(), ..again.clone() };
        (shard, Log::new(Arc::new(stores.clone()), env.clone(), &keys, &host, Arc::new(again)))
    };
    let logs = Shard::all(config.logs).map(log).collect();
    let Ready { ends, shards } = tokio::select! {
        ready = begin::ready(&loader, &group, &stores, catalog.as_ref(), logs) => ready?,
        () = stopped(&mut stop) => return Ok(()),
    };
    let group = group.prefetching(config.memory.prefetch(ends.len()))?;
    answering.ask(&group).await;
    let share = Arc::new(Share::new(config.memory, config.lanes));
    let parts = Parts {
        config,
        env: &env,
        group: &group,
        stores: &stores,
        catalog: &catalog,
        keys: &keys,
        raw: &again.raw,
        rejected: &again.rejected,
        loader: &loader,
        stats: &stats,
        ends: &ends,
        share: &share,
        together: &Together::new(shards.len()),
    };
    let shards: Vec<Running> = shards.into_iter().map(|begun| parts.shard(begun)).collect::<Result<_>>()?;
    let (mut doors, mut threads, mut reports) = (Vec::new(), Vec::new(), Vec::new());
    let (mut committers, mut keepers, mut listening) = (JoinSet::new(), Vec::new(), Vec::new());
    for shard in shards {
        committers.spawn(shard.committer.run());
        doors.push(shard.door);
        threads.extend(shard.threads);
        reports.push(shard.reports);
        keepers.push(shard.keeper);
        listening.push((shard.told, shard.broken));
    }
    // What changed in the directory since this host last ran is taken in before the first event.
    let watching = loader.shelf.watch().await;
    let look = async {
        for keeper in &mut keepers {
            keeper.look().await;
        }
    };
    tokio::select! {
        () = look => {}
        // Below it is ended in good order.
        () = stopped(&mut stop) => {}
    }
    let (change, changed) = watch::channel(());
    let mut kept = JoinSet::new();
    kept.spawn(keeper::pass_on(watching, change));
    for (keeper, (told, broken)) in keepers.into_iter().zip(listening) {
        keeper.remember();
        kept.spawn(keeper.run(changed.clone(), told, broken));
    }
    let history = Background::begin(config, &env);
    let leave = Arc::new(AtomicBool::new(false));
    let (bases, door) = (BTreeMap::new(), leave.clone());
    let owner = Dispatch { doors: doors.clone(), stats, leave: door, bases };
    let member = serve(&group, owner, leave.clone())?;
    let (failed, mut failure) = oneshot::channel();
    let member = watch_thread(member, failed);

    // One of three ends it: a signal, the committers (end reached, or an error), the group's thread.
    let result = tokio::select! {
        done = ended(&mut committers) => done,
        () = stopped(&mut stop) => finish(&doors, &mut committers).await,
        error = &mut failure => {
            Err(error.unwrap_or_else(|_| Error::stop("the group's thread ended; this is a bug")))
        }
    };
    committers.abort_all();
    leave.store(true, Ordering::SeqCst);
    kept.abort_all();
    drop((reports, history));
    for door in doors {
        for lane in 0..door.lanes.count() {
            door.lanes.order(lane, Order::Stop);
        }
    }
    answering.end().await;
    farewell(group, member, threads).await;
    result
}

/// Opens the zones and the catalog. AWS is asked for its settings only where something lies there.
async fn lake(
    config: &Config,
    keys: &Keys,
    env: &Env,
    requests: Option<&Requests>,
) -> Result<(Stores, Arc<dyn Catalog>)> {
    let on_s3 = [&config.raw, &config.processed].iter().any(|zone| matches!(zone, Location::S3 { .. }));
    let aws = match on_s3 || config.catalog == CatalogKind::Glue {
        true => Some(Aws::load(requests.cloned()).await),
        false => None,
    };
    let open = |zone, location: &Location, setting| {
        let store = ZoneStore::open(zone, location.clone(), setting, keys, aws.as_ref(), env)?;
        Ok::<_, Error>(Arc::new(store.with_under_way(config.memory.uploads())))
    };
    let stores = Stores {
        raw: open(Zone::Raw, &config.raw, "raw")?,
        processed: open(Zone::Processed, &config.processed, "processed")?,
    };
    let catalog: Arc<dyn Catalog> = match (config.catalog, &aws, &config.processed) {
        (CatalogKind::Glue, Some(aws), _) => Arc::new(Glue::new(aws, &config.database)),
        (CatalogKind::Local, _, Location::Local(root)) => {
            Arc::new(Local::new(root.join(keys.catalog()), env.clone()))
        }
        _ => Arc::new(NoCatalog),
    };
    Ok((stores, catalog))
}

/// Where a run that ends by itself ends: when everything is committed that is in the topic now.
fn until(config: &Config, ends: &Ends) -> Until {
    config.until_end.then(|| ends.iter().map(|(partition, (_, high))| (*partition, *high)).collect())
}

/// What this host is called in records.
fn host_name(config: &Config, env: &Env) -> String {
    config.instance.clone().unwrap_or_else(|| env.fresh_id())
}

/// How long the last commit may take after a signal.
const LAST_COMMIT: Duration = Duration::from_secs(7);
/// How long leaving the group may take.
const LEAVE: Duration = Duration::from_secs(2);

/// Waits until all committers have ended, or one has failed.
async fn ended(committers: &mut JoinSet<Result<()>>) -> Result<()> {
    while let Some(done) = committers.join_next().await {
        flat(done)?;
    }
    Ok(())
}

async fn finish(doors: &[Door], committers: &mut JoinSet<Result<()>>) -> Result<()> {
    for door in doors {
        // If the committer has just ended, its own result counts.
        let _ = door.requests.send(Request::Stop).await;
    }
    let last = async {
        let mut result = Ok(());
        // That one failed does not keep the others from their last commits.
        while let Some(done) = committers.join_next().await {
            result = result.and(flat(done));
        }
        result
    };
    match tokio::time::timeout(LAST_COMMIT, last).await {
        Ok(result) => result,
        Err(_) => Err(Error::stop(format!(
            "the last commit did not end within {LAST_COMMIT:?}; its events will be read again at the next start"
        ))),
    }
}

fn flat(done: std::result::Result<Result<()>, tokio::task::JoinError>) -> Result<()> {
    done.unwrap_or_else(|e| Err(Error::stop(format!("the committer failed: {e}"))))
}

/// Ends the threads and leaves the group, within bounds: a broker that does not answer must not hold up
/// the end of the process.
async fn farewell(group: Group, member: thread::JoinHandle<()>, lanes: Vec<thread::JoinHandle<()>>) {
    let (done, left) = oneshot::channel();
    thread::spawn(move || {
        for thread in lanes.into_iter().chain([member]) {
            if thread.join().is_err() {
                tracing::error!("a thread panicked");
            }
        }
        group.leave();
        let _ = done.send(());
    });
    if tokio::time::timeout(LEAVE, left).await.is_err() {
        tracing::warn!(
            "could not leave the consumer group in {LEAVE:?}; the brokers will notice by themselves"
        );
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        // Nobody can stop us any more.
        std::future::pending::<()>().await;
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<thread::JoinHandle<()>> {
    thread::Builder::new()
        .name(name.into())
        .spawn(work)
        .map_err(|e| Error::stop(format!("cannot start thread {name}: {e}")))
}

fn serve(
    group: &Group,
    mut owner: Dispatch,
    leave: Arc<AtomicBool>,
) -> Result<thread::JoinHandle<Result<()>>> {
    let group = group.clone();
    thread::Builder::new()
        .name("group".into())
        .spawn(move || group.serve(&mut owner, &leave))
        .map_err(|e| Error::stop(format!("cannot start thread group: {e}")))
}

/// Passes on the error of the group's thread, if it ends with one.
fn watch_thread(
    member: thread::JoinHandle<Result<()>>,
    failed: oneshot::Sender<Error>,
) -> thread::JoinHandle<()> {
    thread::spawn(move || match member.join() {
        Ok(Ok(())) => {
            // Told to leave: keep the channel open, so that nobody takes it for a failure.
            std::mem::forget(failed);
        }
        Ok(Err(e)) => drop(failed.send(e)),
        Err(_) => drop(failed.send(Error::stop("the group's thread panicked"))),
    })
}
