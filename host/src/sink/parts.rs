//! Reading a Parquet file a part at a time: memory does not grow with the file.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use tokio::runtime::Handle;

use super::zone::ZoneStore;
use crate::env::Env;
use crate::wait::tries;
use crate::{Error, Result};

/// Bytes that are asked for at a time.
const BLOCK: u64 = 256 << 10;
/// Blocks that are kept: about one for each column that is read.
const BLOCKS: usize = 16;
/// How often a part is asked for that the store does not answer.
const TRIES: u32 = 5;

/// A file that readers see. For plain threads and those that may block: it waits for the store.
#[derive(Clone)]
pub struct Parts {
    store: Arc<ZoneStore>,
    env: Env,
    runtime: Handle,
    key: String,
    size: u64,
    /// The blocks that were asked for last, by their number.
    blocks: Arc<Mutex<VecDeque<(u64, Bytes)>>>,
}

impl Parts {
    /// A file of that size. To be called within a runtime, which will carry the requests.
    pub fn new(store: &Arc<ZoneStore>, env: &Env, key: &str, size: u64) -> Result<Parts> {
        let runtime =
            Handle::try_current().map_err(|_| Error::stop("files can only be read within a runtime"))?;
        let (store, env, blocks) = (store.clone(), env.clone(), Arc::default());
        Ok(Parts { store, env, runtime, key: key.into(), size, blocks })
    }

    /// Asks the store, patiently.
    fn ask(&self, from: u64, to: u64) -> Result<Bytes> {
        let asked = tries(&self.env, TRIES, || self.store.part(&self.key, from..to));
        let found = self.runtime.block_on(asked)?;
        let bytes = found.ok_or_else(|| Error::retry(format!("{} is gone", self.key)))?;
        match bytes.len() as u64 == to - from {
            true => Ok(bytes),
            false => Err(Error::stop(format!("{} is shorter than its {} bytes", self.key, self.size))),
        }
    }

    fn block(&self, number: u64) -> Result<Bytes> {
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = blocks.iter().position(|(known, _)| *known == number)
            && let Some(block) = blocks.remove(at)
        {
            let bytes = block.1.clone();
            blocks.push_back(block);
            return Ok(bytes);
        }
        let from = number * BLOCK;
        let bytes = self.ask(from, (from + BLOCK).min(self.size))?;
        if blocks.len() == BLOCKS {
            blocks.pop_front();
        }
        blocks.push_back((number, bytes.clone()));
        Ok(bytes)
    }

    /// The bytes from there to the end of their block; none at the end of the file.
    fn rest(&self, at: u64) -> Result<Bytes> {
        if at >= self.size {
            return Ok(Bytes::new());
        }
        let block = self.block(at / BLOCK)?;
        let skip = usize::try_from(at % BLOCK).unwrap_or(usize::MAX);
        Ok(block.slice(skip.min(block.len())..))
    }
}

impl Length for Parts {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for Parts {
    type T = From;

    fn get_read(&self, start: u64) -> parquet::errors::Result<From> {
        Ok(From { parts: self.clone(), at: start })
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let failed = |error: Error| ParquetError::External(Box::new(error));
        let end = start.saturating_add(length as u64);
        if end > self.size {
            return Err(ParquetError::EOF(format!("{} ends before byte {end}", self.key)));
        }
        if length as u64 > BLOCK {
            return self.ask(start, end).map_err(failed);
        }
        let first = self.rest(start).map_err(failed)?;
        if first.len() >= length {
            return Ok(first.slice(..length));
        }
        let mut bytes = BytesMut::with_capacity(length);
        bytes.extend_from_slice(&first);
        while bytes.len() < length {
            let more = self.rest(start + bytes.len() as u64).map_err(failed)?;
            bytes.extend_from_slice(&more[..more.len().min(length - bytes.len())]);
        }
        Ok(bytes.freeze())
    }
}

/// A file from some byte on.
pub struct From {
    parts: Parts,
    at: u64,
}

impl Read for From {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.parts.rest(self.at).map_err(io::Error::other)?;
        let length = bytes.len().min(into.len());
        into[..length].copy_from_slice(&bytes[..length]);
        self.at += length as u64;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::machine;
    use crate::sink::{Keys, Location};
    use crate::table::Zone;

    #[tokio::test(flavor = "multi_thread")]
    async fn parts_are_those_of_the_file() {
        let folder = tempfile::TempDir::new().unwrap();
        let length = 17 * BLOCK + 5;
        let content: Vec<u8> = (0..length).map(|at| u8::try_from(at * 31 % 251).unwrap()).collect();
        std::fs::write(folder.path().join("f"), &content).unwrap();
        let (keys, env) = (Keys::new("t").unwrap(), machine());
        let place = Location::Local(folder.path().into());
        let store = ZoneStore::open(Zone::Raw, place, "raw", &keys, None, &env).unwrap();
        let parts = Parts::new(&Arc::new(store), &env, "f", length).unwrap();
        let check = move || {
            let big = usize::try_from(3 * BLOCK).unwrap();
            for (start, length) in [(0, 10), (BLOCK - 5, 10), (17 * BLOCK, 5), (1, big), (BLOCK - 1, 1)] {
                let from = usize::try_from(start).unwrap();
                assert_eq!(parts.get_bytes(start, length).unwrap(), content[from..from + length]);
            }
            assert!(parts.get_bytes(17 * BLOCK, 6).is_err());
            let (mut all, mut reader) = (Vec::new(), parts.get_read(0).unwrap());
            reader.read_to_end(&mut all).unwrap();
            assert!(all == content);
        };
        tokio::task::spawn_blocking(check).await.unwrap();
    }
}
