//! One typed configuration; its defaults are the reference deployment.
//!
//! [`settings`] is the table of all settings: from it come the flags, the environment variables, the
//! keys of `tidemill.toml` and `--print-config`. [`layers`] merges the sources (flags, then environment,
//! then file, then defaults); this module gives every value its type.

mod layers;
mod memory;
mod print;
pub mod settings;
pub mod units;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::catalog::Projection;
use crate::history::Pace;
use crate::shard::MOST;
use crate::sink::{self, CODECS, Codec, Location};
use crate::source::{self, Auth, Fetch, Start};
use crate::transform::Trust;
use crate::{Error, Result};
pub use layers::{Layers, Source};
pub use memory::Memory;
pub use settings::Flags;

/// Everything that a run depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `host:port,…` of Kafka.
    pub brokers: String,
    /// How to prove to them who this is.
    pub auth: Auth,
    /// Who fetches events.
    pub fetch: Fetch,
    /// The topic to read.
    pub topic: String,
    /// The consumer group.
    pub group: String,
    /// Names what this pipeline keeps beside the tables. By default the group's name.
    pub pipeline: String,
    /// Commit logs of the pipeline, once its tables are made.
    pub logs: u32,
    /// The root of the raw zone.
    pub raw: Location,
    /// The root of the processed zone.
    pub processed: Location,
    /// Where components are put: a directory, or a folder in a bucket.
    pub transforms: Location,
    /// The components that are taken.
    pub trust: Trust,
    /// What may be deleted at any time: compiled components, and what was seen of directories; none: nowhere.
    pub cache: Option<PathBuf>,
    /// Directories for the socket that `tidemill status` asks; the first that can be used is; none: no socket.
    pub sockets: Vec<PathBuf>,
    /// Where tables are registered.
    pub catalog: CatalogKind,
    /// The database in the catalog.
    pub database: String,
    /// The time between commits.
    pub commit_interval: Duration,
    /// … or earlier, when a lane has so many events.
    pub commit_events: u64,
    /// … or so many bytes of files.
    pub commit_bytes: u64,
    /// How files of the raw zone are compressed.
    pub raw_codec: Codec,
    /// How files of the processed zone are compressed.
    pub processed_codec: Codec,
    /// Bytes that messages, rows and files on their way may take together.
    pub memory: Memory,
    /// Threads that work on partitions.
    pub lanes: usize,
    /// Where a topic begins that the commit log does not know.
    pub start: Start,
    /// Offsets that are gone are recorded and skipped; otherwise they stop the host.
    pub skip_lost: bool,
    /// End when the offsets that were the last at the start are committed.
    pub until_end: bool,
    /// Static membership in the group.
    pub instance: Option<String>,
    /// A larger event is rejected.
    pub max_event_size: usize,
    /// Where the dashboard, metrics and health are served; none: nowhere.
    pub http: Option<SocketAddr>,
    /// What is asked of who looks there.
    pub http_token: Option<Secret>,
    /// How often the log is told how this host is; none: never.
    pub pulse: Option<Duration>,
    /// How files are merged beside the stream; none: not here.
    pub compact: Option<Pace>,
    /// Days that tables are kept, but for those that say otherwise.
    pub retention_days: u32,
    /// Where traces of commits are sent.
    pub otlp: Option<String>,
    /// Passed through to librdkafka.
    pub librdkafka: BTreeMap<String, String>,
    /// Settings of single tables, by name.
    pub tables: BTreeMap<String, TableConfig>,
}

/// What must not be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("********")
    }
}

/// Where tables are registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatalogKind {
    /// The AWS Glue Data Catalog.
    Glue,
    /// Files beside the tables.
    Local,
    /// Nowhere.
    None,
}

/// Settings of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableConfig {
    /// Keep the partition and offset that a row stems from.
    pub provenance: bool,
    /// Whether Athena works its partitions out by itself; none: as it is in Glue.
    pub projection: Option<Projection>,
    /// Days that it is kept; none: as all tables. 0: for ever.
    pub retention_days: Option<u32>,
}

