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
mod shelf;
mod stages;
mod status;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::catalog::{Catalog, Glue, Local, NoCatalog};
use crate::commit::{Committer, Lanes, Log, Order, Policy, Request, Setup, Until, Up};
use crate::config::{CatalogKind, Config};
use crate::env::Env;
use crate::history::Background;
use crate::observe::{Board, Meters, Requests, Stats, Traces};
use crate::sink::{Aws, EpochWriter, Keys, Location, Stores, ZoneStore};
use crate::source::{Ends, Group, Start};
use crate::table::{self, Table, Zone};
use crate::transform::Component;
use crate::transform::graph::Graph;
use crate::wait::blocking;
use crate::{Error, Result};
use begin::Ready;
use dispatch::{Dispatch, Doors};
use keeper::Keeper;
use lane::Lane;
use loader::Loader;
use program::{Broken, Program};
use remake::Again;
pub use shelf::Shelf;
use stages::Stages;
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
    let (host, board, meters) = (host_name(config, &env), stats.board(), stats.meters());
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
    let (raw, rejected) = (again.raw.clone(), again.rejected.clone());
    let log = Log::new(Arc::new(stores.clone()), env.clone(), &keys, &host, Arc::new(again));
    let Ready { topic, ends, log, program } = tokio::select! {
        ready = begin::ready(&loader, &group, &stores, catalog.as_ref(), log) => ready?,
        () = stopped(&mut stop) => return Ok(()),
    };
    let group = group.prefetching(config.memory.prefetch(ends.len()))?;
    let program = Arc::new(program);
    board.set(program.set, &program.desired.components);
    let history_env = env.clone();
    let (reports, broken) = mpsc::unbounded_channel();
    let parts = Parts {
        env: &env,
        program: &program,
        group: &group,
        stores: &stores,
        keys: &keys,
        raw: &raw,
        rejected: &rejected,
        broken: &reports,
        board: &board,
        meters: &meters,
    };
    let (up, from_lanes) = mpsc::unbounded_channel();
    let (lanes, threads) = parts.lanes(config, ends.len(), &up)?;
    drop(up);
    let (requests, asked) = mpsc::channel(16);
    let (tell, told) = watch::channel(program.set);
    let mut keeper = Keeper {
        env: env.clone(),
        listing: listing::recall(config).unwrap_or_else(|| listing::of_set(&program.desired.components)),
        loader,
        log: log.clone(),
        topic: topic.clone(),
        stores: stores.clone(),
        catalog: catalog.clone(),
        doors: lanes.clone(),
        requests: requests.clone(),
        board,
        program: program.clone(),
        state: keeper::State::new(program.set),
    };
    let setup = Setup {
        stores: stores.clone(),
        log,
        topic,
        policy: Policy { latest: config.start == Start::Latest, skip_lost: config.skip_lost },
        catalog,
        tables: program.tables.clone(),
        lanes: lanes.clone(),
        offsets: Arc::new(group.clone()),
        stats: stats.clone(),
        env,
        interval: config.commit_interval,
        until: until(config, &ends),
        transforms: tell,
    };
    let mut committer = tokio::spawn(Committer::new(setup, from_lanes, asked).run());
    // What changed in the directory since this host last ran is taken in before the first event.
    let watching = keeper.loader.shelf.watch().await;
    tokio::select! {
        () = keeper.look() => {}
        // Below it is ended in good order.
        () = stopped(&mut stop) => {}
    }
    listing::remember(config, &keeper.listing);
    let keeper = tokio::spawn(keeper.run(watching, told, broken));
    let history = Background::begin(config, &history_env);
    let leave = Arc::new(AtomicBool::new(false));
    let (bases, door) = (BTreeMap::new(), leave.clone());
    let owner = Dispatch { lanes: lanes.clone(), requests: requests.clone(), stats, leave: door, bases };
    let member = serve(&group, owner, leave.clone())?;
    let (failed, mut failure) = oneshot::channel();
    let member = watch_thread(member, failed);

    // One of three ends it: a signal, the committer (end reached, or an error), the group's thread.
    let result = tokio::select! {
        done = &mut committer => flat(done),
        () = stopped(&mut stop) => finish(&requests, committer).await,
        error = &mut failure => {
            committer.abort();
            Err(error.unwrap_or_else(|_| Error::stop("the group's thread ended; this is a bug")))
        }
    };
    leave.store(true, Ordering::SeqCst);
    keeper.abort();
    drop((requests, reports, history));
    for lane in 0..lanes.count() {
        lanes.order(lane, Order::Stop);
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

async fn finish(
    requests: &mpsc::Sender<Request>,
    mut committer: tokio::task::JoinHandle<Result<()>>,
) -> Result<()> {
    // If the committer has just ended, its own result counts.
    let _ = requests.send(Request::Stop).await;
    match tokio::time::timeout(LAST_COMMIT, &mut committer).await {
        Ok(done) => flat(done),
        Err(_) => {
            committer.abort();
            Err(Error::stop(format!(
                "the last commit did not end within {LAST_COMMIT:?}; its events will be read again at the next start"
            )))
        }
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

/// What lanes are made of.
struct Parts<'a> {
    env: &'a Env,
    program: &'a Arc<Program>,
    group: &'a Group,
    stores: &'a Stores,
    keys: &'a Keys,
    raw: &'a Arc<Table>,
    rejected: &'a Arc<Table>,
    broken: &'a mpsc::UnboundedSender<Broken>,
    board: &'a Arc<Board>,
    meters: &'a Arc<Meters>,
}

impl Parts<'_> {
    fn lanes(
        &self,
        config: &Config,
        partitions: usize,
        up: &mpsc::UnboundedSender<Up>,
    ) -> Result<(Arc<Doors>, Vec<thread::JoinHandle<()>>)> {
        let (mut doors, mut threads) = (Vec::new(), Vec::new());
        for number in 0..config.lanes {
            let (door, commands) = crossbeam_channel::unbounded();
            let writer = EpochWriter::new(
                self.stores.clone(),
                self.keys,
                u32::try_from(number).unwrap_or(u32::MAX),
                config.sink(),
            );
            let lane = Lane {
                number,
                env: self.env.clone(),
                topic: config.topic.as_str().into(),
                group: self.group.clone(),
                program: self.program.clone(),
                stages: Stages {
                    writer,
                    raw: self.raw.clone(),
                    rejected: self.rejected.clone(),
                    meters: self.meters.clone(),
                },
                largest: config.max_event_size,
                batch: config.memory.batch(partitions),
                most_events: config.commit_events,
                most_bytes: config.commit_bytes,
                commands,
                up: up.clone(),
                broken: self.broken.clone(),
                board: self.board.clone(),
                state: lane::State::default(),
            };
            // Guests print through the runtime: without ours, wasmtime-wasi would start one of its own.
            let runtime = tokio::runtime::Handle::current();
            threads.push(spawn(&format!("lane-{number}"), move || {
                let _within = runtime.enter();
                let (up, number) = (lane.up.clone(), lane.number);
                // The committer waits for every lane: one that dies must say so.
                if std::panic::catch_unwind(AssertUnwindSafe(|| lane.run())).is_err() {
                    let _ = up.send(Up::Fatal(Error::stop(format!("lane {number} panicked; this is a bug"))));
                }
            })?);
            doors.push(door);
        }
        Ok((Arc::new(Doors(doors)), threads))
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
