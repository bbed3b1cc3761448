//! `tidemill produce`

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::config::units;
use crate::source::Auth;
use crate::source::produce::{Plan, Sent, send, topic};
use crate::{Error, Result, env};

/// Generates events into a topic.
#[derive(Args)]
#[command(after_help = "It reads no tidemill.toml; brokers and topic can stand in the environment.

Examples:
  tidemill produce --count 200000 --bad 0.01 --seed 7
  tidemill produce --rate 5000 --count 0                     until Ctrl-C
  tidemill produce --brokers b1:9092 --topic test --compression zstd")]
pub(super) struct Produce {
    /// Kafka brokers to ask first
    #[arg(long, value_name = "HOST:PORT,…", env = "TIDEMILL_BROKERS", default_value = "127.0.0.1:9092")]
    brokers: String,
    /// Topic; it is created if there is none
    #[arg(long, value_name = "NAME", env = "TIDEMILL_TOPIC", default_value = "user-events")]
    topic: String,
    /// Partitions of a topic that is created
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(i32).range(1..=1000))]
    partitions: i32,
    /// Events a second; 0: as fast as possible
    #[arg(long, value_name = "N", default_value_t = 0)]
    rate: u64,
    /// Events in all; 0: until stopped
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    count: u64,
    /// The same seed makes the same events (but for their times)
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Share of events that cannot be cleaned, 0 to 1
    #[arg(long, value_name = "FRACTION", default_value_t = 0.0, value_parser = share)]
    bad: f64,
    /// Spread event times over so much time before now
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    spread: Duration,
    /// Compression of the producer's batches
    #[arg(long, value_name = "CODEC", default_value = "none", value_parser = ["none", "gzip", "snappy", "lz4", "zstd"])]
    compression: String,
    /// How to prove who this client is: properties, or msk-iam for the AWS identity of this process
    #[arg(long, value_name = "HOW", env = "TIDEMILL_AUTH", default_value = "properties", value_parser = auth)]
    auth: Auth,
    /// Pass a property through to librdkafka; repeatable
    #[arg(short = 'X', long, value_name = "PROPERTY=VALUE", value_parser = property)]
    librdkafka: Vec<(String, String)>,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

fn share(text: &str) -> Result<f64, String> {
    let share: Option<f64> = text.parse().ok().filter(|s| (0.0..=1.0).contains(s));
    share.ok_or_else(|| "expected a number from 0 to 1, as 0.01".into())
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    units::duration(text).ok_or_else(|| "expected a duration with its unit, as 30s or 3h".into())
}

fn auth(text: &str) -> Result<Auth, String> {
    Auth::parse(text).ok_or_else(|| "expected properties or msk-iam".into())
}

fn property(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected PROPERTY=VALUE")?;
    Ok((name.into(), value.into()))
}

impl Produce {
    pub(super) fn run(self) -> Result<()> {
        let plan = Plan {
            brokers: self.brokers,
            topic: self.topic,
            partitions: self.partitions,
            rate: self.rate,
            count: self.count,
            seed: self.seed,
            bad: self.bad,
            compression: self.compression,
            spread: self.spread,
            auth: self.auth,
            librdkafka: self.librdkafka.into_iter().collect(),
        };
        let runtime = super::runtime()?;
        runtime.block_on(topic(&plan))?;
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        runtime.block_on(async move {
            let mut signal = super::signal::stop()?;
            tokio::spawn(async move {
                if signal.wait_for(|s| *s).await.is_ok() {
                    told.store(true, Ordering::Relaxed);
                }
            });
            Ok::<_, Error>(())
        })?;
        let bar = bar(plan.count);
        let sent = send(&plan, &env::machine(), &stop, |number| bar.set_position(number));
        bar.finish_and_clear();
        report(&plan, &sent?, self.json)
    }
}

fn report(plan: &Plan, sent: &Sent, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::json!(sent));
    } else {
        let kinds: Vec<String> =
            sent.kinds.iter().filter(|(_, n)| **n > 0).map(|(kind, n)| format!("{n} {kind}")).collect();
        println!("{} events in topic {}: {}", sent.delivered, plan.topic, kinds.join(", "));
    }
    match sent.failed {
        0 => Ok(()),
        failed => Err(Error::stop(format!("{failed} events did not reach kafka at {}", plan.brokers))),
    }
}

/// A bar on a terminal, nothing elsewhere.
fn bar(count: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match count {
        0 => (ProgressBar::no_length(), "{spinner} {human_pos} events  {per_sec}"),
        _ => (ProgressBar::new(count), "{bar:30} {human_pos}/{human_len} events  {per_sec}  {eta} left"),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}
