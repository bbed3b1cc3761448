//! Questions to the brokers of who looks for what is wrong. It never joins the group and commits nothing.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::Offset;
use rdkafka::{Message, TopicPartitionList};

use super::client::Settings;
use crate::Result;

/// Asks the brokers of a topic. Every question blocks, for as long as it is told.
pub struct Examiner {
    consumer: BaseConsumer<Ear>,
    settings: Settings,
}

/// Why a question was not answered.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// What librdkafka calls it.
    pub code: Option<RDKafkaErrorCode>,
    /// That, and what else was heard of the reason.
    pub why: String,
}

/// What the brokers say of themselves and the topic.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// The addresses at which clients are to come.
    pub brokers: Vec<(i32, String, u16)>,
    /// The topic's partitions; none: there is no such topic, or it is not shown.
    pub partitions: Option<Vec<Led>>,
    /// This client may not see the topic.
    pub denied: bool,
}

/// A partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Led {
    /// Its number.
    pub id: i32,
    /// The broker that leads it; none: nobody does.
    pub leader: Option<i32>,
}

/// A consumer group as others see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// Members.
    pub count: usize,
    /// How partitions are assigned; empty: nobody is in the group.
    pub protocol: String,
    /// What members that are no hosts of Tidemill call themselves.
    pub strangers: Vec<String>,
}

/// What came when an event was fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// An event with its time, in milliseconds since 1970.
    Event(Option<i64>),
    /// None: what is there is no event, as the marker of a transaction.
    Nothing,
}

/// What a host calls itself.
pub(super) const CLIENT: &str = "tidemill";

impl Examiner {
    /// Makes the client; no broker is asked yet.
    pub fn new(settings: &Settings) -> Result<Examiner> {
        let mut config = settings.config();
        config.set("enable.partition.eof", "true");
        let consumer: BaseConsumer<Ear> =
            config.create_with_context(Ear::default()).map_err(super::client::unusable)?;
        settings.auth.begin(consumer.client(), &settings.brokers)?;
        Ok(Examiner { consumer, settings: settings.clone() })
    }