/// Properties that Tidemill sets itself, and what to use instead.
const OWNED: [(&str, &str); 9] = [
    ("bootstrap.servers", "`brokers`"),
    ("metadata.broker.list", "`brokers`"),
    ("group.id", "`group`"),
    ("group.instance.id", "`instance`"),
    ("auto.offset.reset", "`start`"),
    ("enable.partition.eof", "nothing: `until-end` ends at what is in the topic"),
    ("enable.auto.commit", "nothing: the commit log is the truth, the group only hears of it"),
    ("enable.auto.offset.store", "nothing: the commit log is the truth, the group only hears of it"),
    ("partition.assignment.strategy", "nothing: partitions are assigned cooperative-sticky"),
];

impl Config {
    /// The configuration that flags, environment, file and defaults make together.
    pub fn load(flags: &Flags) -> Result<Config> {
        Config::of(&Layers::load(flags)?)
    }

    /// Gives merged values their types. An error names the setting, its value and where it came from.
    pub fn of(layers: &Layers) -> Result<Config> {
        let text = |key: &str| layers.text(key);
        let group = layers.required("group")?;
        let processed = Location::parse(&layers.required("processed")?, "processed")?;
        let catalog = match text("catalog").as_deref() {
            Some("glue") => CatalogKind::Glue,
            Some("local") => CatalogKind::Local,
            Some("none") => CatalogKind::None,
            Some(_) => return Err(layers.wrong("catalog", "glue, local or none")),
            None if matches!(processed, Location::Local(_)) => CatalogKind::Local,
            None => CatalogKind::Glue,
        };
        if catalog == CatalogKind::Local && !matches!(processed, Location::Local(_)) {
            return Err(layers.wrong("catalog", "glue or none for a lake on S3; local is for file:///"));
        }
        let config = Config {
            brokers: layers.required("brokers")?,
            auth: match Auth::parse(&layers.required("auth")?) {
                Some(auth) => auth,
                None => return Err(layers.wrong("auth", "properties or msk-iam")),
            },
            fetch: match Fetch::parse(&layers.required("fetch")?) {
                Some(fetch) => fetch,
                None => return Err(layers.wrong("fetch", "librdkafka or direct")),
            },
            topic: layers.required("topic")?,
            pipeline: text("pipeline").unwrap_or_else(|| group.clone()),
            group,
            logs: match layers.whole("logs", 1, MOST as usize)? {
                Some(logs) => u32::try_from(logs).unwrap_or(MOST),
                None => 1,
            },
            raw: Location::parse(&layers.required("raw")?, "raw")?,
            processed,
            transforms: match layers.required("transforms")? {
                bucket if bucket.contains("://") => Location::parse(&bucket, "transforms")?,
                // As it was written: errors and prompts name it so.
                directory => Location::Local(directory.into()),
            },
            trust: Trust::parse(text("trusted-digests").as_deref(), text("trusted-keys").as_deref())
                .map_err(|why| {
                    Error::usage(format!("{why} (setting `trusted-digests` or `trusted-keys`)"))
                })?,
            cache: match text("cache") {
                Some(directory) if directory.is_empty() => None,
                Some(directory) => Some(directory.into()),
                None => layers.cache(),
            },
            sockets: layers.sockets.clone(),
            catalog,
            database: layers.required("database")?,
            commit_interval: layers.duration("commit-interval", "100ms", "1h")?,
            commit_events: layers.whole("commit-events", 1, 1_000_000_000)?.unwrap_or(4_000_000) as u64,
            commit_bytes: layers.size("commit-bytes", "1KiB", "64GiB")? as u64,
            raw_codec: codec(layers, "raw-codec")?,
            processed_codec: codec(layers, "processed-codec")?,
            memory: Memory(layers.size("memory", "64MiB", "1TiB")?),
            lanes: match layers.whole("lanes", 1, 64)? {
                Some(lanes) => lanes,
                None => std::thread::available_parallelism().map_or(1, usize::from).min(8),
            },
            start: match layers.required("start")?.as_str() {
                "earliest" => Start::Earliest,
                "latest" => Start::Latest,
                _ => return Err(layers.wrong("start", "earliest or latest")),
            },
            skip_lost: match layers.required("on-data-loss")?.as_str() {
                "stop" => false,
                "continue" => true,
                _ => return Err(layers.wrong("on-data-loss", "stop or continue")),
            },
            until_end: layers.flag("until-end")?,
            instance: text("instance"),
            max_event_size: layers.size("max-event-size", "1KiB", "1GiB")?,
            http: match layers.required("http")?.as_str() {
                "off" => None,
                address => match address.parse() {
                    Ok(address) => Some(address),
                    Err(_) => {
                        return Err(layers.wrong("http", "an address and a port as 127.0.0.1:8080, or off"));
                    }
                },
            },
            http_token: text("http-token").map(Secret),
            pulse: match layers.required("pulse")?.as_str() {
                "off" => None,
                _ => Some(layers.duration("pulse", "1s", "1h")?),
            },
            compact: match layers.required("compact")?.as_str() {
                "off" => None,
                _ => Some(Pace {
                    every: layers.duration("compact", "1s", "24h")?,
                    rate: layers.size("compact-rate", "64KiB", "64GiB")? as u64,
                }),
            },
            retention_days: u32::try_from(layers.whole("retention-days", 1, 36_500)?.unwrap_or(90))
                .unwrap_or(90),
            otlp: text("otlp"),
            librdkafka: layers.librdkafka().clone(),
            tables: layers.tables().clone(),
        };
        if config.http_token.as_ref().is_some_and(|token| token.0.trim().is_empty()) {
            return Err(Error::usage("http-token is empty; unset it, or give one that nobody guesses"));
        }
        if config.http.is_some_and(|address| !address.ip().is_loopback()) && config.http_token.is_none() {
            return Err(
                layers.wrong("http", "an address of loopback, or a token as well (setting `http-token`)")
            );
        }
        let own = |property: &&String| property.starts_with("sasl.mechanism");
        if let (Auth::MskIam, Some(property)) = (config.auth, config.librdkafka.keys().find(own)) {
            return Err(Error::usage(format!(
                "librdkafka property {property} and `auth = msk-iam` contradict each other; take one of them"
            )));
        }
        for (property, instead) in OWNED {
            if config.librdkafka.contains_key(property) {
                return Err(Error::usage(format!(
                    "librdkafka property {property} is Tidemill's own; use {instead}"
                )));
            }
        }
        Ok(config)
    }

