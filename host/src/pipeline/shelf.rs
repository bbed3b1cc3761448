//! Where transforms are put: a directory, or a folder in a bucket. Both are read as packages, and both tell when they
//! have changed and come to rest.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OnceCell};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::config::Config;
use crate::sink::{Aws, Folder, Location, Seen};
use crate::transform::package::{COMPONENT, SIDECAR, SIGNATURE, ours, stem};
use crate::transform::watch::Watch;
use crate::transform::{Package, registry};
use crate::wait::blocking;
use crate::{Error, Kind, Result};

/// How often a bucket is listed. Each time costs a request.
const POLL: Duration = Duration::from_secs(5);
/// How long it must have been the same: a component and its sidecar are put there one after the other.
const REST: Duration = Duration::from_millis(1_500);
/// The largest object that is read.
const LARGEST: u64 = 256 << 20;

/// What a look at a bucket shows, by name.
type Sight = BTreeMap<String, Seen>;
/// Contents of objects by name, each with its ETag.
type Contents = BTreeMap<String, (String, Vec<u8>)>;

/// Where the transforms of a configuration are put.
pub struct Shelf {
    place: Location,
    folder: OnceCell<Folder>,
    /// What was read of a bucket last: what is still the same is not read again.
    read: Mutex<Contents>,
}

impl Shelf {
    /// The shelf of a configuration. Nothing is read yet.
    pub fn new(config: &Config) -> Shelf {
        Shelf { place: config.transforms.clone(), folder: OnceCell::new(), read: Mutex::default() }
    }

    /// All transforms, in the order of their names. None at all is an error; that a bucket has none may pass: it is
    /// made before anything can be put there.
    pub async fn read(&self) -> Result<Vec<Package>> {
        match &self.place {
            Location::Local(directory) => {
                let directory = directory.clone();
                blocking("reading the transforms", move || registry::read(&directory)).await?
            }
            Location::S3 { .. } => match self.of_bucket().await? {
                packages if packages.is_empty() => Err(Error::retry(format!(
                    "no *.wasm right under {} (setting `transforms`); `tidemill deploy-transform` puts them there",
                    self.place
                ))),
                packages => Ok(packages),
            },
        }
    }

    /// The same; there may be none.
    pub async fn read_any(&self) -> Result<Vec<Package>> {
        match &self.place {
            Location::Local(_) => match self.read().await {
                Err(e) if e.kind() == Kind::Usage => Ok(vec![]),
                read => read,
            },
            Location::S3 { .. } => self.of_bucket().await,
        }
    }

    /// Puts files there: a component's own last, so that it is never seen without what belongs to it.
    pub async fn put(&self, files: &[(String, Vec<u8>)]) -> Result<()> {
        for (name, bytes) in files {
            match &self.place {
                Location::Local(directory) => {
                    let (directory, name, bytes) = (directory.clone(), name.clone(), bytes.clone());
                    blocking("writing a transform", move || registry::put(&directory, &name, &bytes))
                        .await??;
                }
                Location::S3 { .. } => self.folder().await?.put(name, bytes).await?,
            }
        }
        Ok(())
    }

    /// Removes a file. One that is gone already is success.
    pub async fn remove(&self, name: &str) -> Result<()> {
        match &self.place {
            Location::Local(directory) => {
                let path = directory.join(name);
                match std::fs::remove_file(&path) {
                    Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                        Err(Error::stop(format!("cannot remove {}: {e}", path.display())))
                    }
                    _ => Ok(()),
                }
            }
            Location::S3 { .. } => self.folder().await?.remove(name).await,
        }
    }

    /// Begins to watch. What is there now is no change.
    pub(super) async fn watch(self: &Arc<Shelf>) -> Watching {
        match &self.place {
            Location::Local(directory) => Watching::Directory(Watch::new(directory)),
            Location::S3 { .. } => {
                let mut due = interval_at(Instant::now() + POLL, POLL);
                due.set_missed_tick_behavior(MissedTickBehavior::Delay);
                // A bucket that does not answer shows what there is at the next look, as a change.
                let seen = self.sight().await.unwrap_or_default();
                Watching::Bucket { shelf: self.clone(), seen, due }
            }
        }
    }

    async fn folder(&self) -> Result<&Folder> {
        let open = || async {
            let Location::S3 { bucket, prefix } = &self.place else {
                return Err(Error::stop(format!("{} is no bucket; this is a bug", self.place)));
            };
            Folder::open(bucket, prefix, "transforms", &Aws::load(None).await)
        };
        self.folder.get_or_try_init(open).await
    }

    /// The transforms and what is beside them, without reading any.
    async fn sight(&self) -> Result<Sight> {
        let mut sight = self.folder().await?.look().await?;
        sight.retain(|name, _| ours(name));
        Ok(sight)
    }

    async fn of_bucket(&self) -> Result<Vec<Package>> {
        let folder = self.folder().await?;
        let sight = self.sight().await?;
        let mut read = self.read.lock().await;
        let mut contents = Contents::new();
        for (name, seen) in sight {
            if seen.size > LARGEST {
                return Err(Error::usage(format!(
                    "{}/{name} has {} bytes; a transform has {LARGEST} at most",
                    folder.address(),
                    seen.size
                )));
            }
            let known = read.remove(&name).filter(|(tag, _)| *tag == seen.tag);
            let known = match known {
                Some(known) => Some(known),
                // What is changed while it is read is read again at the next change.
                None => folder.read(&name).await?.map(|(bytes, tag)| (tag.unwrap_or(seen.tag), bytes)),
            };
            contents.extend(known.map(|known| (name, known)));
        }
        *read = contents;
        packages(&read, folder.address())
    }
}

