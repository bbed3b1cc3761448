//! A zone on S3: invisible files are multipart uploads that were not completed.
//!
//! Every call is bounded: connecting, requests and retries together give an error within 10 seconds when
//! nothing answers ([`CALL`]); only moving a part of a file may take longer ([`TRANSFER`]).

use std::future::Future;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, ObjectStoreExt, PutPayload, RetryConfig};
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinHandle;

use super::aws::Aws;
use super::counted::Counting;
use super::credentials::NO_CREDENTIALS;
use super::refused::Watching;
use super::staged::{Publish, StagedFile};
use crate::error::{Error, Result};
use crate::observe::Requests;
use crate::table::Zone;

/// The bytes of every part but a file's last.
pub(super) const PART: usize = 8 << 20;
/// How long anything may take that moves no data.
pub(super) const CALL: Duration = Duration::from_secs(9);
/// How long one attempt to move a part, or to put the parts together, may take.
pub(super) const TRANSFER: Duration = Duration::from_secs(30);

/// A prefix of a bucket.
#[derive(Debug)]
pub(super) struct S3 {
    pub(super) store: AmazonS3,
    pub(super) prefix: String,
    /// `s3://bucket/prefix`
    pub(super) name: String,
    pub(super) endpoint: String,
    pub(super) setting: String,
    /// Where requests go that `object_store` cannot make: the bucket's address, and its region.
    pub(super) bucket_url: String,
    pub(super) region: String,
    pub(super) client: ClientOptions,
}

/// What a lane sends to the task that uploads its file.
pub(super) enum Message {
    /// The next part, and its share of the budget, which is given back once it was uploaded.
    Part(Vec<u8>, OwnedSemaphorePermit),
    /// There are no more parts. Without this word the upload is aborted.
    Finish,
}

/// How a request is tried again: within [`CALL`] it succeeds or fails.
pub(super) fn retry() -> RetryConfig {
    let backoff = BackoffConfig {
        init_backoff: Duration::from_millis(100),
        max_backoff: Duration::from_secs(1),
        base: 2.0,
    };
    RetryConfig { backoff, max_retries: 6, retry_timeout: Duration::from_secs(8) }
}

/// What the store said, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    MissingBucket,
    Denied,
    Missing,
    Refused,
    Silent,
}

impl S3 {
    pub(super) fn open(bucket: &str, prefix: &str, (setting, zone): (&str, Zone), aws: &Aws) -> Result<S3> {
        let counting =
            |requests: &Requests| Counting { zone: super::zone_name::name(zone), requests: requests.clone() };
        let counting = aws.requests.as_ref().map(counting);
        S3::with((bucket, prefix), setting, aws, retry(), counting)
    }

    /// The same for who tries again in another way.
    pub(super) fn with(
        (bucket, prefix): (&str, &str),
        setting: &str,
        aws: &Aws,
        retry: RetryConfig,
        counting: Option<Counting>,
    ) -> Result<S3> {
        let name =
            if prefix.is_empty() { format!("s3://{bucket}") } else { format!("s3://{bucket}/{prefix}") };
        let region = aws.sdk.region().map_or("us-east-1", |region| region.as_ref());
        let own = aws.endpoint_of_s3();
        let client = ClientOptions::new()
            .with_connect_timeout(Duration::from_millis(2_500))
            .with_timeout(TRANSFER)
            .with_allow_http(own.is_some_and(|url| url.starts_with("http://")));
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(region)
            .with_client_options(client.clone())
            .with_retry(retry);
        if let Some(url) = own {
            builder = builder.with_endpoint(url).with_virtual_hosted_style_request(false);
        }
        if let Some(chain) = &aws.credentials {
            builder = builder.with_credentials(Arc::clone(chain) as Arc<_>);
        }
        builder = builder.with_http_connector(Watching { chain: aws.credentials.clone(), counting });
        let store = builder.build().map_err(|error| {
            Error::usage(format!("cannot use {name} (setting `{setting}`): {}", explain(&error).1))
        })?;
        let endpoint = own.map_or_else(|| format!("https://s3.{region}.amazonaws.com"), str::to_owned);
        let bucket_url = match own {
            Some(url) => format!("{}/{bucket}", url.trim_end_matches('/')),
            None => format!("https://{bucket}.s3.{region}.amazonaws.com"),
        };
        let (prefix, setting, region) = (prefix.into(), setting.into(), region.into());
        Ok(S3 { store, prefix, name, endpoint, setting, bucket_url, region, client })
    }

