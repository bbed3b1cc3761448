//! Objects of a bucket: written at once, read whole or in parts, listed.

use std::ops::Range;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, UpdateVersion};

use super::s3::{Answer, CALL, Failure, S3, TRANSFER, explain, within};
use crate::env::Micros;
use crate::error::{Error, Result};

impl S3 {
    /// Creates an object if there is none; false: there is one, or somebody is making one right now.
    pub(super) async fn create(&self, key: &str, bytes: &[u8]) -> Result<bool> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let (path, payload) = (self.path(key)?, PutPayload::from(bytes.to_vec()));
        let put = tokio::time::timeout(TRANSFER, self.store.put_opts(&path, payload, options)).await;
        match put {
            Ok(Ok(_)) => Ok(true),
            Ok(Err(object_store::Error::AlreadyExists { .. })) => Ok(false),
            Ok(Err(error)) => Err(self.trouble("write", key, explain(&error))),
            Err(_) => Err(self.trouble("write", key, (Answer::Silent, "no answer".into()))),
        }
    }

    /// Writes an object, whether there was one or not.
    pub(super) async fn replace(&self, key: &str, bytes: &[u8]) -> Result<()> {
        let (path, payload) = (self.path(key)?, PutPayload::from(bytes.to_vec()));
        let put = within(TRANSFER, self.store.put_opts(&path, payload, PutOptions::default())).await;
        put.map(drop).map_err(|failure| self.trouble("write", key, failure))
    }

    /// Writes an object in the place of the version of it with that tag (none: of nothing); false: what is there is
    /// another by now. A store that knows no such condition is written to without it.
    pub(super) async fn swap(&self, key: &str, tag: Option<Option<String>>, bytes: &[u8]) -> Result<bool> {
        let mode = match tag {
            None => return self.create(key, bytes).await,
            Some(None) => return self.replace(key, bytes).await.map(|()| true),
            Some(e_tag) => PutMode::Update(UpdateVersion { e_tag, version: None }),
        };
        let options = PutOptions { mode, ..PutOptions::default() };
        let (path, payload) = (self.path(key)?, PutPayload::from(bytes.to_vec()));
        match tokio::time::timeout(TRANSFER, self.store.put_opts(&path, payload, options)).await {
            Ok(Ok(_)) => Ok(true),
            Ok(Err(object_store::Error::Precondition { .. } | object_store::Error::AlreadyExists { .. })) => {
                Ok(false)
            }
            Ok(Err(error)) => match explain(&error) {
                (Answer::Refused, why) if why.contains("NotImplemented") => {
                    self.replace(key, bytes).await.map(|()| true)
                }
                failure => Err(self.trouble("write", key, failure)),
            },
            Err(_) => Err(self.trouble("write", key, (Answer::Silent, "no answer".into()))),
        }
    }

    /// The bytes of an object, and the tag of that version of it, if the store gives any; none: there is none.
    pub(super) async fn version(&self, key: &str) -> Result<Option<(Vec<u8>, Option<String>)>> {
        let path = self.path(key)?;
        let get = async {
            let found = self.store.get(&path).await?;
            let tag = found.meta.e_tag.clone();
            Ok((found.bytes().await?.to_vec(), tag))
        };
        match within(TRANSFER, get).await {
            Ok(found) => Ok(Some(found)),
            Err((Answer::Missing, _)) => Ok(None),
            Err(failure) => Err(self.trouble("read", key, failure)),
        }
    }

    /// When an object was written, by the store's clock; none: there is none.
    pub(super) async fn written(&self, key: &str) -> Result<Option<Micros>> {
        match within(CALL, self.store.head(&self.path(key)?)).await {
            Ok(meta) => Ok(Some(meta.last_modified.timestamp_micros())),
            Err((Answer::Missing, _)) => Ok(None),
            Err(failure) => Err(self.trouble("look at", key, failure)),
        }
    }

    /// The bytes of an object; none: there is none.
    pub(super) async fn read(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let path = self.path(key)?;
        let get = async { self.store.get(&path).await?.bytes().await };
        match within(TRANSFER, get).await {
            Ok(bytes) => Ok(Some(bytes.to_vec())),
            Err((Answer::Missing, _)) => Ok(None),
            Err(failure) => Err(self.trouble("read", key, failure)),
        }
    }

    /// Some bytes of an object; none: there is none.
    pub(super) async fn part(&self, key: &str, bytes: Range<u64>) -> Result<Option<Bytes>> {
        let path = self.path(key)?;
        match within(TRANSFER, self.store.get_range(&path, bytes)).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err((Answer::Missing, _)) => Ok(None),
            Err(failure) => Err(self.trouble("read", key, failure)),
        }
    }

    /// The size of an object; none: there is none.
    pub(super) async fn size(&self, key: &str) -> Result<Option<u64>> {
        match within(CALL, self.store.head(&self.path(key)?)).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err((Answer::Missing, _)) => Ok(None),
            Err(failure) => Err(self.trouble("look at", key, failure)),
        }
    }

    /// Objects under a folder, at most so many: key, size, seconds since the last change.
    pub(super) async fn list(&self, folder: &str, most: usize) -> Result<Vec<(String, u64, u64)>> {
        let path = self.path(folder)?;
        let mut found = Vec::new();
        let mut objects = self.store.list(Some(&path));
        while found.len() < most {
            let next = objects.try_next();
            let next =
                within(TRANSFER, next).await.map_err(|failure| self.trouble("list", folder, failure))?;
            let Some(meta) = next else { break };
            let age = chrono::Utc::now().signed_duration_since(meta.last_modified).num_seconds();
            let key = self.own_key(meta.location.as_ref());
            found.push((key.to_owned(), meta.size, u64::try_from(age).unwrap_or(0)));
        }
        found.sort();
        Ok(found)
    }

    /// Keys under a folder after this one, at most so many.
    pub(super) async fn after(&self, folder: &str, key: &str, most: usize) -> Result<Vec<String>> {
        let (path, key) = (self.path(folder)?, self.path(key)?);
        let mut found = Vec::new();
        let mut objects = self.store.list_with_offset(Some(&path), &key);
        while found.len() < most {
            let next = within(TRANSFER, objects.try_next()).await;
            let Some(meta) = next.map_err(|failure| self.trouble("list", folder, failure))? else { break };
            found.push(self.own_key(meta.location.as_ref()).to_owned());
        }
        Ok(found)
    }

    /// A key of the bucket as a key of this zone.
    pub(super) fn own_key<'a>(&self, key: &'a str) -> &'a str {
        let own = key.strip_prefix(self.prefix.as_str()).unwrap_or(key);
        if self.prefix.is_empty() { key } else { own.trim_start_matches('/') }
    }

    /// What it means that something beside the data could not be done.
    pub(super) fn trouble(&self, doing: &str, key: &str, (answer, why): Failure) -> Error {
        let S3 { name, endpoint, setting, .. } = self;
        let text = format!("cannot {doing} {key} in {name} at {endpoint} (setting `{setting}`): {why}");
        match answer {
            Answer::Denied | Answer::MissingBucket => Error::stop(text),
            Answer::Missing | Answer::Refused | Answer::Silent => Error::retry(text),
        }
    }
}
