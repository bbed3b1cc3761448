//! A transform as bytes: a component with its sidecar and its signature, wherever they lie.

use std::io::ErrorKind;
use std::path::Path;

use crate::digest::sha256;
use crate::{Error, Result};

/// The endings of a component's file, and of those beside it.
pub(crate) const COMPONENT: &str = "wasm";
/// See [`COMPONENT`].
pub(crate) const SIDECAR: &str = "toml";
/// See [`COMPONENT`].
pub(crate) const SIGNATURE: &str = "wasm.sig";

/// Whether a file of this name is a component or lies beside one.
pub(crate) fn ours(name: &str) -> bool {
    [COMPONENT, SIDECAR, SIGNATURE].iter().any(|ending| stem(name, ending).is_some())
}

/// The name without its ending, if it has that one.
pub(crate) fn stem<'a>(name: &'a str, ending: &str) -> Option<&'a str> {
    name.strip_suffix(ending)?.strip_suffix('.').filter(|stem| !stem.is_empty())
}

/// A component, its sidecar and its signature.
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
    /// The text of its signature, if there is one: see [`trust`](super::trust).
    pub signature: Option<String>,
}

impl Package {
    /// Reads a component and what is beside it.
    pub fn read(path: &Path) -> Result<Package> {
        let wasm = std::fs::read(path)
            .map_err(|e| Error::usage(format!("cannot read transform {}: {e}", path.display())))?;
        let beside = |what: &str, ending: &str| {
            let path = path.with_extension(ending);
            match std::fs::read_to_string(&path) {
                Ok(text) => Ok(Some(text)),
                Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
                Err(e) => Err(Error::usage(format!("cannot read {what} {}: {e}", path.display()))),
            }
        };
        let (sidecar, signature) = (beside("sidecar", SIDECAR)?, beside("signature", SIGNATURE)?);
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("transform").to_owned();
        Ok(Package { name, file: path.display().to_string(), wasm, sidecar, signature })
    }

    /// SHA-256 of the component, in hexadecimal.
    pub fn digest(&self) -> String {
        sha256(&self.wasm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_files_are_nobodys_business() {
        for name in ["a.wasm", "a.toml", "a.wasm.sig"] {
            assert!(ours(name), "{name}");
        }
        for name in [".wasm", "wasm", "notes.txt", "a.sig", "a.wasm.tmp"] {
            assert!(!ours(name), "{name}");
        }
    }
}
