//! The thread that asks which brokers lead the partitions, whenever somebody wants to know.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use kafka_protocol::messages::metadata_response::MetadataResponse;
use kafka_protocol::protocol::StrBytes;

use super::connection::Connection;
use super::fetcher::{Leader, REST, Shared};
use super::{CLIENT, Complaints};
use crate::{Error, Result};

/// From 4 on it can be said that a topic is not to be created by asking; later ones than 9 ask by ids.
const VERSIONS: RangeInclusive<i16> = 4..=9;

/// Where nobody answers, all are asked again after so long at most.
const AT_MOST: Duration = Duration::from_millis(500);

/// Asks until the end.
pub(super) fn run(shared: &Arc<Shared>) {
    let (mut complaints, mut pause) = (Complaints::default(), REST);
    while shared.wanted() {
        match ask(shared).and_then(|(brokers, leaders)| shared.lead(brokers, leaders)) {
            Ok(true) => pause = REST,
            Ok(false) => shared.unreachable(),
            Err(e) => {
                pause = (pause * 2).min(AT_MOST);
                complaints.say(|| {
                    format!("cannot find out who leads the partitions of {}: {e}; retrying", shared.topic)
                });
                shared.unreachable();
            }
        }
        // Whoever asks twice within that time gets one answer.
        shared.pause(pause);
    }
}

type Known = (BTreeMap<i32, String>, BTreeMap<i32, Leader>);

/// Asks one broker after the other, those that are known first.
fn ask(shared: &Shared) -> Result<Known> {
    let known: Vec<String> = shared.state().brokers.values().cloned().collect();
    let mut failure = None;
    for address in known.iter().chain(&shared.bootstrap) {
        match ask_one(shared, address) {
            Ok(known) => return Ok(known),
            Err(e) => failure = Some(e),
        }
    }
    Err(failure.unwrap_or_else(|| Error::stop("no broker is named (setting `brokers`)")))
}

fn ask_one(shared: &Shared, address: &str) -> Result<Known> {
    let mut connection = Connection::open(address, &shared.security, CLIENT)?;
    let version = connection.version::<MetadataRequest>(VERSIONS)?;
    let topic = MetadataRequestTopic::default()
        .with_name(Some(TopicName(StrBytes::from_string(shared.topic.clone()))));
    let request =
        MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(false);
    let answer: MetadataResponse = connection.ask(version, &request)?;
    let brokers =
        answer.brokers.iter().map(|broker| (broker.node_id.0, format!("{}:{}", &*broker.host, broker.port)));
    let mut leaders = BTreeMap::new();
    for topic in &answer.topics {
        if topic.error_code != 0 {
            return Err(Error::retry(format!("kafka at {address}: {}", super::named(topic.error_code))));
        }
        for partition in topic.partitions.iter().filter(|partition| partition.leader_id.0 >= 0) {
            let leader = Leader { broker: partition.leader_id.0, epoch: partition.leader_epoch };
            leaders.insert(partition.partition_index, leader);
        }
    }
    Ok((brokers.collect(), leaders))
}
