//! The transforms directory: every `*.wasm` in it is a transform, with its sidecar beside it; folders and other
//! files are ignored.

use std::path::Path;

use super::package::Package;
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
        if path.extension().is_some_and(|e| e == "wasm") && path.is_file() {
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
