//! The brokers, the topic and the group, in the order in which a host meets them.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use rdkafka::error::RDKafkaErrorCode as Code;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::course::Course;
use super::greeting::{self, Heard};
use super::refusals::{self, Security};
use super::report::Finding;
use super::{net, ports};
use crate::config::Config;
use crate::env::Env;
use crate::source::examine::{Cluster, Examiner, Fetched, Refusal};
use crate::wait::blocking;

/// How long Kafka keeps an event of the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retention {
    /// For ever.
    Unlimited,
    /// So long.
    For(Duration),
    /// The brokers did not say.
    Unknown,
}

/// Topics are kept a while at least, so that a host may be away as long.
const SHORT: Duration = Duration::from_secs(3600);
/// The port of a broker where an address has none.
const PORT: u16 = 9092;

/// All steps. `told` hears of the retention as soon as it is known, or that it will not be.
pub(super) async fn run(
    mut course: Course,
    config: &Config,
    env: &Env,
    told: watch::Sender<Option<Retention>>,
) {
    let (security, limit) = (Security::of(config), course.limit());
    let named = course.step("reachable", &[], reachable(limit, config)).await.unwrap_or_default();
    course.step("speaks kafka", &["reachable"], speaks(&named, security.tls, limit / 3)).await;
    let asking = Asking { config, security, wait: limit.mul_f32(0.7), client: None };
    let asking = course.step("answers", &["speaks kafka"], asking.client()).await;
    let Some((asking, cluster)) = asking else {
        course.skip(&["advertised", "topic", "retention", "events", "group", "members"], "answers");
        return;
    };
    course.step("advertised", &["answers"], advertised(&cluster, &named, limit)).await;
    course.step("topic", &["answers"], asking.topic(&cluster)).await;
    let kept = course.step("retention", &["topic", "advertised"], asking.retention()).await;
    told.send_replace(Some(kept.unwrap_or(Retention::Unknown)));
    course.step("events", &["topic", "advertised"], asking.events(&cluster, env)).await;
    course.step("group", &["topic", "advertised"], asking.group(&cluster)).await;
    course.step("members", &["group"], asking.members()).await;
}

/// The addresses of `brokers` that could be reached.
async fn reachable(limit: Duration, config: &Config) -> Finding<Vec<(String, u16)>> {
    let remedy = "start the broker, or correct the setting `brokers` (--brokers HOST:PORT)";
    let texts: Vec<&str> = config.brokers.split(',').map(str::trim).filter(|text| !text.is_empty()).collect();
    let asked = join_all(texts.iter().map(|text| async move {
        let (host, port) = net::parse(text, PORT).ok_or_else(|| "expected host:port".to_owned())?;
        net::reach(&host, port, limit.mul_f32(0.9)).await.map(|_| (host, port))
    }))
    .await;
    let (mut there, mut lines) = (Vec::new(), Vec::new());
    for (text, found) in texts.iter().zip(asked) {
        match found {
            Ok(address) => there.push(address),
            Err(why) => lines.push(format!("{text}: {why}")),
        }
    }
    let names = there.iter().map(|(host, port)| format!("{host}:{port}")).collect::<Vec<_>>().join(", ");
    match (there.is_empty(), lines.is_empty()) {
        (true, _) => Finding::failed(format!("cannot reach {}", lines.join("; ")), remedy),
        (false, true) => Finding::ok(names).with(there),
        (false, false) => {
            Finding::warning(format!("{names}; but not {}", lines.join("; ")), remedy).with(there)
        }
    }
}

/// Whether it is Kafka that listens, with TLS or without as the settings have it.
async fn speaks(brokers: &[(String, u16)], tls: bool, wait: Duration) -> Finding {
    for (host, port) in brokers {
        let wanted = heard(host, *port, tls, wait).await;
        if wanted == Heard::Right {
            continue;
        }
        let at = format!("{host}:{port}");
        let other = heard(host, *port, !tls, wait).await;
        if other == Heard::Right {
            return match tls {
                true => Finding::failed(
                    format!("{at} speaks Kafka without TLS, and security.protocol asks for TLS"),
                    "leave out -X security.protocol, or name the port that speaks TLS (--brokers)",
                ),
                false => Finding::failed(
                    format!("{at} speaks TLS, and security.protocol is without"),
                    "-X security.protocol=SSL (or SASL_SSL), and -X ssl.ca.location=FILE where no public authority \
                     has signed its certificate; or name the port without TLS (--brokers)",
                ),
            };
        }
        let held = match tokio::net::lookup_host((host.as_str(), *port)).await {
            Ok(mut addresses) => addresses.next().and_then(ports::held),
            Err(_) => None,
        };
        let who = held.unwrap_or_else(|| "what listens there".into());
        let how = match [wanted, other] {
            [Heard::Else(said), _] | [_, Heard::Else(said)] if !said.is_empty() => {
                format!("it answered \"{said}\"")
            }
            [Heard::Else(_), _] => "its answer is another".into(),
            [Heard::Closed, _] => "it ended the connection".into(),
            _ => format!("no answer within {wait:.1?}"),
        };
        return Finding::failed(
            format!("{at}: {who} does not speak Kafka: {how}"),
            "name the broker's own address (--brokers HOST:PORT), or free the port for it",
        );
    }
    Finding::ok(if tls { "yes, over TLS" } else { "yes" })
}