    /// Proves that the bucket answers, exists, can be listed and can be written to. Leaves nothing.
    pub(super) async fn check(&self, probe: &str) -> Result<()> {
        let one = PaginatedListOptions { max_keys: Some(1), ..PaginatedListOptions::default() };
        let prefix = (!self.prefix.is_empty()).then(|| format!("{}/", self.prefix));
        let listed = within(CALL, self.store.list_paginated(prefix.as_deref(), one)).await;
        listed.map_err(|failure| self.unusable("list", failure))?;
        let path = self.path(probe)?;
        let upload = within(CALL, self.store.create_multipart(&path)).await;
        let upload = upload.map_err(|failure| self.unusable("write to", failure))?;
        let aborted = within(CALL, self.store.abort_multipart(&path, &upload)).await;
        aborted.map_err(|failure| self.unusable("abort an upload to", failure))
    }

    pub(super) fn unusable(&self, doing: &str, (answer, why): Failure) -> Error {
        let S3 { name, endpoint, setting, .. } = self;
        match answer {
            Answer::MissingBucket => Error::stop(format!(
                "the bucket of {name} does not exist at {endpoint} (setting `{setting}`): create it, or correct the setting"
            )),
            Answer::Denied => Error::stop(format!(
                "access denied: these credentials may not {doing} {name} at {endpoint} (setting `{setting}`): {why}"
            )),
            Answer::Silent => {
                Error::retry(format!("cannot reach {name} at {endpoint} (setting `{setting}`): {why}"))
            }
            Answer::Missing | Answer::Refused => {
                Error::retry(format!("cannot {doing} {name} at {endpoint} (setting `{setting}`): {why}"))
            }
        }
    }

    /// Starts the task that uploads one file, part by part as they come. At most one part waits.
    pub(super) fn upload(
        self: &Arc<Self>,
        key: &str,
        on: &Handle,
    ) -> (mpsc::Sender<Message>, JoinHandle<Result<Publish>>) {
        let (to, from) = mpsc::channel(1);
        let (this, key) = (Arc::clone(self), key.to_owned());
        (to, on.spawn(async move { this.receive(&key, from).await }))
    }

    async fn receive(&self, key: &str, mut from: mpsc::Receiver<Message>) -> Result<Publish> {
        let path = self.path(key)?;
        let mut upload = None;
        let result = self.receive_parts(&path, &mut upload, &mut from).await;
        if let (Err(_), Some(id)) = (&result, &upload) {
            // Nobody knows this upload: if it stays, only the bucket's lifecycle rule finds it.
            if let Err((_, why)) = within(CALL, self.store.abort_multipart(&path, id)).await {
                tracing::warn!(
                    "an unfinished upload of {}/{key} is left to the bucket's lifecycle: {why}",
                    self.name
                );
            }
        }
        result
    }

    async fn receive_parts(
        &self,
        path: &Path,
        upload: &mut Option<String>,
        from: &mut mpsc::Receiver<Message>,
    ) -> Result<Publish> {
        let failed = |(_, why): Failure| {
            Error::abandon(format!("cannot upload {path} to {} at {}: {why}", self.name, self.endpoint))
        };
        let mut parts = Vec::new();
        loop {
            match from.recv().await {
                Some(Message::Part(bytes, share)) => {
                    let id = match upload {
                        Some(id) => id,
                        None => upload
                            .insert(within(CALL, self.store.create_multipart(path)).await.map_err(failed)?),
                    };
                    let sent = self.store.put_part(path, id, parts.len(), PutPayload::from(bytes));
                    // `object_store` bounds each attempt and the number of attempts.
                    let part = sent.await.map_err(|error| failed(explain(&error)))?;
                    parts.push(part.content_id);
                    drop(share);
                }
                Some(Message::Finish) => {
                    let id = upload.clone().unwrap_or_default();
                    return Ok(Publish::Upload { id, parts });
                }
                None => return Err(Error::abandon(format!("the upload of {path} was given up"))),
            }
        }
    }