/// What tells of changes.
pub(super) enum Watching {
    Directory(Watch),
    Bucket { shelf: Arc<Shelf>, seen: Sight, due: Interval },
}

impl Watching {
    /// Waits until something is another than at the last call, and has come to rest. May be dropped at any time.
    pub(super) async fn changed(&mut self) {
        let (shelf, seen, due) = match self {
            Watching::Directory(watch) => return watch.changed().await,
            Watching::Bucket { shelf, seen, due } => (shelf, seen, due),
        };
        loop {
            due.tick().await;
            match rested(shelf, seen).await {
                Ok(now) if now != *seen => {
                    *seen = now;
                    return;
                }
                Ok(_) => {}
                Err(e) => tracing::warn!("cannot see whether transforms have changed: {e}"),
            }
        }
    }
}

/// What is there, once it does not change any more.
async fn rested(shelf: &Shelf, seen: &Sight) -> Result<Sight> {
    let mut now = shelf.sight().await?;
    while now != *seen {
        tokio::time::sleep(REST).await;
        let next = shelf.sight().await?;
        if next == now {
            break;
        }
        now = next;
    }
    Ok(now)
}

fn packages(contents: &Contents, address: &str) -> Result<Vec<Package>> {
    let mut packages = Vec::new();
    for (name, (_, bytes)) in contents {
        let Some(stem) = stem(name, COMPONENT) else { continue };
        let beside = |what: &str, ending: &str| {
            let name = format!("{stem}.{ending}");
            let Some((_, bytes)) = contents.get(&name) else { return Ok(None) };
            let text = String::from_utf8(bytes.clone());
            text.map(Some)
                .map_err(|_| Error::usage(format!("cannot read {what} {address}/{name}: it is not UTF-8")))
        };
        packages.push(Package {
            name: stem.to_owned(),
            file: format!("{address}/{name}"),
            wasm: bytes.clone(),
            sidecar: beside("sidecar", SIDECAR)?,
            signature: beside("signature", SIGNATURE)?,
        });
    }
    Ok(packages)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(files: &[(&str, &[u8])]) -> Contents {
        files.iter().map(|(name, bytes)| ((*name).to_owned(), ("tag".to_owned(), bytes.to_vec()))).collect()
    }

    #[test]
    fn what_belongs_together_is_a_package() {
        let files = contents(&[
            ("clean.toml", b"[config]"),
            ("clean.wasm", b"one"),
            ("clean.wasm.sig", b"c2ln"),
            ("other.wasm", b"two"),
            ("stray.toml", b"[config]"),
        ]);
        let found = packages(&files, "s3://b/t").unwrap();
        let names: Vec<&str> = found.iter().map(|package| package.name.as_str()).collect();
        assert_eq!(names, ["clean", "other"]);
        assert_eq!(found[0].file, "s3://b/t/clean.wasm");
        assert_eq!(found[0].sidecar.as_deref(), Some("[config]"));
        assert_eq!(found[0].signature.as_deref(), Some("c2ln"));
        assert_eq!((&found[1].sidecar, &found[1].signature), (&None, &None));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        assert!(packages(&contents(&[("a.toml", b"")]), "s3://b/t").unwrap().is_empty());
        let said = packages(&contents(&[("a.toml", b"\xff"), ("a.wasm", b"")]), "s3://b").unwrap_err();
        assert!(said.to_string().contains("sidecar s3://b/a.toml"), "{said}");
    }
}
