//! From a broker into batches, over the protocol: librdkafka's mock cluster, filled by librdkafka's producer.

use std::time::{Duration, Instant};

use super::super::client::{Fetch, Settings};
use super::super::collect::Collector;
use super::super::embedded::Broker;
use super::super::group::Polled;
use super::super::queue_tests::{END, EVENTS, TOPIC, assert_are, collector, fill};
use super::{Fetcher, Queue};
use crate::batch::Delivered;

fn settings(broker: &Broker) -> Settings {
    let (brokers, topic) = (broker.address(), TOPIC.into());
    Settings { brokers, topic, fetch: Fetch::Direct, prefetch: 1 << 20, ..Settings::default() }
}

/// Polls until the collector has passed an offset; what it handed over.
fn read(queue: &mut Queue, collector: &mut Collector, to: i64) -> Vec<Delivered> {
    let (began, mut batches) = (Instant::now(), vec![]);
    while collector.position() < to {
        assert!(began.elapsed() < Duration::from_secs(30), "only {} events came", collector.position());
        let polled = queue.poll(Duration::from_millis(20), collector).expect("a broker");
        assert!(matches!(polled, Polled::Messages | Polled::Nothing), "{polled:?}");
        if collector.full() {
            batches.extend(collector.take());
        }
    }
    batches.extend(collector.take());
    batches
}

#[test]
fn messages_arrive_as_they_are_whatever_they_are_packed_with() {
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let broker = Broker::start(TOPIC, 1).expect("a broker in this process");
        fill(&broker, 0..EVENTS, codec);
        let fetcher = Fetcher::new(&settings(&broker)).expect("a fetcher");
        let mut queue = Queue::new(fetcher.take(0, 0).expect("threads"));
        let batches = read(&mut queue, &mut collector(0), END);
        assert!(batches.len() > 1, "{codec}: more than one batch");
        assert_are(&batches, 0, EVENTS);
    }
}

/// What is left of before must not come instead of what is read again: that would be a hole.
#[test]
fn going_back_forgets_what_was_fetched() {
    let broker = Broker::start(TOPIC, 1).expect("a broker in this process");
    fill(&broker, 0..EVENTS, "lz4");
    let fetcher = Fetcher::new(&settings(&broker)).expect("a fetcher");
    let mut queue = Queue::new(fetcher.take(0, 4_000).expect("threads"));
    let mut reader = collector(4_000);
    read(&mut queue, &mut reader, 4_001);
    reader.reset(17);
    queue.seek(17);
    assert_are(&read(&mut queue, &mut reader, END), 17, EVENTS);
    // Taken anew, while the old one is still there: its end must not end the new one.
    let mut again = Queue::new(fetcher.take(0, 100).expect("threads"));
    queue.seek(5_000);
    assert_eq!(queue.poll(Duration::ZERO, &mut collector(0)).expect("nobody"), Polled::Nothing);
    drop(queue);
    assert_are(&read(&mut again, &mut collector(100), END), 100, EVENTS);
    // What comes later comes, too.
    fill(&broker, EVENTS..EVENTS + 10, "none");
    assert_are(&read(&mut again, &mut collector(END), END + 10), EVENTS, EVENTS + 10);
}

#[test]
fn an_offset_that_is_not_there_is_said_to_be_gone() {
    let broker = Broker::start(TOPIC, 1).expect("a broker in this process");
    fill(&broker, 0..10, "none");
    let fetcher = Fetcher::new(&settings(&broker)).expect("a fetcher");
    let mut queue = Queue::new(fetcher.take(0, 1_000).expect("threads"));
    let mut reader = collector(1_000);
    let began = Instant::now();
    while queue.poll(Duration::from_millis(20), &mut reader).expect("a broker") != Polled::Gone {
        assert!(began.elapsed() < Duration::from_secs(30), "nobody says it");
    }
    assert_eq!(queue.poll(Duration::from_millis(200), &mut reader).expect("a broker"), Polled::Nothing);
    reader.reset(3);
    queue.seek(3);
    assert_are(&read(&mut queue, &mut reader, 10), 3, 10);
}

