//! Compiled components on disk, so that a start need not compile. May be deleted at any time.
//!
//! A file is named by the component's digest and the engine's configuration. It holds a mark, the SHA-256 of the
//! artifact and the artifact. What it holds becomes code of this process: directory and file must be this user's and
//! writable by nobody else, and what is damaged is compiled again. Nothing here fails a start.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use crate::env;

/// A file of this format begins so.
const MARK: &[u8; 16] = b"tidemill aot 1\r\n";
const ENDING: &str = "cwasm";
/// What is being written; a crash leaves it behind.
const UNFINISHED: &str = "tmp";

/// The directory of compiled components, if there is one that may be used.
pub(super) struct Cache {
    directory: Option<PathBuf>,
    /// Files that are kept.
    files: usize,
    /// Bytes that they may have together, and one alone.
    bytes: u64,
}

impl Cache {
    /// Makes the directory if there is none. One that others can write is not used, and that is told.
    pub(super) fn open(directory: Option<&Path>) -> Cache {
        let directory = directory.filter(|directory| {
            let prepared = usable(directory);
            if let Err(why) = &prepared {
                tracing::warn!(
                    "transforms are compiled at every start: the cache {} is not used, {why} (setting `cache`)",
                    directory.display()
                );
            }
            prepared.is_ok()
        });
        Cache { directory: directory.map(Path::to_owned), files: 64, bytes: 2 << 30 }
    }

    /// The artifact of a component, whole.
    pub(super) fn get(&self, key: &str) -> Option<Vec<u8>> {
        let path = self.path(key)?;
        match self.read(&path) {
            Ok(artifact) => Some(artifact),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => {
                tracing::warn!("compiling anew: cannot use the compiled transform {}: {e}", path.display());
                None
            }
        }
    }

    /// Keeps the artifact of a component.
    pub(super) fn put(&self, key: &str, artifact: &[u8]) {
        let (Some(path), Some(directory)) = (self.path(key), &self.directory) else { return };
        if artifact.len() as u64 > self.bytes {
            return;
        }
        let unfinished = directory.join(format!("{}.{UNFINISHED}", env::machine().fresh_id()));
        let kept = write(&unfinished, artifact).and_then(|()| fs::rename(&unfinished, &path));
        if let Err(e) = kept {
            let _ = fs::remove_file(&unfinished);
            tracing::warn!("cannot keep the compiled transform {} (setting `cache`): {e}", path.display());
        }
        if let Err(e) = self.trim(directory) {
            tracing::warn!("cannot tidy up the cache {} (setting `cache`): {e}", directory.display());
        }
    }

    fn path(&self, key: &str) -> Option<PathBuf> {
        Some(self.directory.as_ref()?.join(format!("{key}.{ENDING}")))
    }

    /// Opened once: what is checked is what is used.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = File::open(path)?;
        let found = file.metadata()?;
        mine(&found).map_err(io::Error::other)?;
        let damaged = || io::Error::other("it is damaged");
        if !found.is_file() || found.len() > self.bytes {
            return Err(damaged());
        }
        let (mut mark, mut digest) = ([0; MARK.len()], [0; 32]);
        let mut reader = &file;
        reader.read_exact(&mut mark).and_then(|()| reader.read_exact(&mut digest)).map_err(|_| damaged())?;
        let mut artifact = Vec::with_capacity(usize::try_from(found.len()).unwrap_or_default());
        reader.take(self.bytes).read_to_end(&mut artifact)?;
        if mark != *MARK || Sha256::digest(&artifact)[..] != digest {
            return Err(damaged());
        }
        // For who tidies up; a file that is not touched is only removed earlier.
        let _ = file.set_modified(now());
        Ok(artifact)
    }

    /// Removes what was not used for the longest time, and what a crash left.
    fn trim(&self, directory: &Path) -> io::Result<()> {
        let mut kept = Vec::new();
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            let ending = path.extension().unwrap_or_default().to_owned();
            // Another host may remove it at the same time.
            let Ok(found) = fs::symlink_metadata(&path) else { continue };
            let used = found.modified()?;
            if ending == ENDING {
                kept.push((used, found.len(), path));
            } else if ending == UNFINISHED && used + Duration::from_secs(3600) < now() {
                let _ = fs::remove_file(&path);
            }
        }
        kept.sort_by(|a, b| b.cmp(a));
        let mut bytes = 0;
        for (at, (_, length, path)) in kept.into_iter().enumerate() {
            bytes += length;
            if at >= self.files || bytes > self.bytes {
                let _ = fs::remove_file(path);
            }
        }
        Ok(())
    }
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(u64::try_from(env::machine().now()).unwrap_or_default())
}

