//! A zone on a local disk: invisible files wait in the pipeline's staging folder.
//!
//! Order (COMMIT.md, "Local disk"): fsync file → fsync staging folder → link into the log → fsync log → rename
//! to final → fsync final folder and its parents → next record. Whoever reads a record makes the log's folder
//! durable before acting on it. A failed fsync means stop: what the kernel dropped cannot be known. In tests,
//! [`Trace`] records every step that matters when the power fails.

use std::fs::{self, File, TryLockError};
use std::io::{BufWriter, ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;

use super::trace::{Step, Trace};
use crate::env::Micros;
use crate::error::{Error, Result};

/// How often a lock is tried, and how long is waited in between: five seconds in all.
const TURNS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(50);

/// A folder.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    root: PathBuf,
    setting: String,
    pub(super) trace: Trace,
}

impl Disk {
    pub(super) fn new(root: PathBuf, setting: &str) -> Disk {
        Disk { root, setting: setting.into(), trace: Trace::default() }
    }

    /// Makes the root and its staging folder, and proves that a file can be written there.
    pub(super) fn check(&self, probe: &str) -> Result<()> {
        let failed = |doing: &str, error: std::io::Error| {
            let Disk { root, setting, .. } = self;
            let text = format!("cannot {doing} file://{} (setting `{setting}`): {error}", root.display());
            if error.kind() == ErrorKind::PermissionDenied { Error::stop(text) } else { Error::retry(text) }
        };
        let path = self.root.join(probe);
        fs::create_dir_all(path.parent().unwrap_or(&self.root))
            .map_err(|error| failed("make the folder", error))?;
        let written =
            File::create(&path).and_then(|mut file| file.write_all(b"check").and_then(|()| file.sync_all()));
        let removed = fs::remove_file(&path);
        written.and(removed).map_err(|error| failed("write to", error))?;
        self.sync_up(path.parent().unwrap_or(&self.root))?;
        self.root.parent().map_or(Ok(()), |folder| self.sync_folder(folder))
    }

