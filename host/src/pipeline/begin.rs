//! The start: brokers, zones and catalog answer, the logs are read, and they name the transforms to begin with.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};

use super::keeper::rehearse;
use super::loader::Loader;
use super::program::Program;
use super::shard::policy;
use crate::catalog::Catalog;
use crate::commit::record::TransformSet;
use crate::commit::{Log, Topic, owner};
use crate::shard::Shard;
use crate::sink::Stores;
use crate::source::{Ends, Group};
use crate::wait::blocking;
use crate::{Error, Kind, Result};

/// After so much waiting it is said what is wrong already.
const SILENCE: Duration = Duration::from_secs(2);

/// Logs that are opened side by side: each reads up to a hundred records.
const ABREAST: usize = 8;

/// What a host begins with.
pub(super) struct Ready {
    pub(super) ends: Ends,
    /// In the order of their numbers.
    pub(super) shards: Vec<Begun>,
}

/// What a host begins with in a shard.
pub(super) struct Begun {
    pub(super) shard: Shard,
    pub(super) topic: Topic,
    pub(super) log: Log,
    pub(super) program: Program,
}

/// Waits until brokers, zones and catalog answer, and says what it waits for; then reads the logs.
pub(super) async fn ready(
    loader: &Loader,
    group: &Group,
    stores: &Stores,
    catalog: &dyn Catalog,
    mut logs: Vec<(Shard, Log)>,
) -> Result<Ready> {
    let config = &loader.config;
    // What is wrong with them is said at once, whoever else has to be waited for.
    let directory = of_directory(loader, stores).await;
    let lake = async {
        until_there(|| stores.check()).await?;
        let opened: Vec<_> = logs.iter_mut().map(|(_, log)| log.open()).collect();
        stream::iter(opened).buffer_unordered(ABREAST).try_collect::<()>().await
    };
    let said = async {
        if let Err(e) = &directory {
            tokio::time::sleep(SILENCE).await;
            tracing::warn!("{e}; the commit log may name transforms, and is waited for");
        }
        std::future::pending::<Result<()>>().await
    };
    tokio::select! { opened = lake => opened?, _ = said => {} }
    let named = logs.iter().all(|(_, log)| log.view().transforms().is_some());
    let directory = match directory {
        // A bucket is made before anything can be put there.
        Err(e) if !named && e.kind() == Kind::Retry => {
            Some(until_there(|| of_directory(loader, stores)).await?)
        }
        Err(e) if !named => return Err(e),
        Err(e) => {
            tracing::error!("the last good transforms go on: {e}");
            None
        }
        Ok(directory) => Some(directory),
    };
    let ends = asked(group, Group::ends).await?;
    let partitions: Vec<i32> = ends.keys().copied().collect();
    let told = asked(group, move |group| group.committed(&partitions)).await?;
    let id = asked(group, Group::topic_id).await?;
    let known = Known {
        loader,
        stores,
        catalog,
        topic: Topic { name: config.topic.clone(), id },
        ends: &ends,
        told: &told,
        directory,
    };
    let mut logs = logs.into_iter();
    let Some((shard, log)) = logs.next() else { return Err(Error::stop("there is no log; this is a bug")) };
    // The first one sees to the tables, which they share.
    let first = known.begin(shard, log, None).await?;
    let rest: Vec<_> = logs.map(|(shard, log)| known.begin(shard, log, Some(&first.program))).collect();
    let rest: Vec<Begun> = stream::iter(rest).buffered(ABREAST).try_collect().await?;
    Ok(Ready { shards: std::iter::once(first).chain(rest).collect(), ends })
}

/// What all shards begin with.
struct Known<'a> {
    loader: &'a Loader,
    stores: &'a Stores,
    catalog: &'a dyn Catalog,
    topic: Topic,
    ends: &'a Ends,
    /// What the group was told; read before the logs are read on.
    told: &'a BTreeMap<i32, Option<i64>>,
    directory: Option<Program>,
}

impl Known<'_> {
    /// Has a shard begin. The tables of `prepared` are ours, and the catalog knows them.
    async fn begin(&self, shard: Shard, mut log: Log, prepared: Option<&Program>) -> Result<Begun> {
        let Known { loader, stores, catalog, ends, told, .. } = self;
        let config = &loader.config;
        // What was told to the group was in the log before.
        log.refresh().await?;
        let topic = log.identify(&self.topic);
        owner::whole(&log, &topic, told, config.skip_lost)?;
        let mut first = self.directory.clone();
        let program = loop {
            let program = match (log.view().transforms(), first.take()) {
                (None, Some(directory)) => directory,
                (Some(named), directory) => of_log(loader, &log, stores, named, directory).await?,
                (None, None) => {
                    return Err(Error::stop("the commit log names no transforms; this is a bug"));
                }
            };
            let done = prepared.is_some_and(|known| known.desired.components == program.desired.components);
            let names = program.names();
            let own = |claim| owner::own(stores, &config.pipeline, config.logs, &names, claim);
            if !done {
                until_there(|| own(false)).await?;
            }
            if log.view().next() == 0 {
                let mut ours = told.iter().filter(|(partition, _)| shard.has(**partition));
                let group = ours.any(|(_, told)| told.is_some()).then_some(config.group.as_str());
                until_there(|| owner::not_lost(&log, shard, stores, &names, group)).await?;
            }
            if !done {
                until_there(|| own(true)).await?;
                until_there(|| catalog.ensure(&program.tables)).await?;
            }
            let program = match program.set {
                Some(_) => Some(program),
                None => program.named(&mut log).await?,
            };
            if let Some(program) = program {
                break program;
            }
        };
        if shard.label().is_some() {
            log.commence(&topic, &shard.ours(ends), policy(config)).await?;
        }
        Ok(Begun { shard, topic, log, program })
    }
}

/// The program of the directory's transforms.
async fn of_directory(loader: &Loader, stores: &Stores) -> Result<Program> {
    let packages = Arc::new(loader.read().await?);
    loader.trusted(&packages)?;
    let program = loader.program(stores, &packages, None).await?;
    loader.known_tables(&program.graph)?;
    rehearse(&program, None).await?;
    Ok(program)
}

/// The program of the set that the log names. If it does not run any more, the directory may have a better one.
async fn of_log(
    loader: &Loader,
    log: &Log,
    stores: &Stores,
    (seq, set): (u64, &TransformSet),
    directory: Option<Program>,
) -> Result<Program> {
    match directory {
        // It is the same: nothing is to be loaded again.
        Some(program) if program.desired.components == set.components => {
            Ok(Program { set: Some(seq), desired: set.clone(), ..program })
        }
        None => loader.of_record(log, stores, seq, &[]).await,
        Some(Program { packages, .. }) => match loader.of_record(log, stores, seq, &packages).await {
            Err(e) if e.kind() == Kind::Usage => {
                tracing::warn!(
                    "the transforms of record {seq} do not run any more: {e}; taking the directory's"
                );
                loader.program(stores, &packages, Some(seq)).await
            }
            loaded => loaded,
        },
    }
}

/// Asks the brokers until they answer.
async fn asked<T: Send + 'static>(
    group: &Group,
    question: impl Fn(&Group) -> Result<T> + Send + Sync + 'static,
) -> Result<T> {
    let question = Arc::new(question);
    until_there(|| {
        let (group, question) = (group.clone(), question.clone());
        async move { blocking("asking the brokers", move || question(&group)).await? }
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
