//! A broker inside this process, for the demo and for tests: librdkafka's mock cluster.
//!
//! It keeps at most 5 MB or 100,000 messages a partition and forgets everything at the end.

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use crate::{Error, Result};

/// A running broker. It ends when this is dropped.
pub struct Broker(MockCluster<'static, DefaultProducerContext>);

impl Broker {
    /// Starts a broker with one topic.
    pub fn start(topic: &str, partitions: i32) -> Result<Broker> {
        let fail = |e| Error::stop(format!("cannot start the embedded broker: {e}"));
        let cluster = MockCluster::new(1).map_err(fail)?;
        cluster.create_topic(topic, partitions, 1).map_err(fail)?;
        Ok(Broker(cluster))
    }

    /// Where it listens: `127.0.0.1:port`.
    pub fn address(&self) -> String {
        self.0.bootstrap_servers()
    }
}
