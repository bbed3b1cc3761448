//! `tidemill sign`

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use super::deploy::read_key;
use super::say;
use crate::transform::Package;
use crate::transform::trust::SigningKey;
use crate::{Error, Result};

/// Signs components, so that hosts with `trusted-keys` take them.
#[derive(Args)]
#[command(
    after_help = "A signature (Ed25519) covers a component, the name of its file and its sidecar: sign again when one of them
changes. It is written beside the component as NAME.wasm.sig. Keys are PKCS #8 in PEM, as
`openssl genpkey -algorithm ed25519` makes them, too.

Examples:
  tidemill sign --new-key release.pem              make a key; prints the public one for `trusted-keys`
  tidemill sign --key release.pem clean.wasm       sign
  tidemill run --trusted-keys \"$(tidemill sign --key release.pem)\""
)]
pub(super) struct Sign {
    /// The private key
    #[arg(long, value_name = "PEM", required_unless_present = "new_key")]
    key: Option<PathBuf>,
    /// Make a private key in this new file, readable by this user alone
    #[arg(long, value_name = "PEM", conflicts_with = "key")]
    new_key: Option<PathBuf>,
    /// Components to sign; none: print the public key
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl Sign {
    pub(super) fn run(self) -> Result<()> {
        let key = match (&self.key, &self.new_key) {
            (Some(path), _) => read_key(path)?,
            (None, Some(path)) => new_key(path)?,
            (None, None) => return Err(Error::usage("name a --key, or a --new-key to make one")),
        };
        if self.files.is_empty() {
            return say(&format!("{}\n", key.public()));
        }
        for file in &self.files {
            let package = Package::read(file)?;
            let mut path = file.clone().into_os_string();
            path.push(".sig");
            let path = PathBuf::from(path);
            std::fs::write(&path, key.sign(&package))
                .map_err(|e| Error::stop(format!("cannot write {}: {e}", path.display())))?;
            say(&format!("{}\n", path.display()))?;
        }
        Ok(())
    }
}

fn new_key(path: &Path) -> Result<SigningKey> {
    let (key, text) = SigningKey::generate()?;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|e| Error::usage(format!("cannot make the key {}: {e}", path.display())))?;
    Ok(key)
}
