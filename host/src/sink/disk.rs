//! A zone on a local disk: invisible files wait in the pipeline's staging folder.
//!
//! Order (COMMIT.md, "Local disk"): fsync file → fsync staging folder → *(record)* → rename to final →
//! fsync final folder and its parents. A failed fsync means stop: what the kernel dropped cannot be known.

use std::fs::{self, File};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A folder.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    root: PathBuf,
    setting: String,
}

impl Disk {
    pub(super) fn new(root: PathBuf, setting: &str) -> Disk {
        Disk { root, setting: setting.into() }
    }

    /// Makes the root and its staging folder, and proves that a file can be written there.
    pub(super) fn check(&self, probe: &str) -> Result<()> {
        let failed = |doing: &str, error: std::io::Error| {
            let Disk { root, setting } = self;
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
        sync_up(path.parent().unwrap_or(&self.root), &self.root)?;
        self.root.parent().map_or(Ok(()), sync_folder)
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
        Ok(BufWriter::with_capacity(64 << 10, file))
    }

    /// Makes a written file and its name durable.
    pub(super) fn seal(&self, file: BufWriter<File>, staging: &str) -> Result<()> {
        let path = self.root.join(staging);
        let file = file.into_inner().map_err(|error| self.broken("write", &path, error.error()))?;
        file.sync_all().map_err(|error| fsync_failed(&path, &error))?;
        path.parent().map_or(Ok(()), sync_folder)
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
        sync_up(folder, &self.root)
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
            _ => Ok(()),
        }
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

/// Makes the entries of a folder and of its parents up to the root durable.
fn sync_up(folder: &Path, root: &Path) -> Result<()> {
    for folder in folder.ancestors().take_while(|folder| folder.starts_with(root)) {
        sync_folder(folder)?;
    }
    Ok(())
}

fn sync_folder(path: &Path) -> Result<()> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(|error| fsync_failed(path, &error))
}

fn fsync_failed(path: &Path, error: &std::io::Error) -> Error {
    Error::stop(format!(
        "cannot make {} durable (fsync): {error}; check the disk before you start again",
        path.display()
    ))
}
