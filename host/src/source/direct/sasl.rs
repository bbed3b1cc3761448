//! How a connection signs in (SASL): a name and a password as they are (PLAIN) or proven (SCRAM, RFC 5802), or a token
//! (OAUTHBEARER, RFC 7628) of an AWS identity.
//!
//! The rest of librdkafka's mechanisms is refused in `security.rs`. Names and passwords are taken as they are, without
//! SASLprep: Kafka and librdkafka do so.

use std::num::NonZeroU32;
use std::time::Duration;

use aws_lc_rs::{constant_time, digest, hmac, pbkdf2, rand};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use kafka_protocol::error::ParseResponseErrorCode;
use kafka_protocol::messages::{SaslAuthenticateRequest, SaslHandshakeRequest};
use kafka_protocol::protocol::StrBytes;

use super::super::auth;
use super::connection::Connection;
use crate::{Error, Result};

/// How often the password may be hashed: less gives it away too cheaply, and more is a broker that means harm.
const ITERATIONS: std::ops::RangeInclusive<u32> = 4_096..=1_000_000;
/// The longest that a broker is quoted.
const QUOTED: usize = 500;

/// Who signs in. It has no `Debug`: it holds a password.
pub(super) enum Identity {
    Password { mechanism: Mechanism, username: String, password: String },
    MskIam { brokers: String },
}

/// How a password is shown to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mechanism {
    Plain,
    ScramSha256,
    ScramSha512,
}

impl Mechanism {
    pub(super) const ALL: [Mechanism; 3] = [Mechanism::Plain, Mechanism::ScramSha256, Mechanism::ScramSha512];

    /// Its name in the protocol and in properties.
    pub(super) fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// Signs in. Gives how long the broker lets the session live, if it says so.
pub(super) fn sign_in(connection: &mut Connection, identity: &Identity) -> Result<Option<Duration>> {
    match identity {
        Identity::Password { mechanism, username, password } => {
            let look = "properties sasl.username and sasl.password";
            let mut exchange = Exchange::begin(connection, mechanism.name(), look)?;
            match mechanism {
                Mechanism::Plain => {
                    exchange.say(format!("\0{username}\0{password}"))?;
                }
                Mechanism::ScramSha256 => scram(&mut exchange, &SHA_256, username, password)?,
                Mechanism::ScramSha512 => scram(&mut exchange, &SHA_512, username, password)?,
            }
            Ok(exchange.lifetime())
        }
        Identity::MskIam { brokers } => {
            // Before the broker waits for it: finding credentials takes a while.
            let token = auth::token(brokers)?.token;
            bearer(connection, &token)
        }
    }
}

fn bearer(connection: &mut Connection, token: &str) -> Result<Option<Duration>> {
    let mut exchange = Exchange::begin(connection, "OAUTHBEARER", "setting `auth`")?;
    let found = exchange.say(format!("n,,\x01auth=Bearer {token}\x01\x01"))?;
    if found.is_empty() {
        return Ok(exchange.lifetime());
    }
    // A refusal is first explained, as JSON, and then carried out when that was heard.
    let why = quoted(&found);
    exchange.say("\x01".into()).map_err(|e| e.context(&why))?;
    Err(exchange.refused(&why))
}

/// What is said to and fro until a connection is signed in.
struct Exchange<'a> {
    connection: &'a mut Connection,
    version: i16,
    mechanism: &'static str,
    /// Where people look when it is refused.
    look: &'static str,
    lifetime_ms: i64,
}

impl<'a> Exchange<'a> {
    fn begin(connection: &'a mut Connection, mechanism: &'static str, look: &'static str) -> Result<Self> {
        let version = connection.version::<SaslHandshakeRequest>(1..=1)?;
        let request = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(mechanism));
        let answer = connection.ask(version, &request)?;
        if let Some(error) = answer.error_code.err() {
            let has: Vec<&str> = answer.mechanisms.iter().map(|name| name.as_str()).collect();
            return Err(Error::stop(format!(
                "broker {} does not let anybody sign in by {mechanism}: {error}; it has {} (property sasl.mechanism)",
                connection.address(),
                quoted(format!("[{}]", has.join(", ")).as_bytes())
            )));
        }
        let version = connection.version::<SaslAuthenticateRequest>(0..=2)?;
        Ok(Exchange { connection, version, mechanism, look, lifetime_ms: 0 })
    }

    fn say(&mut self, what: String) -> Result<Vec<u8>> {
        let request = SaslAuthenticateRequest::default().with_auth_bytes(what.into_bytes().into());
        let answer = self.connection.ask(self.version, &request)?;
        if let Some(error) = answer.error_code.err() {
            let message = answer.error_message.map(|message| quoted(message.as_bytes()));
            return Err(self.refused(&message.unwrap_or_else(|| error.to_string())));
        }
        self.lifetime_ms = answer.session_lifetime_ms;
        Ok(answer.auth_bytes.into())
    }

    fn lifetime(&self) -> Option<Duration> {
        u64::try_from(self.lifetime_ms).ok().filter(|ms| *ms > 0).map(Duration::from_millis)
    }

    fn refused(&self, why: &str) -> Error {
        let (address, mechanism, look) = (self.connection.address(), self.mechanism, self.look);
        Error::stop(format!("broker {address} does not let this host sign in by {mechanism} ({look}): {why}"))
    }
}

