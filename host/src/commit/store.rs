//! What the protocol needs of a store, and nothing else: so that a simulation can be one.

use async_trait::async_trait;

use crate::generations::Generations;
use crate::sink::{StagedFile, Stores};
use crate::{Error, Kind, Result};

use super::record::Remains;

/// What became of an attempt to make a file visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// Readers see it, whole.
    Visible,
    /// There is nothing to make visible any more: neither staged nor visible.
    Missing,
}

/// The store under a log. An error of the kind [`Kind::Retry`] means that it is not known whether the call had
/// its effect, and that it may still have it later.
#[async_trait]
pub trait Store: Send + Sync {
    /// Creates an object in the processed zone if there is none; false: there is one.
    async fn create(&self, key: &str, bytes: &[u8]) -> Result<bool>;
    /// The bytes of an object in the processed zone; none: there is none.
    async fn read(&self, key: &str) -> Result<Option<Vec<u8>>>;
    /// Whether an object in the processed zone exists.
    async fn exists(&self, key: &str) -> Result<bool>;
    /// Makes a staged file visible, or finds that it is (rule F2).
    async fn publish(&self, file: &StagedFile) -> Result<Published>;
    /// Removes a file, staged or visible (rule M5). What is gone already is success.
    async fn remove(&self, file: &StagedFile) -> Result<()>;
    /// Removes what an epoch left, likewise.
    async fn clear(&self, remains: &Remains) -> Result<()>;
    /// Hears of the generations before record `next`: new files go there.
    fn follow(&self, _next: u64, _generations: &Generations) {}
}

#[async_trait]
impl Store for Stores {
    async fn create(&self, key: &str, bytes: &[u8]) -> Result<bool> {
        self.processed.create(key, bytes).await
    }

    async fn read(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.processed.read(key).await
    }

    async fn exists(&self, key: &str) -> Result<bool> {
        self.processed.exists(key).await
    }

    async fn publish(&self, file: &StagedFile) -> Result<Published> {
        match Stores::publish(self, file).await {
            Ok(()) => Ok(Published::Visible),
            Err(e) if e.kind() == Kind::Abandon => Ok(Published::Missing),
            Err(e) => Err(e),
        }
    }

    async fn remove(&self, file: &StagedFile) -> Result<()> {
        Stores::remove(self, file).await
    }

    fn follow(&self, next: u64, generations: &Generations) {
        Stores::follow(self, next, generations);
    }

    async fn clear(&self, remains: &Remains) -> Result<()> {
        self.of(remains.zone).clear(&remains.key, remains.upload.as_deref(), remains.staging.as_deref()).await
    }
}

/// Does something again until the store answers: for reads, and for what may be done any number of times.
pub(super) async fn again<T, F: Future<Output = Result<T>>>(
    env: &crate::env::Env,
    what: &str,
    mut attempt: impl FnMut() -> F,
) -> Result<T> {
    let mut pause = super::FIRST_PAUSE;
    let mut said = 0;
    loop {
        let error: Error = match attempt().await {
            Err(e) if e.kind() == Kind::Retry => e,
            other => return other,
        };
        // The first failures of a hiccup are nobody's business.
        said += 1;
        if said % 10 == 3 {
            tracing::warn!("cannot {what} yet: {error}; retrying");
        }
        env.sleep(pause).await;
        pause = (pause * 2).min(super::LONGEST_PAUSE);
    }
}
