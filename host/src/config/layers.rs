//! Merges the sources of settings: flags, then environment, then file, then defaults.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::TableConfig;
use super::settings::{Flags, SETTINGS, variable};
use super::units;
use crate::catalog::Projection;
use crate::observe::directories;
use crate::{Error, Result};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The command line.
    Flag,
    /// This variable.
    Environment(String),
    /// This file.
    File(String),
    /// Nobody said anything else.
    Default,
}

impl Source {
    /// The file, if it is one.
    fn file(&self) -> Option<&str> {
        match self {
            Source::File(path) => Some(path),
            _ => None,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Flag => f.write_str("flag"),
            Source::Environment(name) => write!(f, "environment {name}"),
            Source::File(path) => f.write_str(path),
            Source::Default => f.write_str("default"),
        }
    }
}

/// Merged values, still text, each with its source.
#[derive(Debug, Default)]
pub struct Layers {
    pub(super) values: BTreeMap<&'static str, (String, Source)>,
    pub(super) librdkafka: BTreeMap<String, (String, Source)>,
    plain: BTreeMap<String, String>,
    pub(super) tables: BTreeMap<String, TableConfig>,
    /// Where this user keeps what can be made again.
    cache: Option<PathBuf>,
    /// Where this user's hosts can be asked how they are.
    pub(super) sockets: Vec<PathBuf>,
    /// Variables that look like settings and are none, in words.
    strange: Vec<String>,
}

impl Layers {
    /// Reads all sources of this process.
    pub fn load(flags: &Flags) -> Result<Layers> {
        let environment: Vec<(String, String)> = std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
            .collect();
        let path = flags.config.clone().or_else(|| {
            environment.iter().find(|(name, _)| *name == variable("config")).map(|(_, path)| path.clone())
        });
        let file = match path {
            Some(path) => Some((path.clone(), read(&path)?)),
            None if std::path::Path::new(FILE).exists() => Some((FILE.to_string(), read(FILE)?)),
            None => None,
        };
        let sockets = directories::of_user();
        Ok(Layers { sockets, ..Layers::merge(flags, &environment, file)? })
    }

    /// Flags over defaults, without this process's environment and files.
    pub fn only(flags: &Flags) -> Result<Layers> {
        Layers::merge(flags, &[], None)
    }

    /// Merges sources, weakest first.
    pub(super) fn merge(
        flags: &Flags,
        environment: &[(String, String)],
        file: Option<(String, String)>,
    ) -> Result<Layers> {
        let mut layers = Layers::default();
        for setting in &SETTINGS {
            if let Some(default) = setting.default {
                layers.values.insert(setting.key, (default.into(), Source::Default));
            }
        }
        if let Some((path, text)) = file {
            layers.file(&path, &text)?;
        }
        for (name, value) in environment {
            layers.variable(name, value)?;
        }
        for (key, value) in &flags.values {
            layers.values.insert(key, (value.clone(), Source::Flag));
        }
        for property in &flags.librdkafka {
            layers.property(property, &Source::Flag)?;
        }
        layers.cache = user_cache(environment);
        layers.plain = layers.librdkafka.iter().map(|(k, (v, _))| (k.clone(), v.clone())).collect();
        Ok(layers)
    }

    fn file(&mut self, path: &str, text: &str) -> Result<()> {
        let bad = |what: String| Error::usage(format!("{path}: {what}"));
        let table: toml::Table =
            text.parse().map_err(|e: toml::de::Error| bad(e.to_string().trim_end().into()))?;
        let source = Source::File(path.into());
        for (key, value) in table {
            match (key.as_str(), value) {
                ("librdkafka", toml::Value::Table(properties)) => {
                    for (name, value) in flatten("", &properties) {
                        self.librdkafka.insert(name, (value, source.clone()));
                    }
                }
                ("tables", toml::Value::Table(tables)) => {
                    for (name, table) in tables {
                        let table = table_config(&table).map_err(|e| bad(format!("[tables.{name}]: {e}")))?;
                        self.tables.insert(name, table);
                    }
                }
                (name, toml::Value::Table(_)) => return Err(bad(unknown(name))),
                (name, value) => {
                    let known = SETTINGS.iter().find(|s| s.key == name).ok_or_else(|| bad(unknown(name)))?;
                    let value = scalar(&value).ok_or_else(|| bad(format!("{name}: expected one value")))?;
                    self.values.insert(known.key, (value, source.clone()));
                }
            }
        }
        Ok(())
    }

