//! Events fetched over Kafka's own protocol, beside librdkafka, which keeps the group.
//!
//! librdkafka makes an allocation and a queue entry of each message. Here a batch stays as the broker sent it until the
//! lane that owns the partition unpacks it straight into columns ([`Queue`]). Threads fetch ahead, one for each broker
//! that leads a partition of ours, within a bound for each partition.

mod broker;
mod cluster;
mod connection;
mod fetch;
mod fetcher;
mod limits;
mod queue;
mod records;
mod sasl;
mod security;
mod shared;
mod unpack;

use std::time::Instant;

use kafka_protocol::error::ParseResponseErrorCode;

use super::client::COMPLAIN;
pub(super) use fetcher::Fetcher;
pub(super) use queue::Queue;

/// What we are called in the brokers' logs.
const CLIENT: &str = super::examine::CLIENT;

/// What Kafka calls a code.
fn named(code: i16) -> String {
    code.err().map_or_else(|| "no error".into(), |error| format!("{error:?} (error {code})"))
}

/// Tells of trouble, but not all the time.
#[derive(Default)]
struct Complaints(Option<Instant>);

impl Complaints {
    fn say(&mut self, what: impl FnOnce() -> String) {
        if self.0.is_some_and(|at| at.elapsed() < COMPLAIN) {
            return tracing::debug!("{}", what());
        }
        self.0 = Some(Instant::now());
        tracing::warn!("{}", what());
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
