//! How much is fetched at once, and of what: librdkafka's properties, which mean the same here.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::super::client::Settings;
use crate::{Error, Result};

/// Bytes that are fetched ahead of a partition, where nobody says how many.
const AHEAD: usize = 8 << 20;

/// What one fetch may bring.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    /// Bytes of all partitions together (`fetch.max.bytes`).
    pub(super) most: usize,
    /// … and of each (`fetch.message.max.bytes`).
    pub(super) partition: usize,
    /// How long a broker waits (`fetch.wait.max.ms`) …
    pub(super) wait_ms: i32,
    /// … for so many bytes (`fetch.min.bytes`).
    pub(super) least: i32,
    /// Whether transactions that have not ended are left out (`isolation.level`).
    pub(super) committed: bool,
    /// Bytes that may wait for a partition's lane: no more are asked for then.
    pub(super) ahead: usize,
}

impl Limits {
    /// Fails where librdkafka would have, or before it does.
    pub(super) fn of(settings: &Settings) -> Result<Limits> {
        let of = &settings.librdkafka;
        Ok(Limits {
            most: number(of, &["fetch.max.bytes"], 50 << 20)?,
            partition: number(of, &["max.partition.fetch.bytes", "fetch.message.max.bytes"], 1 << 20)?,
            // A broker that says nothing for half a minute is taken for dead.
            wait_ms: number(of, &["fetch.wait.max.ms"], 100)?.clamp(0, 20_000),
            least: number(of, &["fetch.min.bytes"], 1)?,
            committed: of.get("isolation.level").is_none_or(|level| level != "read_uncommitted"),
            ahead: if settings.prefetch == 0 { AHEAD } else { settings.prefetch },
        })
    }
}

fn number<T: FromStr>(properties: &BTreeMap<String, String>, names: &[&str], otherwise: T) -> Result<T> {
    let said = names.iter().find_map(|name| Some((name, properties.get(*name)?)));
    let Some((name, text)) = said else { return Ok(otherwise) };
    text.parse().map_err(|_| {
        Error::usage(format!(
            "librdkafka property {name} is `{text}`: a number is expected (setting `librdkafka`)"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_librdkafkas_properties() {
        let of = |name: &str, value: &str| {
            let librdkafka = [(name.to_owned(), value.to_owned())].into();
            Limits::of(&Settings { librdkafka, ..Settings::default() })
        };
        assert_eq!(of("max.partition.fetch.bytes", "77").unwrap().partition, 77);
        assert_eq!(of("fetch.message.max.bytes", "78").unwrap().partition, 78);
        let none = of("session.timeout.ms", "6000").unwrap();
        assert_eq!((none.wait_ms, none.least, none.committed, none.ahead), (100, 1, true, AHEAD));
        assert!(!of("isolation.level", "read_uncommitted").unwrap().committed);
        let wrong = of("fetch.max.bytes", "many").unwrap_err();
        assert!(wrong.to_string().contains("fetch.max.bytes is `many`"), "{wrong}");
    }
}
