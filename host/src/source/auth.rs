//! How a client proves to the brokers who it is, where librdkafka cannot do it alone: IAM of Amazon MSK.
//!
//! A token is a signed URL, valid for a quarter of an hour and looked at when a connection is made. Each client gets
//! one as soon as it is made, since librdkafka asks for the first one only when somebody polls; later ones it asks for
//! by itself, in good time, and who serves the client's events answers ([`answer`]). Everything else (SCRAM, mutual TLS)
//! is librdkafka's own: see docs/security.md.

use std::error::Error as StdError;
use std::ffi::CString;
use std::ptr;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region};
use aws_msk_iam_sasl_signer::generate_auth_token_from_credentials_provider as sign;
use rdkafka::client::{Client, ClientContext, OAuthToken};
use rdkafka::config::ClientConfig;
use rdkafka_sys as sys;

use crate::error::chain;
use crate::{Error, Result};

/// How a client proves who it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    /// By what the librdkafka properties say, if anything.
    #[default]
    Properties,
    /// By the AWS identity that the process has.
    MskIam,
}

/// How long it may take to find credentials and sign.
const SIGNING: Duration = Duration::from_secs(10);
/// The bytes of librdkafka's reason for a refusal.
const REASON: usize = 512;

impl Auth {
    /// Reads `properties` or `msk-iam`.
    pub fn parse(text: &str) -> Option<Auth> {
        match text {
            "properties" => Some(Auth::Properties),
            "msk-iam" => Some(Auth::MskIam),
            _ => None,
        }
    }

    /// Sets what the client needs, before the properties that people set themselves.
    pub(super) fn configure(self, config: &mut ClientConfig) {
        if self == Auth::MskIam {
            config.set("security.protocol", "SASL_SSL").set("sasl.mechanism", "OAUTHBEARER");
        }
    }

    /// Gives a client that was just made its first token.
    pub(super) fn begin<C: ClientContext>(self, client: &Client<C>, brokers: &str) -> Result<()> {
        if self == Auth::Properties {
            return Ok(());
        }
        let token = token(brokers)?;
        set(client, &token).map_err(|why| Error::stop(format!("librdkafka does not take the token: {why}")))
    }
}

/// What a client's context answers to `generate_oauth_token`.
pub(super) fn answer(auth: Auth, brokers: &str) -> std::result::Result<OAuthToken, Box<dyn StdError>> {
    if auth == Auth::Properties {
        return Err("OAUTHBEARER needs a token: set `auth = msk-iam`, or sasl.oauthbearer.method=oidc".into());
    }
    token(brokers).map_err(|e| {
        tracing::warn!("{e}; connections that are made now are refused");
        e.into()
    })
}

/// A token for these brokers. Blocks, up to [`SIGNING`].
pub(super) fn token(brokers: &str) -> Result<OAuthToken> {
    let failed = |why: &str| {
        Error::stop(format!(
            "cannot sign in to kafka at {brokers} with AWS credentials (setting `auth`): {why}"
        ))
    };
    let region = region_of(brokers);
    // Its own runtime: whoever asks may be on librdkafka's thread or on one of ours, and there is nothing to keep.
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| e.to_string())?;
        runtime.block_on(async {
            let signed = async {
                let mut loader = aws_config::defaults(BehaviorVersion::latest());
                if let Some(region) = region {
                    loader = loader.region(Region::new(region));
                }
                let sdk = loader.load().await;
                let region = sdk.region().cloned().ok_or("no region: set AWS_REGION")?;
                let provider = sdk.credentials_provider().ok_or("no AWS credentials")?;
                sign(region, provider).await.map_err(|e| chain(&e))
            };
            let signed = tokio::time::timeout(SIGNING, signed).await;
            signed.map_err(|_| format!("no credentials within {} s", SIGNING.as_secs()))?
        })
    };
    let signed = std::thread::spawn(work).join().map_err(|_| failed("the signer panicked"))?;
    let (token, lifetime_ms) = signed.map_err(|why| failed(&why))?;
    Ok(OAuthToken { token, principal_name: String::new(), lifetime_ms })
}

/// The region in the names of MSK's brokers, as `b-1.c.x.c2.kafka.eu-west-1.amazonaws.com:9098` or
/// `boot-x.c1.kafka-serverless.eu-west-1.amazonaws.com:9098`. None: the SDK's settings say it.
fn region_of(brokers: &str) -> Option<String> {
    let first = brokers.split(',').next()?.trim();
    let host = first.rsplit_once(':').map_or(first, |(host, _)| host);
    let host = host.strip_suffix(".amazonaws.com").or_else(|| host.strip_suffix(".amazonaws.com.cn"))?;
    let mut labels = host.rsplit('.');
    let region = labels.next()?;
    labels.next().filter(|service| ["kafka", "kafka-serverless"].contains(service))?;
    Some(region.to_owned())
}

#[allow(unsafe_code)]
fn set<C: ClientContext>(client: &Client<C>, token: &OAuthToken) -> Result<(), String> {
    let text = |text: &str| CString::new(text).map_err(|e| e.to_string());
    let (value, principal) = (text(&token.token)?, text(&token.principal_name)?);
    let mut reason = [0_u8; REASON];
    // SAFETY: the client is borrowed, so it lives during the call; both texts end in a zero byte and live as long,
    // librdkafka copies them; there are no extensions; `reason` is as long as is said.
    let code = unsafe {
        sys::rd_kafka_oauthbearer_set_token(
            client.native_ptr(),
            value.as_ptr(),
            token.lifetime_ms,
            principal.as_ptr(),
            ptr::null_mut(),
            0,
            reason.as_mut_ptr().cast(),
            reason.len(),
        )
    };
    if code == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Ok(());
    }
    let said = reason.split(|b| *b == 0).next().unwrap_or_default();
    Err(String::from_utf8_lossy(said).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_is_read_from_the_names_of_msk() {
        let of = |brokers: &str| region_of(brokers);
        let classic = "b-1.demo.ab12cd.c2.kafka.eu-west-1.amazonaws.com:9098,b-2.demo.ab12cd.c2.kafka.eu-west-1.amazonaws.com:9098";
        assert_eq!(of(classic).as_deref(), Some("eu-west-1"));
        let serverless = "boot-ab12cd.c1.kafka-serverless.us-east-1.amazonaws.com:9098";
        assert_eq!(of(serverless).as_deref(), Some("us-east-1"));
        let china = "b-1.demo.ab12cd.c2.kafka.cn-north-1.amazonaws.com.cn:9098";
        assert_eq!(of(china).as_deref(), Some("cn-north-1"));
        for other in ["", "127.0.0.1:9092", "kafka.example.com:9098", "s3.eu-west-1.amazonaws.com:443"] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