    fn variable(&mut self, name: &str, value: &str) -> Result<()> {
        let source = Source::Environment(name.into());
        if let Some(setting) = SETTINGS.iter().find(|s| variable(s.key) == name) {
            self.values.insert(setting.key, (value.into(), source));
        } else if name == variable("librdkafka") {
            for property in value.split(',').filter(|p| !p.is_empty()) {
                self.property(property, &source)?;
            }
        } else if let Some(rest) = name.strip_prefix("TIDEMILL_")
            && name != variable("config")
            && name != "TIDEMILL_LOG_FORMAT"
            && !(cfg!(feature = "failpoints") && name == "TIDEMILL_FAILPOINT")
        {
            // No error: orchestrators put variables of such names there by themselves.
            let near = nearest(&rest.to_ascii_lowercase().replace('_', "-"));
            let near = near.map_or(String::new(), |k| format!("; did you mean {}?", variable(k)));
            let strange = format!("{name} is no setting{near}");
            tracing::warn!("{strange}");
            self.strange.push(strange);
        }
        Ok(())
    }

    fn property(&mut self, property: &str, source: &Source) -> Result<()> {
        let (name, value) = property.split_once('=').ok_or_else(|| {
            // The text may hold a secret: show no more than what could be a name.
            let name: String =
                property.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '.').collect();
            Error::usage(format!("librdkafka property {name}: expected PROPERTY=VALUE ({source})"))
        })?;
        self.librdkafka.insert(name.trim().into(), (value.into(), source.clone()));
        Ok(())
    }

    /// Where values come from that are not the defaults, and which these are; without the values.
    pub fn said(&self) -> BTreeMap<String, Vec<String>> {
        let mut said: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let settings = self.values.iter().map(|(key, (_, source))| ((*key).to_owned(), source));
        let properties = self.librdkafka.iter().map(|(key, (_, source))| (key.clone(), source));
        for (key, source) in settings.chain(properties).filter(|(_, source)| **source != Source::Default) {
            let place = match source {
                Source::Flag => "flags".to_owned(),
                Source::Environment(_) => "environment".to_owned(),
                other => other.to_string(),
            };
            said.entry(place).or_default().push(key);
        }
        said
    }

    /// Variables that look like settings and are none, in words.
    pub fn strange(&self) -> &[String] {
        &self.strange
    }

    /// Values that must not be shown, with the file that they stand in, if it is one.
    pub fn secrets(&self) -> Vec<(&str, Option<&str>)> {
        let own = self.values.iter().filter(|(name, _)| super::print::secret(name));
        let own = own.map(|(_, value)| value);
        let passed =
            self.librdkafka.iter().filter(|(name, _)| super::print::secret(name)).map(|(_, value)| value);
        own.chain(passed).map(|(value, source)| (value.as_str(), source.file())).collect()
    }

    /// A value that may be unset.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        self.values.get(key).map(|(value, _)| value.clone())
    }

    /// Whether anybody has said anything of a setting.
    pub fn given(&self, key: &str) -> bool {
        self.values.get(key).is_some_and(|(_, source)| *source != Source::Default)
    }

    pub(super) fn required(&self, key: &str) -> Result<String> {
        self.text(key).filter(|v| !v.is_empty()).ok_or_else(|| self.wrong(key, "a value"))
    }

    pub(super) fn librdkafka(&self) -> &BTreeMap<String, String> {
        &self.plain
    }

    pub(super) fn tables(&self) -> &BTreeMap<String, TableConfig> {
        &self.tables
    }

    /// The directory of compiled components where nobody names one.
    pub(super) fn cache(&self) -> Option<PathBuf> {
        self.cache.as_ref().map(|cache| cache.join("tidemill"))
    }

    /// The error of a value that is not what it should be.
    pub(super) fn wrong(&self, key: &str, expected: &str) -> Error {
        let (value, source) = self.values.get(key).cloned().unwrap_or((String::new(), Source::Default));
        Error::usage(format!("setting `{key}` is \"{value}\" ({source}); expected {expected}"))
    }

    pub(super) fn flag(&self, key: &str) -> Result<bool> {
        let value = self.required(key)?;
        value.parse().map_err(|_| self.wrong(key, "true or false"))
    }

    pub(super) fn whole(&self, key: &str, least: usize, most: usize) -> Result<Option<usize>> {
        let Some(text) = self.text(key) else { return Ok(None) };
        let number = text.parse().ok().filter(|n| (least..=most).contains(n));
        number.map(Some).ok_or_else(|| self.wrong(key, &format!("a number from {least} to {most}")))
    }

    pub(super) fn duration(&self, key: &str, least: &str, most: &str) -> Result<Duration> {
        let expected = format!("a duration with its unit from {least} to {most}, as 5s or 1m30s");
        let within = |d: &Duration| {
            units::duration(least).is_some_and(|l| *d >= l) && units::duration(most).is_some_and(|m| *d <= m)
        };
        let value = units::duration(&self.required(key)?).filter(within);
        value.ok_or_else(|| self.wrong(key, &expected))
    }

    pub(super) fn size(&self, key: &str, least: &str, most: &str) -> Result<usize> {
        let expected = format!("a size from {least} to {most}, as 256MiB or 1GB");
        let within = |s: &usize| {
            units::size(least).is_some_and(|l| *s >= l) && units::size(most).is_some_and(|m| *s <= m)
        };
        let value = units::size(&self.required(key)?).filter(within);
        value.ok_or_else(|| self.wrong(key, &expected))
    }
}

