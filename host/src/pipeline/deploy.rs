//! Puts a transform where hosts look for them, and sees when they run it.
//!
//! What hosts would refuse is refused here, before anything is put anywhere: [`Deployment::rehearse`] does what the
//! keeper of a host does with a new file, on the set that the commit log names, or on what lies there while it names none. Whether hosts have taken it in is read
//! from the log ([`Deployment::standing`]), which all hosts follow, wherever they run.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::keeper::rehearse;
use super::loader::Loader;
use super::offline::Lake;
use crate::commit::Policy;
use crate::config::Config;
use crate::transform::Package;
use crate::transform::package::{COMPONENT, SIDECAR, SIGNATURE};
use crate::{Error, Result};

/// A change of one transform.
pub struct Deployment {
    loader: Loader,
    /// The name of its file, without the ending.
    name: String,
    /// What is to be there; none: nothing.
    wanted: Option<Package>,
}

/// What the commit logs say of a change.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Standing {
    /// The record whose set has it, in the first log where there are several; none: there is a log in which no host
    /// has taken it in.
    pub set: Option<u64>,
    /// Partitions whose last commit was made by that set.
    pub live: Vec<i32>,
    /// Partitions that have committed with another set since.
    pub behind: Vec<i32>,
    /// Partitions without a commit since.
    pub quiet: Vec<i32>,
}

impl Deployment {
    /// A transform is to be put there, or to take the place of the one of that name.
    pub fn of(config: &Config, package: Package) -> Result<Deployment> {
        let name = package.name.clone();
        Ok(Deployment { loader: Loader::new(config)?, name, wanted: Some(package) })
    }

    /// The transform of that name is to be retired.
    pub fn removal(config: &Config, name: &str) -> Result<Deployment> {
        Ok(Deployment { loader: Loader::new(config)?, name: name.to_owned(), wanted: None })
    }

    /// Refuses what hosts would refuse: what is not trusted, does not load, does not fit beside the other transforms,
    /// or cannot go on from their states. The log was read.
    pub async fn rehearse(&self, lake: &mut Lake) -> Result<()> {
        let named = lake.log.view().transforms().map(|(seq, _)| seq);
        let mut packages = match named {
            Some(seq) => self.loader.of_past(&lake.log, &lake.stores, seq).await?.packages.to_vec(),
            // No host was here yet: the first one takes what is on the shelf, if anything is.
            None => self.loader.shelf.read_any().await?,
        };
        packages.retain(|package| package.name != self.name);
        if let Some(package) = &self.wanted {
            self.loader.loads(package).await?;
            packages.push(package.clone());
        }
        packages.sort_by(|a, b| a.name.cmp(&b.name));
        if packages.is_empty() {
            let name = &self.name;
            return Err(Error::usage(format!(
                "{name} is the only transform: hosts do not take an empty {} for a wish",
                self.loader.config.transforms_place()
            )));
        }
        let program = self.loader.program(&lake.stores, &Arc::new(packages), named).await?;
        rehearse(&program, None).await?;
        let Some(topic) = lake.log.view().topic().cloned() else { return Ok(()) };
        let ours = lake.log.view().positions().filter(|((of, _), _)| *of == topic);
        let partitions: Vec<i32> = ours.map(|((_, partition), _)| *partition).collect();
        for partition in partitions {
            let nothing = BTreeMap::new();
            for base in lake.log.bases(&topic, &[partition], &nothing, Policy::default()).await? {
                rehearse(&program, Some(base)).await?;
            }
        }
        Ok(())
    }

    /// Puts it there, or takes it away.
    pub async fn carry_out(&self) -> Result<()> {
        let file = |ending: &str| format!("{}.{ending}", self.name);
        let shelf = &self.loader.shelf;
        let Some(package) = &self.wanted else {
            // The component first: without it the rest is nobody's business.
            for ending in [COMPONENT, SIDECAR, SIGNATURE] {
                shelf.remove(&file(ending)).await?;
            }
            return Ok(());
        };
        let mut files = Vec::new();
        for (ending, text) in [(SIDECAR, &package.sidecar), (SIGNATURE, &package.signature)] {
            match text {
                Some(text) => files.push((file(ending), text.clone().into_bytes())),
                None => shelf.remove(&file(ending)).await?,
            }
        }
        files.push((file(COMPONENT), package.wasm.clone()));
        shelf.put(&files).await
    }

    /// What the logs say by now. Reads them on.
    pub async fn standing(&self, lakes: &mut [Lake]) -> Result<Standing> {
        let mut whole: Option<Standing> = None;
        for lake in lakes {
            let Standing { set, live, behind, quiet } = self.standing_in(lake).await?;
            if set.is_none() {
                return Ok(Standing::default());
            }
            let whole = whole.get_or_insert_with(|| Standing { set, ..Standing::default() });
            whole.live.extend(live);
            whole.behind.extend(behind);
            whole.quiet.extend(quiet);
        }
        let mut whole = whole.unwrap_or_default();
        for partitions in [&mut whole.live, &mut whole.behind, &mut whole.quiet] {
            partitions.sort_unstable();
        }
        Ok(whole)
    }

    async fn standing_in(&self, lake: &mut Lake) -> Result<Standing> {
        lake.log.catch_up().await?;
        let view = lake.log.view();
        let Some((seq, set)) = view.transforms() else { return Ok(Standing::default()) };
        let there = set.components.iter().find(|deployed| deployed.file == self.name);
        let done = match (&self.wanted, there) {
            (None, None) => true,
            (Some(package), Some(deployed)) => {
                deployed.digest == package.digest()
                    && deployed.sidecar == package.sidecar
                    && deployed.signature == package.signature
            }
            _ => false,
        };
        if !done {
            return Ok(Standing::default());
        }
        let mut standing = Standing { set: Some(seq), ..Standing::default() };
        let Some(topic) = view.topic() else { return Ok(standing) };
        for ((of, partition), _) in view.positions().filter(|((of, _), _)| of == topic) {
            let Some((record, advance)) = view.partition(of, *partition) else { continue };
            let place = match advance.set {
                Some(set) if set == seq => &mut standing.live,
                // A start, or a gap, is made by no transforms.
                Some(_) if record.seq > seq => &mut standing.behind,
                _ => &mut standing.quiet,
            };
            place.push(*partition);
        }
        Ok(standing)
    }
}