/// What a broker says, fit for a line of a log.
fn quoted(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().take(QUOTED).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// What SCRAM is made of.
struct Hash {
    derive: pbkdf2::Algorithm,
    sign: hmac::Algorithm,
    digest: &'static digest::Algorithm,
    bytes: usize,
}

static SHA_256: Hash = Hash {
    derive: pbkdf2::PBKDF2_HMAC_SHA256,
    sign: hmac::HMAC_SHA256,
    digest: &digest::SHA256,
    bytes: digest::SHA256_OUTPUT_LEN,
};
static SHA_512: Hash = Hash {
    derive: pbkdf2::PBKDF2_HMAC_SHA512,
    sign: hmac::HMAC_SHA512,
    digest: &digest::SHA512,
    bytes: digest::SHA512_OUTPUT_LEN,
};

fn scram(exchange: &mut Exchange, hash: &'static Hash, username: &str, password: &str) -> Result<()> {
    let mut nonce = [0; 24];
    rand::fill(&mut nonce).map_err(|_| exchange.refused("this machine has no random bytes"))?;
    let scram = Scram { hash, username, password, nonce: BASE64.encode(nonce) };
    let challenge = exchange.say(scram.first())?;
    let (proof, signature) = scram.answer(&challenge).map_err(|why| exchange.refused(&why))?;
    let last = exchange.say(proof)?;
    check(&last, &signature).map_err(|why| exchange.refused(&why))
}

/// One sign-in by SCRAM, as RFC 5802 has it; without channel binding.
struct Scram<'a> {
    hash: &'static Hash,
    username: &'a str,
    password: &'a str,
    nonce: String,
}

impl Scram<'_> {
    fn first(&self) -> String {
        format!("n,,{}", self.first_bare())
    }

    fn first_bare(&self) -> String {
        format!("n={},r={}", self.username.replace('=', "=3D").replace(',', "=2C"), self.nonce)
    }

    /// The proof that we know the password, and the signature by which the broker must prove the same.
    fn answer(&self, challenge: &[u8]) -> Result<(String, hmac::Tag), String> {
        let odd = |what: &str| format!("its challenge {what}");
        let challenge = std::str::from_utf8(challenge).map_err(|_| odd("is no text"))?;
        let mut parts = challenge.split(',');
        let mut part = |name: &str| {
            let part = parts.next().and_then(|part| part.strip_prefix(name));
            part.ok_or_else(|| odd(&format!("has no {name} where it is expected")))
        };
        let (nonce, salt, iterations) = (part("r=")?, part("s=")?, part("i=")?);
        if nonce.len() <= self.nonce.len() || !nonce.starts_with(&self.nonce) {
            return Err(odd("is not for this sign-in: its nonce does not begin with ours"));
        }
        let salt = BASE64.decode(salt).map_err(|_| odd("has a salt that is not base64"))?;
        let iterations = iterations.parse().ok().filter(|count| ITERATIONS.contains(count));
        let iterations = iterations.and_then(NonZeroU32::new).ok_or_else(|| {
            odd(&format!("has not {} to {} iterations", ITERATIONS.start(), ITERATIONS.end()))
        })?;

        let mut salted = vec![0; self.hash.bytes];
        pbkdf2::derive(self.hash.derive, iterations, &salt, self.password.as_bytes(), &mut salted);
        let unproven = format!("c=biws,r={nonce}");
        let signed = format!("{},{challenge},{unproven}", self.first_bare());
        let ours = self.sign(&salted, b"Client Key");
        let stored = digest::digest(self.hash.digest, ours.as_ref());
        let signature = self.sign(stored.as_ref(), signed.as_bytes());
        let proof: Vec<u8> = ours.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        let theirs = self.sign(&salted, b"Server Key");
        let expected = self.sign(theirs.as_ref(), signed.as_bytes());
        Ok((format!("{unproven},p={}", BASE64.encode(proof)), expected))
    }

    fn sign(&self, key: &[u8], what: &[u8]) -> hmac::Tag {
        hmac::sign(&hmac::Key::new(self.hash.sign, key), what)
    }
}

/// Whether the broker's last word proves that it knows what it keeps of the password.
fn check(last: &[u8], expected: &hmac::Tag) -> Result<(), String> {
    let last = std::str::from_utf8(last).unwrap_or_default();
    let verifier = last.split(',').next().unwrap_or_default();
    let Some(signature) = verifier.strip_prefix("v=") else {
        return Err(quoted(
            verifier.strip_prefix("e=").unwrap_or("it does not sign its last word").as_bytes(),
        ));
    };
    let signature = BASE64.decode(signature).unwrap_or_default();
    constant_time::verify_slices_are_equal(&signature, expected.as_ref())
        .map_err(|_| "it does not know the password either: its signature is wrong".into())
}

#[cfg(test)]
mod tests;
