//! The transforms directory: every `*.wasm` in it is a transform, with its sidecar and its signature beside it; folders
//! and other files are ignored.

use std::path::Path;

use super::package::{COMPONENT, Package};
use crate::{Error, Result};

/// Reads all transforms of a directory, in the order of their file names.
pub fn read(directory: &Path) -> Result<Vec<Package>> {
    let unreadable = |e: std::io::Error| {
        Error::usage(format!(
            "cannot read the transforms directory {} (setting `transforms`): {e}",
            directory.display()
        ))
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|e| e == COMPONENT) && path.is_file() {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        return Err(Error::usage(format!(
            "no *.wasm in the transforms directory {} (setting `transforms`); `tidemill build` makes them from source",
            directory.display()
        )));
    }
    paths.sort();
    paths.iter().map(|path| Package::read(path)).collect()
}

/// Puts a file there in one step: who reads it sees what was there before, or all of it.
pub fn put(directory: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let (path, new) = (directory.join(name), directory.join(format!(".{name}.{}.new", std::process::id())));
    let put = std::fs::write(&new, bytes).and_then(|()| std::fs::rename(&new, &path));
    put.map_err(|e| {
        let _ = std::fs::remove_file(&new);
        Error::usage(format!("cannot write {} (setting `transforms`): {e}", path.display()))
    })
}
