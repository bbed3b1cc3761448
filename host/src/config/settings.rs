//! The table of all settings: to add one, add a row here and a field to [`Config`](super::Config).

use std::collections::BTreeMap;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

/// One setting.
pub struct Setting {
    /// Its key in `tidemill.toml`, its flag (`--key`) and, in capitals, its variable (`TIDEMILL_KEY`).
    pub key: &'static str,
    /// Its value by default; none: it is unset or derived.
    pub default: Option<&'static str>,
    /// What stands for the value in help; empty: a switch.
    pub value: &'static str,
    /// One line of help.
    pub help: &'static str,
}

const fn setting(
    key: &'static str,
    default: Option<&'static str>,
    value: &'static str,
    help: &'static str,
) -> Setting {
    Setting { key, default, value, help }
}

/// All settings, in the order of help and of `--print-config`.
pub const SETTINGS: [Setting; 34] = [
    setting("brokers", Some("127.0.0.1:9092"), "HOST:PORT,…", "Kafka brokers to ask first"),
    setting(
        "auth",
        Some("properties"),
        "HOW",
        "How to prove to the brokers who this is: properties (-X sasl.…, -X ssl.…), or msk-iam for the AWS identity of this process",
    ),
    setting(
        "fetch",
        Some("librdkafka"),
        "WHO",
        "Who fetches events: librdkafka, or direct for the host itself, which takes less of a core",
    ),
    setting("topic", Some("user-events"), "NAME", "Topic to read"),
    setting("group", Some("tidemill"), "NAME", "Consumer group to join"),
    setting("pipeline", None, "NAME", "Name of this pipeline beside the tables [default: the group]"),
    setting(
        "logs",
        Some("1"),
        "N",
        "Commit logs, each for every N-th partition, where one does not carry all hosts; stays as it began",
    ),
    setting("raw", Some("s3://user-events-raw"), "URL", "Raw zone: s3://bucket/prefix or file:///folder"),
    setting("processed", Some("s3://user-events-processed"), "URL", "Processed zone, likewise"),
    setting(
        "transforms",
        Some("transforms"),
        "PLACE",
        "Directory of transforms (*.wasm), or s3://bucket/folder of them",
    ),
    setting(
        "trusted-digests",
        None,
        "SHA256,…",
        "Take no components but these, and those that a trusted key has signed",
    ),
    setting(
        "trusted-keys",
        None,
        "KEY,…",
        "Take components with a signature of one of these (see tidemill sign)",
    ),
    setting(
        "cache",
        None,
        "DIR",
        "Directory of compiled transforms, this user's alone; empty: none [default: ~/.cache/tidemill]",
    ),
    setting(
        "catalog",
        None,
        "KIND",
        "Where tables are registered: glue, local, none [default: glue for S3, local for file]",
    ),
    setting("database", Some("user_analytics_db"), "NAME", "Database in the catalog"),
    setting("commit-interval", Some("5s"), "DURATION", "Time between commits, as 5s or 500ms"),
    setting("commit-events", Some("4000000"), "N", "… or earlier, when a lane has so many events"),
    setting("commit-bytes", Some("1GiB"), "SIZE", "… or so many bytes of files"),
    setting("raw-codec", Some("zstd:1"), "CODEC", "Compression of raw files: zstd:LEVEL, lz4, snappy, none"),
    setting("processed-codec", Some("zstd:1"), "CODEC", "Compression of processed files: as raw-codec"),
    setting(
        "memory",
        Some("256MiB"),
        "SIZE",
        "Memory for what was fetched, rows and files on their way; transforms have their own",
    ),
    setting("lanes", None, "N", "Threads that work on partitions [default: the cores, 8 at most]"),
    setting(
        "start",
        Some("earliest"),
        "WHERE",
        "Where a topic begins that the commit log does not know: earliest, latest",
    ),
    setting(
        "on-data-loss",
        Some("stop"),
        "WHAT",
        "When offsets are gone before they were committed: stop, or continue and record the gap",
    ),
    setting("until-end", Some("false"), "", "End when what is in the topic now has been committed"),
    setting(
        "instance",
        None,
        "ID",
        "Name of this host in the group that survives restarts (static membership)",
    ),
    setting("max-event-size", Some("1MiB"), "SIZE", "Larger events are rejected"),
    setting(
        "http",
        Some("127.0.0.1:8080"),
        "ADDRESS",
        "Where the dashboard, metrics and health are served; off: nowhere",
    ),
    setting(
        "http-token",
        None,
        "TOKEN",
        "Asked of who looks there; needed beyond loopback; not for a command line",
    ),
    setting(
        "pulse",
        Some("off"),
        "DURATION",
        "How often to log lag, freshness and counts, for alarms that are made of logs; off: never",
    ),
    setting(
        "compact",
        Some("off"),
        "DURATION",
        "How often a host looks for closed hours whose small files it merges, as 10m; off: tidemill compact does it",
    ),
    setting("compact-rate", Some("16MiB"), "SIZE", "… and reads so much a second at most"),
    setting(
        "retention-days",
        Some("90"),
        "N",
        "Days that tidemill retain keeps; of one table: [tables.NAME]",
    ),
    setting("otlp", None, "URL", "OpenTelemetry collector for traces of commits, as http://127.0.0.1:4318"),
];

/// The environment variable of a setting.
pub fn variable(key: &str) -> String {
    format!("TIDEMILL_{}", key.to_ascii_uppercase().replace('-', "_"))
}

/// What was given on the command line.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// Settings by key.
    pub values: BTreeMap<&'static str, String>,
    /// `-X property=value`, in order.
    pub librdkafka: Vec<String>,
    /// `--config FILE`.
    pub config: Option<String>,
}

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        let command = SETTINGS.iter().fold(command, |command, setting| {
            let default = setting.default.filter(|_| !setting.value.is_empty());
            let help = match default {
                Some(default) => format!("{} [default: {default}]", setting.help),
                None => setting.help.to_string(),
            };
            let arg = Arg::new(setting.key).long(setting.key).help(help);
            command.arg(if setting.value.is_empty() {
                arg.action(ArgAction::SetTrue)
            } else {
                arg.value_name(setting.value).action(ArgAction::Set)
            })
        });
        command
            .arg(
                Arg::new("librdkafka")
                    .short('X')
                    .long("librdkafka")
                    .value_name("PROPERTY=VALUE")
                    .action(ArgAction::Append)
                    .help("Pass a property through to librdkafka; repeatable"),
            )
            .arg(
                Arg::new("config")
                    .long("config")
                    .value_name("FILE")
                    .help("Configuration file [default: tidemill.toml, if there is one]"),
            )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Flags::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for setting in &SETTINGS {
            let value = match setting.value.is_empty() {
                true => matches.get_flag(setting.key).then(|| "true".to_string()),
                false => matches.get_one::<String>(setting.key).cloned(),
            };
            if let Some(value) = value {
                self.values.insert(setting.key, value);
            }
        }
        self.librdkafka = matches.get_many::<String>("librdkafka").unwrap_or_default().cloned().collect();
        self.config = matches.get_one::<String>("config").cloned();
        Ok(())
    }
}
