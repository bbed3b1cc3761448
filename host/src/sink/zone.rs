//! A zone of the lake as a place to stage files in and to publish them.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::aws::Aws;
use super::disk::Disk;
use super::keys::Keys;
use super::location::Location;
use super::s3::{PART, S3};
use super::stage::{Budget, StageWriter};
use super::staged::{Publish, StagedFile};
use crate::env::{Env, Micros};
use crate::error::{Error, Result};
use crate::generations::{self, Current, Generations};
use crate::table::{Hour, Table, Zone};
use crate::wait;

/// The bytes that may be on their way to one zone, if nobody says otherwise: four parts.
const UNDER_WAY: usize = 32 << 20;

/// How often an object is looked at that others change at the same time.
const REVISIONS: usize = 10;

/// One zone of the lake.
#[derive(Clone)]
pub struct ZoneStore {
    zone: Zone,
    location: Location,
    keys: Keys,
    place: Place,
    budget: Budget,
    env: Env,
    /// Where new files of an hour go.
    generations: Current,
    /// A name for the file that [`check`](ZoneStore::check) writes, unlike that of any other host.
    probe: String,
}

/// Something staged that may still become visible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The key that readers would see; for a file in staging, where it waits.
    pub key: String,
    /// The multipart upload, if it is one.
    pub upload: Option<String>,
    /// The file in staging, if it is one.
    pub staging: Option<String>,
    /// Seconds since it was begun.
    pub age: u64,
}

impl std::fmt::Debug for ZoneStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ZoneStore").field("zone", &self.zone).field("location", &self.location).finish()
    }
}

#[derive(Clone, Debug)]
enum Place {
    S3(Arc<S3>),
    Disk(Disk),
}

impl ZoneStore {
    /// A zone at that location. Nothing is sent yet: see [`check`](ZoneStore::check).
    ///
    /// `setting` is the setting that the location came from, for errors. Must be called within a tokio
    /// runtime, which will carry the uploads.
    pub fn open(
        zone: Zone,
        location: Location,
        setting: &str,
        keys: &Keys,
        aws: Option<&Aws>,
        env: &Env,
    ) -> Result<ZoneStore> {
        let place = match (&location, aws) {
            (Location::S3 { bucket, prefix }, Some(aws)) => {
                Place::S3(Arc::new(S3::open(bucket, prefix, (setting, zone), aws)?))
            }
            (Location::S3 { .. }, None) => {
                return Err(Error::usage(format!("{location} needs AWS settings (setting `{setting}`)")));
            }
            (Location::Local(root), _) => Place::Disk(Disk::new(root.clone(), setting)),
        };
        let runtime =
            Handle::try_current().map_err(|_| Error::stop("a zone can only be opened within a runtime"))?;
        let budget = Budget { runtime, share: Arc::new(Semaphore::new(UNDER_WAY >> 10)) };
        let probe = format!("{}/check-{}", keys.staging_folder(), env.fresh_id());
        let (keys, env, generations) = (keys.clone(), Arc::clone(env), Current::default());
        Ok(ZoneStore { zone, location, keys, place, budget, env, generations, probe })
    }

    /// The same with so many bytes on their way at the same time; one part at least.
    pub fn with_under_way(mut self, bytes: usize) -> ZoneStore {
        self.budget.share = Arc::new(Semaphore::new(bytes.max(PART) >> 10));
        self
    }

    /// Which zone it is.
    pub fn zone(&self) -> Zone {
        self.zone
    }

    /// Where it lies.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// The address of a table's folder, as it stands in a catalog.
    pub fn table_address(&self, table: &Table) -> String {
        self.location.join(&table.name)
    }

    /// Proves within 30 seconds that the zone exists and can be listed and written to; an address where
    /// nothing answers is an error within 10. Leaves no trace.
    pub async fn check(&self) -> Result<()> {
        match &self.place {
            Place::S3(s3) => s3.check(&self.probe).await,
            Place::Disk(disk) => {
                let (disk, probe) = (disk.clone(), self.probe.clone());
                blocking(move || disk.check(&probe)).await
            }
        }
    }

