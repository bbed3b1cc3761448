//! Sends generated events to a topic, at a rate, and makes the topic if there is none.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{DefaultClientContext, OAuthToken};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, types::RDKafkaErrorCode as Code};

use super::auth::{self, Auth};
use super::generate::{Generator, KINDS};
use crate::env::Env;
use crate::{Error, Result};

/// What to send where.
#[derive(Clone, Debug)]
pub struct Plan {
    /// `host:port,…`
    pub brokers: String,
    /// The topic.
    pub topic: String,
    /// Partitions of the topic, if it has to be made.
    pub partitions: i32,
    /// Events a second; 0: as fast as possible.
    pub rate: u64,
    /// Events in all; 0: until stopped.
    pub count: u64,
    /// Seed of the generator.
    pub seed: u64,
    /// The share of bad events.
    pub bad: f64,
    /// `none`, `gzip`, `snappy`, `lz4` or `zstd`.
    pub compression: String,
    /// Event times are spread over so much time before now.
    pub spread: Duration,
    /// How the client proves who it is.
    pub auth: Auth,
    /// Passed through to librdkafka.
    pub librdkafka: BTreeMap<String, String>,
}

/// What was sent.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Sent {
    /// Events that the broker has.
    pub delivered: u64,
    /// Events that it has not.
    pub failed: u64,
    /// Events by kind.
    pub kinds: BTreeMap<&'static str, u64>,
}

/// Counts what was delivered.
#[derive(Default)]
struct Deliveries {
    delivered: AtomicU64,
    failed: AtomicU64,
    auth: Auth,
    brokers: String,
}

impl ClientContext for Deliveries {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> std::result::Result<OAuthToken, Box<dyn StdError>> {
        auth::answer(self.auth, &self.brokers)
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!("kafka: {error}: {reason}");
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();
    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let counter = if result.is_ok() { &self.delivered } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Makes the topic unless it is there.
pub async fn topic(plan: &Plan) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> = client(plan).create().map_err(|e| wrong(&e))?;
    plan.auth.begin(admin.inner(), &plan.brokers)?;
    let topic = NewTopic::new(&plan.topic, plan.partitions, TopicReplication::Fixed(-1));
    let options = AdminOptions::new().request_timeout(Some(Duration::from_secs(8)));
    let made = admin.create_topics([&topic], &options).await;
    let made = made.map_err(|e| {
        Error::stop(format!("cannot reach kafka at {} (setting `brokers`): {e}", plan.brokers))
    })?;
    match made.into_iter().next() {
        None | Some(Ok(_) | Err((_, Code::TopicAlreadyExists))) => Ok(()),
        Some(Err((_, code @ (Code::OperationTimedOut | Code::RequestTimedOut)))) => {
            Err(Error::stop(format!("cannot reach kafka at {} (setting `brokers`): {code}", plan.brokers)))
        }
        Some(Err((name, code))) => Err(Error::stop(format!("cannot create topic {name}: {code}"))),
    }
}

/// Sends events until the plan is done or `stop`; `progress` hears how many were sent.
pub fn send(plan: &Plan, env: &Env, stop: &AtomicBool, mut progress: impl FnMut(u64)) -> Result<Sent> {
    let mut config = client(plan);
    config
        .set("enable.idempotence", "true")
        .set("partitioner", "murmur2_random")
        .set("compression.type", &plan.compression)
        .set("linger.ms", "20")
        .set("batch.size", "262144")
        .set("queue.buffering.max.messages", "500000")
        .set("message.timeout.ms", "30000");
    // Once more: they go before what stands here.
    config.extend(plan.librdkafka.clone());
    let deliveries = Deliveries { auth: plan.auth, brokers: plan.brokers.clone(), ..Deliveries::default() };
    let producer: ThreadedProducer<Deliveries> =
        config.create_with_context(deliveries).map_err(|e| wrong(&e))?;
    plan.auth.begin(producer.client(), &plan.brokers)?;
    let mut generator = Generator::new(plan.seed, plan.bad);
    let (mut key, mut value) = (String::new(), String::new());
    let mut sent = Sent::default();
    let mut kinds = [0u64; KINDS.len()];
    let (began, spread) = (Instant::now(), i64::try_from(plan.spread.as_micros()).unwrap_or(i64::MAX));
    let mut number = 0u64;
    while (plan.count == 0 || number < plan.count) && !stop.load(Ordering::Relaxed) {
        if plan.rate > 0 && pause(began, number, plan.rate) {
            continue;
        }
        // With a spread the first event is the oldest; without an end the spread is one turn.
        let of = if plan.count == 0 { 1_000_000 } else { plan.count };
        let back = i128::from(spread) * i128::from(of - 1 - number % of) / i128::from(of);
        let time = env.now() - i64::try_from(back).unwrap_or(0);
        let made = generator.next(time, &mut key, &mut value);
        kinds[made as usize] += 1;
        let mut record = BaseRecord::to(&plan.topic).key(&key).payload(&value);
        while let Err((error, back)) = producer.send(record) {
            let full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
            if !full {
                return Err(Error::stop(format!("cannot send to topic {}: {error}", plan.topic)));
            }
            if producer.context().failed.load(Ordering::Relaxed) > 0 || stop.load(Ordering::Relaxed) {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
            record = back;
        }
        number += 1;
        if number.is_multiple_of(128) {
            progress(number);
        }
    }
    producer
        .flush(Duration::from_secs(30))
        .map_err(|e| Error::stop(format!("the last events did not reach kafka at {}: {e}", plan.brokers)))?;
    progress(number);
    sent.delivered = producer.context().delivered.load(Ordering::Relaxed);
    sent.failed = number - sent.delivered;
    sent.kinds = KINDS.iter().map(|(made, name)| (*name, kinds[*made as usize])).collect();
    Ok(sent)
}

/// Waits a little if we are ahead of the rate.
fn pause(began: Instant, number: u64, rate: u64) -> bool {
    let due = Duration::from_secs_f64(number as f64 / rate as f64);
    let ahead = due.saturating_sub(began.elapsed());
    if ahead.is_zero() {
        return false;
    }
    std::thread::sleep(ahead.min(Duration::from_millis(20)));
    true
}

fn client(plan: &Plan) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &plan.brokers).set("client.id", "tidemill-produce");
    for (name, value) in &plan.librdkafka {
        config.set(name, value);
    }
    config
}

fn wrong(error: &KafkaError) -> Error {
    Error::usage(format!("librdkafka does not take the configuration: {error}"))
}
