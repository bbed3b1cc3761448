//! The way of messages from a broker into batches, through the foreign calls of `messages.rs`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array, AsArray};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::Offset;

use super::client::{Context, Settings};
use super::collect::Collector;
use super::embedded::Broker;
use super::group::{Polled, Queue};
use crate::batch::Delivered;

pub(super) const TOPIC: &str = "odd";
/// More than are handed over at once, and more than a batch has room for.
pub(super) const EVENTS: usize = 9_000;
pub(super) const END: i64 = 9_000;

/// What the event at an offset is made of: every combination comes.
fn key(at: usize) -> Option<Vec<u8>> {
    (!at.is_multiple_of(3)).then(|| vec![b'k'; at % 3 - 1])
}

fn value(at: usize) -> Option<Vec<u8>> {
    (!at.is_multiple_of(5))
        .then(|| (0..at % 5 - 1).map(|byte| u8::try_from(byte * 80 + at % 7).unwrap_or(0)).collect())
}

fn headers(at: usize) -> Vec<(&'static str, Option<Vec<u8>>)> {
    let all = [("", Some(vec![])), ("naïve", None), ("twice", Some(vec![0xff, 0])), ("twice", Some(vec![1]))];
    // None of the first few have any.
    all.into_iter().take(if at < 100 { 0 } else { at % 5 }).collect()
}

struct Topic {
    consumer: Arc<BaseConsumer<Context>>,
    queue: Queue,
    broker: Broker,
}

fn filled() -> Topic {
    let broker = Broker::start(TOPIC, 1).expect("a broker in this process");
    fill(&broker, 0..EVENTS, "none");
    of(broker, &[])
}

pub(super) fn fill(broker: &Broker, events: std::ops::Range<usize>, codec: &str) {
    let librdkafka = [("compression.codec".to_owned(), codec.to_owned())].into();
    let settings =
        Settings { brokers: broker.address(), topic: TOPIC.into(), librdkafka, ..Settings::default() };
    let producer: BaseProducer = settings.config().create().expect("a producer");
    for at in events {
        let (key, value) = (key(at), value(at));
        let mut record = BaseRecord::<[u8], [u8]>::to(TOPIC).partition(0).timestamp(1_700_000_000_000);
        (record.key, record.payload) = (key.as_deref(), value.as_deref());
        let headers = headers(at).into_iter().fold(OwnedHeaders::new(), |all, (key, value)| {
            all.insert(Header { key, value: value.as_deref() })
        });
        producer.send(record.headers(headers)).map_err(|(e, _)| e).expect("room for an event");
    }
    producer.flush(Duration::from_secs(20)).expect("a broker that takes them");
}

/// A consumer of the topic that has its partition.
fn of(broker: Broker, properties: &[(&str, &str)]) -> Topic {
    let librdkafka = properties.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let (brokers, topic, group) = (broker.address(), TOPIC.into(), "g".into());
    let settings = Settings { brokers, topic, group, librdkafka, ..Settings::default() };
    let consumer = Arc::new(settings.consumer().expect("a consumer"));
    let queue = Queue::of(&consumer, TOPIC, 0).expect("a queue");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(TOPIC, 0, Offset::Offset(0)).expect("a partition");
    consumer.assign(&list).expect("an assignment");
    Topic { consumer, queue, broker }
}

impl Topic {
    /// Polls until the collector has passed an offset; what it handed over.
    fn read(&mut self, collector: &mut Collector, to: i64) -> Vec<Delivered> {
        let (began, mut batches) = (Instant::now(), vec![]);
        while collector.position() < to {
            assert!(began.elapsed() < Duration::from_secs(30), "only {} events came", collector.position());
            let _ = self.consumer.poll(Duration::ZERO);
            let polled = self.queue.poll(Duration::from_millis(20), collector).expect("a broker");
            assert!(matches!(polled, Polled::Messages | Polled::Nothing), "{polled:?}");
            if collector.full() {
                batches.extend(collector.take());
            }
        }
        batches.extend(collector.take());
        batches
    }
}

pub(super) fn collector(at: i64) -> Collector {
    Collector::new(crate::env::machine(), TOPIC.into(), 0, at, 4 << 20)
}