    /// A new file that no reader can see, in its hour's current generation as far as this process knows (rule M4).
    /// Its name must be new, too: see [`Keys::file_name`].
    pub fn stage(self: &Arc<Self>, table: &str, hour: Hour, file_name: &str) -> Result<StageWriter> {
        self.stage_at(table, self.current(table, hour), file_name)
    }

    /// An hour of a table in the generation that is read and written, as far as this process knows.
    pub(crate) fn current(&self, table: &str, hour: Hour) -> generations::Place {
        self.generations.place(table, hour)
    }

    /// A new file in some generation.
    pub fn stage_at(
        self: &Arc<Self>,
        table: &str,
        place: generations::Place,
        file_name: &str,
    ) -> Result<StageWriter> {
        let staging = self.keys.staging(file_name);
        let draft = StagedFile {
            zone: self.zone,
            table: table.into(),
            hour: place.hour,
            key: Keys::data(table, place, file_name),
            rows: 0,
            bytes: 0,
            first: 0,
            last: 0,
            how: Publish::Rename { staging: String::new() },
        };
        match &self.place {
            Place::S3(s3) => Ok(StageWriter::upload(Arc::clone(self), draft, Arc::clone(s3))),
            Place::Disk(disk) => StageWriter::disk(Arc::clone(self), draft, disk.clone(), staging),
        }
    }

    /// Makes a staged file visible and sees that it is (rule F2). What is visible already is success.
    pub async fn publish(&self, file: &StagedFile) -> Result<()> {
        match (&self.place, &file.how) {
            (Place::S3(s3), Publish::Upload { id, parts }) => s3.publish(file, id, parts).await,
            (Place::Disk(disk), Publish::Rename { staging }) => {
                let (disk, staging, key, bytes) =
                    (disk.clone(), staging.clone(), file.key.clone(), file.bytes);
                blocking(move || disk.publish(&staging, &key, bytes)).await
            }
            _ => Err(self.misplaced(file)),
        }
    }

    /// Throws away a file that was not published. What is gone already is success; a published file stays.
    pub async fn discard(&self, file: &StagedFile) -> Result<()> {
        match (&self.place, &file.how) {
            (Place::S3(s3), Publish::Upload { id, .. }) => s3.abort(&file.key, id).await,
            (Place::Disk(disk), Publish::Rename { staging }) => {
                let (disk, staging) = (disk.clone(), staging.clone());
                blocking(move || disk.unlink(&staging)).await
            }
            _ => Err(self.misplaced(file)),
        }
    }

    /// Removes a file whether it was published or not (rule M5): first what a late publisher could still
    /// make visible, then what is visible.
    pub async fn remove(&self, file: &StagedFile) -> Result<()> {
        self.discard(file).await?;
        match &self.place {
            Place::S3(s3) => s3.delete(&file.key).await,
            Place::Disk(disk) => {
                let (disk, key) = (disk.clone(), file.key.clone());
                blocking(move || disk.unlink(&key)).await
            }
        }
    }

    /// Creates an object if there is none, whole and durable; false: there is one.
    pub async fn create(&self, key: &str, bytes: &[u8]) -> Result<bool> {
        match &self.place {
            Place::S3(s3) => s3.create(key, bytes).await,
            Place::Disk(disk) => {
                let folder = key.rsplit_once('/').map_or("", |(folder, _)| folder);
                let draft = format!("{folder}/.{}.tmp", self.env.fresh_id());
                let (disk, key, bytes) = (disk.clone(), key.to_owned(), bytes.to_vec());
                blocking(move || disk.create_whole(&key, &draft, &bytes)).await
            }
        }
    }

    /// The bytes of an object; none: there is none.
    pub async fn read(&self, key: &str) -> Result<Option<Vec<u8>>> {
        match &self.place {
            Place::S3(s3) => s3.read(key).await,
            Place::Disk(disk) => {
                let (disk, key) = (disk.clone(), key.to_owned());
                blocking(move || disk.read(&key)).await
            }
        }
    }

