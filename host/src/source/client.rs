//! The Kafka client: its configuration, and what it tells us from its own threads.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::error::Error as StdError;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{TopicPartitionList, util::Timeout};

use super::auth::{self, Auth};
use crate::{Error, Result};

/// Where a topic begins that the commit log does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At its first event.
    Earliest,
    /// After its last one.
    Latest,
}

/// Who fetches messages; librdkafka keeps the group either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fetch {
    /// librdkafka.
    #[default]
    Librdkafka,
    /// This host, over connections of its own: an event costs less.
    Direct,
}

impl Fetch {
    /// Reads `librdkafka` or `direct`.
    pub fn parse(text: &str) -> Option<Fetch> {
        match text {
            "librdkafka" => Some(Fetch::Librdkafka),
            "direct" => Some(Fetch::Direct),
            _ => None,
        }
    }
}

/// What the source must know.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `host:port,…`
    pub brokers: String,
    /// The topic to read.
    pub topic: String,
    /// The consumer group to join.
    pub group: String,
    /// A name that survives restarts (static membership); none: a new member each time.
    pub instance: Option<String>,
    /// How this client proves who it is.
    pub auth: Auth,
    /// Who fetches.
    pub fetch: Fetch,
    /// Bytes that are fetched ahead of a partition, more or less; 0: the default of who fetches.
    pub prefetch: usize,
    /// Further librdkafka properties, passed through.
    pub librdkafka: BTreeMap<String, String>,
}

/// How long a single question to the brokers may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

impl Settings {
    pub(super) fn consumer(&self) -> Result<BaseConsumer<Context>> {
        let consumer: BaseConsumer<Context> =
            self.config().create_with_context(Context::new(self)).map_err(unusable)?;
        self.auth.begin(consumer.client(), &self.brokers)?;
        Ok(consumer)
    }

    /// What every client of these brokers is made from.
    pub(crate) fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("group.id", &self.group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("client.id", super::examine::CLIENT)
            // Prefetch enough to be never idle; the bound is in bytes.
            .set("queued.min.messages", "100000")
            .set("fetch.queue.backoff.ms", "20")
            // A broker answers one fetch after the other. One for partitions that have nothing is waited for for so long,
            // and meanwhile the others live on what was fetched ahead: by default half a second.
            .set("fetch.wait.max.ms", "100")
            // By default up to 10 s pass before a broker is tried again: most of what readers notice of its restart.
            .set("reconnect.backoff.max.ms", "500")
            // A broker that is starting takes connections before it answers: by default that is waited for for 30 s.
            .set("socket.connection.setup.timeout.ms", "5000")
            .set("log.connection.close", "false");
        if self.prefetch > 0 {
            // Queues that are split off are bounded each by itself.
            config.set("queued.max.messages.kbytes", (self.prefetch >> 10).to_string());
        }
        if let Some(instance) = &self.instance {
            config.set("group.instance.id", instance);
        }
        trust_the_system(&mut config, &self.librdkafka);
        self.auth.configure(&mut config);
        for (name, value) in &self.librdkafka {
            config.set(name, value);
        }
        config.set_log_level(RDKafkaLogLevel::Warning);
        config
    }
}

/// Has librdkafka look for the authorities that the system trusts in the places of the usual systems: the OpenSSL that
/// is built in knows only its own. Who says where they are, to OpenSSL or to librdkafka, is heard instead.
pub(super) fn trust_the_system(config: &mut ClientConfig, properties: &BTreeMap<String, String>) {
    let said = ["SSL_CERT_FILE", "SSL_CERT_DIR"].iter().any(|name| std::env::var_os(name).is_some());
    if !said && !says_whom_to_trust(properties) {
        config.set("ssl.ca.location", "probe");
    }
}

fn says_whom_to_trust(properties: &BTreeMap<String, String>) -> bool {
    properties.keys().any(|name| name.starts_with("ssl.ca"))
}

