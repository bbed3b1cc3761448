//! Notices when the transforms directory has changed, and has come to rest.
//!
//! The operating system tells of changes where it can; besides, the directory is looked at every [`POLL`], for disks
//! in the network and for everything that events miss. A change is told only when names, sizes and times have been the
//! same for [`REST`]: a file that is still being written is not read. One that was cut short all the same does not
//! load, which costs nothing but a message.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use super::package::ours;

/// How often the directory is looked at, whatever the system tells.
const POLL: Duration = Duration::from_secs(1);
/// How long it must have been the same.
const REST: Duration = Duration::from_millis(150);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// What a look at the directory shows, without reading any file.
type Sight = BTreeMap<OsString, (u64, Option<SystemTime>)>;

/// Watches one directory.
pub struct Watch {
    directory: PathBuf,
    told: Arc<Notify>,
    seen: Sight,
    /// Kept for its events; none: there are none, and only looking helps.
    _watcher: Option<RecommendedWatcher>,
}

impl Watch {
    /// Begins to watch. What is there now is no change.
    pub fn new(directory: &Path) -> Watch {
        let told = Arc::new(Notify::new());
        let notify = told.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading a file is no change. Anything else, errors too, is a reason to look.
            if !event.is_ok_and(|event| event.kind.is_access()) {
                notify.notify_one();
            }
        });
        let watcher = watcher.and_then(|mut watcher| {
            watcher.watch(directory, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        if let Err(e) = &watcher {
            tracing::debug!("no file events for {}: {e}; it is looked at instead", directory.display());
        }
        let seen = sight(directory);
        Watch { directory: directory.to_owned(), told, seen, _watcher: watcher.ok() }
    }

    /// Waits until the directory is another than at the last call, and has come to rest. May be dropped at any time.
    pub async fn changed(&mut self) {
        loop {
            // A look costs a few system calls.
            let _ = tokio::time::timeout(POLL, self.told.notified()).await;
            let mut now = sight(&self.directory);
            if now == self.seen {
                continue;
            }
            let mut since = tokio::time::Instant::now();
            while since.elapsed() < REST {
                tokio::time::sleep(LOOK).await;
                let next = sight(&self.directory);
                if next != now {
                    (now, since) = (next, tokio::time::Instant::now());
                }
            }
            if now != self.seen {
                self.seen = now;
                return;
            }
        }
    }
}

/// Transforms and sidecars with their sizes and times. A directory that cannot be read shows nothing.
fn sight(directory: &Path) -> Sight {
    let Ok(entries) = std::fs::read_dir(directory) else { return Sight::new() };
    let files = entries.filter_map(Result::ok).filter(|entry| ours(&entry.file_name().to_string_lossy()));
    let shown = files.filter_map(|entry| {
        // Of what a link leads to: that may be exchanged.
        let metadata = std::fs::metadata(entry.path()).ok()?;
        Some((entry.file_name(), (metadata.len(), metadata.modified().ok())))
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    async fn quiet(watch: &mut Watch, time: Duration) -> bool {
        tokio::time::timeout(time, watch.changed()).await.is_err()
    }

    #[tokio::test]
    async fn a_change_is_told_when_it_is_complete() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.wasm"), "one").unwrap();
        let mut watch = Watch::new(folder.path());
        assert!(quiet(&mut watch, Duration::from_millis(300)).await, "what was there is no news");
        std::fs::write(folder.path().join("notes.txt"), "nobody's business").unwrap();
        assert!(quiet(&mut watch, Duration::from_millis(300)).await);

        // Somebody writes slowly.
        let path = folder.path().join("b.wasm");
        let slow = std::thread::spawn(move || {
            let mut file = std::fs::File::create(path).unwrap();
            for _ in 0..8 {
                file.write_all(&[0; 1000]).unwrap();
                std::thread::sleep(Duration::from_millis(60));
            }
        });
        watch.changed().await;
        assert!(slow.is_finished(), "told before it was complete");
        assert!(quiet(&mut watch, Duration::from_millis(300)).await, "told once");
        std::fs::remove_file(folder.path().join("a.wasm")).unwrap();
        watch.changed().await;
        std::fs::write(folder.path().join("b.toml"), "[config]").unwrap();
        watch.changed().await;
    }

    #[tokio::test]
    async fn a_directory_that_appears_later_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let later = folder.path().join("later");
        let mut watch = Watch::new(&later);
        std::fs::create_dir(&later).unwrap();
        std::fs::write(later.join("a.wasm"), "one").unwrap();
        watch.changed().await;
    }
}
