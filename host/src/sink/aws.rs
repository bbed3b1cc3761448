//! The AWS SDK's standard settings, and a bridge that lets `object_store` use its credentials.
//!
//! Region, endpoint and credentials come from where every AWS tool takes them: environment, profile, the
//! role of the container or machine. One [`Aws`] is loaded per process and serves S3 and Glue.

use std::env;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::imds::region::ImdsRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;
use tokio::sync::Mutex;

use crate::env::{Env, Micros};
use crate::error::chain;
use crate::observe::Requests;

/// Credentials are renewed this long before they expire, and looked up anew this often if they do not say.
const RENEWAL: Micros = 300_000_000;
/// How long one look-up of credentials may take.
const LOOKUP: Duration = Duration::from_secs(6);

/// How the error begins that says that nothing was sent for want of credentials.
pub(super) const NO_CREDENTIALS: &str = "no AWS credentials";

/// What AWS clients are made from.
#[derive(Clone, Debug)]
pub struct Aws {
    /// Region, credentials and the endpoint of all services.
    pub sdk: SdkConfig,
    /// The endpoint of S3, if it has one of its own.
    pub s3_endpoint: Option<String>,
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
        Aws { sdk, s3_endpoint, requests }
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

/// The SDK's chain of credentials as `object_store` asks for them, which is before every request: hence
/// the cache.
pub(super) struct Chain {
    provider: SharedCredentialsProvider,
    env: Env,
    cached: Mutex<Option<Cached>>,
}

struct Cached {
    credential: Arc<AwsCredential>,
    /// When to look for others.
    renew: Micros,
    /// When the store will no longer take them.
    expiry: Option<Micros>,
}

impl Chain {
    pub(super) fn new(provider: SharedCredentialsProvider, env: Env) -> Chain {
        Chain { provider, env, cached: Mutex::new(None) }
    }

    async fn look_up(&self, now: Micros) -> Result<Cached, String> {
        let found = tokio::time::timeout(LOOKUP, self.provider.provide_credentials()).await;
        let found = found.map_err(|_| format!("no answer within {} s", LOOKUP.as_secs()))?;
        let found = found.map_err(|error| chain(&error))?;
        let expiry = found.expiry().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let expiry = expiry.and_then(|since| Micros::try_from(since.as_micros()).ok());
        Ok(Cached {
            credential: Arc::new(AwsCredential {
                key_id: found.access_key_id().into(),
                secret_key: found.secret_access_key().into(),
                token: found.session_token().map(str::to_owned),
            }),
            renew: expiry.map_or(now.saturating_add(RENEWAL), |at| at.saturating_sub(RENEWAL)),
            expiry,
        })
    }
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Chain")
    }
}

#[async_trait]
impl CredentialProvider for Chain {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let now = self.env.now();
        // Held over the look-up on purpose: the others wait for its result instead of asking too.
        let mut cached = self.cached.lock().await;
        if let Some(cached) = cached.as_ref().filter(|cached| now < cached.renew) {
            return Ok(Arc::clone(&cached.credential));
        }
        match self.look_up(now).await {
            Ok(fresh) => Ok(Arc::clone(&cached.insert(fresh).credential)),
            Err(why) => match cached.as_ref() {
                // An outage of the service that hands them out is no outage as long as these are good.
                Some(old) if old.expiry.is_none_or(|expiry| now < expiry) => {
                    tracing::warn!("cannot renew AWS credentials, the last ones are still used: {why}");
                    Ok(Arc::clone(&old.credential))
                }
                _ => Err(object_store::Error::Generic {
                    store: "S3",
                    source: format!("{NO_CREDENTIALS} found (environment, profile, role): {why}").into(),
                }),
            },
        }
    }
}
