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

mod dispatch;
mod lane;
pub mod offline;
mod own;
mod remake;
mod stages;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::catalog::{Catalog, Glue, Local, NoCatalog, TableSpec};
use crate::commit::{Committer, Lanes, Log, Order, Policy, Request, Setup, Topic, Until, Up, owner};
use crate::config::{CatalogKind, Config};
use crate::decode::Decoder;
use crate::env::Env;
use crate::observe::Stats;
use crate::sink::{Aws, EpochWriter, Keys, Location, Stores, ZoneStore};
use crate::source::{Ends, Group, Start};
use crate::table::{self, Table, Zone};
use crate::transform::graph::{Graph, Surroundings};
use crate::transform::{Compiling, Component, Engine, registry};
use crate::{Error, Kind, Result};
use dispatch::{Dispatch, Doors};
use lane::Lane;
use remake::Again;
use stages::Stages;

/// Loads the transforms of a configuration and plans how they work together.
pub fn graph(config: &Config) -> Result<Graph> {
    let engine = Arc::new(Engine::new(Compiling::of_process(), config.cache.as_deref())?);
    let packages = registry::read(&config.transforms)?;
    let components: Vec<Component> =
        packages.iter().map(|package| Component::load(&engine, package)).collect::<Result<_>>()?;
    let (raw, rejected) = (table::raw(&config.topic), table::rejected());
    let provenance: BTreeMap<String, bool> =
        config.tables.iter().map(|(name, table)| (name.clone(), table.provenance)).collect();
    let graph = Graph::plan(
        components,
        &Surroundings { topic: &config.topic, taken: &[&raw.name, &rejected.name], provenance: &provenance },
    )?;
    if let Some(name) = provenance.keys().find(|name| graph.tables().all(|t| t.name != **name)) {
        return Err(Error::usage(format!(
            "[tables.{name}] in the configuration: no transform makes a table {name}"
        )));
    }
    Ok(graph)
}

/// Components are compiled and opened on a thread that may block: a guest that prints does so.
async fn loaded(config: &Config) -> Result<Graph> {
    let config = config.clone();
    let graph = tokio::task::spawn_blocking(move || graph(&config)).await;
    graph.unwrap_or_else(|e| Err(Error::stop(format!("loading the transforms failed: {e}"))))
}

/// Runs the whole way of the data until `stop` is set, the end is reached (`until-end`) or a person is
/// needed. When it returns, everything that was done is committed or, with an error, abandoned.
pub async fn run(
    config: &Config,
    env: Env,
    stats: Arc<Stats>,
    mut stop: watch::Receiver<bool>,
) -> Result<()> {
    let graph = tokio::select! {
        graph = loaded(config) => Arc::new(graph?),
        () = stopped(&mut stop) => return Ok(()),
    };
    let group = Group::new(config.source())?;
    let keys = Keys::new(&config.pipeline)?;
    let (stores, catalog) = lake(config, &keys, &env).await?;
    let raw = Arc::new(table::raw(&config.topic));
    let rejected = Arc::new(table::rejected());
    let tables = specs(&graph, &stores, &raw, &rejected);

    let again = Again {
        config: config.clone(),
        env: env.clone(),
        keys: keys.clone(),
        stores: stores.clone(),
        graph: graph.clone(),
        raw: raw.clone(),
        rejected: rejected.clone(),
    };
    let host = host_name(config, &env);
    let log = Log::new(Arc::new(stores.clone()), env.clone(), &keys, &host, Arc::new(again));
    let (topic, ends, log) = tokio::select! {
        ready = ready(config, &group, &stores, catalog.as_ref(), &tables, log) => ready?,
        () = stopped(&mut stop) => return Ok(()),
    };
    let parts = Parts {
        env: &env,
        graph: &graph,
        group: &group,
        stores: &stores,
        keys: &keys,
        raw: &raw,
        rejected: &rejected,
    };
    let (up, from_lanes) = mpsc::unbounded_channel();
    let (lanes, threads) = parts.lanes(config, &up)?;
    drop(up);
    let (requests, asked) = mpsc::channel(16);
    let setup = Setup {
        stores: stores.clone(),
        log,
        topic,
        policy: Policy { latest: config.start == Start::Latest, skip_lost: config.skip_lost },
        catalog,
        tables,
        lanes: lanes.clone(),
        offsets: Arc::new(group.clone()),
        stats: stats.clone(),
        env,
        interval: config.commit_interval,
        until: until(config, &ends),
    };
    let mut committer = tokio::spawn(Committer::new(setup, from_lanes, asked).run());
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
    drop(requests);
    for lane in 0..lanes.count() {
        lanes.order(lane, Order::Stop);
    }
    farewell(group, member, threads).await;
    result
}

