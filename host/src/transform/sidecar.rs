//! `<name>.toml` beside a component: its configuration, its limits and its input, set by whoever runs it.

use std::time::Duration;

use serde::Deserialize;

use super::limits::Limits;
use super::package::Package;
use super::spec::Input;
use crate::{Error, Result};

/// What stands in a sidecar. A component without one has the defaults.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sidecar {
    /// The `[config]` table, flattened: `a.b`, `list.0`.
    pub config: Vec<(String, String)>,
    /// The defaults, with what `[limits]` sets.
    pub limits: Limits,
    /// Replaces the input that the component names.
    pub input: Option<Input>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    #[serde(default)]
    config: toml::Table,
    #[serde(default)]
    limits: LimitsFile,
    input: Option<InputFile>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct LimitsFile {
    memory_mib: Option<u32>,
    call_ms: Option<u32>,
    rows_per_row: Option<u32>,
    log_lines: Option<u32>,
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
        let mut limits = Limits::default();
        if let Some(mib) = file.limits.memory_mib {
            limits.memory = within("limits.memory-mib", mib, 1, 4096)? << 20;
        }
        if let Some(ms) = file.limits.call_ms {
            limits.call = Duration::from_millis(within("limits.call-ms", ms, 10, 60_000)? as u64);
        }
        if let Some(rows) = file.limits.rows_per_row {
            limits.rows_per_row = within("limits.rows-per-row", rows, 1, 10_000)?;
        }
        if let Some(lines) = file.limits.log_lines {
            limits.log_lines = within("limits.log-lines", lines, 0, 10_000)?;
        }
        let input = file.input.map(|input| match input {
            InputFile::Topic(name) => Input::Topic(Some(name)),
            InputFile::Output(name) => Input::Output(name),
        });
        Ok(Sidecar { config, limits, input })
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
    fn mistakes_are_named() {
        assert!(Sidecar::parse("[limit]\n").unwrap_err().contains("limit"));
        assert!(Sidecar::parse("[limits]\ncall-ms = 1").unwrap_err().contains("expected 10 to 60000"));
    }
}