/// Why no client can be made.
pub(super) fn unusable(error: KafkaError) -> Error {
    match error {
        KafkaError::ClientConfig(_, reason, name, _) => Error::usage(format!(
            "librdkafka does not take the property {name} (setting `librdkafka`, flag -X): {reason}"
        )),
        other => Error::stop(format!("cannot make a Kafka client: {other}")),
    }
}

/// A change of the partitions that this member owns.
#[derive(Clone, Debug)]
pub(super) enum Rebalance {
    Assign(Vec<i32>),
    Revoke { partitions: Vec<i32>, lost: bool },
}

/// Receives what librdkafka calls back: rebalances are only noted here, and carried out by the thread
/// that serves the group, outside the callback.
pub(super) struct Context {
    brokers: String,
    auth: Auth,
    events: Mutex<VecDeque<Rebalance>>,
    serving: AtomicBool,
    closing: AtomicBool,
    last: Mutex<Option<Instant>>,
    reason: Mutex<Option<String>>,
}

/// The same complaint is made this often.
pub(super) const COMPLAIN: Duration = Duration::from_secs(10);

impl Context {
    fn new(settings: &Settings) -> Self {
        Context {
            brokers: settings.brokers.clone(),
            auth: settings.auth,
            events: Mutex::default(),
            serving: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            last: Mutex::default(),
            reason: Mutex::default(),
        }
    }

    pub(super) fn next(&self) -> Option<Rebalance> {
        self.events.lock().ok()?.pop_front()
    }

    /// From now on trouble is logged; before, who asks the brokers says it.
    pub(super) fn serve(&self) {
        self.serving.store(true, Ordering::SeqCst);
    }

    /// The last trouble that librdkafka told of.
    pub(super) fn reason(&self) -> Option<String> {
        self.reason.lock().ok()?.take()
    }

    /// From now on a revocation is carried out in the callback: nobody serves the group any more.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
    }
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> std::result::Result<OAuthToken, Box<dyn StdError>> {
        auth::answer(self.auth, &self.brokers)
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // What matters to a person comes through `error`; this is for those who debug.
        tracing::debug!(target: "librdkafka", ?level, "{facility}: {message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // That all brokers are down says less than why each one is.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown)
            && let Ok(mut kept) = self.reason.lock()
        {
            *kept = Some(reason.into());
        }
        if !self.serving.load(Ordering::SeqCst) {
            return;
        }
        let Ok(mut last) = self.last.lock() else { return };
        if last.is_some_and(|at| at.elapsed() < COMPLAIN) {
            return tracing::debug!(target: "librdkafka", "{error}: {reason}");
        }
        *last = Some(Instant::now());
        tracing::warn!("kafka at {} (setting `brokers`): {reason}; retrying", self.brokers);
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, error: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions = list.elements().iter().map(|e| e.partition()).collect();
        if self.closing.load(Ordering::SeqCst) {
            if let Err(e) = consumer.incremental_unassign(list).or_else(|_| consumer.unassign()) {
                tracing::debug!("unassign while closing: {e}");
            }
            return;
        }
        let event = match error {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Rebalance::Assign(partitions),
            _ => Rebalance::Revoke { partitions, lost: consumer.assignment_lost() },
        };
        if let Ok(mut events) = self.events.lock() {
            events.push_back(event);
        }
    }

    fn main_queue_min_poll_interval(&self) -> Timeout {
        Timeout::After(Duration::from_millis(200))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_says_whom_to_trust_is_heard() {
        let of = |name: &str| [(name.to_owned(), "x".to_owned())].into();
        assert!(says_whom_to_trust(&of("ssl.ca.location")) && says_whom_to_trust(&of("ssl.ca.pem")));
        assert!(!says_whom_to_trust(&of("ssl.key.location")));
        // The environment of this process may say it, too.
        let settings = Settings { librdkafka: of("ssl.ca.location"), ..Settings::default() };
        assert_eq!(settings.config().get("ssl.ca.location"), Some("x"));
        let found = Settings::default().config().get("ssl.ca.location").map(str::to_owned);
        assert!(found.is_none_or(|place| place == "probe"));
    }
}