/// Makes the directory if there is none. An error says why it may not be used.
pub(crate) fn usable(directory: &Path) -> Result<(), String> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(directory).map_err(|e| e.to_string())?;
    let found = fs::metadata(directory).map_err(|e| e.to_string())?;
    mine(&found)
}

/// Nobody else may have written it: it becomes code of this process.
#[cfg(unix)]
fn mine(found: &Metadata) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt;
    let (owner, me) = (found.uid(), rustix::process::geteuid().as_raw());
    if owner != me {
        return Err(format!(
            "it belongs to user {owner} and this process runs as {me}; choose a directory of its own"
        ));
    }
    if found.mode() & 0o022 != 0 {
        return Err(format!("others can write it (mode {:03o}); chmod go-w", found.mode() & 0o777));
    }
    Ok(())
}

#[cfg(not(unix))]
fn mine(_found: &Metadata) -> Result<(), String> {
    Err("who else can write it is not known on this system".into())
}

fn write(path: &Path, artifact: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.write(true).create_new(true).open(path)?;
    file.write_all(MARK)?;
    file.write_all(&Sha256::digest(artifact))?;
    file.write_all(artifact)
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn files(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut files: Vec<String> = entries.collect();
        files.sort();
        files
    }

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn what_was_kept_is_given_back_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().join("a/b");
        let cache = Cache::open(Some(&directory));
        assert_eq!(cache.get("k"), None);
        cache.put("k", b"artifact");
        assert_eq!(cache.get("k").as_deref(), Some(&b"artifact"[..]));
        assert_eq!(files(&directory), ["k.cwasm"], "nothing unfinished");
        let path = directory.join("k.cwasm");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&directory)), (0o600, 0o700));
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut other = whole.clone();
            other[at] ^= 1;
            fs::write(&path, &other).unwrap();
            assert_eq!(cache.get("k"), None, "byte {at} is another");
            fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(cache.get("k"), None, "cut at {at}");
        }
        fs::write(&path, [&whole[..], b"more"].concat()).unwrap();
        assert_eq!(cache.get("k"), None);
        cache.put("k", b"artifact");
        assert!(cache.get("k").is_some(), "a damaged file is replaced");
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!(cache.get("k"), None);
        cache.put("k", b"artifact");
    }

    #[test]
    fn what_others_can_write_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(Some(dir.path()));
        cache.put("k", b"artifact");
        for (mode, used) in [(0o620, false), (0o602, false), (0o644, true)] {
            chmod(&dir.path().join("k.cwasm"), mode);
            assert_eq!(cache.get("k").is_some(), used, "{mode:o}");
        }
        for (mode, used) in [(0o770, false), (0o707, false), (0o755, true)] {
            chmod(dir.path(), mode);
            assert_eq!(Cache::open(Some(dir.path())).get("k").is_some(), used, "{mode:o}");
        }
        assert!(mine(&fs::metadata("/").unwrap()).is_err() || rustix::process::geteuid().is_root());
    }

    #[test]
    fn what_was_not_used_for_the_longest_time_goes_first() {
        let dir = tempfile::tempdir().unwrap();
        let mut cache = Cache::open(Some(dir.path()));
        let hours_ago = |name: &str, hours: u64| {
            let file = OpenOptions::new().write(true).open(dir.path().join(name)).unwrap();
            file.set_modified(now() - Duration::from_secs(hours * 3600)).unwrap();
        };
        for (key, hours) in [("a", 5), ("b", 4), ("c", 3)] {
            cache.put(key, b"artifact");
            hours_ago(&format!("{key}.cwasm"), hours);
        }
        let used = |name: &str| fs::metadata(dir.path().join(name)).unwrap().modified().unwrap();
        assert!(cache.get("a").is_some());
        assert!(used("a.cwasm") > used("c.cwasm"), "it was used now");
        hours_ago("a.cwasm", 1);
        for (name, hours) in [("x.tmp", 2), ("y.tmp", 0), ("z.txt", 9)] {
            fs::write(dir.path().join(name), "").unwrap();
            hours_ago(name, hours);
        }
        cache.files = 3;
        cache.put("d", b"artifact");
        assert_eq!(files(dir.path()), ["a.cwasm", "c.cwasm", "d.cwasm", "y.tmp", "z.txt"]);
        cache.bytes = 2 * 56;
        cache.put("e", b"artifact");
        assert_eq!(files(dir.path()), ["d.cwasm", "e.cwasm", "y.tmp", "z.txt"]);
    }
}
