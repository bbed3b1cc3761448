//! Writing a file that no reader can see (rule F1).
//!
//! A [`StageWriter`] is an ordinary [`Write`] for a plain thread. It holds at most one part of the file;
//! parts on their way are counted against the zone's budget, and who exceeds it waits. A writer that is
//! dropped without [`finish`](StageWriter::finish) leaves nothing behind.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::disk::Disk;
use super::s3::{Message, PART, S3};
use super::staged::{Publish, StagedFile};
use super::zone::ZoneStore;
use crate::env::Micros;
use crate::error::{Error, Result};

/// The least that a finished file counts against the budget: each holds a task, and a file handle or a
/// connection.
const LEAST: usize = 256 << 10;

/// What the writer of a file knows about its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// How many there are.
    pub rows: u64,
    /// The earliest event time.
    pub first: Micros,
    /// The latest event time.
    pub last: Micros,
}

/// One invisible file that is being written. For plain threads: it blocks.
pub struct StageWriter {
    store: Arc<ZoneStore>,
    draft: StagedFile,
    target: Target,
    failure: Option<Error>,
}

enum Target {
    Upload(Upload),
    Disk {
        disk: Disk,
        staging: String,
        file: Option<BufWriter<File>>,
    },
    /// Given up or handed over.
    Closed,
}

/// The part that is being collected, and the task that uploads the others once there is one.
struct Upload {
    s3: Arc<S3>,
    part: Vec<u8>,
    running: Option<(mpsc::Sender<Message>, JoinHandle<Result<Publish>>)>,
}

/// The bounds under which bytes leave the process.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    pub(super) runtime: Handle,
    /// In KiB.
    pub(super) share: Arc<Semaphore>,
}

impl Budget {
    /// Waits until so many bytes may be under way.
    fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit> {
        // Never more than a part, which is less than the budget: nobody waits for ever.
        let share = u32::try_from(bytes.clamp(LEAST, PART) >> 10).unwrap_or(u32::MAX);
        let waiting = Arc::clone(&self.share).acquire_many_owned(share);
        self.runtime.block_on(waiting).map_err(|_| Error::abandon("the zone is being closed"))
    }
}

impl StageWriter {
    /// A file in a bucket. Nothing is sent before the first part is full or the file finished.
    pub(super) fn upload(store: Arc<ZoneStore>, draft: StagedFile, s3: Arc<S3>) -> StageWriter {
        // Doubling from here ends at exactly one part.
        let part = Vec::with_capacity(64 << 10);
        let target = Target::Upload(Upload { s3, part, running: None });
        StageWriter { store, draft, target, failure: None }
    }

    /// A file on a disk.
    pub(super) fn disk(
        store: Arc<ZoneStore>,
        draft: StagedFile,
        disk: Disk,
        staging: String,
    ) -> Result<StageWriter> {
        let file = Some(disk.create(&staging)?);
        Ok(StageWriter { store, draft, target: Target::Disk { disk, staging, file }, failure: None })
    }

    /// The bytes written so far.
    pub fn written(&self) -> u64 {
        self.draft.bytes
    }

    /// The bytes that are held in memory until a part is full.
    pub fn held(&self) -> usize {
        match &self.target {
            Target::Upload(upload) => upload.part.len(),
            Target::Disk { .. } | Target::Closed => 0,
        }
    }

    /// Why the last write failed: what [`Write`] cannot carry.
    pub fn take_failure(&mut self) -> Option<Error> {
        self.failure.take()
    }