async fn heard(host: &str, port: u16, tls: bool, wait: Duration) -> Heard {
    let connected = tokio::time::timeout(wait, TcpStream::connect((host, port))).await;
    let Ok(Ok(mut stream)) = connected else { return Heard::Closed };
    match tls {
        true => greeting::tls(&mut stream, wait).await,
        false => greeting::kafka(&mut stream, wait).await,
    }
}

/// Whether clients can come where the brokers send them.
async fn advertised(cluster: &Cluster, named: &[(String, u16)], limit: Duration) -> Finding {
    let asked = join_all(cluster.brokers.iter().map(|(id, host, port)| async move {
        let found = net::reach(host, *port, limit.mul_f32(0.9)).await;
        found.err().map(|why| format!("broker {id} sends clients to {host}:{port}: {why}"))
    }))
    .await;
    let wrong: Vec<String> = asked.into_iter().flatten().collect();
    if !wrong.is_empty() {
        return Finding::failed(
            wrong.join("; "),
            "on the broker, set advertised.listeners to an address that this machine reaches",
        );
    }
    let loopback = |host: &str| host == "localhost" || host.starts_with("127.") || host == "::1";
    let near = cluster.brokers.iter().find(|(_, host, _)| loopback(host));
    if let Some((id, host, port)) = near
        && !named.iter().any(|(host, _)| loopback(host))
    {
        return Finding::warning(
            format!(
                "broker {id} sends clients to {host}:{port}, which is this machine and not the one in `brokers`"
            ),
            "on the broker, set advertised.listeners to its own address, unless a tunnel ends here on purpose",
        );
    }
    let all: Vec<String> = cluster.brokers.iter().map(|(_, host, port)| format!("{host}:{port}")).collect();
    Finding::ok(all.join(", "))
}

/// What the questions to the brokers need.
struct Asking<'a> {
    config: &'a Config,
    security: Security,
    wait: Duration,
    client: Option<Arc<Examiner>>,
}

