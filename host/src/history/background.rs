//! The same beside a running host: now and then, slowly, and never in the way of the stream.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::compact::{Report, compact};
use super::one;
use super::plan::Order;
use crate::Result;
use crate::catalog::TableSpec;
use crate::config::Config;
use crate::env::Env;
use crate::pipeline::offline::Lake;

/// Hours that one look takes at most: then there may be others to do.
const HOURS: usize = 24;
/// Late events come in small files; an hour is written anew for so many of them.
const FILES: usize = 8;

/// How a host merges files beside its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How often it looks for closed hours.
    pub every: Duration,
    /// Bytes that it reads a second, at most.
    pub rate: u64,
}

/// The task. It ends with this.
pub struct Background(JoinHandle<()>);

impl Background {
    /// Begins it, if it is wanted (setting `compact`). What goes wrong is said and tried again at the next look.
    pub fn begin(config: &Config, env: &Env) -> Option<Background> {
        let pace = config.compact?;
        let (config, env) = (config.clone(), env.clone());
        Some(Background(tokio::spawn(async move {
            let (mut lake, mut known) = (None, None);
            loop {
                env.sleep(pace.every).await;
                match look(&config, &env, pace, &mut lake, &mut known).await {
                    Ok(report) => tell(&report),
                    Err(e) => tracing::warn!("files were not merged: {e}; tried again in {:?}", pace.every),
                }
            }
        })))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Tables, and the record with the set of transforms that makes them.
type Known = Option<(Option<u64>, Arc<Vec<TableSpec>>)>;

/// One look.
async fn look(
    config: &Config,
    env: &Env,
    pace: Pace,
    lake: &mut Option<Lake>,
    known: &mut Known,
) -> Result<Report> {
    let lake = match lake {
        Some(lake) => lake,
        None => lake.insert(one(Lake::open(config, env, "history").await?)?),
    };
    lake.log.catch_up().await?;
    let set = lake.log.view().transforms().map(|(seq, _)| seq);
    let specs = match known {
        Some((of, specs)) if *of == set => specs.clone(),
        _ => known.insert((set, Arc::new(lake.specs(config).await?))).1.clone(),
    };
    let order = Order {
        files: FILES,
        hours: Some(HOURS),
        memory: config.memory.merging(),
        rate: Some(pace.rate),
        ..Order::default()
    };
    compact(lake, &specs, &order, &|text| tracing::debug!("{text}")).await
}

fn tell(report: &Report) {
    for why in &report.left {
        tracing::debug!("left alone: {why}");
    }
    if let Some(why) = &report.untold {
        tracing::warn!("the catalog does not know of all rewritten hours yet: {why}");
    }
    if report.hours.is_empty() && report.swept.records.is_empty() {
        return;
    }
    let before: u64 = report.hours.iter().map(|done| done.files.0).sum();
    let after: u64 = report.hours.iter().filter_map(|done| done.files.1).sum();
    let (hours, swept) = (report.hours.len(), report.swept.files);
    tracing::info!(hours, before, after, swept, "merged small files of closed hours");
}
