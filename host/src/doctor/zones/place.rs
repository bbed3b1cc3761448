//! Objects of a zone, on S3 or on a disk, and the steps that are the same for both.

use async_trait::async_trait;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use super::super::report::Finding;
use crate::sink::{Answer, Failure, ZoneStore, explain};
use crate::{Error, Kind};

/// What is done to objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    Write,
    Read,
    List,
    Delete,
}

/// Where objects are.
#[async_trait]
pub(super) trait Place: Send + Sync {
    /// Creates an object if there is none; false: there is one.
    async fn create(&self, key: &str, bytes: &[u8]) -> Result<bool, Failure>;
    /// Its bytes; none: there is none.
    async fn read(&self, key: &str) -> Result<Option<Vec<u8>>, Failure>;
    /// The keys in a folder.
    async fn list(&self, folder: &str) -> Result<Vec<String>, Failure>;
    /// Removes an object.
    async fn delete(&self, key: &str) -> Result<(), Failure>;
    /// What it means that something could not be done, and what to do.
    fn failed(&self, doing: Doing, failure: &Failure) -> (String, String);
    /// What to do if the store does not keep its promises.
    fn another(&self) -> String;
}

fn failed(place: &dyn Place, doing: Doing, failure: &Failure) -> Finding {
    let (found, remedy) = place.failed(doing, failure);
    Finding::failed(found, remedy)
}

const BYTES: &[u8] = b"Written by `tidemill doctor`, which removes it again.\n";
const OTHER: &[u8] = b"This must not stand here.\n";

/// Creates the object that the other steps look at.
pub(super) async fn write(place: &dyn Place, key: &str) -> Finding {
    match place.create(key, BYTES).await {
        Ok(true) => Finding::ok("an object was created"),
        Ok(false) => Finding::failed("the store says that a fresh object exists already", place.another()),
        Err(failure) => failed(place, Doing::Write, &failure),
    }
}

pub(super) async fn read(place: &dyn Place, key: &str) -> Finding {
    match place.read(key).await {
        Ok(Some(bytes)) if bytes == BYTES => Finding::ok("it came back whole"),
        Ok(Some(_)) => Finding::failed("it came back with other bytes", place.another()),
        Ok(None) => Finding::failed("it is not there though it was just written", place.another()),
        Err(failure) => failed(place, Doing::Read, &failure),
    }
}

pub(super) async fn list(place: &dyn Place, folder: &str, key: &str) -> Finding {
    match place.list(folder).await {
        Ok(keys) if keys.iter().any(|found| found == key) => Finding::ok("it is listed"),
        Ok(_) => Finding::failed("it is not listed though it was just written", place.another()),
        Err(failure) => failed(place, Doing::List, &failure),
    }
}

/// A second object of the same key must be refused, and the first must stay.
pub(super) async fn create_if_absent(place: &dyn Place, key: &str) -> Finding {
    match place.create(key, OTHER).await {
        Ok(true) => Finding::failed(
            "this store overwrites what it was told only to create (it ignores If-None-Match): two hosts could both \
             write one commit record",
            place.another(),
        ),
        Ok(false) => match place.read(key).await {
            Ok(Some(bytes)) if bytes == OTHER => Finding::failed(
                "this store says that it refuses a second create, and overwrites all the same",
                place.another(),
            ),
            // Whether it can be read is another step's.
            _ => Finding::ok("a second create is refused"),
        },
        Err(failure) => failed(place, Doing::Write, &failure),
    }
}

/// Of two that create the same object at the same moment, one must win.
pub(super) async fn race(place: &dyn Place, key: &str) -> Finding {
    let (one, other) = tokio::join!(place.create(key, BYTES), place.create(key, OTHER));
    let (won, bytes) = match (one, other) {
        (Ok(one), Ok(other)) => (usize::from(one) + usize::from(other), if one { BYTES } else { OTHER }),
        (Err(failure), _) | (_, Err(failure)) => return failed(place, Doing::Write, &failure),
    };
    match (won, place.read(key).await) {
        (1, Ok(Some(there))) if there != bytes => Finding::failed(
            "of two creates at once one was refused, and it is the one that stays",
            place.another(),
        ),
        (1, _) => Finding::ok("of two creates at once one wins"),
        (0, _) => Finding::failed("of two creates at once none wins", place.another()),
        _ => Finding::failed(
            "of two creates at once both win (If-None-Match is not atomic here)",
            place.another(),
        ),
    }
}

/// Removes what the steps have made.
pub(super) async fn delete(place: &dyn Place, keys: &[&str]) -> Finding {
    for key in keys {
        if let Err(failure) = place.delete(key).await {
            let (found, remedy) = place.failed(Doing::Delete, &failure);
            return Finding::failed(format!("{found}; {key} is left behind"), remedy);
        }
    }
    Finding::ok("nothing is left behind")
}

/// A bucket, or what stands for one.
pub(super) struct Objects<'a> {
    pub(super) store: &'a dyn ObjectStore,
    /// The zone's root in the bucket.
    pub(super) root: Path,
    /// For people: `s3://bucket/prefix`.
    pub(super) name: String,
    /// What policies call the objects of the zone.
    pub(super) arn: String,
    /// … and the bucket.
    pub(super) bucket_arn: String,
}

