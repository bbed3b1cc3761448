//! A transform as bytes: a component and its sidecar, wherever they lie.

use std::io::ErrorKind;
use std::path::Path;

use crate::digest::sha256;
use crate::{Error, Result};

/// A component and its sidecar.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Package {
    /// The file's name without its ending.
    pub name: String,
    /// What errors call it: a path, or the name and where the bytes came from.
    pub file: String,
    /// The component.
    pub wasm: Vec<u8>,
    /// The text of the sidecar, if there is one.
    pub sidecar: Option<String>,
}

impl Package {
    /// Reads a component and the sidecar beside it.
    pub fn read(path: &Path) -> Result<Package> {
        let wasm = std::fs::read(path)
            .map_err(|e| Error::usage(format!("cannot read transform {}: {e}", path.display())))?;
        let beside = path.with_extension("toml");
        let sidecar = match std::fs::read_to_string(&beside) {
            Ok(text) => Some(text),
            Err(e) if e.kind() == ErrorKind::NotFound => None,
            Err(e) => return Err(Error::usage(format!("cannot read sidecar {}: {e}", beside.display()))),
        };
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("transform").to_owned();
        Ok(Package { name, file: path.display().to_string(), wasm, sidecar })
    }

    /// SHA-256 of the component, in hexadecimal.
    pub fn digest(&self) -> String {
        sha256(&self.wasm)
    }
}
