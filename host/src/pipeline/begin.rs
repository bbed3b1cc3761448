//! The start: brokers, zones and catalog answer, the log is read, and it names the transforms to begin with.

use std::sync::Arc;
use std::time::Duration;

use super::keeper::rehearse;
use super::loader::Loader;
use super::program::Program;
use crate::catalog::Catalog;
use crate::commit::record::TransformSet;
use crate::commit::{Log, Topic, owner};
use crate::sink::Stores;
use crate::source::{Ends, Group};
use crate::wait::blocking;
use crate::{Error, Kind, Result};

/// After so much waiting it is said what is wrong already.
const SILENCE: Duration = Duration::from_secs(2);

/// What a host begins with.
pub(super) struct Ready {
    pub(super) topic: Topic,
    pub(super) ends: Ends,
    pub(super) log: Log,
    pub(super) program: Program,
}

/// Waits until brokers, zones and catalog answer, and says what it waits for; then reads the log.
pub(super) async fn ready(
    loader: &Loader,
    group: &Group,
    stores: &Stores,
    catalog: &dyn Catalog,
    mut log: Log,
) -> Result<Ready> {
    let config = &loader.config;
    // What is wrong with them is said at once, whoever else has to be waited for.
    let directory = of_directory(loader, stores).await;
    let lake = async {
        until_there(|| stores.check()).await?;
        log.open().await
    };
    let said = async {
        if let Err(e) = &directory {
            tokio::time::sleep(SILENCE).await;
            tracing::warn!("{e}; the commit log may name transforms, and is waited for");
        }
        std::future::pending::<Result<()>>().await
    };
    tokio::select! { opened = lake => opened?, _ = said => {} }
    let directory = match directory {
        // A bucket is made before anything can be put there.
        Err(e) if log.view().transforms().is_none() && e.kind() == Kind::Retry => {
            Some(until_there(|| of_directory(loader, stores)).await?)
        }
        Err(e) if log.view().transforms().is_none() => return Err(e),
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
    // What was told to the group was in the log before.
    log.refresh().await?;
    let topic = log.identify(&Topic { name: config.topic.clone(), id });
    owner::whole(&log, &topic, &told, config.skip_lost)?;
    let mut first = directory;
    loop {
        let program = match (log.view().transforms(), first.take()) {
            (None, Some(directory)) => directory,
            (Some(named), directory) => of_log(loader, &log, stores, named, directory).await?,
            (None, None) => return Err(Error::stop("the commit log names no transforms; this is a bug")),
        };
        let names = program.names();
        until_there(|| owner::own(stores, &config.pipeline, &names, false)).await?;
        if log.view().next() == 0 {
            let group = told.values().any(Option::is_some).then_some(config.group.as_str());
            until_there(|| owner::not_lost(&log, stores, &names, group)).await?;
        }
        until_there(|| owner::own(stores, &config.pipeline, &names, true)).await?;
        until_there(|| catalog.ensure(&program.tables)).await?;
        let program = match program.set {
            Some(_) => Some(program),
            None => program.named(&mut log).await?,
        };
        if let Some(program) = program {
            return Ok(Ready { topic, ends, log, program });
        }
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
