//! The thread that asks which brokers lead the partitions, whenever somebody wants to know.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use kafka_protocol::messages::metadata_response::MetadataResponse;
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::connection::Connection;
use super::shared::{Leader, REST, Seen, Shared};
use super::{CLIENT, Complaints};
use crate::{Error, Kind, Result};

/// From 4 on it can be said that a topic is not to be created by asking, from 10 on answers have its id.
const VERSIONS: RangeInclusive<i16> = 4..=12;
/// Who asks again and again waits longer each time, up to this.
const AT_MOST: Duration = Duration::from_secs(2);

/// Asks until the end.
pub(super) fn run(shared: &Arc<Shared>) {
    let (mut complaints, mut pause, mut open) = (Complaints::default(), REST, None);
    while let Some(waited) = shared.wanted() {
        if waited {
            pause = REST;
        }
        match ask(shared, &mut open).and_then(|seen| shared.lead(seen)) {
            Ok(true) => {}
            Ok(false) => shared.unreachable(),
            Err(e) => {
                complaints.say(|| {
                    format!("cannot find out who leads the partitions of {}: {e}; retrying", shared.topic)
                });
                shared.unreachable();
            }
        }
        // Whoever asks twice within that time gets one answer.
        shared.pause(pause);
        pause = (pause * 2).min(AT_MOST);
    }
}

/// Asks the broker that answered last, then one after the other: those to begin with, and those that are known. An error
/// that may pass is told rather than one that does not.
pub(super) fn ask(shared: &Shared, open: &mut Option<Connection>) -> Result<Seen> {
    if let Some(mut way) = open.take().filter(|way| !way.is_old())
        && let Ok(seen) = ask_one(shared, &mut way)
    {
        *open = Some(way);
        return Ok(seen);
    }
    let known: Vec<String> = shared.state().brokers.values().cloned().collect();
    let mut failure: Option<Error> = None;
    for address in shared.bootstrap.iter().chain(&known) {
        let way = Connection::open(address, &shared.security, CLIENT);
        match way.and_then(|mut way| ask_one(shared, &mut way).map(|seen| (way, seen))) {
            Ok((way, seen)) => {
                *open = Some(way);
                return Ok(seen);
            }
            Err(e) if failure.as_ref().is_some_and(|known| known.kind() == Kind::Retry) => drop(e),
            Err(e) => failure = Some(e),
        }
    }
    Err(failure.unwrap_or_else(|| Error::stop("no broker is named (setting `brokers`)")))
}

fn ask_one(shared: &Shared, connection: &mut Connection) -> Result<Seen> {
    let version = connection.version::<MetadataRequest>(VERSIONS)?;
    let topic = MetadataRequestTopic::default()
        .with_name(Some(TopicName(StrBytes::from_string(shared.topic.clone()))));
    let request =
        MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(false);
    let answer: MetadataResponse = connection.ask(version, &request)?;
    let place = |host: &str, port| match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    };
    let brokers = answer.brokers.iter().map(|broker| (broker.node_id.0, place(&broker.host, broker.port)));
    let mut seen = Seen { topic: Uuid::nil(), brokers: brokers.collect(), leaders: BTreeMap::new() };
    for topic in &answer.topics {
        if topic.error_code != 0 {
            let address = connection.address();
            return Err(Error::retry(format!("kafka at {address}: {}", super::named(topic.error_code))));
        }
        seen.topic = topic.topic_id;
        for partition in topic.partitions.iter().filter(|partition| partition.leader_id.0 >= 0) {
            let leader = Leader { broker: partition.leader_id.0, epoch: partition.leader_epoch };
            seen.leaders.insert(partition.partition_index, leader);
        }
    }
    Ok(seen)
}
