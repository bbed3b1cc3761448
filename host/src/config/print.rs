//! `--print-config`: the whole configuration as valid TOML, each line with its source, without secrets.

use std::fmt::Write;

use super::layers::{Layers, Source};
use super::settings::SETTINGS;
use super::{CatalogKind, Config};
use crate::catalog::Projection;

impl Config {
    /// The configuration as a `tidemill.toml`. Values that may be secret are masked.
    pub fn print(&self, layers: &Layers) -> String {
        let mut out = String::new();
        for setting in &SETTINGS {
            let (value, source) = match layers.values.get(setting.key) {
                Some((value, source)) => (value.clone(), source.clone()),
                None => match self.derived(setting.key) {
                    Some(value) => (value, Source::Default),
                    None => {
                        let _ = writeln!(out, "# {} is unset", setting.key);
                        continue;
                    }
                },
            };
            let plain = value.parse::<u64>().is_ok() || value.parse::<bool>().is_ok();
            let value = match (setting.key, plain) {
                ("http-token", _) => quoted(MASK),
                (_, true) => value,
                (_, false) => quoted(&value),
            };
            let _ = writeln!(out, "{} = {value}  # {source}", setting.key);
        }
        if !layers.librdkafka.is_empty() {
            out.push_str("\n[librdkafka]\n");
            for (name, (value, source)) in &layers.librdkafka {
                let value = if secret(name) { MASK } else { value.as_str() };
                let _ = writeln!(out, "{} = {}  # {source}", quoted(name), quoted(value));
            }
        }
        for (name, table) in &self.tables {
            let _ = write!(out, "\n[tables.{}]\nprovenance = {}\n", quoted(name), table.provenance);
            match table.projection {
                Some(Projection::Days(days)) => {
                    let _ = write!(out, "projection = true\nprojection-days = {days}\n");
                }
                Some(Projection::Off) => out.push_str("projection = false\n"),
                None => {}
            }
            match table.retention_days {
                Some(0) => out.push_str("retention-days = \"forever\"\n"),
                Some(days) => {
                    let _ = writeln!(out, "retention-days = {days}");
                }
                None => {}
            }
        }
        out
    }

    /// What follows from other settings or from the machine.
    fn derived(&self, key: &str) -> Option<String> {
        match key {
            "pipeline" => Some(self.pipeline.clone()),
            "cache" => Some(self.cache.as_ref()?.display().to_string()),
            "lanes" => Some(self.lanes.to_string()),
            "catalog" => Some(
                match self.catalog {
                    CatalogKind::Glue => "glue",
                    CatalogKind::Local => "local",
                    CatalogKind::None => "none",
                }
                .into(),
            ),
            _ => None,
        }
    }
}

/// What stands for a secret.
const MASK: &str = "********";

/// Whether a librdkafka property may hold a secret. Paths to keys are none.
pub(super) fn secret(property: &str) -> bool {
    let name = property.to_ascii_lowercase();
    !name.ends_with("location")
        && ["password", "secret", "key", "pem", "token", "jaas", "credential", "oauthbearer.config"]
            .iter()
            .any(|part| name.contains(part))
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.into()).to_string()
}
