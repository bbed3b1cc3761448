//! A bucket for who looks for what is wrong with it: one request at a time, hardly tried again.

use std::time::Duration;

use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::{BackoffConfig, RetryConfig};

use super::aws::Aws;
use super::request::Answered;
use super::s3::{Failure, S3};
use crate::error::Result;

/// A bucket with its prefix.
#[derive(Debug)]
pub struct Bucket(S3);

impl Bucket {
    /// The bucket, with the credentials, endpoint and way to address it that hosts have.
    pub fn open(bucket: &str, prefix: &str, setting: &str, aws: &Aws) -> Result<Bucket> {
        let retry = RetryConfig {
            backoff: BackoffConfig::default(),
            // One hiccup is no finding.
            max_retries: 1,
            retry_timeout: Duration::from_secs(2),
        };
        S3::with((bucket, prefix), setting, aws, retry, None).map(Bucket)
    }

    /// Where its objects are, as hosts reach them.
    pub fn store(&self) -> &AmazonS3 {
        &self.0.store
    }

    /// A key of the zone as a key of the bucket.
    pub fn path(&self, key: &str) -> Result<Path> {
        self.0.path(key)
    }

    /// The address of the store.
    pub fn endpoint(&self) -> &str {
        &self.0.endpoint
    }

    /// The address that the bucket is asked at.
    pub fn address(&self) -> &str {
        &self.0.bucket_url
    }

    /// The region that requests are signed for.
    pub fn region(&self) -> &str {
        &self.0.region
    }

    /// Asks about the bucket itself, once. `query` is sorted by name.
    pub(crate) async fn ask(&self, method: &str, query: &[(&str, &str)]) -> Result<Answered, Failure> {
        self.0.request(method, query).await
    }
}