pub(super) fn assert_are(batches: &[Delivered], from: usize, to: usize) {
    let mut at = from;
    for batch in batches {
        assert_eq!((usize::try_from(batch.from), batch.len()), (Ok(at), batch.offset.len()));
        assert!(batch.len() <= 8192);
        for row in 0..batch.len() {
            assert_eq!(usize::try_from(batch.offset.value(row)), Ok(at));
            assert_eq!(batch.timestamp.value(row), 1_700_000_000_000_000);
            let of =
                |column: &arrow::array::BinaryArray| column.is_valid(row).then(|| column.value(row).to_vec());
            assert_eq!((of(&batch.key), of(&batch.value)), (key(at), value(at)), "offset {at}");
            let list = batch.headers.value(row);
            let (names, values) = (list.as_struct().column(0), list.as_struct().column(1));
            let found = (0..list.len()).map(|i| {
                let values = values.as_binary::<i32>();
                (
                    names.as_string::<i32>().value(i).to_owned(),
                    values.is_valid(i).then(|| values.value(i).to_vec()),
                )
            });
            let wanted = headers(at).into_iter().map(|(name, value)| (name.to_owned(), value));
            assert!(found.eq(wanted), "headers of offset {at}");
            at += 1;
        }
    }
    assert_eq!(at, to);
}

#[test]
fn messages_arrive_as_they_are() {
    let mut topic = filled();
    let batches = topic.read(&mut collector(0), END);
    assert!(batches.len() > 1, "more than one batch");
    assert_are(&batches, 0, EVENTS);
}

/// What was handed over and did not fit must not come instead of what is read again: that would be a hole.
#[test]
fn going_back_forgets_what_was_handed_over() {
    let mut topic = filled();
    let mut reader = collector(0);
    // In the middle of what was handed over at once: there is a rest.
    let began = Instant::now();
    while !reader.full() {
        assert!(began.elapsed() < Duration::from_secs(30), "no full batch");
        let _ = topic.consumer.poll(Duration::ZERO);
        topic.queue.poll(Duration::from_millis(20), &mut reader).expect("a broker");
    }
    assert!(!reader.rest.is_empty(), "nothing was left over");
    reader.reset(17);
    topic.consumer.seek(TOPIC, 0, Offset::Offset(17), Duration::from_secs(5)).expect("a seek");
    assert_are(&topic.read(&mut reader, END), 17, EVENTS);
}

#[test]
fn what_is_asked_for_ends_before_an_offset() {
    let mut topic = filled();
    let mut reader = collector(0).until(5_000);
    assert_are(&topic.read(&mut reader, 5_000), 0, 5_000);
    assert_eq!(reader.position(), 5_000);
}

/// What a rebalance does to partitions that stay: they are paused and go on where librdkafka believes that the last
/// message was. It counts what is no message, too: who does not seek loses one.
#[test]
fn after_what_is_no_message_the_next_one_comes_all_the_same() {
    let broker = Broker::start(TOPIC, 1).expect("a broker in this process");
    fill(&broker, 0..10, "none");
    let mut topic = of(broker, &[("enable.partition.eof", "true")]);
    let mut reader = collector(0);
    let began = Instant::now();
    let (consumer, queue) = (&topic.consumer, &mut topic.queue);
    let mut until = |wanted: Polled, reader: &mut Collector| {
        loop {
            assert!(began.elapsed() < Duration::from_secs(30), "{wanted:?} does not come");
            let _ = consumer.poll(Duration::ZERO);
            if queue.poll(Duration::from_millis(20), reader).expect("a broker") == wanted {
                break;
            }
        }
    };
    until(Polled::End, &mut reader);
    assert_eq!(reader.position(), 10);
    topic.consumer.seek(TOPIC, 0, Offset::Offset(reader.position()), Duration::from_secs(5)).expect("a seek");
    let mut list = TopicPartitionList::new();
    list.add_partition(TOPIC, 0);
    topic.consumer.pause(&list).expect("a pause");
    fill(&topic.broker, 10..20, "none");
    topic.consumer.resume(&list).expect("an end of the pause");
    while reader.position() < 20 {
        until(Polled::Messages, &mut reader);
    }
    assert_are(&[reader.take().expect("events")], 0, 20);
}