    /// A new file in staging.
    pub(super) fn create(&self, staging: &str) -> Result<BufWriter<File>> {
        let path = self.root.join(staging);
        let create = || File::options().write(true).create_new(true).open(&path);
        let file = match create() {
            // Somebody may clean up empty folders.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                fs::create_dir_all(path.parent().unwrap_or(&self.root)).and_then(|()| create())
            }
            other => other,
        };
        let file = file.map_err(|error| self.broken("create", &path, &error))?;
        self.trace.note(Step::Create(&path));
        Ok(BufWriter::with_capacity(64 << 10, file))
    }

    /// Makes a written file and its name durable.
    pub(super) fn seal(&self, file: BufWriter<File>, staging: &str) -> Result<()> {
        let path = self.root.join(staging);
        let file = file.into_inner().map_err(|error| self.broken("write", &path, error.error()))?;
        file.sync_all().map_err(|error| fsync_failed(&path, &error))?;
        self.trace.note(Step::SyncFile(&path));
        path.parent().map_or(Ok(()), |folder| self.sync_folder(folder))
    }

    /// Creates a file with these bytes if there is none, whole and durable; false: there is one.
    pub(super) fn create_whole(&self, key: &str, draft: &str, bytes: &[u8]) -> Result<bool> {
        let (path, draft) = (self.root.join(key), self.root.join(draft));
        let retry = |doing: &str, error: std::io::Error| {
            Error::retry(format!("cannot {doing} {} (setting `{}`): {error}", path.display(), self.setting))
        };
        let folder = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder).map_err(|error| retry("make the folder of", error))?;
        let mut file = File::create(&draft).map_err(|error| retry("write", error))?;
        self.trace.note(Step::Create(&draft));
        file.write_all(bytes).map_err(|error| retry("write", error))?;
        file.sync_all().map_err(|error| fsync_failed(&draft, &error))?;
        self.trace.note(Step::SyncFile(&draft));
        // A link is made only where there is nothing yet, in one step, with all its bytes.
        let linked = fs::hard_link(&draft, &path);
        if linked.is_ok() {
            self.trace.note(Step::Link(&draft, &path));
        }
        // Whoever finds a draft that was left behind knows by its name that it is nothing.
        let _ = fs::remove_file(&draft);
        match linked {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
            Err(error) => return Err(retry("write", error)),
            Ok(()) => {}
        }
        self.sync_up(folder)?;
        Ok(true)
    }

    /// Writes a file whole and durably, whether there was one or not.
    pub(super) fn replace(&self, key: &str, draft: &str, bytes: &[u8]) -> Result<()> {
        let (path, draft) = (self.root.join(key), self.root.join(draft));
        let folder = path.parent().unwrap_or(&self.root);
        let written = || -> std::io::Result<()> {
            fs::create_dir_all(folder)?;
            let mut file = File::create(&draft)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&draft, &path)
        };
        written().map_err(|error| {
            let _ = fs::remove_file(&draft);
            Error::retry(format!("cannot write {} (setting `{}`): {error}", path.display(), self.setting))
        })?;
        self.sync_up(folder)
    }

    /// Writes a file anew as `change` says of what is there; where it says nothing, that stays. Those who do so take
    /// turns by a lock beside it, which ends with its process. True: it was written.
    pub(super) fn revise(
        &self,
        key: &str,
        draft: &str,
        change: impl Fn(Option<&[u8]>) -> Option<Vec<u8>>,
    ) -> Result<bool> {
        let path = self.root.join(format!("{key}.lock"));
        let failed = |error: std::io::Error| {
            Error::retry(format!("cannot lock {} (setting `{}`): {error}", path.display(), self.setting))
        };
        fs::create_dir_all(path.parent().unwrap_or(&self.root)).map_err(failed)?;
        let turn = File::options().create(true).append(true).open(&path).map_err(failed)?;
        for tried in 0.. {
            match turn.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if tried < TURNS => std::thread::sleep(PAUSE),
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::retry(format!("another process keeps {} locked", path.display())));
                }
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
        match change(self.read(key)?.as_deref()) {
            None => Ok(false),
            Some(bytes) => self.replace(key, draft, &bytes).map(|()| true),
        }
    }

    /// When a file was written; none: there is none.
    pub(super) fn written(&self, key: &str) -> Result<Option<Micros>> {
        let path = self.root.join(key);
        match fs::metadata(&path).and_then(|meta| meta.modified()) {
            Ok(time) => {
                let since = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
                Ok(Some(Micros::try_from(since.as_micros()).unwrap_or(Micros::MAX)))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::retry(format!(
                "cannot look at {} (setting `{}`): {error}",
                path.display(),
                self.setting
            ))),
        }
    }

    /// The bytes of a file, once its name is durable; none: there is none.
    pub(super) fn read(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let path = self.root.join(key);
        match fs::read(&path) {
            Ok(bytes) => {
                // Its writer may have died between the link and this.
                self.sync_folder(path.parent().unwrap_or(&self.root))?;
                Ok(Some(bytes))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::retry(format!(
                "cannot read {} (setting `{}`): {error}",
                path.display(),
                self.setting
            ))),
        }
    }

    /// Some bytes of a file; none: there is none.
    pub(super) fn part(&self, key: &str, bytes: Range<u64>) -> Result<Option<Bytes>> {
        let path = self.root.join(key);
        let read = || -> std::io::Result<Bytes> {
            let mut file = File::open(&path)?;
            file.seek(SeekFrom::Start(bytes.start))?;
            let mut found = Vec::new();
            file.take(bytes.end.saturating_sub(bytes.start)).read_to_end(&mut found)?;
            Ok(Bytes::from(found))
        };
        match read() {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::retry(format!(
                "cannot read {} (setting `{}`): {error}",
                path.display(),
                self.setting
            ))),
        }
    }

    /// The size of a file; none: there is none.
    pub(super) fn size(&self, key: &str) -> Result<Option<u64>> {
        let path = self.root.join(key);
        match fs::metadata(&path) {
            Ok(meta) => Ok(Some(meta.len())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::retry(format!(
                "cannot look at {} (setting `{}`): {error}",
                path.display(),
                self.setting
            ))),
        }
    }

    /// All files under a folder: key, size, and seconds since the last change.
    pub(super) fn list(&self, folder: &str) -> Result<Vec<(String, u64, u64)>> {
        let failed = |path: &Path, error: std::io::Error| {
            Error::retry(format!("cannot list {} (setting `{}`): {error}", path.display(), self.setting))
        };
        let (mut found, mut todo) = (Vec::new(), vec![self.root.join(folder)]);
        while let Some(path) = todo.pop() {
            let entries = match fs::read_dir(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                other => other.map_err(|error| failed(&path, error))?,
            };
            for entry in entries {
                let entry = entry.map_err(|error| failed(&path, error))?;
                let meta = match entry.metadata() {
                    // It went away while we looked.
                    Err(error) if error.kind() == ErrorKind::NotFound => continue,
                    other => other.map_err(|error| failed(&entry.path(), error))?,
                };
                if meta.is_dir() {
                    todo.push(entry.path());
                    continue;
                }
                let Ok(key) = entry.path().strip_prefix(&self.root).map(Path::to_path_buf) else { continue };
                let age = meta.modified().ok().and_then(|time| time.elapsed().ok()).unwrap_or_default();
                found.push((key.to_string_lossy().replace('\\', "/"), meta.len(), age.as_secs()));
            }
        }
        found.sort();
        Ok(found)
    }

    /// Renames a file from staging to its place. One that is there already is success.
    pub(super) fn publish(&self, staging: &str, key: &str, bytes: u64) -> Result<()> {
        let (from, to) = (self.root.join(staging), self.root.join(key));
        let folder = to.parent().unwrap_or(&self.root);
        let retry = |doing: &str, error: std::io::Error| {
            Error::retry(format!("cannot {doing} {} (setting `{}`): {error}", to.display(), self.setting))
        };
        fs::create_dir_all(folder).map_err(|error| retry("make the folder of", error))?;
        let moved = fs::rename(&from, &to);
        if moved.is_ok() {
            self.trace.note(Step::Rename(&from, &to));
        }
        match fs::metadata(&to) {
            Ok(meta) if meta.len() == bytes => {}
            Ok(meta) => {
                return Err(Error::stop(format!(
                    "{} has {} bytes instead of {bytes}: something else wrote to it",
                    to.display(),
                    meta.len()
                )));
            }
            Err(error) => {
                return Err(match moved {
                    Err(gone) if gone.kind() == ErrorKind::NotFound => Error::abandon(format!(
                        "the staged file {} has vanished before it was published",
                        from.display()
                    )),
                    Err(why) => retry("rename a staged file to", why),
                    Ok(()) => retry("see", error),
                });
            }
        }
        // Also when it was there before: whoever renamed it may have died before this, and a folder that
        // another host made may not be durable yet.
        self.sync_up(folder)?;
        // So that a power cut cannot bring the staged name back.
        from.parent().filter(|folder| folder.is_dir()).map_or(Ok(()), |folder| self.sync_folder(folder))
    }

    /// Unlinks a file. One that is gone already is success.
    pub(super) fn unlink(&self, key: &str) -> Result<()> {
        let path = self.root.join(key);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::retry(format!(
                "cannot delete {} (setting `{}`): {error}",
                path.display(),
                self.setting
            ))),
            Ok(()) => {
                self.trace.note(Step::Unlink(&path));
                Ok(())
            }
            Err(_) => Ok(()),
        }
    }

    /// Makes the entries of a folder and of its parents up to the root durable.
    fn sync_up(&self, folder: &Path) -> Result<()> {
        folder
            .ancestors()
            .take_while(|folder| folder.starts_with(&self.root))
            .try_for_each(|folder| self.sync_folder(folder))
    }

    fn sync_folder(&self, path: &Path) -> Result<()> {
        let synced = File::open(path).and_then(|folder| folder.sync_all());
        synced.map_err(|error| fsync_failed(path, &error))?;
        self.trace.note(Step::SyncFolder(path));
        Ok(())
    }

    /// What a write that failed means: the epoch cannot be finished.
    pub(super) fn broken(&self, doing: &str, path: &Path, error: &std::io::Error) -> Error {
        Error::abandon(format!("cannot {doing} {} (setting `{}`): {error}", path.display(), self.setting))
    }

    /// The path of a key.
    pub(super) fn path(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }
}

fn fsync_failed(path: &Path, error: &std::io::Error) -> Error {
    Error::stop(format!(
        "cannot make {} durable (fsync): {error}; check the disk before you start again",
        path.display()
    ))
}