    /// Completes the upload and looks whether the object is there (rule F2).
    pub(super) async fn publish(&self, file: &StagedFile, id: &str, parts: &[String]) -> Result<()> {
        let path = self.path(&file.key)?;
        let parts = parts.iter().map(|etag| PartId { content_id: etag.clone() }).collect();
        let completed = within(TRANSFER, self.store.complete_multipart(&path, &id.to_owned(), parts)).await;
        // Whatever Complete answered, HEAD decides: an error may hide that it was completed before, and
        // success may come while another call is still putting the parts together.
        let mut seen = within(CALL, self.store.head(&path)).await;
        if let (Err((Answer::Missing, _)), Err((Answer::Missing, _))) = (&completed, &seen) {
            // Another host's call may still be putting the parts together: then the upload is gone already and
            // the object not there yet. Wait for longer than that may take before it counts as vanished.
            let wait = TRANSFER + Duration::from_secs(1);
            tracing::warn!(
                "neither {} nor its upload is in {}; looking again in {wait:?}",
                file.key,
                self.name
            );
            tokio::time::sleep(wait).await;
            seen = within(CALL, self.store.head(&path)).await;
        }
        let meta = match seen {
            Ok(meta) => meta,
            Err((Answer::Missing, why)) => {
                return Err(match completed {
                    Ok(_) => Error::retry(format!(
                        "{} was completed but {} does not show it yet",
                        file.key, self.name
                    )),
                    Err((Answer::Missing, _)) => Error::abandon(format!(
                        "the upload of {} to {} has vanished before it was completed: {why}; a lifecycle rule that aborts uploads may be too eager",
                        file.key, self.name
                    )),
                    Err((_, why)) => Error::retry(format!(
                        "cannot complete the upload of {} to {} at {}: {why}",
                        file.key, self.name, self.endpoint
                    )),
                });
            }
            Err((_, why)) => {
                return Err(Error::retry(format!(
                    "cannot see whether {} was published to {} at {}: {why}",
                    file.key, self.name, self.endpoint
                )));
            }
        };
        if meta.size != file.bytes {
            return Err(Error::stop(format!(
                "{} in {} has {} bytes instead of {}: something else wrote to that key",
                file.key, self.name, meta.size, file.bytes
            )));
        }
        let plain = |tag: &str| tag.trim_matches('"').to_owned();
        if let (Ok(result), Some(shown)) = (&completed, &meta.e_tag)
            && result.e_tag.as_deref().is_some_and(|tag| plain(tag) != plain(shown))
        {
            return Err(Error::retry(format!(
                "{} in {} does not show its own ETag yet",
                file.key, self.name
            )));
        }
        Ok(())
    }

    /// Aborts the upload. One that is gone already is success.
    pub(super) async fn abort(&self, key: &str, id: &str) -> Result<()> {
        match within(CALL, self.store.abort_multipart(&self.path(key)?, &id.to_owned())).await {
            Ok(()) | Err((Answer::Missing, _)) => Ok(()),
            Err((_, why)) => Err(Error::retry(format!(
                "cannot abort the upload of {key} to {} at {}: {why}",
                self.name, self.endpoint
            ))),
        }
    }

    /// Deletes the object. One that is gone already is success.
    pub(super) async fn delete(&self, key: &str) -> Result<()> {
        match within(CALL, self.store.delete(&self.path(key)?)).await {
            Ok(()) | Err((Answer::Missing, _)) => Ok(()),
            Err((_, why)) => Err(Error::retry(format!(
                "cannot delete {key} from {} at {}: {why}",
                self.name, self.endpoint
            ))),
        }
    }

