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

    /// Several brokers, whose leaders and errors a test may choose.
    #[cfg(test)]
    pub(super) fn several(topic: &str, partitions: i32, brokers: i32) -> Broker {
        let cluster = MockCluster::new(brokers).expect("brokers in this process");
        cluster.create_topic(topic, partitions, brokers).expect("a topic");
        Broker(cluster)
    }

    /// What it is made of.
    #[cfg(test)]
    pub(super) fn cluster(&self) -> &MockCluster<'static, DefaultProducerContext> {
        &self.0
    }

    /// Where it listens: `127.0.0.1:port`.
    pub fn address(&self) -> String {
        self.0.bootstrap_servers()
    }
}