impl<'a> Asking<'a> {
    /// Makes the client and asks the first question.
    async fn client(mut self) -> Finding<(Asking<'a>, Cluster)> {
        let source = self.config.source();
        let made = blocking("making a client", move || Examiner::new(&source)).await.and_then(|made| made);
        let client = match made {
            Ok(client) => Arc::new(client),
            Err(e) => {
                return Finding::failed(
                    e.to_string(),
                    "correct the property (-X, or [librdkafka] in the file)",
                );
            }
        };
        self.client = Some(client);
        match self.ask(Examiner::cluster).await {
            Ok(cluster) => {
                let brokers = match cluster.brokers.len() {
                    1 => "one broker".into(),
                    some => format!("{some} brokers"),
                };
                Finding::ok(format!("{brokers}, {}", self.security.name)).with((self, cluster))
            }
            Err(refusal) => refusals::connection(&refusal, &self.security),
        }
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Examiner, Duration) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let Some(client) = self.client.clone() else {
            return Err(Refusal { code: None, why: "there is no client".into() });
        };
        let wait = self.wait;
        let asked = blocking("asking the brokers", move || question(&client, wait)).await;
        asked.unwrap_or_else(|e| Err(Refusal { code: None, why: e.to_string() }))
    }

    fn refused<T>(&self, doing: &str, refusal: &Refusal) -> Finding<T> {
        refusals::question(doing, refusal, self.config, &self.security)
    }

    async fn topic(&self, cluster: &Cluster) -> Finding {
        let topic = &self.config.topic;
        if cluster.denied {
            let code = Some(Code::TopicAuthorizationFailed);
            return self
                .refused("see the topic", &Refusal { code, why: "topic authorization failed".into() });
        }
        let Some(partitions) = &cluster.partitions else {
            let all = self.ask(Examiner::topics).await.unwrap_or_default();
            let scored = all.iter().map(|name| (strsim::jaro_winkler(name, topic), name));
            let near = scored.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(score, _)| *score > 0.8);
            let near = near.map_or(String::new(), |(_, name)| format!("; did you mean {name}?"));
            return Finding::failed(
                format!("topic {topic} does not exist, or these credentials may not see it{near}"),
                format!(
                    "create it: tidemill produce --brokers {} --topic {topic} --count 1; or correct the setting \
                     `topic`",
                    self.config.brokers
                ),
            );
        };
        let led_by_none: Vec<i32> = partitions.iter().filter(|p| p.leader.is_none()).map(|p| p.id).collect();
        if !led_by_none.is_empty() {
            return Finding::failed(
                format!("partitions {led_by_none:?} of {topic} have no leader"),
                "see whether all brokers run",
            );
        }
        match partitions.len() {
            1 => Finding::ok(format!("{topic} with 1 partition")),
            some => Finding::ok(format!("{topic} with {some} partitions")),
        }
    }

    async fn retention(&self) -> Finding<Retention> {
        let asked =
            self.ask(|client, wait| client.properties(&["retention.ms", "cleanup.policy"], wait)).await;
        let found = match asked {
            Ok(found) => found,
            Err(refusal) => {
                let found = format!("the brokers do not tell it: {}", refusal.why);
                let hint = "no host needs it; to let doctor see it, allow DescribeConfigs on the topic";
                return Finding::warning(found, hint).with(Retention::Unknown);
            }
        };
        let text = |at: usize| found.get(at).cloned().flatten().unwrap_or_default();
        let (millis, policy) = (text(0), text(1));
        if policy == "compact" {
            return Finding::ok("for ever: the topic is compacted").with(Retention::Unlimited);
        }
        match millis.parse::<i64>().ok() {
            None => Finding::ok("the brokers do not tell it").with(Retention::Unknown),
            Some(..0) => Finding::ok("for ever").with(Retention::Unlimited),
            Some(millis) => {
                let kept = Duration::from_millis(u64::try_from(millis).unwrap_or_default());
                let text = crate::cli::age(kept);
                let found = match kept < SHORT {
                    true => Finding::warning(
                        format!("events are kept for {text}: a host that is away for longer loses them"),
                        "raise the topic's retention.ms",
                    ),
                    false => Finding::ok(format!("events are kept for {text}")),
                };
                found.with(Retention::For(kept))
            }
        }
    }

    /// Reads the last event that there is: whether this client may, and what the clocks say.
    async fn events(&self, cluster: &Cluster, env: &Env) -> Finding {
        let partitions: Vec<i32> = cluster.partitions.iter().flatten().map(|p| p.id).collect();
        let asked = self.ask(move |client, wait| {
            for partition in partitions {
                let (low, high) = client.ends(partition, wait)?;
                if high > low {
                    return Ok(Some((partition, client.fetch(partition, high - 1, wait)?)));
                }
            }
            Ok(None)
        });
        match asked.await {
            Err(refusal) => self.refused("read events", &refusal),
            Ok(None) => Finding::ok("the topic is empty"),
            Ok(Some((partition, Fetched::Event(Some(millis))))) => {
                let ahead = millis.saturating_sub(env.now() / 1000);
                if ahead > 1000 {
                    return Finding::warning(
                        format!(
                            "the last event of partition {partition} is {} s ahead of this machine's clock",
                            ahead / 1000
                        ),
                        "set the clocks of this machine, the broker and the producers by NTP (timedatectl status)",
                    );
                }
                let age = Duration::from_millis(ahead.unsigned_abs());
                Finding::ok(format!(
                    "can be read; the last of partition {partition} is {} old",
                    crate::cli::age(age)
                ))
            }
            Ok(Some(_)) => Finding::ok("can be read"),
        }
    }

    /// What the group has committed: who may ask that may also join.
    async fn group(&self, cluster: &Cluster) -> Finding {
        let partitions: Vec<i32> = cluster.partitions.iter().flatten().map(|p| p.id).collect();
        let (all, group) = (partitions.len(), &self.config.group);
        match self.ask(move |client, wait| client.committed(&partitions, wait)).await {
            Ok(0) => Finding::ok(format!("{group} may be used; it has committed nothing yet")),
            Ok(some) => Finding::ok(format!(
                "{group} may be used; it has committed offsets of {some} of {all} partitions"
            )),
            Err(refusal) => self.refused("use the group", &refusal),
        }
    }

    /// Whether a client does not call itself what hosts with these settings do.
    fn stranger(&self, name: &str) -> bool {
        self.config.librdkafka.get("client.id").is_none_or(|own| own != name)
    }

    async fn members(&self) -> Finding {
        let group = &self.config.group;
        let another = "choose another `group` (--group NAME): one group cannot serve two programs";
        match self.ask(Examiner::members).await {
            Err(refusal) => Finding::warning(
                format!("the brokers do not tell who is in {group}: {}", refusal.why),
                format!("no host needs it; to let doctor see it, allow Describe on group {group}"),
            ),
            Ok(members) if members.count == 0 => Finding::ok("nobody is in it"),
            Ok(members) if !["", "cooperative-sticky"].contains(&members.protocol.as_str()) => {
                Finding::failed(
                    format!(
                        "{group} shares partitions out by `{}` instead of cooperative-sticky",
                        members.protocol
                    ),
                    another,
                )
            }
            Ok(members) if members.strangers.iter().any(|name| self.stranger(name)) => Finding::warning(
                format!("others than hosts may be in {group}: {}", members.strangers.join(", ")),
                another,
            ),
            Ok(members) => Finding::ok(match members.count {
                1 => "1 host is in it".into(),
                some => format!("{some} hosts are in it"),
            }),
        }
    }
}