    /// Some bytes of an object, as far as it has them; none: there is no such object.
    pub async fn part(&self, key: &str, bytes: Range<u64>) -> Result<Option<Bytes>> {
        match &self.place {
            Place::S3(s3) => s3.part(key, bytes).await,
            Place::Disk(disk) => {
                let (disk, key) = (disk.clone(), key.to_owned());
                blocking(move || disk.part(&key, bytes)).await
            }
        }
    }

    /// The size of an object; none: there is none.
    pub async fn size(&self, key: &str) -> Result<Option<u64>> {
        match &self.place {
            Place::S3(s3) => s3.size(key).await,
            Place::Disk(disk) => {
                let (disk, key) = (disk.clone(), key.to_owned());
                blocking(move || disk.size(&key)).await
            }
        }
    }

    /// When an object was written, by the store's clock; none: there is no such object.
    pub async fn written(&self, key: &str) -> Result<Option<Micros>> {
        match &self.place {
            Place::S3(s3) => s3.written(key).await,
            Place::Disk(disk) => {
                let (disk, key) = (disk.clone(), key.to_owned());
                blocking(move || disk.written(&key)).await
            }
        }
    }

    /// Writes an object, whether there was one or not. Readers see the old one or the new one, whole.
    pub async fn replace(&self, key: &str, bytes: &[u8]) -> Result<()> {
        match &self.place {
            Place::S3(s3) => s3.replace(key, bytes).await,
            Place::Disk(disk) => {
                let folder = key.rsplit_once('/').map_or("", |(folder, _)| folder);
                let draft = format!("{folder}/.{}.tmp", self.env.fresh_id());
                let (disk, key, bytes) = (disk.clone(), key.to_owned(), bytes.to_vec());
                blocking(move || disk.replace(&key, &draft, &bytes)).await
            }
        }
    }

    /// Writes an object anew as `change` says of what is there; where it says nothing, that stays. Nobody's change is
    /// lost: who comes at the same time is asked again. True: something was written.
    pub async fn revise(
        &self,
        key: &str,
        change: impl Fn(Option<&[u8]>) -> Option<Vec<u8>> + Clone + Send + 'static,
    ) -> Result<bool> {
        match &self.place {
            Place::S3(s3) => {
                for _ in 0..REVISIONS {
                    let there = s3.version(key).await?;
                    let Some(bytes) = change(there.as_ref().map(|(bytes, _)| bytes.as_slice())) else {
                        return Ok(false);
                    };
                    if s3.swap(key, there.map(|(_, tag)| tag), &bytes).await? {
                        return Ok(true);
                    }
                }
                Err(Error::retry(format!("others keep changing {key}")))
            }
            Place::Disk(disk) => {
                let folder = key.rsplit_once('/').map_or("", |(folder, _)| folder);
                let draft = format!("{folder}/.{}.tmp", self.env.fresh_id());
                let (disk, key, change) = (disk.clone(), key.to_owned(), change.clone());
                blocking(move || disk.revise(&key, &draft, change)).await
            }
        }
    }

    /// Whether there is an object.
    pub async fn exists(&self, key: &str) -> Result<bool> {
        Ok(self.size(key).await?.is_some())
    }

    /// The objects under a folder that readers could see: key and size; at most so many.
    pub async fn list(&self, folder: &str, most: usize) -> Result<Vec<(String, u64)>> {
        let mut found: Vec<_> = self.aged(folder, most).await?.into_iter().map(|(k, s, _)| (k, s)).collect();
        found.truncate(most);
        Ok(found)
    }

    /// The same with the seconds since each was last changed.
    pub async fn aged(&self, folder: &str, most: usize) -> Result<Vec<(String, u64, u64)>> {
        match &self.place {
            Place::S3(s3) => s3.list(folder, most).await,
            Place::Disk(disk) => {
                let (disk, folder) = (disk.clone(), folder.to_owned());
                blocking(move || disk.list(&folder)).await
            }
        }
    }

    /// Keys of objects in a folder that come after this one in the order of their bytes, at most so many.
    pub async fn after(&self, folder: &str, key: &str, most: usize) -> Result<Vec<String>> {
        match &self.place {
            Place::S3(s3) => s3.after(folder, key, most).await,
            Place::Disk(disk) => {
                let (disk, folder) = (disk.clone(), folder.to_owned());
                let found = blocking(move || disk.list(&folder)).await?;
                let keys = found.into_iter().map(|(found, _, _)| found);
                Ok(keys.filter(|found| found.as_str() > key).take(most).collect())
            }
        }
    }