    /// Ends the file. The result comes once its last byte is stored. Later writes fail.
    ///
    /// Blocks while too much is under way; not to be called on a thread of the runtime.
    pub fn finish(&mut self, summary: Summary) -> Result<PendingFile> {
        let budget = self.store.budget().clone();
        let how = match std::mem::replace(&mut self.target, Target::Closed) {
            Target::Upload(mut upload) => {
                upload.send_part(&budget, &self.draft.key)?;
                let (to, task) = upload.start(&budget, &self.draft.key);
                // A task that is gone has failed, and says why when it is asked for its result.
                let _gone = to.blocking_send(Message::Finish);
                task
            }
            Target::Disk { disk, staging, file } => {
                let file = file.ok_or_else(|| Error::abandon("the file was given up"))?;
                let share = budget.take(LEAST)?;
                budget.runtime.spawn_blocking(move || {
                    let sealed = disk.seal(file, &staging);
                    drop(share);
                    sealed.map(|()| Publish::Rename { staging })
                })
            }
            Target::Closed => return Err(Error::abandon("the file was given up")),
        };
        let Summary { rows, first, last } = summary;
        let draft = StagedFile { rows, first, last, ..self.draft.clone() };
        Ok(PendingFile { store: Arc::clone(&self.store), draft, how })
    }

    /// Gives the file up: what was staged of it goes away. Later writes fail.
    pub fn cancel(&mut self) {
        // Dropping the sender tells the task to abort its upload.
        if let Target::Disk { disk, staging, file } = std::mem::replace(&mut self.target, Target::Closed) {
            if let Some(file) = file {
                // Without flushing: the bytes are not wanted.
                drop(file.into_parts());
            }
            if let Err(error) = disk.unlink(&staging) {
                tracing::warn!("a staged file is left to clean-up: {error}");
            }
        }
    }

    fn store_bytes(&mut self, bytes: &[u8]) -> Result<usize> {
        match &mut self.target {
            Target::Upload(upload) => {
                let taken = bytes.len().min(PART - upload.part.len());
                upload.part.extend_from_slice(&bytes[..taken]);
                if upload.part.len() == PART {
                    upload.send_part(self.store.budget(), &self.draft.key)?;
                }
                Ok(taken)
            }
            Target::Disk { disk, staging, file: Some(file) } => {
                file.write(bytes).map_err(|error| disk.broken("write", &disk.path(staging), &error))
            }
            Target::Disk { .. } | Target::Closed => Err(Error::abandon("the file was given up")),
        }
    }
}

impl Upload {
    fn start(&mut self, budget: &Budget, key: &str) -> (mpsc::Sender<Message>, JoinHandle<Result<Publish>>) {
        self.running.take().unwrap_or_else(|| self.s3.upload(key, &budget.runtime))
    }

    /// Hands the collected part over.
    fn send_part(&mut self, budget: &Budget, key: &str) -> Result<()> {
        if self.part.is_empty() {
            return Ok(());
        }
        let part = std::mem::take(&mut self.part);
        let share = budget.take(part.len())?;
        let (to, task) = self.start(budget, key);
        if to.blocking_send(Message::Part(part, share)).is_err() {
            // It ended early, so it failed.
            return match budget.runtime.block_on(task) {
                Ok(Err(error)) => Err(error),
                Ok(Ok(_)) | Err(_) => Err(Error::abandon(format!("the upload of {key} ended early"))),
            };
        }
        self.running = Some((to, task));
        Ok(())
    }
}

impl Write for StageWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self.store_bytes(bytes) {
            Ok(taken) => {
                self.draft.bytes += taken as u64;
                Ok(taken)
            }
            Err(error) => {
                let text = error.to_string();
                self.failure = Some(error);
                Err(std::io::Error::other(text))
            }
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for StageWriter {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// A file whose last bytes are on their way.
#[derive(Debug)]
pub struct PendingFile {
    store: Arc<ZoneStore>,
    draft: StagedFile,
    how: JoinHandle<Result<Publish>>,
}

impl PendingFile {
    /// Where readers will find it.
    pub fn key(&self) -> &str {
        &self.draft.key
    }

    /// Waits until it is stored.
    pub async fn staged(self) -> Result<StagedFile> {
        let key = &self.draft.key;
        let how = self
            .how
            .await
            .map_err(|error| Error::abandon(format!("the task that stores {key} broke: {error}")))?;
        Ok(StagedFile { how: how?, ..self.draft })
    }

    /// Waits until it is stored, and throws it away. A file that could not be stored left nothing.
    pub async fn discard(self) -> Result<()> {
        let store = Arc::clone(&self.store);
        match self.staged().await {
            Ok(file) => store.discard(&file).await,
            Err(_) => Ok(()),
        }
    }
}
