//! A zone in a folder.

use std::path::{Path, PathBuf};

use super::super::course::Course;
use super::super::report::Finding;
use super::Surroundings;
use super::place::Files;
use crate::Result;
use crate::sink::ZoneStore;

/// All steps. What folders they make, they remove.
pub(super) async fn run(
    mut course: Course,
    store: Result<ZoneStore>,
    root: &Path,
    setting: &str,
    folder: &str,
    around: &Surroundings<'_>,
) {
    let Some(store) = course.step("folder", &[], async { open(store, root, setting) }).await else {
        course.skip(&["write", "read", "list", "create if absent", "race of two", "delete"], "folder");
        return;
    };
    let new = missing(&root.join(folder));
    super::objects(&mut course, &Files { store: &store, setting }, folder, "folder", around).await;
    for path in new {
        // The deepest first. One that somebody has put something into stays.
        let _ = std::fs::remove_dir(path);
    }
}

fn open(store: Result<ZoneStore>, root: &Path, setting: &str) -> Finding<ZoneStore> {
    let remedy = format!("correct the setting `{setting}`");
    let store = match store {
        Ok(store) => store,
        Err(e) => return Finding::failed(e.to_string(), remedy),
    };
    if root.is_dir() {
        return Finding::ok(root.display().to_string()).with(store);
    }
    let there = root.ancestors().find(|path| path.exists());
    match there {
        Some(there) if !there.is_dir() => {
            Finding::failed(format!("{} is no folder", there.display()), remedy)
        }
        _ => {
            Finding::ok(format!("{} does not exist yet: `tidemill run` makes it", root.display())).with(store)
        }
    }
}

/// A folder and those above it, as far as they do not exist.
fn missing(folder: &Path) -> Vec<PathBuf> {
    folder.ancestors().take_while(|path| !path.exists()).map(Path::to_owned).collect()
}