    /// What is staged under this zone, by whatever pipeline.
    pub async fn waiting(&self) -> Result<Vec<Waiting>> {
        match &self.place {
            Place::S3(s3) => s3.uploads().await,
            Place::Disk(disk) => {
                let (disk, folder) = (disk.clone(), self.keys.staging_folder());
                let staged = blocking(move || disk.list(&folder)).await?;
                let waiting = |(key, _, age): (String, u64, u64)| Waiting {
                    key: key.clone(),
                    upload: None,
                    staging: Some(key),
                    age,
                };
                Ok(staged.into_iter().map(waiting).collect())
            }
        }
    }

    /// Removes what an epoch left (rule M5): first what could still become visible, then what is.
    pub async fn clear(&self, key: &str, upload: Option<&str>, staging: Option<&str>) -> Result<()> {
        match &self.place {
            Place::S3(s3) => {
                if let Some(upload) = upload {
                    s3.abort(key, upload).await?;
                }
                s3.delete(key).await
            }
            Place::Disk(disk) => {
                let (disk, key, staging) = (disk.clone(), key.to_owned(), staging.map(str::to_owned));
                blocking(move || {
                    staging.map_or(Ok(()), |staging| disk.unlink(&staging))?;
                    disk.unlink(&key)
                })
                .await
            }
        }
    }

    /// Notes every step on a disk from now on.
    #[cfg(test)]
    pub(crate) fn traced(mut self, steps: &super::trace::Steps) -> ZoneStore {
        if let Place::Disk(disk) = &mut self.place {
            disk.trace.0 = Some(steps.clone());
        }
        self
    }

    pub(super) fn budget(&self) -> &Budget {
        &self.budget
    }

    fn misplaced(&self, file: &StagedFile) -> Error {
        Error::stop(format!(
            "{} was staged elsewhere: the {:?} zone is now {}, which cannot hold it",
            file.key, self.zone, self.location
        ))
    }
}

/// Runs something short that waits for a disk.
async fn blocking<T: Send + 'static>(doing: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    wait::blocking("a task that works on the disk", doing).await?
}

/// The zones of a lake.
#[derive(Clone, Debug)]
pub struct Stores {
    /// What came from Kafka.
    pub raw: Arc<ZoneStore>,
    /// What was made of it.
    pub processed: Arc<ZoneStore>,
}

impl Stores {
    /// The store of a zone.
    pub fn of(&self, zone: Zone) -> &Arc<ZoneStore> {
        match zone {
            Zone::Raw => &self.raw,
            Zone::Processed => &self.processed,
        }
    }

    /// See [`ZoneStore::check`]; both zones at the same time.
    pub async fn check(&self) -> Result<()> {
        let (raw, processed) = tokio::join!(self.raw.check(), self.processed.check());
        raw.and(processed)
    }

    /// From now on files of each hour go to its generation here, unless it is known better.
    pub(crate) fn follow(&self, next: u64, generations: &Generations) {
        self.raw.generations.follow(next, generations);
        self.processed.generations.follow(next, generations);
    }

    /// The same zones for files of the generations that come next.
    pub(crate) fn ahead(&self, generations: &Generations) -> Stores {
        let of = |store: &Arc<ZoneStore>| {
            Arc::new(ZoneStore { generations: Current::next(generations), ..ZoneStore::clone(store) })
        };
        Stores { raw: of(&self.raw), processed: of(&self.processed) }
    }

    /// See [`ZoneStore::publish`].
    pub async fn publish(&self, file: &StagedFile) -> Result<()> {
        self.of(file.zone).publish(file).await
    }

    /// See [`ZoneStore::discard`].
    pub async fn discard(&self, file: &StagedFile) -> Result<()> {
        self.of(file.zone).discard(file).await
    }

    /// See [`ZoneStore::remove`].
    pub async fn remove(&self, file: &StagedFile) -> Result<()> {
        self.of(file.zone).remove(file).await
    }
}