/// The leader goes to another broker, and then that one goes away.
#[test]
fn partitions_are_fetched_from_whoever_leads_them() {
    let broker = Broker::several(TOPIC, 1, 3);
    let lead = |id| broker.cluster().partition_leader(TOPIC, 0, Some(id)).expect("a leader");
    lead(1);
    fill(&broker, 0..3_000, "lz4");
    let fetcher = Fetcher::new(&settings(&broker)).expect("a fetcher");
    let mut queue = Queue::new(fetcher.take(0, 0).expect("threads"));
    let mut reader = collector(0);
    assert_are(&read(&mut queue, &mut reader, 3_000), 0, 3_000);
    lead(2);
    fill(&broker, 3_000..6_000, "none");
    assert_are(&read(&mut queue, &mut reader, 6_000), 3_000, 6_000);
    broker.cluster().broker_down(2).expect("a broker");
    lead(3);
    fill(&broker, 6_000..EVENTS, "none");
    assert_are(&read(&mut queue, &mut reader, END), 6_000, EVENTS);
    assert_eq!(fetcher.leader(0), Some(3));
}

#[test]
fn what_a_broker_refuses_for_a_moment_is_asked_for_again() {
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr as Code};
    let broker = Broker::several(TOPIC, 1, 1);
    fill(&broker, 0..EVENTS, "none");
    let errors = [
        Code::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        Code::RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH,
        Code::RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH,
        Code::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
        Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        Code::RD_KAFKA_RESP_ERR_UNKNOWN,
    ];
    broker.cluster().request_errors(RDKafkaApiKey::Fetch, &errors);
    let fetcher = Fetcher::new(&settings(&broker)).expect("a fetcher");
    let (began, mut queue) = (Instant::now(), Queue::new(fetcher.take(0, 0).expect("threads")));
    assert_are(&read(&mut queue, &mut collector(0), END), 0, EVENTS);
    // It has rested after each of them: they were met.
    assert!(began.elapsed() > Duration::from_secs(1), "{:?}", began.elapsed());
}

#[test]
fn brokers_are_named_as_for_librdkafka() {
    let of = super::fetcher::address;
    assert_eq!(of(" kafka:9094"), "kafka:9094");
    assert_eq!((of("kafka"), of("SASL_SSL://kafka")), ("kafka:9092".into(), "kafka:9092".into()));
    assert_eq!((of("ssl://[::1]:1"), of("[::1]")), ("[::1]:1".into(), "[::1]:9092".into()));
}

#[test]
fn who_cannot_be_trusted_is_known_before_anything_is_fetched() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    // It speaks, but no TLS. One that is starting may learn it: it is asked three times.
    let talker = std::thread::spawn(move || {
        for _ in 0..3 {
            let (mut way, _) = listener.accept().expect("a connection");
            std::io::Write::write_all(&mut way, b"HTTP/1.1 400 what?\r\n\r\n").expect("a reader");
        }
    });
    let librdkafka = [("security.protocol".to_owned(), "ssl".to_owned())].into();
    let settings = Settings { brokers: address, topic: TOPIC.into(), librdkafka, ..Settings::default() };
    let error = Fetcher::new(&settings).expect("a fetcher").probe().expect_err("no TLS there");
    assert!(error.to_string().contains("security.protocol must fit the listener"), "{error}");
    talker.join().expect("no panic");
    // One that is away may come.
    let away = Settings { brokers: "127.0.0.1:1".into(), topic: TOPIC.into(), ..Settings::default() };
    Fetcher::new(&away).expect("a fetcher").probe().expect("nothing that a person must see to");
}

#[test]
fn who_leads_is_told_by_the_latest_and_a_topic_made_anew_is_not_read_on() {
    let nobody = Settings { brokers: "127.0.0.1:1".into(), topic: TOPIC.into(), ..Settings::default() };
    let fetcher = Fetcher::new(&nobody).expect("a fetcher");
    let mut queue = Queue::new(fetcher.take(0, 10).expect("threads"));
    let (one, two) = (uuid::Uuid::from_u128(1), uuid::Uuid::from_u128(2));
    let lead = |topic, broker, epoch| {
        let brokers = [(1, "127.0.0.1:1".to_owned()), (2, "127.0.0.1:1".to_owned())].into();
        let leaders = [(0, super::shared::Leader { broker, epoch })].into();
        fetcher.shared().lead(super::shared::Seen { topic, brokers, leaders }).expect("threads")
    };
    assert!(lead(one, 1, 5));
    lead(one, 2, 4);
    assert_eq!(fetcher.leader(0), Some(1), "that was long ago");
    lead(one, 2, 6);
    assert_eq!(fetcher.leader(0), Some(2));
    assert!(!lead(one, 3, 7), "nobody knows where broker 3 listens");
    assert_eq!(queue.poll(Duration::ZERO, &mut collector(10)).expect("no fault"), Polled::Nothing);
    lead(two, 1, 0);
    assert_eq!(fetcher.leader(0), Some(1));
    assert_eq!(queue.poll(Duration::ZERO, &mut collector(10)).expect("no fault"), Polled::Gone);
}
