//! Events out of Kafka: a consumer group, its partitions, and batches of what they deliver.
//!
//! [`Group`] is a member of the consumer group. One thread serves it (rebalances, errors); each
//! partition that it takes comes with a queue of its own, which the partition's lane polls. Offsets are
//! assigned explicitly and committed only by who has made them true; librdkafka neither stores nor
//! resets any.

mod admin;
mod auth;
mod client;
mod collect;
mod direct;
pub mod embedded;
pub mod examine;
pub mod generate;
mod group;
mod messages;
mod orphans;
pub mod produce;
#[cfg(test)]
mod queue_tests;
mod replay;
mod topic;

pub use auth::Auth;
pub use client::{Fetch, Settings, Start};
pub use collect::Collector;
pub use group::{Ends, Group, Owner, Polled, Queue, Taken};
pub use replay::{Replayed, replay};
