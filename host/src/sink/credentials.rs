//! The SDK's chain of credentials, kept, renewed in time, and asked anew when a service refuses them.
//!
//! `object_store` asks for credentials before every request, and so does the client of Glue; a look-up may start a
//! process or ask the machine's metadata service, which throttles. Hence the cache, and its rules:
//!
//! * They are renewed five minutes before they expire. Those who hand them out may still give the old ones then, so
//!   the next look-up is no sooner than after half of what is left: a few look-ups in all, not one for each request.
//! * A look-up that fails is no outage as long as the last credentials are good, and is not repeated at every request.
//! * What a service calls expired is looked up at once: sessions can be withdrawn before their time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;
use tokio::sync::Mutex;

use crate::env::{Env, Micros};
use crate::error::chain;

/// Credentials are renewed this long before they expire, and looked up anew this often if they do not say.
const RENEWAL: Micros = 300_000_000;
/// Between two look-ups there is at least so much time.
const AGAIN: Micros = 1_000_000;
/// After one that failed, at most so much.
const FAILED: Micros = 30_000_000;
/// How long one look-up may take.
const LOOKUP: Duration = Duration::from_secs(6);

/// How the error begins that says that nothing was sent for want of credentials.
pub(super) const NO_CREDENTIALS: &str = "no AWS credentials";

/// The credentials of a process.
pub(crate) struct Chain {
    provider: SharedCredentialsProvider,
    env: Env,
    cached: Mutex<Option<Cached>>,
    /// A service has called them expired since the last look-up.
    refused: AtomicBool,
}

struct Cached {
    credentials: Credentials,
    /// The same for `object_store`.
    credential: Arc<AwsCredential>,
    asked: Micros,
    /// When to look for others.
    renew: Micros,
    /// When the store will no longer take them.
    expiry: Option<Micros>,
}

impl Chain {
    pub(crate) fn new(provider: SharedCredentialsProvider, env: Env) -> Chain {
        Chain { provider, env, cached: Mutex::new(None), refused: AtomicBool::new(false) }
    }

    /// A service says that they have expired.
    pub(crate) fn refused(&self) {
        self.refused.store(true, Ordering::Relaxed);
    }

    async fn look_up(&self, now: Micros) -> Result<Cached, String> {
        let found = tokio::time::timeout(LOOKUP, self.provider.provide_credentials()).await;
        let found = found.map_err(|_| format!("no answer within {} s", LOOKUP.as_secs()))?;
        let found = found.map_err(|error| chain(&error))?;
        let expiry = found.expiry().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let expiry = expiry.and_then(|since| Micros::try_from(since.as_micros()).ok());
        let credential = Arc::new(AwsCredential {
            key_id: found.access_key_id().into(),
            secret_key: found.secret_access_key().into(),
            token: found.session_token().map(str::to_owned),
        });
        Ok(Cached { credentials: found, credential, asked: now, renew: renewal(now, expiry), expiry })
    }

    async fn get<T>(&self, pick: impl Fn(&Cached) -> T) -> Result<T, String> {
        let now = self.env.now();
        // Held over the look-up on purpose: the others wait for its result instead of asking too.
        let mut cached = self.cached.lock().await;
        let refused = self.refused.load(Ordering::Relaxed);
        let good = |cached: &&Cached| now < cached.renew && !(refused && now >= cached.asked + AGAIN);
        if let Some(cached) = cached.as_ref().filter(good) {
            return Ok(pick(cached));
        }
        self.refused.store(false, Ordering::Relaxed);
        match self.look_up(now).await {
            Ok(fresh) => Ok(pick(cached.insert(fresh))),
            Err(why) => match cached.as_mut() {
                // An outage of the service that hands them out is no outage as long as these are good.
                Some(old) if old.expiry.is_none_or(|expiry| now < expiry) => {
                    tracing::warn!("cannot renew AWS credentials, the last ones are still used: {why}");
                    old.asked = now;
                    old.renew = renewal(now, old.expiry).min(now.saturating_add(FAILED));
                    Ok(pick(old))
                }
                _ => Err(format!("{NO_CREDENTIALS} found (environment, profile, role): {why}")),
            },
        }
    }
}

/// When to look for others.
fn renewal(now: Micros, expiry: Option<Micros>) -> Micros {
    let Some(expiry) = expiry else { return now.saturating_add(RENEWAL) };
    let half = now.saturating_add(expiry.saturating_sub(now) / 2);
    expiry.saturating_sub(RENEWAL).max(half).max(now.saturating_add(AGAIN))
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
        let found = self.get(|cached| Arc::clone(&cached.credential)).await;
        found.map_err(|why| object_store::Error::Generic { store: "S3", source: why.into() })
    }
}

impl ProvideCredentials for Chain {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            self.get(|cached| cached.credentials.clone()).await.map_err(CredentialsError::not_loaded)
        })
    }
}

#[cfg(test)]
#[path = "credentials_tests.rs"]
mod tests;