    /// The brokers and the topic.
    pub fn cluster(&self, wait: Duration) -> Result<Cluster, Refusal> {
        let topic = &self.settings.topic;
        let found = self.consumer.fetch_metadata(Some(topic), wait).map_err(|e| self.refusal(&e))?;
        let broker = |b: &rdkafka::metadata::MetadataBroker| {
            (b.id(), b.host().to_owned(), u16::try_from(b.port()).unwrap_or_default())
        };
        let mut cluster = Cluster {
            brokers: found.brokers().iter().map(broker).collect(),
            partitions: None,
            denied: false,
        };
        let Some(topic) = found.topics().first() else { return Ok(cluster) };
        match topic.error().map(RDKafkaErrorCode::from) {
            None => {}
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                return Ok(cluster);
            }
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                return Ok(Cluster { denied: true, ..cluster });
            }
            Some(code) => return Err(Refusal { code: Some(code), why: code.to_string() }),
        }
        let partitions = topic.partitions().iter();
        let partitions: Vec<Led> =
            partitions.map(|p| Led { id: p.id(), leader: (p.leader() >= 0).then_some(p.leader()) }).collect();
        cluster.partitions = (!partitions.is_empty()).then_some(partitions);
        Ok(cluster)
    }

    /// The names of all topics that this client may see.
    pub fn topics(&self, wait: Duration) -> Result<Vec<String>, Refusal> {
        let found = self.consumer.fetch_metadata(None, wait).map_err(|e| self.refusal(&e))?;
        Ok(found.topics().iter().map(|topic| topic.name().to_owned()).collect())
    }

    /// First and last offset of a partition.
    pub fn ends(&self, partition: i32, wait: Duration) -> Result<(i64, i64), Refusal> {
        let found = self.consumer.fetch_watermarks(&self.settings.topic, partition, wait);
        found.map_err(|e| self.refusal(&e))
    }

    /// Some settings of the topic, in the order in which they are asked for. To be called within a tokio runtime, on
    /// a thread of those that may block.
    pub fn properties(&self, names: &[&str], wait: Duration) -> Result<Vec<Option<String>>, Refusal> {
        let refusal = |e: KafkaError| self.refusal(&e);
        let mut config = self.settings.config();
        for property in ["group.id", "group.instance.id"] {
            config.remove(property);
        }
        let admin: AdminClient<Ear> = config.create_with_context(Ear::default()).map_err(refusal)?;
        let signed = self.settings.auth.begin(admin.inner(), &self.settings.brokers);
        signed.map_err(|e| Refusal { code: None, why: e.to_string() })?;
        let options = AdminOptions::new().request_timeout(Some(wait));
        let topic = ResourceSpecifier::Topic(&self.settings.topic);
        let asked = admin.describe_configs([&topic], &options);
        let answer = tokio::runtime::Handle::current().block_on(asked).map_err(refusal)?;
        match answer.into_iter().next() {
            Some(Ok(found)) => {
                Ok(names.iter().map(|name| found.get(name).and_then(|entry| entry.value.clone())).collect())
            }
            Some(Err(code)) => Err(Refusal { code: Some(code), why: code.to_string() }),
            None => Err(Refusal { code: None, why: "the answer has no topic".into() }),
        }
    }

    /// How many of these partitions the group has committed offsets for.
    pub fn committed(&self, partitions: &[i32], wait: Duration) -> Result<usize, Refusal> {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(&self.settings.topic, *partition);
        }
        let found = self.consumer.committed_offsets(list, wait).map_err(|e| self.refusal(&e))?;
        let mut count = 0;
        for element in found.elements() {
            element.error().map_err(|e| self.refusal(&e))?;
            count += usize::from(matches!(element.offset(), Offset::Offset(_)));
        }
        Ok(count)
    }

    /// Who is in the group.
    pub fn members(&self, wait: Duration) -> Result<Members, Refusal> {
        let found = self.consumer.fetch_group_list(Some(&self.settings.group), wait);
        let found = found.map_err(|e| self.refusal(&e))?;
        let Some(group) = found.groups().first() else { return Ok(Members::default()) };
        let strangers = group.members().iter().map(|member| member.client_id().to_owned());
        Ok(Members {
            count: group.members().len(),
            protocol: group.protocol().into(),
            strangers: strangers.filter(|name| name != CLIENT).collect(),
        })
    }

    /// Fetches the event at an offset, past the group.
    pub fn fetch(&self, partition: i32, offset: i64, wait: Duration) -> Result<Fetched, Refusal> {
        let mut list = TopicPartitionList::new();
        let topic = &self.settings.topic;
        list.add_partition_offset(topic, partition, Offset::Offset(offset)).map_err(|e| self.refusal(&e))?;
        self.consumer.assign(&list).map_err(|e| self.refusal(&e))?;
        let fetched = self.fetched(wait);
        let _ = self.consumer.unassign();
        fetched
    }

    fn fetched(&self, wait: Duration) -> Result<Fetched, Refusal> {
        let deadline = Instant::now() + wait;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let why = format!("no event came within {wait:?}");
                return Err(Refusal { code: None, why: self.with_reason(why) });
            }
            match self.consumer.poll(left.min(Duration::from_millis(200))) {
                None => {}
                Some(Ok(event)) => return Ok(Fetched::Event(event.timestamp().to_millis())),
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(Fetched::Nothing),
                // A connection that broke is made again.
                Some(Err(e)) if passes(e.rdkafka_error_code()) => {}
                Some(Err(e)) => return Err(self.refusal(&e)),
            }
        }
    }

    /// What an error says, with the reason that librdkafka tells apart from it.
    fn refusal(&self, error: &KafkaError) -> Refusal {
        // It waits in the queue until somebody polls; what is denied comes as if it were an event.
        let (deadline, mut denied) = (Instant::now() + Duration::from_millis(200), None);
        while denied.is_none() && self.consumer.context().is_silent() && Instant::now() < deadline {
            if let Some(Err(e)) = self.consumer.poll(Duration::from_millis(10)) {
                denied = e.rdkafka_error_code().filter(|code| forbids(*code));
            }
        }
        let code = denied.or_else(|| self.consumer.context().code()).or_else(|| error.rdkafka_error_code());
        let why = denied.map_or_else(|| error.to_string(), |code| code.to_string());
        Refusal { code, why: self.with_reason(why) }
    }

    fn with_reason(&self, why: String) -> String {
        match self.consumer.context().take() {
            Some(reason) => reason,
            None => why,
        }
    }
}

