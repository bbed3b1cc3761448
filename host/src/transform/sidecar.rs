//! `<name>.toml` beside a component: its configuration, its limits and its input, set by whoever runs it.

use std::time::Duration;

use serde::Deserialize;

use super::event_time::LONGEST;
use super::limits::Limits;
use super::package::Package;
use super::spec::Input;
use crate::config::units::duration;
use crate::{Error, Result};

/// What stands in a sidecar. A component without one has the defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Sidecar {
    /// The `[config]` table, flattened: `a.b`, `list.0`.
    pub config: Vec<(String, String)>,
    /// The defaults, with what `[limits]` sets.
    pub limits: Limits,
    /// Replaces the input that the component names.
    pub input: Option<Input>,
    /// How late rows may be, in microseconds; none: what the component says.
    pub lateness: Option<i64>,
    /// After so long without events a partition's event time goes on by the clock; none: never.
    pub idle: Option<Duration>,
}

/// After so long without events the clock goes on.
const IDLE: Duration = Duration::from_secs(60);

impl Default for Sidecar {
    fn default() -> Self {
        let (config, limits) = (vec![], Limits::default());
        Sidecar { config, limits, input: None, lateness: None, idle: Some(IDLE) }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    #[serde(default)]
    config: toml::Table,
    #[serde(default)]
    limits: LimitsFile,
    input: Option<InputFile>,
    #[serde(default)]
    event_time: EventTimeFile,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct EventTimeFile {
    lateness: Option<String>,
    idle: Option<String>,
}

/// A duration of at most a year.
fn span(key: &str, text: &str) -> Result<Duration, String> {
    duration(text).filter(|span| *span <= LONGEST).ok_or_else(|| {
        format!("event-time.{key} is {text:?}; expected a duration like `90s` or `1h`, a year at most")
    })
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct LimitsFile {
    memory_mib: Option<u32>,
    table_elements: Option<u32>,
    call_ms: Option<u32>,
    rows_per_row: Option<u32>,
    rows_per_call: Option<u32>,
    bytes_per_row: Option<u32>,
    state_mib: Option<u32>,
    log_lines: Option<u32>,
    log_kib: Option<u32>,
    poison_rows: Option<u32>,
}

impl LimitsFile {
    /// The defaults, with what is set here.
    fn limits(&self) -> Result<Limits, String> {
        let mut limits = Limits::default();
        if let Some(mib) = self.memory_mib {
            limits.memory = within("limits.memory-mib", mib, 1, 4096)? << 20;
        }
        if let Some(elements) = self.table_elements {
            limits.elements = within("limits.table-elements", elements, 1, 10_000_000)?;
        }
        if let Some(ms) = self.call_ms {
            limits.call = Duration::from_millis(within("limits.call-ms", ms, 10, 60_000)? as u64);
        }
        if let Some(rows) = self.rows_per_row {
            limits.rows_per_row = within("limits.rows-per-row", rows, 1, 10_000)?;
        }
        if let Some(rows) = self.rows_per_call {
            limits.rows_per_call = within("limits.rows-per-call", rows, 8192, 10_000_000)?;
        }
        if let Some(bytes) = self.bytes_per_row {
            limits.bytes_per_row = within("limits.bytes-per-row", bytes, 0, 1 << 20)?;
        }
        if let Some(mib) = self.state_mib {
            limits.state = within("limits.state-mib", mib, 1, 64)? << 20;
        }
        if let Some(lines) = self.log_lines {
            limits.log_lines = within("limits.log-lines", lines, 0, 10_000)?;
        }
        if let Some(kib) = self.log_kib {
            limits.log_bytes = within("limits.log-kib", kib, 0, 4096)? << 10;
        }
        if let Some(rows) = self.poison_rows {
            limits.poison_rows = within("limits.poison-rows", rows, 0, 100_000)?;
        }
        Ok(limits)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
enum InputFile {
    Topic(String),
    Output(String),
}

impl Sidecar {
    /// The sidecar of a component; none: the defaults.
    pub fn of(package: &Package) -> Result<Sidecar> {
        let Some(text) = &package.sidecar else { return Ok(Sidecar::default()) };
        Sidecar::parse(text)
            .map_err(|e| Error::usage(format!("the sidecar (.toml) of transform {}: {e}", package.file)))
    }

    fn parse(text: &str) -> Result<Sidecar, String> {
        let file: File = toml::from_str(text).map_err(|e| e.to_string().trim_end().to_string())?;
        let mut config = Vec::new();
        for (key, value) in &file.config {
            flatten(key, value, &mut config);
        }
        let limits = file.limits.limits()?;
        let input = file.input.map(|input| match input {
            InputFile::Topic(name) => Input::Topic(Some(name)),
            InputFile::Output(name) => Input::Output(name),
        });
        let EventTimeFile { lateness, idle } = &file.event_time;
        let lateness = lateness.as_deref().map(|text| span("lateness", text)).transpose()?;
        let lateness = lateness.map(|span| i64::try_from(span.as_micros()).unwrap_or(i64::MAX));
        let idle = match idle.as_deref() {
            None => Some(IDLE),
            Some("never") => None,
            Some(text) => Some(span("idle", text)?),
        };
        Ok(Sidecar { config, limits, input, lateness, idle })
    }
}

fn within(key: &str, value: u32, least: u32, most: u32) -> Result<usize, String> {
    if !(least..=most).contains(&value) {
        return Err(format!("{key} is {value}; expected {least} to {most}"));
    }
    Ok(value as usize)
}

fn flatten(key: &str, value: &toml::Value, out: &mut Vec<(String, String)>) {
    match value {
        toml::Value::Table(table) => {
            table.iter().for_each(|(k, v)| flatten(&format!("{key}.{k}"), v, out));
        }
        toml::Value::Array(list) => {
            list.iter().enumerate().for_each(|(i, v)| flatten(&format!("{key}.{i}"), v, out));
        }
        toml::Value::String(s) => out.push((key.into(), s.clone())),
        other => out.push((key.into(), other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_is_flattened_and_limits_are_set() {
        let sidecar = Sidecar::parse(
            "[config]\nmax_length = 9\ndevices = ['tv', 'watch']\n[config.a]\nb = true\n[limits]\ncall-ms = 250\n[input]\noutput = 'x'",
        )
        .unwrap();
        let pair = |k: &str, v: &str| (k.to_string(), v.to_string());
        assert_eq!(
            sidecar.config,
            [
                pair("a.b", "true"),
                pair("devices.0", "tv"),
                pair("devices.1", "watch"),
                pair("max_length", "9")
            ]
        );
        assert_eq!(sidecar.limits.call, Duration::from_millis(250));
        assert_eq!(sidecar.input, Some(Input::Output("x".into())));
    }

    #[test]
    fn event_time_is_set_here_or_by_the_component() {
        let default = Sidecar::parse("").unwrap();
        assert_eq!((default.lateness, default.idle), (None, Some(IDLE)));
        let set = Sidecar::parse("[event-time]\nlateness = '1h30m'\nidle = '5s'").unwrap();
        assert_eq!((set.lateness, set.idle), (Some(5_400_000_000), Some(Duration::from_secs(5))));
        assert_eq!(Sidecar::parse("[event-time]\nidle = 'never'").unwrap().idle, None);
        let error = Sidecar::parse("[event-time]\nlateness = '1 hour'").unwrap_err();
        assert!(error.contains("event-time.lateness is \"1 hour\"; expected a duration"), "{error}");
    }

    #[test]
    fn mistakes_are_named() {
        assert!(Sidecar::parse("[limit]\n").unwrap_err().contains("limit"));
        let refused = |line: &str| Sidecar::parse(&format!("[limits]\n{line}")).unwrap_err();
        assert!(refused("call-ms = 1").contains("expected 10 to 60000"));
        assert!(refused("state-mib = 65").contains("limits.state-mib is 65; expected 1 to 64"));
        assert!(refused("memory-mib = 0").contains("expected 1 to 4096"));
        assert!(refused("memories = 9").contains("memories"), "not for a sidecar to say");
    }

    #[test]
    fn every_limit_can_be_set() {
        let text = "[limits]\nmemory-mib = 1\ntable-elements = 2\ncall-ms = 30\nrows-per-row = 4\nrows-per-call = 9000\n\
            bytes-per-row = 6\nstate-mib = 7\nlog-lines = 8\nlog-kib = 9\npoison-rows = 0";
        let expected = Limits {
            memory: 1 << 20,
            elements: 2,
            call: Duration::from_millis(30),
            rows_per_row: 4,
            rows_per_call: 9000,
            bytes_per_row: 6,
            state: 7 << 20,
            log_lines: 8,
            log_bytes: 9 << 10,
            poison_rows: 0,
            ..Limits::default()
        };
        assert_eq!(Sidecar::parse(text).unwrap().limits, expected);
    }
}
