//! Objects right under a prefix of a bucket, told apart by their ETags: a folder that people put files into.

use std::collections::BTreeMap;

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

use super::aws::Aws;
use super::s3::{Answer, CALL, S3, TRANSFER, retry, within};
use crate::error::{Error, Result};

/// Objects that are looked at before it is taken for a mistake.
const MOST: usize = 10_000;

/// What a look shows of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its ETag, which is another one for other contents.
    pub tag: String,
    /// Its bytes.
    pub size: u64,
}

/// A prefix of a bucket as a folder.
#[derive(Debug)]
pub struct Folder(S3);

impl Folder {
    /// The folder at that place. Nothing is asked yet. `setting` is named in errors.
    pub fn open(bucket: &str, prefix: &str, setting: &str, aws: &Aws) -> Result<Folder> {
        S3::with((bucket, prefix), setting, aws, retry(), None).map(Folder)
    }

    /// Its address, for people.
    pub fn address(&self) -> &str {
        &self.0.name
    }

    /// What is in it, by name. What lies deeper is left out.
    pub async fn look(&self) -> Result<BTreeMap<String, Seen>> {
        let path = (!self.0.prefix.is_empty()).then(|| Path::from(self.0.prefix.as_str()));
        let mut objects = self.0.store.list(path.as_ref());
        let (mut found, mut looked_at) = (BTreeMap::new(), 0);
        loop {
            let next = within(TRANSFER, objects.try_next()).await;
            let Some(meta) = next.map_err(|failure| self.0.unusable("list", failure))? else {
                return Ok(found);
            };
            looked_at += 1;
            if looked_at > MOST {
                let S3 { name, setting, .. } = &self.0;
                return Err(Error::usage(format!(
                    "{name} has more than {MOST} objects (setting `{setting}`): name a folder of its own"
                )));
            }
            let name = self.0.own_key(meta.location.as_ref());
            if !name.contains('/') {
                // Every store that hosts work with has ETags; the time is better than nothing.
                let tag = meta.e_tag.unwrap_or_else(|| meta.last_modified.to_rfc3339());
                found.insert(name.to_owned(), Seen { tag, size: meta.size });
            }
        }
    }

    /// The bytes of an object with their ETag; none: it is gone.
    pub async fn read(&self, name: &str) -> Result<Option<(Vec<u8>, Option<String>)>> {
        let path = self.0.path(name)?;
        let get = async {
            let found = self.0.store.get(&path).await?;
            let tag = found.meta.e_tag.clone();
            Ok((found.bytes().await?.to_vec(), tag))
        };
        match within(TRANSFER, get).await {
            Ok(found) => Ok(Some(found)),
            Err((Answer::Missing, _)) => Ok(None),
            Err(failure) => Err(self.0.trouble("read", name, failure)),
        }
    }

    /// Puts an object there, whatever was there before.
    pub async fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.0.path(name)?;
        let put = self.0.store.put(&path, PutPayload::from(bytes.to_vec()));
        let put = within(TRANSFER, put).await;
        put.map(drop).map_err(|failure| self.0.trouble("write", name, failure))
    }

    /// Removes an object. One that is gone already is success.
    pub async fn remove(&self, name: &str) -> Result<()> {
        match within(CALL, self.0.store.delete(&self.0.path(name)?)).await {
            Ok(()) | Err((Answer::Missing, _)) => Ok(()),
            Err(failure) => Err(self.0.trouble("delete", name, failure)),
        }
    }
}