/// What the catalog is told of all tables.
fn specs(graph: &Graph, stores: &Stores, raw: &Arc<Table>, rejected: &Arc<Table>) -> Vec<TableSpec> {
    [raw, rejected]
        .into_iter()
        .chain(graph.tables())
        .map(|table| TableSpec {
            merge: graph.merge(&table.name),
            ..TableSpec::new(table.clone(), stores.of(table.zone).table_address(table))
        })
        .collect()
}

/// Opens the zones and the catalog. AWS is asked for its settings only where something lies there.
async fn lake(config: &Config, keys: &Keys, env: &Env) -> Result<(Stores, Arc<dyn Catalog>)> {
    let on_s3 = [&config.raw, &config.processed].iter().any(|zone| matches!(zone, Location::S3 { .. }));
    let aws = match on_s3 || config.catalog == CatalogKind::Glue {
        true => Some(Aws::load().await),
        false => None,
    };
    let open = |zone, location: &Location, setting| {
        ZoneStore::open(zone, location.clone(), setting, keys, aws.as_ref(), env).map(Arc::new)
    };
    let stores = Stores {
        raw: open(Zone::Raw, &config.raw, "raw")?,
        processed: open(Zone::Processed, &config.processed, "processed")?,
    };
    let catalog: Arc<dyn Catalog> = match (config.catalog, &aws, &config.processed) {
        (CatalogKind::Glue, Some(aws), _) => Arc::new(Glue::new(&aws.sdk, &config.database)),
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

/// Waits until brokers, zones and catalog answer, and says what it waits for; then reads the log.
async fn ready(
    config: &Config,
    group: &Group,
    stores: &Stores,
    catalog: &dyn Catalog,
    tables: &[TableSpec],
    mut log: Log,
) -> Result<(Topic, Ends, Log)> {
    let kafka = async {
        let ends = asked(group, Group::ends).await?;
        let partitions: Vec<i32> = ends.keys().copied().collect();
        let told = asked(group, move |group| group.committed(&partitions)).await?;
        Ok((asked(group, Group::topic_id).await?, ends, told))
    };
    let lake = async { until_there(|| stores.check()).await };
    let ((id, ends, told), ()) = tokio::try_join!(kafka, lake)?;
    log.open().await?;
    let topic = log.identify(&Topic { name: config.topic.clone(), id });
    let names: Vec<(Zone, String)> = tables.iter().map(|t| (t.table.zone, t.table.name.clone())).collect();
    until_there(|| owner::own(stores, &config.pipeline, &names, false)).await?;
    owner::whole(&log, &topic, &told, config.skip_lost)?;
    if log.view().next() == 0 {
        let group = told.values().any(Option::is_some).then_some(config.group.as_str());
        until_there(|| owner::not_lost(&log, stores, &names, group)).await?;
    }
    until_there(|| owner::own(stores, &config.pipeline, &names, true)).await?;
    until_there(|| catalog.ensure(tables)).await?;
    Ok((topic, ends, log))
}

/// Asks the brokers until they answer.
async fn asked<T: Send + 'static>(
    group: &Group,
    question: impl Fn(&Group) -> Result<T> + Send + Sync + 'static,
) -> Result<T> {
    let question = Arc::new(question);
    until_there(|| {
        let (group, question) = (group.clone(), question.clone());
        async move {
            let answer = tokio::task::spawn_blocking(move || question(&group)).await;
            answer.unwrap_or_else(|e| Err(Error::stop(e.to_string())))
        }
    })
    .await
}

async fn until_there<T, F: Future<Output = Result<T>>>(mut ask: impl FnMut() -> F) -> Result<T> {
    let mut pause = Duration::from_millis(500);
    loop {
        match ask().await {
            Err(e) if e.kind() == Kind::Retry => tracing::warn!("{e}; retrying"),
            other => return other,
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

/// What lanes are made of.
struct Parts<'a> {
    env: &'a Env,
    graph: &'a Arc<Graph>,
    group: &'a Group,
    stores: &'a Stores,
    keys: &'a Keys,
    raw: &'a Arc<Table>,
    rejected: &'a Arc<Table>,
}

impl Parts<'_> {
    fn lanes(
        &self,
        config: &Config,
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
                graph: self.graph.clone(),
                stages: Stages {
                    decoder: Decoder::new(self.graph.fields(), config.max_event_size),
                    writer,
                    raw: self.raw.clone(),
                    rejected: self.rejected.clone(),
                },
                most_events: config.commit_events,
                most_bytes: config.commit_bytes,
                commands,
                up: up.clone(),
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
