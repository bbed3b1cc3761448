//! The AWS SDK's standard settings.
//!
//! Region, endpoint and credentials come from where every AWS tool takes them: environment, profile, the
//! role of the container or machine. One [`Aws`] is loaded per process and serves S3 and Glue.

use std::env;
use std::sync::Arc;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::imds::region::ImdsRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};

use super::credentials::Chain;
use crate::env::machine;
use crate::observe::Requests;

/// What AWS clients are made from.
#[derive(Clone, Debug)]
pub struct Aws {
    /// Region, credentials and the endpoint of all services.
    pub sdk: SdkConfig,
    /// The endpoint of S3, if it has one of its own.
    pub s3_endpoint: Option<String>,
    /// The credentials, for S3 and Glue together.
    pub(crate) credentials: Option<Arc<Chain>>,
    /// Where requests are counted.
    pub requests: Option<Requests>,
}

impl Aws {
    /// Loads what the AWS SDK finds; `us-east-1` where no region is set. Requests are counted there.
    pub async fn load(requests: Option<Requests>) -> Aws {
        let region = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
            .or_else(ProfileFileRegionProvider::new());
        // Asking the machine's metadata service costs seconds where there is none; a set endpoint means
        // there is none to ask.
        let region =
            if endpoint_is_set() { region } else { region.or_else(ImdsRegionProvider::builder().build()) };
        let region = region.or_else(Region::from_static("us-east-1"));
        let sdk = aws_config::defaults(BehaviorVersion::latest()).region(region).load().await;
        let ignored = env::var("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")
            .is_ok_and(|value| value.eq_ignore_ascii_case("true"));
        let s3_endpoint = env::var("AWS_ENDPOINT_URL_S3").ok().filter(|url| !url.is_empty() && !ignored);
        Aws::new(sdk, s3_endpoint, requests)
    }

    /// From settings that were found elsewhere.
    pub fn new(sdk: SdkConfig, s3_endpoint: Option<String>, requests: Option<Requests>) -> Aws {
        let credentials =
            sdk.credentials_provider().map(|provider| Arc::new(Chain::new(provider, machine())));
        Aws { sdk, s3_endpoint, credentials, requests }
    }

    /// The endpoint that S3 is reached at, if it is not Amazon's own.
    pub(super) fn endpoint_of_s3(&self) -> Option<&str> {
        self.s3_endpoint.as_deref().or_else(|| self.sdk.endpoint_url())
    }
}

fn endpoint_is_set() -> bool {
    ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_GLUE"]
        .iter()
        .any(|name| env::var_os(name).is_some())
}
