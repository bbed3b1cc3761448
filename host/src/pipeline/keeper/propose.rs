//! A change of the directory becomes a set that the log names.
//!
//! What changed is tried together first, because new files may need each other; a file that does not load by itself
//! is left out of that. If it does not work together, each is tried alone, so that one that is wrong stops no other.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::listing::{self, Entry, Listing};
use super::super::loader::package;
use super::Keeper;
use crate::commit::record::Deployed;
use crate::transform::Package;
use crate::{Error, Kind, Result};

/// Files that do not load, whatever is beside them: what they were, and why. They are not compiled again.
pub(super) type Unloadable = BTreeMap<String, (Entry, String)>;

impl Keeper {
    /// Takes in what changed in the directory.
    pub(in super::super) async fn look(&mut self) {
        self.state.look_again = false;
        let packages = match self.loader.read().await {
            Ok(packages) => Arc::new(packages),
            Err(e) => {
                tracing::warn!("the transforms stay as they are: {e}");
                // A disk in the network may be away for a while.
                self.state.look_again = true;
                return self.board.refused("", &e.to_string());
            }
        };
        self.board.clear_refused();
        let now = listing::of_packages(&packages);
        let changed = listing::changed(&self.listing, &now);
        self.state.unloadable.retain(|file, _| changed.contains(file));
        let mut sound = Vec::new();
        for file in changed {
            match self.loads(&packages, &now, &file).await {
                Ok(()) => sound.push(file),
                Err(e) => self.refuse(&file, &e),
            }
        }
        // What belongs together is not torn apart because somebody does not answer.
        if self.state.look_again {
            return;
        }
        if sound.len() > 1 {
            match self.accept(&packages, &now, &sound).await {
                Ok(()) => return,
                Err(e) if e.kind() == Kind::Retry => {
                    return sound.iter().for_each(|file| self.refuse(file, &e));
                }
                Err(_) => {}
            }
        }
        for file in sound {
            if let Err(e) = self.accept(&packages, &now, std::slice::from_ref(&file)).await {
                self.refuse(&file, &e);
            }
        }
    }

    fn refuse(&mut self, file: &str, error: &Error) {
        tracing::error!(file, "the last good transforms go on: {error}");
        self.state.look_again |= error.kind() == Kind::Retry;
        self.board.refused(file, &error.to_string());
    }

    /// Whether a file loads by itself. One that is gone has nothing to load.
    async fn loads(&mut self, packages: &[Package], now: &Listing, file: &str) -> Result<()> {
        let package = packages.iter().find(|package| package.name == file);
        let (Some(package), Some(entry)) = (package, now.get(file)) else { return Ok(()) };
        if let Some((_, why)) = self.state.unloadable.get(file).filter(|(known, _)| known == entry) {
            return Err(Error::usage(why.clone()));
        }
        let loaded = self.loader.loads(package).await;
        if let Err(e) = &loaded
            && e.kind() != Kind::Retry
        {
            self.state.unloadable.insert(file.to_owned(), (entry.clone(), e.to_string()));
        }
        loaded
    }

    async fn accept(&mut self, packages: &[Package], now: &Listing, files: &[String]) -> Result<()> {
        self.propose(packages, files).await?;
        for file in files {
            match now.get(file) {
                Some(entry) => drop(self.listing.insert(file.clone(), entry.clone())),
                None => drop(self.listing.remove(file)),
            }
        }
        self.remember();
        Ok(())
    }

    /// Has the log name a set in which these files are as they are in the directory.
    async fn propose(&mut self, packages: &[Package], files: &[String]) -> Result<()> {
        loop {
            self.log.catch_up().await?;
            let (previous, components) = match self.log.view().transforms() {
                Some((seq, set)) => (Some(seq), set.components.clone()),
                None => (None, vec![]),
            };
            let wanted = self.wanted(&components, packages, files).await?;
            if listing::of_packages(&wanted) == listing::of_set(&components) {
                // Somebody else was first: nobody reads this log if it has none of our partitions.
                self.follow().await;
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
}

fn shown(deployed: &Deployed) -> String {
    format!("{} {} ({})", deployed.name, deployed.version, deployed.digest.get(..12).unwrap_or_default())
}
