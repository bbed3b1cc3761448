//! Reads a range of offsets again, beside the group.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer;
use rdkafka::topic_partition_list::Offset;

use super::client::Settings;
use super::collect::Collector;
use super::group::{Polled, Queue};
use crate::batch::Delivered;
use crate::env::Env;
use crate::{Error, Result};

/// Bytes of a batch.
const BATCH: usize = 4 << 20;
/// How long nothing may come.
const SILENCE: Duration = Duration::from_secs(30);

/// What was delivered again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// Events.
    pub events: u64,
    /// There are no more in these offsets; otherwise nobody wanted more.
    pub whole: bool,
}

/// Delivers the events of a partition from one offset to before another, in batches, as long as `each` wants more.
/// Blocks.
pub fn replay(
    settings: &Settings,
    env: &Env,
    (partition, from, to): (i32, i64, i64),
    mut each: impl FnMut(Delivered) -> Result<bool>,
) -> Result<Replayed> {
    let mut done = Replayed { events: 0, whole: true };
    if from >= to {
        return Ok(done);
    }
    let failed = |e: &dyn std::fmt::Display| {
        Error::retry(format!("cannot read offsets {from} to {to} of partition {partition} again: {e}"))
    };
    // A static member's name is taken; one that only assigns needs none.
    let mut settings = Settings { instance: None, ..settings.clone() };
    settings.librdkafka.insert("enable.partition.eof".into(), "true".into());
    let consumer = settings.consumer()?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&settings.topic, partition, Offset::Offset(from)).map_err(|e| failed(&e))?;
    let consumer = Arc::new(consumer);
    let mut queue = Queue::of(&consumer, &settings.topic, partition)?;
    consumer.assign(&list).map_err(|e| failed(&e))?;
    let topic = Arc::from(settings.topic.as_str());
    let mut collector = Collector::new(env.clone(), topic, partition, from, BATCH).until(to);
    let mut heard = Instant::now();
    // The end of what is in the topic may lie before `to` only by holes: compaction, transaction markers.
    while collector.position() < to {
        // Errors of the client come this way.
        if let Some(Err(e)) = consumer.poll(Duration::ZERO) {
            tracing::debug!("kafka: {e}");
        }
        match queue.poll(Duration::from_millis(100), &mut collector)? {
            Polled::Messages => {
                heard = Instant::now();
                if collector.full() && !hand_over(&mut collector, &mut each, &mut done.events)? {
                    // The last batch may well have been the last of all.
                    done.whole = collector.position() >= to;
                    return Ok(done);
                }
            }
            Polled::Gone => {
                return Err(Error::stop(format!(
                    "offsets {from} to {to} of partition {partition} are needed once more and are gone from the topic"
                )));
            }
            // There is no more: what lies before `to` are holes, or the count will tell.
            Polled::End => break,
            Polled::Trouble => return Err(failed(&"the brokers had an error")),
            Polled::Nothing if heard.elapsed() > SILENCE => return Err(failed(&"nothing came")),
            Polled::Nothing => {}
        }
    }
    hand_over(&mut collector, &mut each, &mut done.events)?;
    Ok(done)
}

/// Hands a batch over. False: no more is wanted.
fn hand_over(
    collector: &mut Collector,
    each: &mut impl FnMut(Delivered) -> Result<bool>,
    events: &mut u64,
) -> Result<bool> {
    let Some(delivered) = collector.take() else { return Ok(true) };
    *events += delivered.len() as u64;
    each(delivered)
}
