//! The bytes of a file: from its beginning on, unpacked, or digested.

use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::{File, Packing, unreadable};
use crate::env::Env;
use crate::sink::ZoneStore;
use crate::wait::tries;
use crate::{Error, Kind, Result};

/// Bytes that are asked of a bucket at a time; as many are on their way meanwhile.
const BLOCK: u64 = 8 << 20;
/// How often a block is asked for that the store does not answer.
const TRIES: u32 = 8;
/// Bytes that are digested at a time.
const DIGESTED: usize = 1 << 20;

/// Where a file is.
#[derive(Clone)]
pub enum Place {
    /// On a disk.
    Disk(PathBuf),
    /// In a bucket.
    Bucket {
        /// The bucket.
        store: Arc<ZoneStore>,
        /// The clock, for pauses.
        env: Env,
        /// The key in it.
        key: String,
    },
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Disk(path) => write!(f, "{}", path.display()),
            Place::Bucket { key, .. } => f.write_str(key),
        }
    }
}

/// SHA-256 of a file, in hexadecimal. Blocks.
pub fn digest(file: &File) -> Result<String> {
    let (mut reader, mut digest) = (raw(file)?, Sha256::new());
    let mut bytes = vec![0; DIGESTED];
    loop {
        match reader.read(&mut bytes).map_err(|e| unreadable(&file.name, e))? {
            0 => break,
            count => digest.update(&bytes[..count]),
        }
    }
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The bytes of a file as it lies there: no more than it had when it was found.
fn raw(file: &File) -> Result<Box<dyn Read + Send>> {
    match &file.place {
        Place::Disk(path) => {
            let opened = std::fs::File::open(path).map_err(|e| unreadable(&file.name, e))?;
            Ok(Box::new(opened.take(file.bytes)))
        }
        Place::Bucket { store, env, key } => {
            let runtime =
                Handle::try_current().map_err(|_| Error::stop("files can only be read within a runtime"))?;
            let (store, env, key) = (store.clone(), env.clone(), key.clone());
            let size = file.bytes;
            Ok(Box::new(Ranged { store, env, key, size, runtime, at: 0, block: Bytes::new(), next: None }))
        }
    }
}

/// The bytes of a file, unpacked.
pub(super) fn unpacked(file: &File) -> Result<Box<dyn Read + Send>> {
    let raw: Box<dyn Read + Send> = Box::new(Counted(raw(file)?, file.read.clone()));
    Ok(match file.packing {
        Packing::Plain => raw,
        Packing::Gzip => Box::new(flate2::read::MultiGzDecoder::new(raw)),
        Packing::Zstd => {
            Box::new(zstd::stream::read::Decoder::new(raw).map_err(|e| unreadable(&file.name, e))?)
        }
    })
}

/// Bytes that are counted as they are read.
struct Counted(Box<dyn Read + Send>, Arc<AtomicU64>);

impl Read for Counted {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(bytes)?;
        self.1.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// An object, block after block; the next one is on its way while one is read. For threads that may block.
struct Ranged {
    store: Arc<ZoneStore>,
    env: Env,
    key: String,
    size: u64,
    runtime: Handle,
    /// Where the block after this one begins.
    at: u64,
    block: Bytes,
    next: Option<JoinHandle<Result<Bytes>>>,
}

impl Ranged {
    /// Asks for the block that begins at `at`.
    fn ask(&self) -> JoinHandle<Result<Bytes>> {
        let (store, env, key) = (self.store.clone(), self.env.clone(), self.key.clone());
        let range = self.at..(self.at + BLOCK).min(self.size);
        self.runtime.spawn(async move {
            let found = tries(&env, TRIES, || store.part(&key, range.clone())).await?;
            let bytes = found.ok_or_else(|| Error::stop(format!("{key} is gone")))?;
            match bytes.len() as u64 == range.end - range.start {
                true => Ok(bytes),
                false => Err(Error::new(Kind::Stop, format!("{key} is shorter than it was"))),
            }
        })
    }

    fn more(&mut self) -> Result<()> {
        let asked = self.next.take().unwrap_or_else(|| self.ask());
        let came = self.runtime.block_on(asked);
        self.block =
            came.map_err(|e| Error::stop(format!("{}: the reading task broke: {e}", self.key)))??;
        self.at += self.block.len() as u64;
        if self.at < self.size {
            self.next = Some(self.ask());
        }
        Ok(())
    }
}

impl Read for Ranged {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.block.is_empty() && self.at < self.size {
            self.more().map_err(|e| io::Error::other(e.to_string()))?;
        }
        let length = self.block.len().min(bytes.len());
        bytes[..length].copy_from_slice(&self.block.split_to(length));
        Ok(length)
    }
}

impl Drop for Ranged {
    fn drop(&mut self) {
        if let Some(next) = self.next.take() {
            next.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::env::machine;
    use crate::past::Format;
    use crate::sink::{Keys, Location};
    use crate::table::Zone;

    #[tokio::test(flavor = "multi_thread")]
    async fn the_same_bytes_come_from_wherever_they_lie_and_however_they_are_packed() {
        let folder = tempfile::TempDir::new().unwrap();
        let content: Vec<u8> = (0..2 * BLOCK + 77).map(|at| u8::try_from(at * 31 % 251).unwrap()).collect();
        let (keys, env) = (Keys::new("t").unwrap(), machine());
        let place = Location::Local(folder.path().into());
        let store = Arc::new(ZoneStore::open(Zone::Raw, place, "raw", &keys, None, &env).unwrap());
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&content).unwrap();
        let packed = [
            (Packing::Plain, content.clone()),
            (Packing::Gzip, gzip.finish().unwrap()),
            (Packing::Zstd, zstd::encode_all(&content[..], 1).unwrap()),
        ];
        for (packing, bytes) in packed {
            std::fs::write(folder.path().join("f"), &bytes).unwrap();
            let wanted = crate::digest::sha256(&bytes);
            let disk = Place::Disk(folder.path().join("f"));
            let bucket = Place::Bucket { store: store.clone(), env: env.clone(), key: "f".into() };
            for place in [disk, bucket] {
                let (bytes, read) = (bytes.len() as u64, Arc::default());
                let file = File { name: "f".into(), place, bytes, format: Format::Json, packing, read };
                let (wanted, content) = (wanted.clone(), content.clone());
                tokio::task::spawn_blocking(move || {
                    let mut all = Vec::new();
                    unpacked(&file).unwrap().read_to_end(&mut all).unwrap();
                    assert!(all == content, "{packing:?}");
                    assert_eq!(digest(&file).unwrap(), wanted);
                })
                .await
                .unwrap();
            }
        }
    }
}