    pub(super) fn path(&self, key: &str) -> Result<Path> {
        let whole = if self.prefix.is_empty() { key.to_owned() } else { format!("{}/{key}", self.prefix) };
        Path::parse(&whole).map_err(|error| {
            Error::usage(format!(
                "{whole} cannot be a key in {} (setting `{}`): {error}",
                self.name, self.setting
            ))
        })
    }
}

/// What kind of failure it was, and its reason in a few words.
pub(crate) type Failure = (Answer, String);

/// Does something that must answer in time.
pub(super) async fn within<T>(
    time: Duration,
    doing: impl Future<Output = object_store::Result<T>>,
) -> std::result::Result<T, Failure> {
    match tokio::time::timeout(time, doing).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(explain(&error)),
        Err(_) => Err((Answer::Silent, format!("no answer within {} s", time.as_secs()))),
    }
}

/// What stores say of keys whose time is over, or that were withdrawn.
pub(super) const EXPIRED: [&str; 3] = ["ExpiredToken", "InvalidToken", "TokenRefreshRequired"];
/// … and of signatures from another time than theirs.
const SKEWED: [&str; 3] = ["RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"];
/// What to do about it.
pub(crate) const CLOCK: &str =
    "this machine's clock and the service's are too far apart: set it by NTP (timedatectl set-ntp true)";

/// The kind and the innermost reason of an error; what wraps it repeats the request and counts retries.
pub(crate) fn explain(error: &object_store::Error) -> Failure {
    let mut inner: &(dyn std::error::Error + 'static) = error;
    while let Some(next) = inner.source() {
        inner = next;
    }
    let text = inner.to_string();
    let code = element(&text, "Code").unwrap_or_default();
    let answer = match error {
        _ if code == "NoSuchBucket" => Answer::MissingBucket,
        // Amazon says it with 403; versitygw answers 404 to a key id that it does not know.
        _ if matches!(
            code,
            "AccessDenied" | "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "XAdminUserNotFound"
        ) =>
        {
            Answer::Denied
        }
        // These pass: the keys are renewed, the clock is set.
        _ if EXPIRED.contains(&code) || SKEWED.contains(&code) => Answer::Refused,
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
            Answer::Denied
        }
        _ if text.contains("403 Forbidden") || text.contains("401 Unauthorized") => Answer::Denied,
        _ if text.starts_with(NO_CREDENTIALS) => Answer::Refused,
        object_store::Error::NotFound { .. } => Answer::Missing,
        _ if text.contains("non-2xx") || text.contains("error response") || !code.is_empty() => {
            Answer::Refused
        }
        _ => Answer::Silent,
    };
    let why = match (code, element(&text, "Message")) {
        (code, _) if SKEWED.contains(&code) => return (answer, format!("{code}: {CLOCK}")),
        (code, message) if EXPIRED.contains(&code) => {
            let message = message.unwrap_or("the credentials have expired");
            return (answer, format!("{code}: {message}; others are asked for"));
        }
        ("", _) => {
            text.replace('\n', " ").replace("Server returned non-2xx status code: ", "the store answered ")
        }
        (code, Some(message)) => format!("{code}: {message}"),
        (code, None) => code.to_owned(),
    };
    let why = why.trim().trim_end_matches([':', '.', ' ']);
    let mut letters = why.chars();
    let why = match letters.next() {
        // "Connection refused" begins a sentence, "AccessDenied" is a name.
        Some(first)
            if why.split(' ').next().is_some_and(|word| word.chars().skip(1).all(char::is_lowercase)) =>
        {
            first.to_lowercase().chain(letters).take(300).collect()
        }
        _ => why.chars().take(300).collect(),
    };
    (answer, why)
}

/// The text of the first XML element of that name.
fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(inner, _)| inner)
}