    /// The days that a table is kept; none: for ever.
    pub fn days_kept(&self, table: &str) -> Option<u32> {
        let own = self.tables.get(table).and_then(|table| table.retention_days);
        Some(own.unwrap_or(self.retention_days)).filter(|days| *days > 0)
    }

    /// The directory of transforms, if they do not lie in a bucket.
    pub fn transforms_directory(&self) -> Option<&Path> {
        match &self.transforms {
            Location::Local(directory) => Some(directory),
            Location::S3 { .. } => None,
        }
    }

    /// Where transforms are put, for people.
    pub fn transforms_place(&self) -> String {
        match &self.transforms {
            Location::Local(directory) => directory.display().to_string(),
            bucket => bucket.to_string(),
        }
    }

    /// What the sink needs of it.
    pub fn sink(&self) -> sink::Settings {
        sink::Settings {
            buffer_bytes: self.memory.encoders(self.lanes),
            raw_codec: self.raw_codec,
            processed_codec: self.processed_codec,
            ..sink::Settings::default()
        }
    }

    /// What the source needs of it.
    pub fn source(&self) -> source::Settings {
        source::Settings {
            brokers: self.brokers.clone(),
            topic: self.topic.clone(),
            group: self.group.clone(),
            instance: self.instance.clone(),
            auth: self.auth,
            fetch: self.fetch,
            librdkafka: self.librdkafka.clone(),
            prefetch: self.memory.prefetch(1),
        }
    }
}

fn codec(layers: &Layers, key: &str) -> Result<Codec> {
    Codec::parse(&layers.required(key)?).ok_or_else(|| layers.wrong(key, CODECS))
}

#[cfg(test)]
mod tests;
