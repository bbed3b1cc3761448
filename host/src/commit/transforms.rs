//! The transforms that all hosts are to run: a record that hosts follow, and their bytes beside the log.
//!
//! A set is made true like everything else, by a record whose slot was free. It names the set that it was made from,
//! and is written only while that one is still the last: whoever was slower looks at the new set first. A partition's
//! records name the set that was at work ([`Advance::set`](super::record::Advance::set)), so it is known for each row
//! which component made it, and each set can be loaded again from the log alone.

use async_trait::async_trait;

use super::log::{Body, Draft, Log};
use super::position::PartitionKey;
use super::record::{RecordKind, TransformSet};
use super::store::again;
use crate::digest::sha256;
use crate::{Error, Result};

/// The largest component that is read.
const LARGEST: u64 = 256 << 20;

impl Log {
    /// Makes a set the one to run, if the last one is still `set.previous`. Its components must be stored. Gives
    /// back its record; none: another set came first.
    pub async fn desire(&mut self, set: TransformSet) -> Result<Option<u64>> {
        let mut body = Body::new(&self.env, RecordKind::Transforms);
        body.record.transforms = Some(set);
        Ok(self.append(&mut SetDraft(body)).await?.map(|record| record.seq))
    }

    /// The set that a record names.
    pub async fn set(&self, seq: u64) -> Result<TransformSet> {
        let found = self.read(seq).await?.and_then(|record| record.transforms);
        found.ok_or_else(|| {
            Error::stop(format!("record {seq} names no transforms: the commit log is damaged"))
        })
    }

    /// Stores a component, for records to name.
    pub async fn store_component(&self, digest: &str, wasm: &[u8]) -> Result<()> {
        let key = self.keys.component(digest);
        // It is the same for ever, and may be large.
        if again(&self.env, "look for a component", || self.store.exists(&key)).await? {
            return Ok(());
        }
        self.write_once(&key, wasm).await
    }

    /// The bytes of a component, proved to be the right ones.
    pub async fn component(&self, wanted: &str) -> Result<Vec<u8>> {
        let key = self.keys.component(wanted);
        let found = again(&self.env, "read a component", || self.store.read(&key)).await?;
        let bytes = found.ok_or_else(|| {
            Error::stop(format!("{key} is missing, though the commit log names it: put the component back"))
        })?;
        let found = sha256(&bytes);
        if found != wanted || bytes.len() as u64 > LARGEST {
            return Err(Error::stop(format!("{key} is not what its name says: its SHA-256 is {found}")));
        }
        Ok(bytes)
    }
}

/// A set of transforms on its way into the log.
struct SetDraft(Body);

#[async_trait]
impl Draft for SetDraft {
    fn partitions(&self) -> Vec<PartitionKey> {
        vec![]
    }

    async fn record(&mut self, log: &Log) -> Result<Option<Body>> {
        let previous = self.0.record.transforms.as_ref().and_then(|set| set.previous);
        let last = log.view.transforms().map(|(seq, _)| seq);
        Ok((last == previous).then(|| self.0.clone()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::cleanup::tests::{Memory, log};
    use super::super::record::Deployed;
    use super::*;

    fn set(previous: Option<u64>, digest: &str) -> TransformSet {
        let deployed = Deployed { file: "clean".into(), digest: digest.into(), ..Deployed::default() };
        TransformSet { previous, components: vec![deployed] }
    }

    #[tokio::test]
    async fn a_set_is_named_only_on_top_of_the_last_one() {
        let store = Arc::new(Memory::default());
        let (mut one, _) = log(&store).await;
        let (mut other, _) = log(&store).await;
        let first = one.desire(set(None, "a")).await.unwrap();
        assert!(first.is_some());
        // Both have seen it and change it; whoever is slower looks again.
        let second = one.desire(set(first, "b")).await.unwrap();
        assert!(second > first);
        assert_eq!(other.desire(set(None, "c")).await.unwrap(), None);
        assert_eq!(other.desire(set(first, "c")).await.unwrap(), None);
        assert_eq!(other.view().transforms(), Some((second.unwrap(), &set(first, "b"))));
        let third = other.desire(set(second, "c")).await.unwrap();
        one.refresh().await.unwrap();
        assert_eq!(one.view().transforms().map(|(seq, _)| seq), third);
        // Each is there for ever.
        assert_eq!(one.set(first.unwrap()).await.unwrap(), set(None, "a"));
        assert!(one.set(first.unwrap() - 1).await.is_err(), "a start names none");
    }

    #[tokio::test]
    async fn components_are_proved_when_they_are_read() {
        let store = Arc::new(Memory::default());
        let (log, _) = log(&store).await;
        let good = sha256(b"component");
        log.store_component(&good, b"component").await.unwrap();
        log.store_component(&good, b"component").await.unwrap();
        assert_eq!(log.component(&good).await.unwrap(), b"component");
        let lie = sha256(b"another");
        log.store_component(&lie, b"component").await.unwrap();
        let error = log.component(&lie).await.unwrap_err().to_string();
        assert!(error.contains("is not what its name says"), "{error}");
        let error = log.component(&sha256(b"missing")).await.unwrap_err().to_string();
        assert!(error.contains("is missing"), "{error}");
    }
}