impl Objects<'_> {
    fn path(&self, key: &str) -> Result<Path, Failure> {
        let root = self.root.as_ref();
        let whole = if root.is_empty() { key.to_owned() } else { format!("{root}/{key}") };
        Path::parse(whole).map_err(|e| (Answer::Refused, e.to_string()))
    }

    /// What it means that an action could not be done, and what to do.
    pub(super) fn refused(&self, action: &str, (answer, why): &Failure) -> (String, String) {
        let on = if action.starts_with("s3:List") { &self.bucket_arn } else { &self.arn };
        let name = &self.name;
        match answer {
            Answer::Denied
                if why.starts_with("InvalidAccessKeyId") || why.starts_with("SignatureDoesNotMatch") =>
            {
                (
                    format!("the store does not know these credentials: {why}"),
                    "correct AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY".into(),
                )
            }
            Answer::Denied => (
                format!("{action} is denied on {name}: {why}"),
                format!("allow {action} on {on} in the policy of these credentials"),
            ),
            Answer::MissingBucket => {
                (format!("the bucket of {name} does not exist"), "create it, or correct the setting".into())
            }
            Answer::Silent => (
                format!("{action}: no answer: {why}"),
                "see whether the store is up (AWS_ENDPOINT_URL_S3) and the network lets it through".into(),
            ),
            Answer::Refused if why.starts_with("NotImplemented") || why.contains("501 ") => {
                (format!("this store does not know {action} as it is asked for it: {why}"), self.another())
            }
            Answer::Missing | Answer::Refused => (
                format!("{action} fails on {name}: {why}"),
                "see whether it is S3 that answers there (AWS_ENDPOINT_URL_S3), and what its log says".into(),
            ),
        }
    }
}

#[async_trait]
impl Place for Objects<'_> {
    async fn create(&self, key: &str, bytes: &[u8]) -> Result<bool, Failure> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let put = self.store.put_opts(&self.path(key)?, PutPayload::from(bytes.to_vec()), options).await;
        match put {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                Ok(false)
            }
            Err(e) => Err(explain(&e)),
        }
    }

    async fn read(&self, key: &str) -> Result<Option<Vec<u8>>, Failure> {
        let path = self.path(key)?;
        let read = async { self.store.get(&path).await?.bytes().await };
        match read.await.map_err(|e| explain(&e)) {
            Ok(bytes) => Ok(Some(bytes.to_vec())),
            Err((Answer::Missing, _)) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    async fn list(&self, folder: &str) -> Result<Vec<String>, Failure> {
        let path = self.path(folder)?;
        let found = self.store.list_with_delimiter(Some(&path)).await.map_err(|e| explain(&e))?;
        let root = format!("{}/", self.root);
        let own = |path: &Path| path.as_ref().strip_prefix(&root).unwrap_or(path.as_ref()).to_owned();
        Ok(found.objects.iter().map(|object| own(&object.location)).collect())
    }

    async fn delete(&self, key: &str) -> Result<(), Failure> {
        match self.store.delete(&self.path(key)?).await.map_err(|e| explain(&e)) {
            Ok(()) | Err((Answer::Missing, _)) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    fn failed(&self, doing: Doing, failure: &Failure) -> (String, String) {
        let action = match doing {
            Doing::Write => "s3:PutObject",
            Doing::Read => "s3:GetObject",
            Doing::List => "s3:ListBucket",
            Doing::Delete => "s3:DeleteObject",
        };
        self.refused(action, failure)
    }

    fn another(&self) -> String {
        "use a store that honours conditional writes, as Amazon S3, or a newer version of this one; see its documentation \
         for If-None-Match"
            .into()
    }
}

/// A folder of this machine.
pub(super) struct Files<'a> {
    pub(super) store: &'a ZoneStore,
    /// The setting that names it.
    pub(super) setting: &'a str,
}

/// What an error of a disk means; its text says all the rest.
fn of_disk(error: &Error) -> Failure {
    let answer = if error.kind() == Kind::Stop { Answer::Denied } else { Answer::Refused };
    (answer, error.to_string())
}

#[async_trait]
impl Place for Files<'_> {
    async fn create(&self, key: &str, bytes: &[u8]) -> Result<bool, Failure> {
        self.store.create(key, bytes).await.map_err(|e| of_disk(&e))
    }

    async fn read(&self, key: &str) -> Result<Option<Vec<u8>>, Failure> {
        self.store.read(key).await.map_err(|e| of_disk(&e))
    }

    async fn list(&self, folder: &str) -> Result<Vec<String>, Failure> {
        let found = self.store.list(folder, 10).await.map_err(|e| of_disk(&e))?;
        Ok(found.into_iter().map(|(key, _)| key).collect())
    }

    async fn delete(&self, key: &str) -> Result<(), Failure> {
        self.store.clear(key, None, None).await.map_err(|e| of_disk(&e))
    }

    fn failed(&self, _: Doing, (_, why): &Failure) -> (String, String) {
        let remedy = match why.contains("ermission denied") {
            true => format!(
                "give this user the folder (chown, chmod u+rwx), or correct the setting `{}`",
                self.setting
            ),
            false => format!("see what is wrong with the disk, or correct the setting `{}`", self.setting),
        };
        (why.clone(), remedy)
    }

    fn another(&self) -> String {
        format!("choose a file system with hard links (setting `{}`)", self.setting)
    }
}

#[cfg(test)]
#[path = "place_tests.rs"]
mod tests;