/// As the XDG base directories have it: `$XDG_CACHE_HOME`, else `~/.cache`; relative ones do not count.
fn user_cache(environment: &[(String, String)]) -> Option<PathBuf> {
    let absolute = |wanted: &str| {
        let found = environment.iter().find(|(name, _)| name == wanted);
        found.map(|(_, path)| PathBuf::from(path)).filter(|path| path.is_absolute())
    };
    absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))
}

/// The file that is read where nobody names one.
const FILE: &str = "tidemill.toml";

fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(path).map_err(|e| Error::usage(format!("cannot read configuration {path}: {e}")))
}

fn table_config(table: &toml::Value) -> Result<TableConfig, String> {
    let table = table.as_table().ok_or("expected a table")?;
    let mut config = TableConfig { provenance: true, projection: None, retention_days: None };
    let (mut projection, mut days) = (None, None);
    for (key, value) in table {
        match key.as_str() {
            "provenance" => {
                config.provenance = value.as_bool().ok_or("provenance: expected true or false")?
            }
            "projection" => {
                projection = Some(value.as_bool().ok_or("projection: expected true or false")?);
            }
            "projection-days" => {
                let number = value.as_integer().and_then(|days| u32::try_from(days).ok());
                let number = number.filter(|days| (1..=MOST_DAYS).contains(days));
                let expected = format!("projection-days: expected a number of days from 1 to {MOST_DAYS}");
                days = Some(number.ok_or(expected)?);
            }
            "retention-days" => {
                let forever = value.as_str() == Some("forever");
                let number = value.as_integer().and_then(|days| u32::try_from(days).ok());
                let number = number.filter(|days| (1..=MOST_DAYS).contains(days)).or(forever.then_some(0));
                let expected = format!(
                    "retention-days: expected a number of days from 1 to {MOST_DAYS}, or \"forever\""
                );
                config.retention_days = Some(number.ok_or(expected)?);
            }
            other => {
                let keys = ["provenance", "projection-days", "projection", "retention-days"];
                let near = keys.iter().max_by_key(|key| alike(key, other)).copied().unwrap_or_default();
                return Err(format!("unknown key `{other}`; the nearest valid key is `{near}`"));
            }
        }
    }
    config.projection = match (projection, days) {
        (None, Some(_)) => return Err("projection-days: has no effect without `projection = true`".into()),
        (None, None) => None,
        (Some(false), _) => Some(Projection::Off),
        (Some(true), days) => Some(Projection::Days(days.unwrap_or(DAYS))),
    };
    Ok(config)
}

/// The days that Athena projects if nobody says: as long as Terraform's backstop keeps objects.
const DAYS: u32 = 104;
const MOST_DAYS: u32 = 36_500;

/// How many letters two words have in common from the start.
fn alike(one: &str, other: &str) -> usize {
    one.chars().zip(other.chars()).take_while(|(a, b)| a == b).count()
}

fn scalar(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(s) => Some(s.clone()),
        toml::Value::Integer(_) | toml::Value::Boolean(_) | toml::Value::Float(_) => Some(value.to_string()),
        _ => None,
    }
}

/// `a.b = 1` is the property `a.b`, whether TOML takes it for one key or for two.
fn flatten(prefix: &str, table: &toml::Table) -> Vec<(String, String)> {
    let mut out = Vec::new();
    for (key, value) in table {
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            toml::Value::Table(inner) => out.extend(flatten(&name, inner)),
            other => out.extend(scalar(other).map(|v| (name, v))),
        }
    }
    out
}

fn unknown(key: &str) -> String {
    match nearest(key) {
        Some(near) => format!("unknown key `{key}`; did you mean `{near}`?"),
        None => format!("unknown key `{key}`"),
    }
}

/// The valid key that is nearest to a wrong one.
fn nearest(key: &str) -> Option<&'static str> {
    let keys = SETTINGS.iter().map(|s| s.key).chain(["librdkafka", "tables"]);
    let scored = keys.map(|k| (strsim::jaro_winkler(&key.replace('_', "-"), k), k));
    scored.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(score, _)| *score > 0.5).map(|(_, k)| k)
}