fn forbids(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::GroupAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
    )
}

/// What librdkafka tries again by itself.
fn passes(code: Option<RDKafkaErrorCode>) -> bool {
    matches!(
        code,
        Some(
            RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::NotLeaderForPartition
                | RDKafkaErrorCode::LeaderNotAvailable
        )
    )
}

/// Hears what librdkafka says of trouble with connections.
#[derive(Default)]
struct Ear(Mutex<Option<(RDKafkaErrorCode, String)>>);

impl Ear {
    fn is_silent(&self) -> bool {
        self.0.lock().is_ok_and(|heard| heard.is_none())
    }

    fn code(&self) -> Option<RDKafkaErrorCode> {
        Some(self.0.lock().ok()?.as_ref()?.0)
    }

    fn take(&self) -> Option<String> {
        Some(self.0.lock().ok()?.take()?.1)
    }
}

impl ClientContext for Ear {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(target: "librdkafka", ?level, "{facility}: {message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // That all brokers are down says less than why each one is.
        let code = error.rdkafka_error_code().filter(|code| *code != RDKafkaErrorCode::AllBrokersDown);
        if let (Some(code), Ok(mut heard)) = (code, self.0.lock()) {
            *heard = Some((code, reason.into()));
        }
    }
}

impl ConsumerContext for Ear {}

#[cfg(test)]
mod tests {
    use super::super::embedded::Broker;
    use super::*;

    const WAIT: Duration = Duration::from_secs(5);

    fn examiner(brokers: String, topic: &str) -> Examiner {
        let settings = Settings {
            brokers,
            topic: topic.into(),
            group: "g".into(),
            instance: Some("one".into()),
            ..Settings::default()
        };
        Examiner::new(&settings).expect("a client")
    }

    #[test]
    fn a_broker_tells_its_address_and_the_partitions_of_a_topic() {
        let broker = Broker::start("events", 3).expect("a broker");
        let examiner = examiner(broker.address(), "events");
        let cluster = examiner.cluster(WAIT).expect("an answer");
        let partitions = cluster.partitions.expect("the topic is there");
        assert_eq!(partitions.len(), 3);
        assert!(partitions.iter().all(|partition| partition.leader.is_some()));
        let (_, host, port) = &cluster.brokers[0];
        assert_eq!(format!("{host}:{port}"), broker.address());
        assert_eq!(examiner.ends(0, WAIT).expect("an answer"), (0, 0));
        assert_eq!(examiner.committed(&[0, 1, 2], WAIT).expect("an answer"), 0);
        assert_eq!(examiner.fetch(0, 0, WAIT).expect("an answer"), Fetched::Nothing);
    }

    #[test]
    fn a_broker_that_is_not_there_is_refused_with_the_reason() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it has one").to_string();
        drop(listener);
        let refusal =
            examiner(address, "events").cluster(Duration::from_millis(1500)).expect_err("nobody is there");
        assert!(refusal.why.to_lowercase().contains("connection refused"), "{}", refusal.why);
    }
}
