//! What a host's directory had when the host last took it in. It outlives the host in the cache, so that a start
//! proposes what changed meanwhile and nothing else; without it a start proposes all that the directory has.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::commit::record::Deployed;
use crate::config::Config;
use crate::digest::sha256;
use crate::sink::Keys;
use crate::transform::Package;

/// The digest of a component, and the texts of its sidecar and its signature.
pub(super) type Entry = (String, Option<String>, Option<String>);
/// By the names of files.
pub(super) type Listing = BTreeMap<String, Entry>;

pub(super) fn of_packages(packages: &[Package]) -> Listing {
    packages.iter().map(|p| (p.name.clone(), (p.digest(), p.sidecar.clone(), p.signature.clone()))).collect()
}

pub(super) fn of_set(components: &[Deployed]) -> Listing {
    let entry = |d: &Deployed| (d.digest.clone(), d.sidecar.clone(), d.signature.clone());
    components.iter().map(|deployed| (deployed.file.clone(), entry(deployed))).collect()
}

/// The files in which two listings differ.
pub(super) fn changed(before: &Listing, now: &Listing) -> Vec<String> {
    let mut files: Vec<&String> = before.keys().chain(now.keys()).collect();
    files.sort_unstable();
    files.dedup();
    files.into_iter().filter(|file| before.get(*file) != now.get(*file)).cloned().collect()
}

/// What was taken in from this directory for this pipeline, or shard of it; none: nobody remembers.
pub(super) fn recall(config: &Config, keys: &Keys) -> Option<Listing> {
    let bytes = std::fs::read(place(config, keys)?).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Remembers it. That it cannot be written costs no more than a proposal at the next start.
pub(super) fn remember(config: &Config, keys: &Keys, listing: &Listing) {
    let Some(place) = place(config, keys) else { return };
    let write = || {
        if let Some(folder) = place.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let new = place.with_extension(format!("{}.new", std::process::id()));
        std::fs::write(&new, serde_json::json!(listing).to_string())?;
        std::fs::rename(&new, &place)
    };
    if let Err(e) = write() {
        tracing::debug!("cannot remember the transforms directory in {}: {e}", place.display());
    }
}

fn place(config: &Config, keys: &Keys) -> Option<PathBuf> {
    let directory = config.transforms_directory().and_then(|directory| std::fs::canonicalize(directory).ok());
    let place = directory.map_or_else(|| config.transforms_place(), |path| path.display().to_string());
    let instance = config.instance.as_deref().unwrap_or_default();
    let processed = config.processed.to_string();
    let parts = [&processed, keys.pipeline(), instance, &place];
    let whole: String = parts.iter().flat_map(|part| [*part, "\0"]).collect();
    let name = &sha256(whole.as_bytes())[..32];
    Some(config.cache.as_ref()?.join("listings").join(format!("{name}.json")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named() {
        let entry = |digest: &str| (digest.to_owned(), None, None);
        let before =
            Listing::from([("a".into(), entry("1")), ("b".into(), entry("2")), ("c".into(), entry("3"))]);
        let mut now = before.clone();
        assert!(changed(&before, &now).is_empty());
        now.remove("a");
        now.insert("b".into(), ("2".into(), Some("[config]".into()), None));
        now.insert("d".into(), entry("4"));
        assert_eq!(changed(&before, &now), ["a", "b", "d"]);
    }
}
